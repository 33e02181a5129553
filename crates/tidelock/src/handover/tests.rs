//! The line of receivers and the worker above a source whose answers the test controls.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::held::Held;
use super::site::{Claims, Object, Source};
use super::store::{Action, Content, Handed, Settle, Settled, Taken};
use super::worker::Crew;
use super::{Receivers, Terms};
use crate::Tidelock;
use crate::bell::Bell;
use crate::error::{Error, ErrorKind, Result};
use crate::name::Address;
use crate::proof::Moment;
use crate::runtime::{BoxFuture, ready};
use crate::time::{Clock, ManualClock, SECOND, Timestamp};
use crate::topic::store::{Begin, Position, ReaderTerms};

/// A take that was requested.
#[derive(Debug)]
struct Asked {
    terms: Terms,
    max: usize,
    answer: oneshot::Sender<Result<Taken>>,
}

/// Settles that were requested.
#[derive(Debug)]
struct Settling {
    settles: Vec<Settle>,
    answer: oneshot::Sender<Result<Vec<Settled>>>,
}

#[derive(Debug)]
struct Hands {
    takes: mpsc::UnboundedSender<Asked>,
    settles: mpsc::UnboundedSender<Settling>,
    /// For each take of nothing, whether the line was locked meanwhile.
    passed_on: mpsc::UnboundedSender<bool>,
    line: Arc<OnceLock<Weak<Receivers>>>,
    bell: Arc<Bell>,
}

impl Source for Hands {
    fn is_local(&self) -> bool {
        false
    }

    fn take(&self, terms: &Terms, max: usize, _park: bool) -> BoxFuture<'static, Result<Taken>> {
        if max == 0 {
            let line = self.line.get().and_then(Weak::upgrade).unwrap();
            self.passed_on.send(line.is_locked()).unwrap();
            return ready(Ok(Taken::default()));
        }
        let (answer, answered) = oneshot::channel();
        self.takes.send(Asked { terms: terms.clone(), max, answer }).unwrap();
        Box::pin(async { answered.await.unwrap() })
    }

    fn settle(&self, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>> {
        let (answer, answered) = oneshot::channel();
        self.settles.send(Settling { settles, answer }).unwrap();
        Box::pin(async { answered.await.unwrap() })
    }

    fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }
}

struct Bench {
    tide: Tidelock,
    line: Arc<Receivers>,
    takes: mpsc::UnboundedReceiver<Asked>,
    settles: mpsc::UnboundedReceiver<Settling>,
    passed_on: mpsc::UnboundedReceiver<bool>,
    bell: Arc<Bell>,
}

impl Bench {
    fn new() -> Self {
        Self::of(Tidelock::in_process())
    }

    /// Its time stands still, so there are no safety checks.
    fn pinned() -> Self {
        Self::of(Tidelock::in_process_with(&ManualClock::at(Timestamp::from_millis(1_767_225_600_000))))
    }

    fn of(tide: Tidelock) -> Self {
        let (takes, taken) = mpsc::unbounded_channel();
        let (settles, settled) = mpsc::unbounded_channel();
        let (passed_on, passes) = mpsc::unbounded_channel();
        let (bell, of_source) = (Arc::default(), Arc::default());
        let source = Hands { takes, settles, passed_on, line: Arc::clone(&of_source), bell: Arc::clone(&bell) };
        let address = Address::new(&"default".into(), "q");
        let line = Receivers::new(&tide.world, address, Object::Queue, Box::new(source));
        of_source.set(Arc::downgrade(&line)).unwrap();
        Self { tide, line, takes: taken, settles: settled, passed_on: passes, bell }
    }

    async fn asked(&mut self) -> Asked {
        within(self.takes.recv()).await.unwrap()
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(60 * SECOND, future).await.expect("it comes to its end")
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn handed(id: u64) -> Handed {
    Handed {
        id,
        fence: id,
        attempt: 1,
        priority: 0,
        enqueued_at: 0,
        position: Position::default(),
        run: None,
        event: None,
        last_error: None,
        content: Content::default(),
    }
}

fn reader(max_in_flight: u64) -> Arc<Terms> {
    let reader = ReaderTerms { begin: Begin::Latest, max_in_flight, ordered: true, dead_retention: None };
    Arc::new(Terms { lease: 30_000, reader: Some(Arc::new(reader)), ..Terms::default() })
}

/// A receiver that found nothing and still waits, so that this process is parked.
async fn parked(bench: &mut Bench, answer: Result<Taken>) -> BoxFuture<'static, Result<Claims>> {
    let (line, terms) = (Arc::clone(&bench.line), Arc::new(Terms { lease: 30_000, ..Terms::default() }));
    let mut wait: BoxFuture<'static, _> =
        Box::pin(async move { line.receive(&terms, 1, &mut None, pin!(std::future::pending())).await });
    assert!(poll(wait.as_mut()).is_pending());
    bench.asked().await.answer.send(answer).unwrap();
    tokio::task::yield_now().await;
    assert!(poll(wait.as_mut()).is_pending());
    wait
}

#[tokio::test]
async fn what_one_reader_does_not_find_is_looked_for_by_the_others() {
    let mut bench = Bench::new();
    let line = Arc::clone(&bench.line);
    let wait = |terms: Arc<Terms>| {
        let line = Arc::clone(&line);
        async move { line.receive(&terms, 1, &mut None, pin!(std::future::pending())).await }
    };
    let (mut one, mut two, mut three) = (pin!(wait(reader(1))), pin!(wait(reader(2))), pin!(wait(reader(3))));
    assert!(poll(one.as_mut()).is_pending() && poll(two.as_mut()).is_pending() && poll(three.as_mut()).is_pending());
    let (first, second) = (bench.asked().await, bench.asked().await);
    for asked in [first, second] {
        assert_ne!(asked.terms, *reader(3));
        asked.answer.send(Ok(Taken::default())).unwrap();
    }
    let third = bench.asked().await;
    assert_eq!(third.terms, *reader(3));
    third.answer.send(Ok(Taken { messages: vec![handed(1)], ..Taken::default() })).unwrap();
    let claims = within(three).await.unwrap();
    assert_eq!(claims.messages().len(), 1);
    drop(claims.into_messages());
    assert!(poll(one).is_pending() && poll(two).is_pending());
}

#[tokio::test]
async fn a_wake_up_that_nobody_waits_for_is_passed_on_before_anybody_joins() {
    let mut bench = Bench::pinned();
    drop(parked(&mut bench, Ok(Taken::default())).await);
    bench.bell.ring();
    assert!(within(bench.passed_on.recv()).await.unwrap(), "who joined meanwhile would be parked, then forgotten");
}

#[tokio::test]
async fn a_wake_up_is_passed_on_if_a_take_from_before_brought_enough() {
    let mut bench = Bench::pinned();
    let wait = parked(&mut bench, Ok(Taken::default())).await;
    bench.bell.ring();
    let asked = bench.asked().await;
    // For something else, which came after the server had looked.
    bench.bell.ring();
    tokio::task::yield_now().await;
    asked.answer.send(Ok(Taken { messages: vec![handed(1)], ..Taken::default() })).unwrap();
    assert_eq!(within(wait).await.unwrap().messages().len(), 1);
    assert!(within(bench.passed_on.recv()).await.is_some());
}

#[tokio::test]
async fn a_wake_up_is_passed_on_if_the_answer_of_the_take_that_parked_was_lost() {
    let mut bench = Bench::pinned();
    drop(parked(&mut bench, Err(Error::new(ErrorKind::Timeout, "no answer"))).await);
    bench.bell.ring();
    assert!(within(bench.passed_on.recv()).await.is_some());
}

#[tokio::test]
async fn a_process_that_shuts_down_no_longer_waits() {
    let mut bench = Bench::pinned();
    let wait = parked(&mut bench, Ok(Taken::default())).await;
    let tide = bench.tide.clone();
    tide.shutdown(SECOND).await;
    assert_eq!(within(wait).await.unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert!(bench.passed_on.try_recv().is_ok(), "before the shutdown ends");
}

#[tokio::test]
async fn a_worker_ends_when_all_that_it_took_is_given_back() {
    let mut bench = Bench::new();
    let terms = Arc::new(Terms { lease: 30_000, ..Terms::default() });
    let crew = Crew::new(&bench.line, &terms, SECOND, |_, _| panic!("nothing is started after the stop signal"));
    let worker = crew.spawn();
    let asked = bench.asked().await;
    assert_eq!(asked.max, 2, "one to handle and one ahead");
    let mut report = pin!(worker.shutdown(Duration::ZERO));
    assert!(poll(report.as_mut()).is_pending());
    // The worker gets the stop order before its take is answered.
    tokio::task::yield_now().await;
    asked.answer.send(Ok(Taken { messages: vec![handed(1), handed(2)], ..Taken::default() })).unwrap();
    let settling = tokio::select! {
        biased;
        settling = bench.settles.recv() => settling.unwrap(),
        report = &mut report => panic!("it ended before: {report:?}"),
    };
    assert_eq!(settling.settles.iter().map(|settle| &settle.action).collect::<Vec<_>>(), [&Action::GiveBack; 2]);
    tokio::task::yield_now().await;
    assert!(poll(report.as_mut()).is_pending());
    settling.answer.send(Ok(vec![Settled::Done; 2])).unwrap();
    assert_eq!(within(report).await.given_back, 2);
}

#[tokio::test]
async fn a_machine_that_slept_holds_nothing() {
    let bench = Bench::new();
    let site = &bench.line.site;
    let now = Moment::of(site.clock());
    let awake = Held::new(site, &handed(1), now, 30_000, SECOND);
    assert!(awake.lease_left() > 25 * SECOND);
    // As if the wall clock had advanced by an hour since then, and the monotonic one had not.
    let before = site.clock().now().as_millis() - 3_600_000;
    let mut asked = Moment::of(&Clock::Manual(ManualClock::at(Timestamp::from_millis(before))));
    asked.tick = now.tick;
    let slept = Held::new(site, &handed(1), asked, 30_000, SECOND);
    assert_eq!(slept.lease_left(), Duration::ZERO);
    within(slept.until_lost()).await;
}

#[tokio::test]
async fn of_two_touches_under_way_the_shorter_counts() {
    let bench = Bench::new();
    let now = Moment::of(bench.line.site.clock());
    let mut later = now;
    later.tick = now.tick.plus(Duration::from_millis(1));
    let held = Held::new(&bench.line.site, &handed(1), now, 3_600_000, SECOND);
    // The worker renews, and the handler extends the lease meanwhile.
    held.touching(now, 30_000);
    assert!(held.lease_left() <= 30 * SECOND, "it may be carried out even if its answer is lost");
    held.touching(later, 60_000);
    held.touched(later, 60_000, true);
    assert!(held.lease_left() > 50 * SECOND);
    held.touched(now, 30_000, true);
    assert!(held.lease_left() <= 30 * SECOND, "it may have been carried out last");
    // The same the other way round.
    held.touching(later, 10_000);
    held.touched(now, 3_600_000, true);
    assert!(held.lease_left() <= 10 * SECOND, "the other may have been carried out last");
    held.touched(later, 10_000, false);
    held.touched(later, 10_000, true);
    assert_eq!(held.lease_left(), Duration::ZERO, "a right that is over does not come back");
}

/// Signals when it is dropped.
struct Told(std::sync::mpsc::Sender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_handler_finishes_while_others_are_dropped_is_acknowledged() {
    let queue = Tidelock::in_process().queue::<u32>("q").build().unwrap();
    for value in 0..2 {
        queue.send(&value).await.unwrap();
    }
    let (go, gone) = std::sync::mpsc::channel();
    let (started, mut starts) = mpsc::unbounded_channel();
    let state = (started, go, Arc::new(std::sync::Mutex::new(gone)));
    let worker = queue.process_with(state, async |(started, go, gone), message| {
        let told = Told(go);
        started.send(()).map_err(|error| error.to_string())?;
        if *message == 0 {
            // This handler cannot be dropped until the other one is.
            tokio::task::block_in_place(|| gone.lock().unwrap().recv())?;
            return Ok(());
        }
        std::future::pending::<()>().await;
        drop(told);
        Ok(())
    });
    let worker = worker.concurrency(2).spawn();
    for _ in 0..2 {
        starts.recv().await.unwrap();
    }
    let report = worker.shutdown(Duration::ZERO).await;
    assert_eq!((report.acked, report.given_back, report.left), (1, 1, 0));
}
