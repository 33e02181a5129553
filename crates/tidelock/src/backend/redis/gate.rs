//! The order in which trips leave.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

/// Lets trips leave one by one: loading a trip and putting it on the connection is one step. So what was asked first reaches
/// the server first, although several trips are under way, while the connection stands and the server knows the script.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<()>);

/// A trip that has left.
pub(crate) struct Departed<F: Future> {
    trip: Pin<Box<F>>,
    begun: Poll<F::Output>,
}

impl Gate {
    /// Loads a trip by `load`, and sends it off; `None` if there is nothing to carry.
    pub(crate) async fn depart<F: Future>(&self, load: impl FnOnce() -> Option<F>) -> Option<Departed<F>> {
        let mut load = Some(load);
        poll_fn(|context| {
            let _gate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let trip = load.take().and_then(|load| load());
            // The first poll puts it on the connection.
            Poll::Ready(trip.map(|trip| {
                let mut trip = Box::pin(trip);
                let begun = trip.as_mut().poll(context);
                Departed { trip, begun }
            }))
        })
        .await
    }
}

impl<F: Future> Departed<F> {
    /// Waits for the end of the trip.
    pub(crate) async fn arrive(self) -> F::Output {
        match self.begun {
            Poll::Ready(output) => output,
            Poll::Pending => self.trip.await,
        }
    }
}
