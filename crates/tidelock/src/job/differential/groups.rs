//! Groups that read the events of jobs: random steps, their bounds, and who hears what they do.

use std::sync::Arc;

use super::{Run, run_on};
use crate::differential::on_every_server;
use crate::job::ears::News;
use crate::job::store::{
    Action, GroupAction, GroupSettle, GroupTake, GroupTaken, MAX_EVENTS, MAX_GROUP_TAKE, MAX_GROUPS, MAX_OPEN, Settle,
};

/// Outcomes that random steps must have shown if there are enough steps.
const MUST_HAPPEN: &str = "event last again parked waits ended absent committed stale returned unused touched";

impl Run {
    pub(super) async fn group_step(&mut self) {
        if self.random.bool() {
            let take = GroupTake {
                id: self.some_read_id(),
                group: self.text(&["audit", "a", "audit\0"]),
                max: self.random.usize(1..9),
                lease: self.random.u64(1..120),
                park: self.random.bool(),
            };
            self.compare_take(take).await;
            return;
        }
        let count = self.random.usize(1..8);
        let settles: Vec<_> = (0..count).filter_map(|_| self.one_group_settle()).collect();
        if !settles.is_empty() {
            self.compare_event_settles(settles).await;
        }
    }

    /// Reads few jobs at a time, so that groups reach the end of the events.
    fn some_read_id(&mut self) -> u64 {
        let recent = self.ids.len().saturating_sub(4);
        self.random.choice(&self.ids[recent..]).copied().unwrap_or(1)
    }

    fn one_group_settle(&mut self) -> Option<GroupSettle> {
        let recent = self.held.len().saturating_sub(8);
        let mut settle = self.random.choice(&self.held[recent..])?.clone();
        settle.fence += u64::from(self.random.u8(0..20) == 0);
        settle.action = match self.random.u8(0..12) {
            0..8 => GroupAction::Commit,
            8 => GroupAction::Return { delay: self.random.u64(0..2) * self.random.u64(0..60), unused: false },
            9 => GroupAction::Return { delay: 0, unused: true },
            _ => GroupAction::Touch { lease: self.random.u64(1..150) },
        };
        Some(settle)
    }

    async fn compare_take(&mut self, take: GroupTake) -> GroupTaken {
        let process = Arc::clone(&self.process);
        let expected = self.on_model(|model, now| model.take_events(now, &process, &take));
        let found = self.store.take_events(&self.address, take.clone()).await.unwrap();
        assert_eq!(expected, found, "{take:?}");
        let is_there = !found.full && self.ids.contains(&take.id);
        let seen = [
            ("event", !found.events.is_empty()),
            ("last", found.events.iter().any(|event| event.is_last)),
            ("again", found.events.iter().any(|event| event.attempt > 1)),
            ("parked", take.park && found.next.is_none() && !found.ended && found.events.len() < take.max),
            ("waits", found.next.is_some()),
            ("ended", found.ended && is_there && found.events.is_empty()),
            ("absent", found.ended && !found.full && !self.ids.contains(&take.id)),
        ];
        self.happened.extend(seen.into_iter().filter(|(_, seen)| *seen).map(|(what, _)| what));
        self.held.extend(found.events.iter().map(|event| GroupSettle {
            id: take.id,
            group: Arc::clone(&take.group),
            number: event.number,
            fence: event.fence,
            action: GroupAction::Commit,
        }));
        found
    }

    async fn compare_event_settles(&mut self, settles: Vec<GroupSettle>) -> Vec<bool> {
        let expected = self.on_model(|model, now| model.settle_events(now, &settles));
        let found = self.store.settle_events(&self.address, settles.clone()).await.unwrap();
        assert_eq!(expected, found, "{settles:?}");
        for (settle, held) in settles.iter().zip(&found) {
            self.happened.insert(match (held, settle.action) {
                (false, _) => "stale",
                (true, GroupAction::Commit) => "committed",
                (true, GroupAction::Return { unused: false, .. }) => "returned",
                (true, GroupAction::Return { unused: true, .. }) => "unused",
                (true, GroupAction::Touch { .. }) => "touched",
            });
        }
        found
    }

    /// Checks that all of them have happened.
    pub(super) fn check_happened(&self) {
        let missing: Vec<_> = MUST_HAPPEN.split_whitespace().filter(|what| !self.happened.contains(what)).collect();
        // A rare outcome may be missing after few random steps, but not after a soak.
        assert!(missing.is_empty() || !tidelock_testkit::soak(), "never seen: {missing:?}");
        if !missing.is_empty() {
            eprintln!("never seen in this run: {missing:?}");
        }
    }

    /// A job that is running, with a run that may last long.
    async fn long_run(&mut self) -> (u64, u64) {
        let mut job = self.job(true);
        (job.rules.lease, job.max_depth) = (1_000_000, None);
        self.store.submit(&self.address, vec![job.clone()]).await.unwrap();
        self.on_model(|model, now| model.submit(now, vec![job]));
        self.claim_all().await;
        self.ids.push(self.runs[0].0);
        self.runs[0]
    }

    /// Adds `count` events.
    async fn heartbeats(&mut self, (id, fence): (u64, u64), count: usize) {
        let heartbeat = Settle { id, fence, progress: None, action: Action::Heartbeat { lease: None } };
        self.compare_settles(vec![heartbeat; count]).await;
    }

    async fn take(&mut self, id: u64, group: &str, max: usize) -> GroupTaken {
        self.compare_take(GroupTake { id, group: group.into(), max, lease: 1_000, park: true }).await
    }
}

/// Fills the number of groups and of open events, and makes events disappear.
async fn bounds(url: String, _: usize, seed: u64) {
    let mut run = run_on(&url, seed, "groups").await;
    let of = run.long_run().await;
    for group in 0..MAX_GROUPS {
        assert_eq!(run.take(of.0, &format!("group {group}"), 1).await.events.len(), 1);
    }
    assert!(run.take(of.0, "one more", 1).await.full);
    assert!(!run.take(of.0, "group 7", 1).await.full, "one that is there has room");

    // An event that was held when it went is committed after that. The others are lost, at once or when their lease
    // ends.
    run.heartbeats(of, MAX_EVENTS - 2).await;
    let held = run.held.clone();
    for _ in 0..MAX_OPEN.div_ceil(MAX_GROUP_TAKE) {
        run.take(of.0, "group 7", MAX_GROUP_TAKE).await;
    }
    run.heartbeats(of, 40).await;
    let full = run.take(of.0, "group 7", 4).await;
    assert!(full.events.is_empty() && full.gap.is_none() && full.next.is_some(), "it has {MAX_OPEN} open: {full:?}");
    assert_eq!(run.compare_event_settles(held[..10].to_vec()).await, [true; 10]);
    assert_eq!(run.take(of.0, "group 7", 4).await.events.len(), 1, "one was committed");
    let gap = run.take(of.0, "group 8", 1).await.gap.expect("some of what it had not read are gone");
    assert_eq!((gap.from, gap.to, gap.missed), (1, 40, 39));
    run.clock.advance(std::time::Duration::from_secs(1));
    let late = run.take(of.0, "group 7", 1).await.gap.expect("its leases are over");
    assert_eq!((late.from, late.to, late.missed), (1, 40, 39));
    let first = run.take(of.0, "group 7", 1).await;
    assert_eq!((first.gap, first.events[0].number, first.events[0].attempt), (None, 41, 2));
    run.leave_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_have_the_same_bounds() {
    on_every_server(1, bounds).await;
}

/// Waiting processes hear what is returned, what is returned earlier than planned, and the end; a plain commit wakes
/// nobody.
async fn news(url: String, _: usize, seed: u64) {
    let mut run = run_on(&url, seed, "group news").await;
    let (id, fence) = run.long_run().await;
    let bell = run.store.ears(&run.address).watch(id);
    run.take(id, "g", 16).await;
    let settle = |run: &Run, at: usize, action| vec![GroupSettle { action, ..run.held[at].clone() }];
    let again = GroupAction::Return { delay: 5, unused: false };
    for action in [again, GroupAction::Touch { lease: 2_000 }, GroupAction::Touch { lease: 500 }] {
        run.news.clear();
        let at = usize::from(action != again);
        run.compare_event_settles(settle(&run, at, action)).await;
        if matches!(action, GroupAction::Touch { lease: 2_000 }) {
            assert_eq!(run.news, [], "later than was told");
        } else {
            assert_eq!(run.news, [News::Happened(id)], "{action:?}");
            bell.rung.notified().await;
        }
        assert!(run.take(id, "g", 16).await.next.is_some(), "it parks");
    }
    run.news.clear();
    run.compare_event_settles(settle(&run, 1, GroupAction::Commit)).await;
    assert_eq!(run.news, []);
    let complete = Settle { id, fence, progress: None, action: Action::Complete { result: vec![] } };
    run.compare_settles(vec![complete]).await;
    bell.rung.notified().await;
    run.clock.advance(std::time::Duration::from_millis(5));
    let rest = run.take(id, "g", 16).await.events.len();
    assert_eq!(rest, 2, "the one that came back, and the last");
    let last = run.held.len() - 1;
    run.news.clear();
    run.compare_event_settles(settle(&run, last - 1, GroupAction::Commit)).await;
    assert_eq!(run.news, [], "there is one more");
    run.compare_event_settles(settle(&run, last, GroupAction::Commit)).await;
    assert_eq!(run.news, [News::Happened(id)], "the group has all");
    bell.rung.notified().await;
    assert!(run.take(id, "g", 16).await.ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_wait_hear_of_what_groups_do() {
    let waits = on_every_server(1, news);
    tokio::time::timeout(std::time::Duration::from_secs(30), waits).await.expect("nothing was lost");
}
