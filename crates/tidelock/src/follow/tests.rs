//! Followers of a log of numbers that counts its reads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::Notify;

use super::{Follower, Hub, Log, Next, Part, within};
use crate::Tidelock;
use crate::bell::Bell;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::BoxFuture;
use crate::time::{ManualClock, Timestamp};

/// The numbers from 1; those up to `lost` can no longer be read.
#[derive(Debug, Default)]
struct Numbers {
    newest: Mutex<u64>,
    lost: Mutex<u64>,
    reads: AtomicUsize,
    parked: AtomicUsize,
    broken: AtomicBool,
    /// Reads are held until released, and then return what there was when they began.
    held: AtomicBool,
    released: Arc<Notify>,
    /// Whether it knows, without a read, what can no longer be read.
    tells: AtomicBool,
    bell: Arc<Bell>,
}

impl Numbers {
    fn add(&self, count: u64) {
        *self.newest.lock().unwrap() += count;
        self.bell.ring();
    }

    fn lose_up_to(&self, number: u64) {
        *self.lost.lock().unwrap() = number;
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
        self.released.notify_waiters();
    }
}

/// Maximum of one read.
const AT_ONCE: u64 = 100;

impl Log for Arc<Numbers> {
    type Position = u64;
    type Event = u64;
    type Gap = u64;

    fn read(&self, after: &u64, park: bool) -> BoxFuture<'static, Result<Part<Self>>> {
        if self.broken.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(Error::new(ErrorKind::Connection, "the log is away"))));
        }
        self.reads.fetch_add(1, Ordering::SeqCst);
        let (newest, lost) = (*self.newest.lock().unwrap(), *self.lost.lock().unwrap());
        let first = (*after).max(lost) + 1;
        let gap = (first <= newest && *after < lost).then(|| (lost, lost - after));
        let last = newest.min(first + AT_ONCE - 1);
        let events: Vec<_> = (first..=last).map(|number| (number, number)).collect();
        if park && events.is_empty() {
            self.parked.fetch_add(1, Ordering::SeqCst);
        }
        let end = if events.is_empty() { *after } else { last };
        let part = Part { gap, bytes: events.len(), events, end, next: None };
        if self.held.load(Ordering::SeqCst) {
            let released = Arc::clone(&self.released).notified_owned();
            return Box::pin(async {
                released.await;
                Ok(part)
            });
        }
        Box::pin(std::future::ready(Ok(part)))
    }

    fn holds(&self, place: &u64) -> bool {
        !self.tells.load(Ordering::SeqCst) || *place >= *self.lost.lock().unwrap()
    }

    fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }
}

fn hub() -> (Arc<Numbers>, Arc<Hub<Arc<Numbers>>>) {
    let log = Arc::new(Numbers::default());
    let hub = Hub::new(&Tidelock::in_process().world, Arc::clone(&log));
    (log, hub)
}

/// The next number; for a gap, the negative count of missed numbers.
async fn next(follower: &mut Follower<Arc<Numbers>>) -> i64 {
    match follower.next().await.expect("the log can be read") {
        Next::Gap(part) => -i64::try_from(part.gap.as_ref().expect("it was told").1).unwrap(),
        Next::Event(part, index) => i64::try_from(part.events[index].1).unwrap(),
    }
}

async fn until(test: impl Fn() -> bool) {
    let waited = async {
        while !test() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), waited).await.expect("it comes to pass");
}

#[tokio::test]
async fn a_hundred_followers_share_one_read() {
    let (log, hub) = hub();
    let mut followers: Vec<_> = (0..100).map(|_| hub.follow(0)).collect();
    let waiting = tokio::spawn(async move {
        let each = followers.iter_mut().map(|follower| async {
            let mut seen = Vec::new();
            for _ in 0..50 {
                seen.push(next(follower).await);
            }
            seen
        });
        join_all(each).await
    });
    until(|| log.parked.load(Ordering::SeqCst) > 0).await;
    let before = log.reads();
    log.add(50);
    let seen = waiting.await.unwrap();
    assert_eq!(log.reads() - before, 1, "one read for all");
    assert!(seen.iter().all(|seen| *seen == (1..=50).collect::<Vec<_>>()));
}

#[tokio::test]
async fn a_slow_follower_gets_all_or_a_gap_and_holds_up_nobody() {
    let (log, hub) = hub();
    let (mut slow, mut fast) = (hub.follow(0), hub.follow(0));
    log.add(3_000);
    assert_eq!(next(&mut slow).await, 1);
    for number in 1..=3_000 {
        assert_eq!(next(&mut fast).await, number);
    }
    assert!(hub.lock().events <= super::ring::RING_EVENTS, "the ring is bounded");
    for number in 2..=1_500 {
        assert_eq!(next(&mut slow).await, number, "what fell out of the ring is read again");
    }
    log.lose_up_to(1_800);
    assert_eq!(next(&mut slow).await, -300);
    for number in 1_801..=3_000 {
        assert_eq!(next(&mut slow).await, number);
    }
}

#[tokio::test]
async fn each_follower_that_was_overtaken_gets_one_gap() {
    let (log, hub) = hub();
    log.add(10);
    log.lose_up_to(10);
    let mut follower = hub.follow(0);
    assert!(next(&mut follower).now_or_never().is_none(), "without an event behind it there is no gap yet");
    let mut twin = hub.follow(0);
    log.add(2);
    assert_eq!([next(&mut follower).await, next(&mut follower).await, next(&mut follower).await], [-10, 11, 12]);
    assert_eq!([next(&mut twin).await, next(&mut twin).await], [-10, 11]);
    let mut resumed = hub.follow(10);
    assert_eq!(next(&mut resumed).await, 11, "behind the gap nothing is missed");
}

#[tokio::test]
async fn what_was_read_ahead_is_not_handed_out_when_the_log_says_that_it_is_gone() {
    let (log, hub) = hub();
    log.tells.store(true, Ordering::SeqCst);
    log.add(10);
    let (mut one, mut other) = (hub.follow(0), hub.follow(0));
    assert_eq!([next(&mut one).await, next(&mut other).await], [1, 1]);
    log.lose_up_to(7);
    assert_eq!([next(&mut one).await, next(&mut one).await], [-6, 8]);
    let Some(Next::Gap(part)) = other.try_next().await.unwrap() else { panic!("a look is told too") };
    assert_eq!(part.gap, Some((7, 6)));
    assert_eq!([next(&mut other).await, next(&mut one).await], [8, 9], "then each goes on behind it");
}

#[tokio::test]
async fn when_the_one_that_reads_goes_another_one_reads() {
    let (log, hub) = hub();
    let (mut first, mut second) = (hub.follow(0), hub.follow(0));
    let driving = tokio::spawn(async move { next(&mut first).await });
    until(|| log.parked.load(Ordering::SeqCst) == 1).await;
    driving.abort();
    assert!(driving.await.unwrap_err().is_cancelled());
    let waiting = tokio::spawn(async move { next(&mut second).await });
    until(|| log.parked.load(Ordering::SeqCst) == 2).await;
    log.add(1);
    assert_eq!(waiting.await.unwrap(), 1);
    assert!(hub.lock().parts.is_empty(), "without followers nothing is kept");
}

#[tokio::test]
async fn when_the_one_that_reads_for_others_goes_the_read_goes_on() {
    let (log, hub) = hub();
    let (mut first, mut second) = (hub.follow(0), hub.follow(0));
    let driving = tokio::spawn(async move { next(&mut first).await });
    until(|| log.parked.load(Ordering::SeqCst) == 1).await;
    let waiting = tokio::spawn(async move { next(&mut second).await });
    tokio::task::yield_now().await;
    driving.abort();
    assert!(driving.await.unwrap_err().is_cancelled());
    log.add(1);
    assert_eq!(waiting.await.unwrap(), 1);
    until(|| Arc::strong_count(&hub) == 1).await;
}

#[tokio::test]
async fn one_that_is_asked_once_and_left_alone_holds_up_nobody() {
    let (log, hub) = hub();
    let (mut idle, mut queued, mut busy) = (hub.follow(0), hub.follow(0), hub.follow(0));
    // The first one reads for all, the second waits for it. Neither is polled again, nor dropped.
    let mut idle = Box::pin(idle.next());
    assert!((&mut idle).now_or_never().is_none());
    let mut queued = Box::pin(queued.next());
    assert!((&mut queued).now_or_never().is_none());
    for number in 1..=3 {
        let waiting = tokio::spawn(async move { (next(&mut busy).await, busy) });
        tokio::task::yield_now().await;
        log.add(1);
        until(|| waiting.is_finished()).await;
        let seen;
        (seen, busy) = waiting.await.unwrap();
        assert_eq!(seen, number);
    }
    assert!(matches!(idle.await, Ok(Next::Event(_, 0))), "and misses nothing itself");
    assert!(matches!(queued.await, Ok(Next::Event(_, 0))));
}

#[tokio::test]
async fn an_outage_is_waited_out_and_told_to_whoever_cannot_wait() {
    let (log, hub) = hub();
    log.broken.store(true, Ordering::SeqCst);
    let mut follower = hub.follow(0);
    assert_eq!(follower.try_next().await.err().map(|error| error.kind()), Some(ErrorKind::Connection));
    let outcome = within(&mut follower, async {
        until(|| hub.lock().trouble.is_some()).await;
    });
    assert_eq!(outcome.await.err().map(|error| error.kind()), Some(ErrorKind::Connection), "never an empty answer");
    log.add(1);
    log.broken.store(false, Ordering::SeqCst);
    assert_eq!(next(&mut follower).await, 1);
}

#[tokio::test]
async fn an_outage_that_is_over_is_told_to_nobody() {
    let (log, hub) = hub();
    log.broken.store(true, Ordering::SeqCst);
    let mut follower = hub.follow(0);
    let outcome = within(&mut follower, async {
        until(|| hub.lock().trouble.is_some()).await;
    });
    assert!(outcome.await.is_err());
    log.broken.store(false, Ordering::SeqCst);
    log.held.store(true, Ordering::SeqCst);
    // Its wait ends before any answer, so it has to ask.
    let waiting = tokio::spawn(async move {
        let next = within(&mut follower, std::future::ready(())).await;
        (next.map(|next| next.is_some()), follower)
    });
    until(|| log.reads() == 2 || waiting.is_finished()).await;
    log.release();
    let (next, mut follower) = waiting.await.unwrap();
    assert!(!next.expect("it was answered"));
    log.broken.store(true, Ordering::SeqCst);
    let outcome = within(&mut follower, async {
        until(|| hub.lock().trouble.is_some()).await;
    });
    assert!(outcome.await.is_err());
    log.broken.store(false, Ordering::SeqCst);
    assert!(follower.try_next().await.unwrap().is_none());
    assert!(hub.lock().trouble.is_none(), "a look that is answered ends it too");
}

#[tokio::test]
async fn who_joins_while_another_one_first_reads_gets_what_is_there() {
    let log = Arc::new(Numbers::default());
    // The clock stands still: only a wake-up helps.
    let tide = Tidelock::in_process_with(&ManualClock::at(Timestamp::from_millis(0)));
    let hub = Hub::new(&tide.world, Arc::clone(&log));
    *log.newest.lock().unwrap() = 3;
    log.held.store(true, Ordering::SeqCst);
    let (mut first, mut second) = (hub.follow(3), hub.follow(0));
    let driving = tokio::spawn(async move { next(&mut first).await });
    until(|| log.reads() == 1).await;
    let waiting = tokio::spawn(async move { next(&mut second).await });
    tokio::task::yield_now().await;
    log.release();
    until(|| waiting.is_finished()).await;
    assert_eq!(waiting.await.unwrap(), 1);
    driving.abort();
}

#[tokio::test]
async fn a_look_without_waiting_sees_what_is_there() {
    let (log, hub) = hub();
    let mut follower = hub.follow(0);
    assert!(follower.try_next().await.unwrap().is_none());
    log.add(1);
    assert!(matches!(follower.try_next().await.unwrap(), Some(Next::Event(_, 0))));
    assert!(follower.try_next().await.unwrap().is_none());
    assert_eq!(*follower.position(), 1);
}
