//! In Redis: one script per step, and wake-ups for the waiters of other processes.

use std::sync::{Arc, OnceLock, Weak};

use redis::Value;

use crate::backend::redis::{Arguments, Place, Repeat, Script, Server, Wakeable, script, slot, unexpected};
use crate::error::Result;
use crate::mutex::store::{Answer, Ask, Door, Effort, Handed, MutexStore, Outcome, Seen, Spot, Step, Token};
use crate::name::Address;
use crate::runtime::BoxFuture;

/// What the first line of a wake-up of this primitive says.
const WAKE: &str = "mutex";

static LOCK: Script =
    script!("mutex lock", "../lua/time.lua", "lua/record.lua", "lua/take.lua", "lua/queue.lua", "lua/lock.lua");
static RELEASE: Script =
    script!("mutex release", "../lua/time.lua", "lua/record.lua", "lua/end.lua", "lua/queue.lua", "lua/release.lua");
static EXTEND: Script = script!("mutex extend", "../lua/time.lua", "lua/record.lua", "lua/queue.lua", "lua/extend.lua");
static LEAVE: Script = script!("mutex leave", "../lua/time.lua", "lua/record.lua", "lua/queue.lua", "lua/leave.lua");
static REFRESH: Script =
    script!("mutex refresh", "../lua/time.lua", "lua/record.lua", "lua/queue.lua", "lua/refresh.lua");
static DESCRIBE: Script = script!("mutex describe", "../lua/time.lua", "lua/record.lua", "lua/describe.lua");

/// The state on the server.
#[derive(Debug)]
pub(crate) struct RedisMutex {
    server: Arc<Server>,
    bell: OnceLock<Arc<Bell>>,
    door: Arc<Door>,
}

/// Takes wake-ups to whoever hears.
#[derive(Debug)]
struct Bell {
    door: Arc<Door>,
}

impl RedisMutex {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { server: Arc::clone(server), bell: OnceLock::new(), door: Arc::default() }
    }

    /// Hears wake-ups from the first use on.
    fn listen(&self) {
        self.bell.get_or_init(|| {
            let bell = Arc::new(Bell { door: Arc::clone(&self.door) });
            let weak = Arc::downgrade(&bell) as Weak<dyn Wakeable>;
            self.server.wakes.register(&WAKE.into(), weak);
            bell
        });
    }

    fn arguments(&self, spot: &Spot) -> Arguments {
        let place = Place { tag: Arc::clone(&spot.tag), slot: spot.slot };
        let mut arguments = Arguments::with_capacity(10, 3 * spot.tag.len() + 256);
        arguments.key(&self.server.key(&place, "lock"));
        arguments.key(&self.server.key(&place, "queue"));
        self.server.push_now(&mut arguments);
        arguments
    }

    fn call(&self, spot: &Spot, step: &Step) -> (&'static Script, Arguments) {
        let mut arguments = self.arguments(spot);
        let channel = self.server.channel.as_bytes();
        let script = match step {
            Step::Lock { ask, wait } => {
                push_ask(&mut arguments, ask, channel);
                arguments.number(u64::from(*wait));
                &LOCK
            }
            Step::Release { token, fence } => {
                arguments.push(&token.0.to_be_bytes());
                arguments.number(*fence);
                arguments.push(channel);
                &RELEASE
            }
            Step::Extend { token, fence, lease } => {
                arguments.push(&token.0.to_be_bytes());
                arguments.number(*fence);
                arguments.number(*lease);
                arguments.push(channel);
                &EXTEND
            }
            Step::Leave { ask } => {
                push_ask(&mut arguments, ask, channel);
                &LEAVE
            }
            Step::Refresh => {
                arguments.push(channel);
                &REFRESH
            }
        };
        (script, arguments)
    }
}

fn push_ask(arguments: &mut Arguments, ask: &Ask, channel: &[u8]) {
    arguments.push(&ask.token.0.to_be_bytes());
    arguments.push(channel);
    arguments.number(ask.lease);
    arguments.push(ask.owner.as_bytes());
}

impl MutexStore for RedisMutex {
    fn spot(&self, address: &Address, resource: &str) -> Spot {
        let Place { tag, slot } = Place::of("mutex", address, Some(resource));
        Spot { tag, slot }
    }

    fn step(&self, at: &Spot, step: Step, effort: Effort) -> BoxFuture<'static, Result<Answer>> {
        self.listen();
        let server = Arc::clone(&self.server);
        let (slot, (script, arguments)) = (at.slot, self.call(at, &step));
        let within = effort.within.max(server.request_timeout);
        let repeat = if effort.repeat { Repeat::Safe } else { Repeat::Never };
        Box::pin(async move {
            let reply = server.run(script, slot, &arguments, repeat, within).await;
            let reply = reply.map_err(|failure| failure.into_error(script.name))?;
            decode(&step, &reply).ok_or_else(|| unexpected(script.name, &reply))
        })
    }

    fn describe(&self, at: &Spot) -> BoxFuture<'static, Result<Seen>> {
        let (server, slot, arguments) = (Arc::clone(&self.server), at.slot, self.arguments(at));
        Box::pin(async move {
            let answer = server.run(&DESCRIBE, slot, &arguments, Repeat::Safe, server.request_timeout).await;
            let value = answer.map_err(|failure| failure.into_error(DESCRIBE.name))?;
            decode_seen(&value).ok_or_else(|| unexpected(DESCRIBE.name, &value))
        })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn door(&self) -> &Door {
        &self.door
    }
}

impl Wakeable for Bell {
    /// `detail` is the token and the key of the record.
    fn woken(&self, detail: &[u8]) {
        let Some((token, key)) = detail.split_at_checked(16) else { return };
        let Ok(token) = token.try_into().map(u128::from_be_bytes) else { return };
        let tag = std::str::from_utf8(key).ok().and_then(|key| Some(key.split_once('{')?.1.split_once('}')?.0));
        let (Some(tag), Some(hears)) = (tag, self.door.hears()) else { return };
        hears.offered(&Spot { slot: slot(tag), tag: tag.into() }, Token(token));
    }

    fn reset(&self) {
        if let Some(hears) = self.door.hears() {
            hears.missed();
        }
    }
}

fn decode(step: &Step, value: &Value) -> Option<Answer> {
    let Value::Array(items) = value else { return None };
    let (outcome, rest) = match step {
        Step::Lock { .. } => match number(items.first()?)? {
            1 => (Outcome::Granted { fence: number(items.get(1)?)?, left: number(items.get(2)?)? }, 3),
            2 => {
                let (place, left) = (number(items.get(1)?)?, number(items.get(2)?)?);
                (Outcome::Waiting { place, left, waiting: number(items.get(3)?)? }, 4)
            }
            0 => (Outcome::Held { left: number(items.get(1)?)?, waiting: number(items.get(2)?)? }, 3),
            3 => (Outcome::Full { waiting: number(items.get(1)?)? }, 2),
            _ => return None,
        },
        Step::Release { .. } => (Outcome::Released(number(items.first()?)? == 1), 1),
        Step::Extend { .. } => match number(items.first()?)? {
            1 => (Outcome::Extended(Some(number(items.get(1)?)?)), 2),
            _ => (Outcome::Extended(None), 1),
        },
        Step::Leave { .. } => (Outcome::Left, 0),
        Step::Refresh => {
            let Value::BulkString(packed) = items.first()? else { return None };
            let (tokens, rest) = packed.as_chunks::<16>();
            if !rest.is_empty() {
                return None;
            }
            let tokens = tokens.iter().map(|token| Token(u128::from_be_bytes(*token))).collect();
            let (place, left) = (number(items.get(1)?)?, number(items.get(2)?)?);
            (Outcome::Waiters { tokens, place, left, waiting: number(items.get(3)?)? }, 4)
        }
    };
    let (handed, offered) = match &items[rest..] {
        [] => (None, false),
        [Value::Int(1)] => (None, true),
        [Value::BulkString(token), fence, left] => {
            let token = Token(u128::from_be_bytes(token.as_slice().try_into().ok()?));
            (Some(Handed { token, fence: number(fence)?, left: number(left)? }), false)
        }
        _ => return None,
    };
    Some(Answer { outcome, handed, offered })
}

fn decode_seen(value: &Value) -> Option<Seen> {
    let Value::Array(items) = value else { return None };
    let last_fence = Some(number(items.get(1)?)?).filter(|fence| *fence > 0);
    let holder = match items.get(2..) {
        Some([Value::BulkString(owner), left]) => Some((String::from_utf8_lossy(owner).into_owned(), number(left)?)),
        _ => None,
    };
    Some(Seen { holder, waiting: number(items.first()?)?, last_fence })
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}
