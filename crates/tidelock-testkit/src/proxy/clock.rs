//! Waiting with a precision of a tenth of a millisecond. Timers of tokio are rounded up to whole milliseconds: half a
//! millisecond becomes one to two.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;

use tokio::sync::oneshot;

/// A thread that sleeps until the earliest awaited instant, and ends with this handle.
#[derive(Debug)]
pub(super) struct Clock {
    alarms: Sender<Alarm>,
}

#[derive(Debug)]
struct Alarm {
    due: Instant,
    ring: oneshot::Sender<()>,
}

impl Clock {
    pub(super) fn start() -> Self {
        let (alarms, wanted) = channel();
        thread::spawn(move || ring_all(&wanted));
        Self { alarms }
    }

    /// Resolves at `due`, plus the time that it takes to wake a thread and a task.
    pub(super) async fn sleep_until(&self, due: Instant) {
        let (ring, rung) = oneshot::channel();
        // The thread lives as long as this handle.
        let _ = self.alarms.send(Alarm { due, ring });
        let _ = rung.await;
    }
}

fn ring_all(wanted: &Receiver<Alarm>) {
    let mut alarms: BTreeMap<Instant, Vec<oneshot::Sender<()>>> = BTreeMap::new();
    loop {
        while let Some(earliest) = alarms.first_entry().filter(|earliest| *earliest.key() <= Instant::now()) {
            for ring in earliest.remove() {
                // A receiver that is gone belonged to a closed connection.
                let _ = ring.send(());
            }
        }
        let next = match alarms.keys().next() {
            Some(due) => wanted.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => wanted.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(Alarm { due, ring }) => alarms.entry(due).or_default().push(ring),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::{Duration, Instant};

    use tokio::sync::oneshot;

    use super::{Alarm, Clock, ring_all};

    #[tokio::test]
    async fn instants_are_slept_to_in_their_order_and_never_short_of_them() {
        let (clock, now) = (Clock::start(), Instant::now());
        let sleep = async |micros| {
            let due = now + Duration::from_micros(micros);
            clock.sleep_until(due).await;
            let woken = Instant::now();
            assert!(woken >= due, "{:?} early", due - woken);
            woken
        };
        let (long, short, past) = tokio::join!(sleep(20_300), sleep(300), sleep(0));
        assert!(past < long && short < long, "the earlier one does not wait for the later one");
    }

    #[test]
    fn the_thread_ends_with_its_handle() {
        let (alarms, wanted) = channel();
        let thread = thread::spawn(move || ring_all(&wanted));
        let (ring, mut rung) = oneshot::channel();
        alarms.send(Alarm { due: Instant::now() + Duration::from_hours(1), ring }).unwrap();
        drop(alarms);
        thread.join().unwrap();
        assert!(rung.try_recv().is_err());
    }
}
