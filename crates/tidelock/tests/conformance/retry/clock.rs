//! `tide.retry`: the clock and the shutdown of a `Tidelock`.

use std::future::pending;
use std::io;

use tidelock::{DAY, GaveUp, HOUR, ManualClock, Retrying, Tidelock, Timestamp};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::{ms, policy, reset};
use crate::conformance;
use crate::harness::{START, World};

/// The events of a call, in order.
#[derive(Debug, PartialEq)]
enum Event {
    Attempt(u32, Timestamp),
    Pause,
}

type Call = JoinHandle<Result<u32, tidelock::RetryError<io::Error>>>;

/// A call that fails twice and then succeeds, and its events.
fn start(tide: &Tidelock, clock: &ManualClock, hang: bool) -> (Call, UnboundedReceiver<Event>) {
    let (events, receiver) = unbounded_channel();
    let (tide, clock): (_, ManualClock) = (tide.clone(), clock.clone());
    let call = tokio::spawn(async move {
        let op = async |attempt: tidelock::Attempt| {
            tell(&events, Event::Attempt(attempt.number(), clock.now()));
            match attempt.number() {
                2 if hang => pending().await,
                1 | 2 => Err(reset()),
                number => Ok(number),
            }
        };
        let observe = |_: &Retrying<'_, io::Error>| tell(&events, Event::Pause);
        let slow = policy(|build| build.min_delay(HOUR).max_delay(DAY).jitter(0.0));
        tide.retry(op).policy(slow).on_retry(observe).await
    });
    (call, receiver)
}

fn tell(events: &UnboundedSender<Event>, event: Event) {
    events.send(event).expect("the test listens");
}

conformance!(a_pinned_clock_drives_the_pauses, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let (call, mut events) = start(&tide, &clock, false);
    assert_eq!(events.recv().await, Some(Event::Attempt(1, START)));
    assert_eq!(events.recv().await, Some(Event::Pause));
    clock.advance(HOUR);
    assert_eq!(events.recv().await, Some(Event::Attempt(2, START + HOUR)));
    assert_eq!(events.recv().await, Some(Event::Pause));
    clock.advance(2 * HOUR);
    assert_eq!(events.recv().await, Some(Event::Attempt(3, START + 3 * HOUR)));
    assert_eq!(call.await.unwrap().unwrap(), 3);
});

conformance!(a_shutdown_ends_a_pause_and_keeps_the_last_error, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let (call, mut events) = start(&tide, &clock, false);
    assert_eq!(events.recv().await, Some(Event::Attempt(1, START)));
    assert_eq!(events.recv().await, Some(Event::Pause));
    tide.shutdown(ms(0)).await;
    let failed = call.await.unwrap().unwrap_err();
    assert_eq!((failed.reason, failed.attempts), (GaveUp::ShuttingDown, 1));
    assert_eq!(failed.error.unwrap().kind(), io::ErrorKind::ConnectionReset);
});

conformance!(a_shutdown_ends_a_running_attempt, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let (call, mut events) = start(&tide, &clock, true);
    assert_eq!(events.recv().await, Some(Event::Attempt(1, START)));
    assert_eq!(events.recv().await, Some(Event::Pause));
    clock.advance(HOUR);
    assert_eq!(events.recv().await, Some(Event::Attempt(2, START + HOUR)));
    tide.shutdown(ms(0)).await;
    let failed = call.await.unwrap().unwrap_err();
    assert_eq!((failed.reason, failed.attempts, failed.elapsed), (GaveUp::ShuttingDown, 2, HOUR));
    assert!(failed.error.is_some() && !failed.timed_out);
});

conformance!(after_a_shutdown_the_operation_is_never_called, async |world: World| {
    let tide = world.open().await;
    tide.shutdown(ms(0)).await;
    let failed = tide.retry(async |_| -> tidelock::Result<()> { panic!("called") }).await.unwrap_err();
    assert_eq!((failed.reason, failed.attempts), (GaveUp::ShuttingDown, 0));
    assert_eq!(tidelock::Error::from(failed).kind(), tidelock::ErrorKind::ShuttingDown);
});

conformance!(a_pinned_clock_drives_timeout_and_deadline, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let (begun, mut attempts) = unbounded_channel();
    let (seen, mut retries) = unbounded_channel();
    let limits = policy(|build| build.attempt_timeout(HOUR).deadline(2 * HOUR).jitter(0.0));
    let call = tokio::spawn(async move {
        let hang = async |attempt: tidelock::Attempt| {
            begun.send(attempt).unwrap();
            pending::<io::Result<()>>().await
        };
        let observe = |retrying: &Retrying<'_, io::Error>| seen.send((retrying.delay, retrying.elapsed)).unwrap();
        tide.retry(hang).policy(limits).on_retry(observe).await
    });
    let first = attempts.recv().await.unwrap();
    assert_eq!((first.number(), first.remaining()), (1, Some(HOUR)));
    clock.advance(HOUR);
    assert_eq!(retries.recv().await, Some((ms(100), HOUR)));
    clock.advance(ms(100));
    let second = attempts.recv().await.unwrap();
    assert_eq!((second.number(), second.remaining()), (2, Some(ms(3_599_900))));
    clock.set(START + 2 * HOUR);
    let failed = call.await.unwrap().unwrap_err();
    assert_eq!((failed.reason, failed.attempts, failed.timed_out), (GaveUp::Deadline, 2, true));
    assert_eq!((failed.elapsed, failed.error.is_none()), (2 * HOUR, true));
});

conformance!(a_failing_request_of_this_library_is_classified, async |world: World| {
    let tide = world.open().await;
    let answer = tide.retry(async |_| tide.ping().await).await;
    assert!(answer.is_ok());
    let failed = tide.retry(async |_| tide.retry_budget("").build()).await.unwrap_err();
    assert_eq!((failed.reason, failed.attempts), (GaveUp::NotRetryable, 1));
    assert_eq!(tidelock::Error::from(failed).kind(), tidelock::ErrorKind::InvalidConfiguration);
});
