//! Retry budgets on Redis: one string per budget, one script.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use crate::backend::redis::{Arguments, Place, Repeat, Script, Server, script, unexpected};
use crate::error::Result;
use crate::name::Address;
use crate::retry::store::{BudgetStore, Take, Taken};
use crate::runtime::BoxFuture;

static TAKE: Script = script!("retry.take", "../lua/time.lua", "lua/take.lua");

/// The longest that a retry waits for its token; after that, the process decides by itself.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);

/// The retry budgets on the server.
#[derive(Debug)]
pub(crate) struct RedisBudget {
    server: Arc<Server>,
}

impl RedisBudget {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { server: Arc::clone(server) }
    }
}

impl BudgetStore for RedisBudget {
    fn take<'a>(&'a self, budget: &'a Address, take: Take) -> BoxFuture<'a, Result<Taken>> {
        Box::pin(async move {
            let place = Place::of("retry", budget, None);
            let mut arguments = Arguments::default();
            arguments.key(&self.server.key(&place, "budget"));
            self.server.push_now(&mut arguments);
            for number in [take.numbers.capacity, take.numbers.rate, take.credit, take.amount] {
                arguments.number(number);
            }
            let within = match self.server.clock.pinned() {
                None => ANSWER_WITHIN,
                // Under a pinned clock, real time must not decide: the speed of the machine would change test results.
                Some(_) => self.server.request_timeout,
            };
            let answer = self.server.run(&TAKE, place.slot, &arguments, Repeat::Never, within).await;
            taken(&answer.map_err(|failure| failure.into_error("retry budget"))?)
        })
    }
}

fn taken(answer: &Value) -> Result<Taken> {
    if let Value::Array(parts) = answer
        && let [Value::Int(taken @ (0 | 1)), Value::Int(level)] = parts[..]
        && let Ok(level) = u64::try_from(level)
    {
        return Ok(Taken { taken: taken == 1, level });
    }
    Err(unexpected("retry budget", answer))
}
