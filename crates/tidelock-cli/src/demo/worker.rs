//! How a worker handles an order: respect the payment provider's limit, lock the shelf, pack, charge, publish.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidelock::job::{JobContext, JobError};
use tidelock::mutex::{Guard, Locked, Mutex};
use tidelock::ratelimit::RateLimiter;
use tidelock::topic::Topic;
use tidelock::{Raw, RetryPolicy, Tidelock};

use super::event::Outcome;
use super::ledger::{Effect, Entry, Hold, Ledger};
use super::order::Order;

/// How long a worker waits for a shelf held by another; longer than a dead worker keeps it locked.
const SHELF_WAIT: Duration = Duration::from_secs(15);

/// What the workers of one process share.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) tide: Tidelock,
    /// How to wait for a server that is briefly unavailable.
    pub(crate) patience: RetryPolicy,
    pub(crate) payments: RateLimiter,
    pub(crate) shelves: Mutex,
    pub(crate) ledger: Ledger,
    pub(crate) topic: Topic<Outcome>,
}

/// The result of an order: the fence under which its shelf was locked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) fence: u64,
}

/// Carries out one order. An error means *retry later*; an invalid line is refused permanently.
pub(crate) async fn fulfil(shop: &Shop, run: &JobContext, line: &Raw) -> Result<Receipt, JobError> {
    let job = super::number(run.id());
    let order = match Order::parse(&line.0) {
        Ok(order) => order,
        Err(reason) => {
            Outcome::died(job, &line.0, &reason).publish(&shop.topic).await?;
            return Err(JobError::fatal(reason));
        }
    };
    // Once this step is stored, no later run of the job uses the provider or the shelf again.
    let receipt = run.step("charge", async || charge(shop, run, &order).await).await?;
    // The job ends only after this: if the process crashes before, the next run publishes the charge.
    Outcome::charged(job, order).publish(&shop.topic).await?;
    Ok(receipt)
}

/// Waits for the payment provider's limit, locks the shelf, packs and charges.
async fn charge(shop: &Shop, run: &JobContext, order: &Order) -> Result<Receipt, JobError> {
    // A limiter never repeats a check itself: one whose answer was lost may have been counted.
    let turn = shop.tide.retry(async |_| shop.payments.acquire("provider").await).policy(shop.patience).await?;
    debug_assert!(!turn.limited, "without a timeout it waits until it is allowed");
    let shelf = order.shelf();
    let guard = match shop.shelves.lock(&shelf).timeout(SHELF_WAIT).await? {
        Locked::Guard(guard) => guard,
        Locked::NotAcquired(busy) => return Err(format!("shelf {shelf:?} was busy for {:?}", busy.waited).into()),
    };
    let charged = tokio::select! {
        charged = pack_and_charge(shop, run, order, &guard) => charged,
        end = guard.lost() => Err(format!("the lock of shelf {shelf:?} was lost: {end:?}").into()),
    };
    let receipt = Receipt { fence: guard.fence() };
    // If this fails, the library continues releasing in the background; the charge stands either way.
    let _ = guard.release().await;
    charged.map(|()| receipt)
}

async fn pack_and_charge(shop: &Shop, run: &JobContext, order: &Order, guard: &Guard) -> Result<(), JobError> {
    // The protected resource gets the fence, and whether the lock is still certain.
    let hold =
        || Hold { shelf: guard.resource().to_owned(), fence: guard.fence(), proven: !guard.valid_for().is_zero() };
    check(shop.ledger.write(|| Entry::Enter(hold()))?)?;
    if order.work_ms > 0 {
        tokio::time::sleep(Duration::from_millis(order.work_ms)).await;
    }
    // Runs given back by a stopping worker are not failures.
    if u64::from(run.failures()) < order.fail_attempts {
        return Err("the payment provider answered 503".into());
    }
    let charge = || Entry::Charge {
        hold: hold(),
        order: order.id.clone(),
        amount_cents: order.amount_cents,
        quantity: order.quantity,
        job: super::number(run.id()),
        run: format!("{}.{}", run.id(), run.fence()),
        failures: run.failures() + run.crashes(),
    };
    check(shop.ledger.write(charge)?)
}

/// A charge that was applied earlier is as good as one applied now.
fn check(effect: Effect) -> Result<(), JobError> {
    match effect {
        Effect::Applied | Effect::Replayed => Ok(()),
        Effect::Stale => Err("the shelf has passed on to another worker".into()),
        Effect::Violation(what) => Err(what.into()),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tidelock::SECOND;
    use tidelock::topic::{Follower, Item, Start};

    use super::super::ledger;
    use super::super::plan::Plan;
    use super::*;

    const LINE: &[u8] = br#"{"id":"o-1","warehouse":"oslo","item":"lamp","quantity":2,"amount_cents":500}"#;

    fn plan() -> Plan {
        Plan {
            run: "test".to_owned(),
            url: None,
            prefix: String::new(),
            root_certificate: None,
            name: "test".to_owned(),
            concurrency: 1,
            rate: 1_000,
            ledger: None,
        }
    }

    async fn next(told: &mut Follower<Outcome>) -> Outcome {
        match tokio::time::timeout(30 * SECOND, told.next()).await {
            Ok(Some(Ok(Item::Event(event)))) => event.into_data(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_charge_that_was_not_told_before_a_crash_is_told_by_the_next_run() {
        let (plan, tide) = (plan(), Tidelock::in_process());
        let (shop, topic) = (plan.shop(&tide).unwrap(), plan.topic(&tide).unwrap());
        let mut told = topic.follow().start(Start::Earliest).await.unwrap();
        let submitted = plan.orders(&tide).unwrap().submit(&Raw(LINE.to_vec())).await.unwrap();
        let job = super::super::number(submitted.id);
        let order = Order::parse(LINE).unwrap();
        // This is how far the run of a dead worker had come.
        let charge = || Entry::Charge {
            hold: Hold { shelf: order.shelf(), fence: 0, proven: true },
            order: order.id.clone(),
            amount_cents: order.amount_cents,
            quantity: order.quantity,
            job,
            run: "of one who died".to_owned(),
            failures: 0,
        };
        assert_eq!(shop.ledger.write(charge).unwrap(), Effect::Applied);

        let worker = plan.workers(&tide, &shop).unwrap().spawn();
        let event = next(&mut told).await;
        worker.shutdown(10 * SECOND).await;
        let entries = shop.ledger.entries().unwrap();
        assert_eq!(ledger::charges(&entries), [(job, event.clone())].into());
        assert_eq!(entries.iter().filter(|entry| matches!(entry, Entry::Charge { .. })).count(), 2, "it came twice");
        assert!(event.publish(&topic).await.unwrap().duplicate);
    }

    #[tokio::test]
    async fn a_line_that_is_no_order_is_told_and_dies() {
        let (plan, tide) = (plan(), Tidelock::in_process());
        let (shop, orders) = (plan.shop(&tide).unwrap(), plan.orders(&tide).unwrap());
        let mut told = plan.topic(&tide).unwrap().follow().start(Start::Earliest).await.unwrap();
        let submitted = orders.submit(&Raw(b"{\"id\":\"o-1\"}".to_vec())).await.unwrap();
        let worker = plan.workers(&tide, &shop).unwrap().spawn();
        let event = next(&mut told).await;
        worker.shutdown(10 * SECOND).await;
        let job = super::super::number(submitted.id);
        assert!(
            matches!(&event, Outcome::Died { job: dead, order: Some(order), reason }
                if *dead == job && order == "o-1" && reason.contains("missing field")),
            "{event:?}"
        );
        assert_eq!(orders.stats().await.unwrap().failed, 1);
    }
}
