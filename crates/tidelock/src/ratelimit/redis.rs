//! In Redis: one string per identifier, which holds all its counts.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::line::Lines;
use super::store::{Algorithm, Judge, Judged, LimiterStore, Mode, Outcome, RatelimitStore};
use crate::backend::redis::{Arguments, Place, Repeat, Script, Server, script, slot, unexpected};
use crate::error::Result;
use crate::name::{Address, digest_if_long};
use crate::runtime::BoxFuture;

static CHECK: Script =
    script!("ratelimit.check", "../lua/time.lua", "lua/counts.lua", "lua/usual.lua", "lua/exact.lua", "lua/check.lua");
static RESET: Script = script!("ratelimit.reset", "../lua/time.lua", "lua/counts.lua", "lua/reset.lua");

/// The counts on the server.
#[derive(Debug)]
pub(crate) struct RedisRatelimit {
    server: Arc<Server>,
    lines: Arc<Lines>,
}

impl RedisRatelimit {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { server: Arc::clone(server), lines: Arc::default() }
    }
}

impl RatelimitStore for RedisRatelimit {
    fn limiter(&self, address: &Address) -> Arc<dyn LimiterStore> {
        // The place of an identifier begins as that of an empty one.
        let place = Place::of("ratelimit", address, Some(""));
        let key = self.server.key(&place, "");
        let tag_start = key.find('{').map_or(0, |brace| brace + 1);
        let key_start = key[..tag_start + place.tag.len()].to_owned();
        Arc::new(Limiter { server: Arc::clone(&self.server), key_start, tag_start })
    }

    fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }
}

/// The counts of one limiter.
#[derive(Debug)]
struct Limiter {
    server: Arc<Server>,
    /// What the keys of all identifiers begin with, up to the identifier inside the hash tag.
    key_start: String,
    tag_start: usize,
}

impl Limiter {
    /// The slot of the identifier, and arguments that begin with its key and the time.
    fn arguments(&self, identifier: &str) -> Result<(u16, Arguments)> {
        let name = digest_if_long("identifier", identifier)?;
        let name = name.key();
        let mut key = String::with_capacity(self.key_start.len() + name.len() + 8);
        key.push_str(&self.key_start);
        key.push_str(&name);
        let slot = slot(&key[self.tag_start..]);
        key.push_str("}:counts");
        let mut arguments = Arguments::default();
        arguments.key(&key);
        self.server.push_now(&mut arguments);
        Ok((slot, arguments))
    }

    async fn ask(&self, script: &'static Script, slot: u16, arguments: &Arguments, within: Duration) -> Result<Value> {
        let answer = self.server.run(script, slot, arguments, Repeat::Never, within).await;
        answer.map_err(|failure| failure.into_error(script.name))
    }
}

impl LimiterStore for Limiter {
    fn judge_now(&self, _judge: &Judge<'_>) -> Option<Outcome> {
        None
    }

    fn judge<'a>(&'a self, judge: Judge<'a>, within: Duration) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let (slot, mut arguments) = self.arguments(&judge.identifier)?;
            push_request(&mut arguments, &judge);
            let answer = self.ask(&CHECK, slot, &arguments, within).await?;
            outcome(&answer, judge.rules.len()).ok_or_else(|| unexpected(CHECK.name, &answer))
        })
    }

    fn reset<'a>(&'a self, identifier: &'a str, within: Duration) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let (slot, arguments) = self.arguments(identifier)?;
            match self.ask(&RESET, slot, &arguments, within).await? {
                Value::Int(found) => Ok(found == 1),
                answer => Err(unexpected(RESET.name, &answer)),
            }
        })
    }
}

/// Longest request: mode, cost and eight limits.
const MAX_REQUEST: usize = 9 + 8 * 25;
/// Bytes of one limit's answer.
const ANSWER: usize = 25;

fn push_request(arguments: &mut Arguments, judge: &Judge<'_>) {
    let mut packed = Vec::with_capacity(MAX_REQUEST);
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
    arguments.push(&packed);
}

#[expect(clippy::cast_precision_loss, reason = "costs, limits and windows are at most 10^12")]
fn push_number(packed: &mut Vec<u8>, number: u64) {
    packed.extend_from_slice(&(number as f64).to_le_bytes());
}

fn outcome(answer: &Value, rules: usize) -> Option<Outcome> {
    let Value::BulkString(packed) = answer else { return None };
    if packed.len() != rules * ANSWER {
        return None;
    }
    if let Ok(only) = <&[u8; ANSWER]>::try_from(&packed[..]) {
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
