//! Rate limits on Redis: one string per identifier, which holds all its counts.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

use super::line::Lines;
use super::store::{Algorithm, Judge, Judged, LimiterStore, Mode, Outcome, RatelimitStore};
use crate::backend::redis::{Arguments, Place, Repeat, Script, Server, TripRequest, Trips, script, slot, unexpected};
use crate::error::Result;
use crate::name::{Address, digest_if_long};
use crate::runtime::BoxFuture;

static CHECK: Script =
    script!("ratelimit.check", "../lua/time.lua", "lua/counts.lua", "lua/exact.lua", "lua/judge.lua", "lua/check.lua");
static RESET: Script = script!("ratelimit.reset", "../lua/time.lua", "lua/counts.lua", "lua/reset.lua");

/// The rate limits on the server.
#[derive(Debug)]
pub(crate) struct RedisRatelimit {
    server: Arc<Server>,
    trips: Arc<Trips<1>>,
    lines: Arc<Lines>,
}

impl RedisRatelimit {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        let trips = Arc::new(Trips::new(server, &CHECK, None, Repeat::Never));
        Self { server: Arc::clone(server), trips, lines: Arc::default() }
    }
}

impl RatelimitStore for RedisRatelimit {
    fn limiter(&self, address: &Address) -> Arc<dyn LimiterStore> {
        // The key of every identifier begins like that of the empty one.
        let place = Place::of("ratelimit", address, Some(""));
        let key = self.server.key(&place, "");
        let tag_start = key.find('{').map_or(0, |brace| brace + 1);
        let key_start = key[..tag_start + place.tag.len()].to_owned();
        let (server, trips) = (Arc::clone(&self.server), Arc::clone(&self.trips));
        Arc::new(Limiter { server, trips, key_start, tag_start })
    }

    fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }
}

/// The counts of one limiter.
#[derive(Debug)]
struct Limiter {
    server: Arc<Server>,
    trips: Arc<Trips<1>>,
    /// The common beginning of all keys, up to the identifier inside the hash tag.
    key_start: String,
    tag_start: usize,
}

impl Limiter {
    /// The slot and key of an identifier.
    fn place(&self, identifier: &str) -> Result<(u16, String)> {
        let name = digest_if_long("identifier", identifier)?;
        let name = name.key();
        let mut key = String::with_capacity(self.key_start.len() + name.len() + KEY_END.len());
        key.push_str(&self.key_start);
        key.push_str(&name);
        let slot = slot(&key[self.tag_start..]);
        key.push_str(KEY_END);
        Ok((slot, key))
    }
}

impl LimiterStore for Limiter {
    fn judge_now(&self, _judge: &Judge<'_>) -> Option<Outcome> {
        None
    }

    fn judge<'a>(&'a self, judge: Judge<'a>, within: Duration) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let deadline = Instant::now() + within;
            let (slot, key) = self.place(&judge.identifier)?;
            let answer = self.trips.make(TripRequest { slot, keys: [key], packed: packed(&judge), deadline }).await;
            let answer = answer.map_err(|failure| failure.into_error(CHECK.name))?;
            outcome(&answer, judge.rules.len()).ok_or_else(|| unexpected(CHECK.name, &Value::BulkString(answer)))
        })
    }

    fn reset<'a>(&'a self, identifier: &'a str, within: Duration) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let (slot, key) = self.place(identifier)?;
            let mut arguments = Arguments::default();
            arguments.key(&key);
            self.server.push_now(&mut arguments);
            let answer = self.server.run(&RESET, slot, &arguments, Repeat::Never, within).await;
            match answer.map_err(|failure| failure.into_error(RESET.name))? {
                Value::Int(found) => Ok(found == 1),
                answer => Err(unexpected(RESET.name, &answer)),
            }
        })
    }
}

/// The common end of all keys, after the identifier.
const KEY_END: &str = "}:counts";
/// Size of one limit in a request. The mode and cost precede all limits.
const LIMIT: usize = 25;
/// Size of one limit's answer.
const ANSWER: usize = 25;

fn packed(judge: &Judge<'_>) -> Vec<u8> {
    let mut packed = Vec::with_capacity(9 + judge.rules.len() * LIMIT);
    packed.push(match judge.mode {
        Mode::Check => 1,
        Mode::CountRefused => 2,
        Mode::Peek => 3,
    });
    push_number(&mut packed, judge.cost);
    for rule in &*judge.rules {
        packed.push(match rule.algorithm {
            Algorithm::Sliding => 1,
            Algorithm::Fixed => 2,
            Algorithm::TokenBucket => 3,
        });
        push_number(&mut packed, rule.window);
        push_number(&mut packed, rule.limit);
        push_number(&mut packed, rule.capacity);
    }
    packed
}

#[expect(clippy::cast_precision_loss, reason = "costs, limits and windows are at most 10^12")]
fn push_number(packed: &mut Vec<u8>, number: u64) {
    packed.extend_from_slice(&(number as f64).to_le_bytes());
}

fn outcome(packed: &[u8], rules: usize) -> Option<Outcome> {
    if packed.len() != rules * ANSWER {
        return None;
    }
    if let Ok(only) = <&[u8; ANSWER]>::try_from(packed) {
        return judged(only).map(Outcome::One);
    }
    let (parts, _) = packed.as_chunks();
    parts.iter().map(judged).collect::<Option<_>>().map(Outcome::Many)
}

fn judged(packed: &[u8; ANSWER]) -> Option<Judged> {
    let (refused, numbers) = packed.split_first()?;
    let (numbers, _) = numbers.as_chunks();
    let [remaining, reset_in, retry_after] = numbers else { return None };
    Some(Judged {
        refused: *refused == 1,
        remaining: number(*remaining)?,
        reset_in: number(*reset_in)?,
        retry_after: number(*retry_after)?,
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
fn number(packed: [u8; 8]) -> Option<u64> {
    let number = f64::from_le_bytes(packed);
    ((0.0..9_007_199_254_740_992.0).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}
