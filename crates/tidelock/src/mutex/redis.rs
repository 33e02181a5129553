//! In Redis: one script per step, and wake-ups for the waiters of other processes.

use std::sync::{Arc, OnceLock, Weak};

use redis::Value;
use tokio::time::Instant;

use crate::backend::redis::{
    Arguments, Bytes, Place, Repeat, Script, Server, TripRequest, Trips, Wakeable, script, slot, unexpected,
};
use crate::error::Result;
use crate::mutex::store::{Answer, Door, Effort, Handed, MutexStore, Outcome, Seen, Spot, Step, Token};
use crate::name::Address;
use crate::runtime::BoxFuture;

/// The first line of a wake-up of this primitive.
const WAKE: &str = "mutex";

/// Locks and releases, which share trips.
static ASK: Script = script!(
    "mutex.lock",
    "../lua/time.lua",
    "lua/one.lua",
    "lua/record.lua",
    "lua/take.lua",
    "lua/queue.lua",
    "lua/lock.lua",
    "lua/release.lua",
    "lua/each.lua",
);
static EXTEND: Script = script!(
    "mutex.extend",
    "../lua/time.lua",
    "lua/keys.lua",
    "lua/record.lua",
    "lua/queue.lua",
    "lua/next.lua",
    "lua/extend.lua"
);
static LEAVE: Script = script!(
    "mutex.leave",
    "../lua/time.lua",
    "lua/keys.lua",
    "lua/record.lua",
    "lua/queue.lua",
    "lua/next.lua",
    "lua/leave.lua"
);
static REFRESH: Script = script!(
    "mutex.refresh",
    "../lua/time.lua",
    "lua/keys.lua",
    "lua/record.lua",
    "lua/queue.lua",
    "lua/next.lua",
    "lua/refresh.lua"
);
static DESCRIBE: Script =
    script!("mutex.describe", "../lua/time.lua", "lua/keys.lua", "lua/record.lua", "lua/describe.lua");

/// The state on the server.
#[derive(Debug)]
pub(crate) struct RedisMutex {
    server: Arc<Server>,
    trips: Arc<Trips<3>>,
    bell: OnceLock<Arc<Bell>>,
    door: Arc<Door>,
}

/// Passes wake-ups on to the listener of the door.
#[derive(Debug)]
struct Bell {
    door: Arc<Door>,
}

impl RedisMutex {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        let channel = server.channel.as_bytes().to_vec();
        let trips = Arc::new(Trips::new(server, &ASK, Some(channel), Repeat::Safe));
        Self { server: Arc::clone(server), trips, bell: OnceLock::new(), door: Arc::default() }
    }

    /// Registers for wake-ups at the first use.
    fn listen(&self) {
        self.bell.get_or_init(|| {
            let bell = Arc::new(Bell { door: Arc::clone(&self.door) });
            let weak = Arc::downgrade(&bell) as Weak<dyn Wakeable>;
            self.server.wakes.register(&WAKE.into(), weak);
            bell
        });
    }

    fn keys<const N: usize>(&self, spot: &Spot, parts: [&str; N]) -> [String; N] {
        let place = Place { tag: Arc::clone(&spot.tag), slot: spot.slot };
        parts.map(|part| self.server.key(&place, part))
    }

    fn arguments(&self, spot: &Spot) -> Arguments {
        let mut arguments = Arguments::with_capacity(10, 3 * spot.tag.len() + 256);
        self.keys(spot, ["lock", "queue"]).iter().for_each(|key| arguments.key(key));
        self.server.push_now(&mut arguments);
        arguments
    }

    fn way(&self, spot: &Spot, step: &Step) -> Way {
        let channel = self.server.channel.as_bytes();
        match step {
            Step::Lock { ask, wait } => {
                Way::Shared(packed(if *wait { 2 } else { 1 }, ask.token, ask.lease, &ask.owner))
            }
            Step::Release { token, fence } => Way::Shared(packed(3, *token, *fence, "")),
            Step::Extend { token, fence, lease, number } => {
                let mut arguments = self.arguments(spot);
                arguments.push(&token.0.to_be_bytes());
                arguments.number(*fence);
                arguments.number(*lease);
                arguments.push(channel);
                arguments.number(u64::from(*number));
                Way::Alone(&EXTEND, arguments)
            }
            Step::Leave { ask } => {
                let mut arguments = self.arguments(spot);
                arguments.push(&ask.token.0.to_be_bytes());
                arguments.push(channel);
                arguments.number(ask.lease);
                arguments.push(ask.owner.as_bytes());
                Way::Alone(&LEAVE, arguments)
            }
            Step::Refresh => {
                let mut arguments = self.arguments(spot);
                arguments.push(channel);
                Way::Alone(&REFRESH, arguments)
            }
        }
    }
}

/// How a step reaches the server.
enum Way {
    /// Packed, together with others.
    Shared(Vec<u8>),
    Alone(&'static Script, Arguments),
}

/// A request of `one.lua`.
fn packed(what: u8, token: Token, number: u64, owner: &str) -> Vec<u8> {
    [&[what], token.0.to_be_bytes().as_slice(), &number.to_be_bytes(), owner.as_bytes()].concat()
}

impl MutexStore for RedisMutex {
    fn spot(&self, address: &Address, resource: &str) -> Spot {
        let Place { tag, slot } = Place::of("mutex", address, Some(resource));
        Spot { tag, slot }
    }

    fn step(&self, at: &Spot, step: Step, effort: Effort) -> BoxFuture<'static, Result<Answer>> {
        self.listen();
        let within = effort.within.max(self.server.request_timeout);
        match self.way(at, &step) {
            Way::Shared(packed) => {
                let (trips, deadline) = (Arc::clone(&self.trips), Instant::now() + within);
                let request =
                    TripRequest { slot: at.slot, keys: self.keys(at, ["lock", "queue", "released"]), packed, deadline };
                Box::pin(async move {
                    let reply = trips.make(request).await.map_err(|failure| failure.into_error(ASK.name))?;
                    unpack(&step, &reply).ok_or_else(|| unexpected(ASK.name, &Value::BulkString(reply)))
                })
            }
            Way::Alone(script, arguments) => {
                let (server, slot) = (Arc::clone(&self.server), at.slot);
                let repeat = if effort.repeat { Repeat::Safe } else { Repeat::Never };
                Box::pin(async move {
                    let reply = server.run(script, slot, &arguments, repeat, within).await;
                    let reply = reply.map_err(|failure| failure.into_error(script.name))?;
                    decode(&step, &reply).ok_or_else(|| unexpected(script.name, &reply))
                })
            }
        }
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

/// The answer to a request of `one.lua`.
fn unpack(step: &Step, packed: &[u8]) -> Option<Answer> {
    let mut bytes = Bytes(packed);
    let head = bytes.byte()?;
    let mut number = || bytes.number(8);
    let outcome = match (step, head) {
        (Step::Lock { .. }, 0) => Outcome::Held { left: number()?, waiting: number()? },
        (Step::Lock { .. }, 1) => Outcome::Granted { fence: number()?, left: number()? },
        (Step::Lock { .. }, 2) => Outcome::Waiting { place: number()?, left: number()?, waiting: number()? },
        (Step::Lock { .. }, 3) => Outcome::Full { waiting: number()? },
        (Step::Release { .. }, 0 | 1) => Outcome::Released(head == 1),
        _ => return None,
    };
    let (handed, offered) = match bytes.0 {
        [] => (None, false),
        [1] => (None, true),
        rest => {
            let (token, rest) = rest.split_first_chunk()?;
            let (fence, left) = rest.split_first_chunk()?;
            let token = Token(u128::from_be_bytes(*token));
            let left = u64::from_be_bytes(left.try_into().ok()?);
            (Some(Handed { token, fence: u64::from_be_bytes(*fence), left }), false)
        }
    };
    Some(Answer { outcome, handed, offered })
}

/// The answer to a step that was sent on its own.
fn decode(step: &Step, value: &Value) -> Option<Answer> {
    let Value::Array(items) = value else { return None };
    let (outcome, rest) = match step {
        Step::Lock { .. } | Step::Release { .. } => return None,
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
