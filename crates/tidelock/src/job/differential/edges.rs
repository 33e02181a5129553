//! Cases that random steps hardly reach: bounds, and which processes hear what.

use std::sync::Arc;

use super::{Run, run_on};
use crate::differential::on_every_server;
use crate::job::ears::{Cancellable, News};
use crate::job::stop::StopReason;
use crate::job::store::{Action, Change, Claim, Look, MAX_EVENTS, NewJob, Settle};

/// Fills memos and events to their bounds and beyond.
async fn bounds(url: String, _: usize, seed: u64) {
    let mut run = run_on(&url, seed, "bounds").await;
    let mut job = run.job(true);
    job.rules.lease = 1_000_000;
    run.store.submit(&run.address, vec![job.clone()]).await.unwrap();
    run.on_model(|model, now| model.submit(now, vec![job]));
    run.claim_all().await;
    let (id, fence) = run.runs[0];
    let settle = |action| Settle { id, fence, progress: None, action };
    let large = |at: u8| settle(Action::Step { id: format!("large {at}").into(), value: vec![at; 1_000_000] });
    run.compare_settles((0..4).map(large).collect()).await;
    run.compare_settles((4..7).map(large).collect()).await;
    for from in [0, 600] {
        let step = |at: usize| settle(Action::Step { id: format!("{at}").into(), value: b"1".to_vec() });
        run.compare_settles((from..from + 600).map(step).collect()).await;
        run.compare_pages(Look::Memos { id, fence }).await;
    }
    let heartbeat = |_| settle(Action::Heartbeat { lease: None });
    run.compare_settles((0..300).map(heartbeat).collect()).await;
    for after in [0, 250, 700] {
        run.compare_pages(Look::Events { id, after, max: 300, park: false }).await;
    }
    run.compare_pages(Look::Places { id }).await;
    run.compare_settles(vec![settle(Action::Complete { result: vec![] })]).await;
    run.compare_pages(Look::Get { id }).await;
    run.ids.push(id);
    run.leave_nothing().await;
    const { assert!(MAX_EVENTS < 1_300, "more events are made here than are kept") };
}

impl Run {
    pub(super) async fn claim_all(&mut self) {
        let claim = Claim { max: 1_000, worker: "one".into(), park: false };
        let process = Arc::clone(&self.process);
        let expected = self.on_model(|model, now| model.claim(now, &process, &claim));
        let found = self.store.claim(&self.address, claim).await.unwrap();
        assert_eq!(expected, found);
        self.runs.extend(found.runs.iter().map(|run| (run.id, run.fence)));
    }

    pub(super) async fn compare_settles(&mut self, settles: Vec<Settle>) {
        let expected = self.on_model(|model, now| model.settle(now, settles.clone()));
        let found = self.store.settle(&self.address, settles).await.unwrap();
        assert_eq!(expected, found);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memos_and_events_have_the_same_bounds() {
    on_every_server(1, bounds).await;
}

/// Records that its job was cancelled.
#[derive(Default)]
struct Told(tokio::sync::Notify);

impl Cancellable for Told {
    fn over(&self, reason: StopReason) {
        assert_eq!(reason, StopReason::Cancelled);
        self.0.notify_one();
    }

    fn ask(&self) {}
}

/// News that the model reports must be published by a server: a cancel to the run, an end to those that join, work to
/// those that wait.
async fn news(url: String, _: usize, seed: u64) {
    let mut run = run_on(&url, seed, "news").await;
    let ears = run.store.ears(&run.address);
    let plain = run.job(true);
    let job = NewJob { max_depth: None, ..plain };
    let process = Arc::clone(&run.process);
    let claim = Claim { max: 1, worker: "one".into(), park: true };
    run.store.claim(&run.address, claim.clone()).await.unwrap();
    run.on_model(|model, now| model.claim(now, &process, &claim));
    run.on_model(|model, now| model.submit(now, vec![job.clone()]));
    let work = ears.work.rung.notified();
    run.store.submit(&run.address, vec![job]).await.unwrap();
    assert_eq!(std::mem::take(&mut run.news), [News::Work]);
    work.await;
    run.claim_all().await;
    let (id, fence) = run.runs[0];
    let told = Arc::<Told>::default();
    let weak = Arc::downgrade(&told);
    ears.listen(fence, weak);
    let watched = ears.watch(id);
    let happened = watched.rung.notified();
    run.compare_pages(Look::Join { id, park: true }).await;
    let cancel = Change::Cancel { id, reason: None };
    run.on_model(|model, now| model.change(now, cancel.clone()));
    assert_eq!(run.news, [News::Cancelled(fence), News::Happened(id)]);
    run.store.change(&run.address, cancel).await.unwrap();
    told.0.notified().await;
    happened.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_reach_whom_they_concern() {
    let waits = on_every_server(1, news);
    tokio::time::timeout(std::time::Duration::from_secs(30), waits).await.expect("nothing was lost");
}
