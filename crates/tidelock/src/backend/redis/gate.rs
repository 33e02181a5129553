//! The order in which trips leave, and leave again after a failure.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use tokio::sync::watch;

/// Lets trips leave one by one: loading a trip and putting it on the connection is one step. So requests reach the
/// server in the order in which they were made, although several trips are in flight.
///
/// This also holds if a connection is lost. A trip that must be resent, or that waits for a connection, is sent when
/// those before it are over, and no trip leaves after it until it is over itself.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    departing: Mutex<()>,
    trips: watch::Sender<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    count: u64,
    /// The numbers of the trips in flight, and whether each blocks those after it.
    trips: VecDeque<(u64, bool)>,
}

impl UnderWay {
    fn is_held_up(&self) -> bool {
        self.trips.iter().any(|(_, holds_up)| *holds_up)
    }
}

/// A trip's place among those in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    trips: watch::Sender<UnderWay>,
    number: u64,
}

/// A trip that has left.
pub(crate) struct Departed<F: Future> {
    trip: Pin<Box<F>>,
    begun: Poll<F::Output>,
}

impl Gate {
    /// Loads a trip with `load`, and sends it; `None` if there is nothing to carry.
    pub(crate) async fn depart<F: Future>(&self, load: impl FnOnce(Turn) -> Option<F>) -> Option<Departed<F>> {
        let mut load = Some(load);
        loop {
            let departed = poll_fn(|context| {
                let _departing = self.departing.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(load) = self.turn().and_then(|turn| Some(load.take()?(turn))) else {
                    return Poll::Ready(None);
                };
                // The first poll puts the trip on the connection.
                Poll::Ready(Some(load.map(|trip| {
                    let mut trip = Box::pin(trip);
                    let begun = trip.as_mut().poll(context);
                    Departed { trip, begun }
                })))
            });
            if let Some(departed) = departed.await {
                return departed;
            }
            let mut trips = self.trips.subscribe();
            // The sender belongs to this gate.
            let _ = trips.wait_for(|trips| !trips.is_held_up()).await;
        }
    }

    /// The turn after all others; `None` while one of them blocks it.
    fn turn(&self) -> Option<Turn> {
        let mut number = None;
        self.trips.send_if_modified(|trips| {
            if !trips.is_held_up() {
                trips.count += 1;
                trips.trips.push_back((trips.count, false));
                number = Some(trips.count);
            }
            false
        });
        number.map(|number| Turn { trips: self.trips.clone(), number })
    }
}

impl Turn {
    /// Waits until the trips that left before this one are over. From now until this one ends, no other leaves.
    pub(crate) async fn come(&self) {
        let mut trips = self.trips.subscribe();
        self.trips.send_if_modified(|trips| {
            if let Some((_, holds_up)) = trips.trips.iter_mut().find(|(number, _)| *number == self.number) {
                *holds_up = true;
            }
            false
        });
        // The sender belongs to this turn.
        let _ = trips.wait_for(|trips| trips.trips.front().is_none_or(|(number, _)| *number == self.number)).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.trips.send_if_modified(|trips| {
            let awaited = trips.is_held_up();
            trips.trips.retain(|(number, _)| *number != self.number);
            awaited
        });
    }
}

impl<F: Future> Departed<F> {
    /// Waits until the trip is over.
    pub(crate) async fn arrive(self) -> F::Output {
        match self.begun {
            Poll::Ready(output) => output,
            Poll::Pending => self.trip.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    /// A trip that runs until it is told to end.
    async fn trip(gate: &Gate) -> (oneshot::Sender<()>, impl Future<Output = ()>) {
        let (end, ended) = oneshot::channel();
        let departed = gate.depart(|turn| Some(async move { drop((ended.await, turn)) })).await;
        (end, departed.expect("it was loaded").arrive())
    }

    #[tokio::test]
    async fn trips_leave_beside_each_other() {
        let gate = Gate::default();
        let (_end, first) = trip(&gate).await;
        let (end, second) = trip(&gate).await;
        end.send(()).unwrap();
        second.await;
        assert!(first.now_or_never().is_none());
    }

    #[tokio::test]
    async fn what_is_sent_again_waits_for_those_before_it_and_holds_up_those_behind() {
        let gate = Gate::default();
        let (end, first) = trip(&gate).await;
        let (come, comes) = oneshot::channel::<()>();
        let (end_second, ended) = oneshot::channel::<()>();
        let (came, has_come) = oneshot::channel();
        let second = gate.depart(|turn| {
            Some(async move {
                let _ = comes.await;
                turn.come().await;
                came.send(()).unwrap();
                let _ = ended.await;
            })
        });
        let mut second = Box::pin(second.await.unwrap().arrive());
        come.send(()).unwrap();
        assert!(second.as_mut().now_or_never().is_none());
        let mut has_come = Box::pin(has_come);
        assert!(has_come.as_mut().now_or_never().is_none(), "the first is under way");
        let mut third = Box::pin(trip(&gate));
        assert!(third.as_mut().now_or_never().is_none(), "the second is to leave before");
        end.send(()).unwrap();
        first.await;
        assert!(second.as_mut().now_or_never().is_none());
        has_come.await.unwrap();
        assert!(third.as_mut().now_or_never().is_none(), "the second is not over");
        end_second.send(()).unwrap();
        second.await;
        let (_end, third) = third.await;
        assert!(third.now_or_never().is_none(), "it has left");
    }

    #[tokio::test]
    async fn a_trip_that_is_dropped_holds_up_nobody() {
        let gate = Gate::default();
        let held = gate
            .depart(|turn| {
                Some(async move {
                    turn.come().await;
                    std::future::pending::<()>().await;
                })
            })
            .await;
        let mut next = Box::pin(trip(&gate));
        assert!(next.as_mut().now_or_never().is_none());
        drop(held);
        let (end, next) = next.await;
        end.send(()).unwrap();
        next.await;
    }
}
