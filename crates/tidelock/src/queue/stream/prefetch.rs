//! What a stream takes ahead: a task that fills a buffer, renews what waits in it, and gives back the rest.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::claim_through_outages;
use crate::codec::Value;
use crate::error::{Error, Result};
use crate::queue::Queue;
use crate::queue::message::Held;
use crate::queue::receivers::Terms;
use crate::queue::renewal;
use crate::queue::signal::Signal;
use crate::queue::site::{Claims, Site};
use crate::queue::store::{Action, Handed};
use crate::runtime::BoxFuture;

/// A buffer that a task fills. Dropped, it tells the task to end.
#[derive(Debug)]
pub(super) struct Prefetched {
    buffer: Arc<Buffer>,
}

#[derive(Debug)]
struct Buffer {
    site: Arc<Site>,
    size: usize,
    inside: Mutex<Inside>,
    filled: Notify,
    taken: Notify,
    stop: Signal,
}

#[derive(Debug, Default)]
struct Inside {
    ready: VecDeque<(Handed, Arc<Held>)>,
    /// Why nothing more comes; `Ok` at the end of a drain.
    end: Option<Result<()>>,
}

impl Prefetched {
    pub(super) fn start<T: Value>(queue: &Queue<T>, terms: &Arc<Terms>, size: usize, drain: bool) -> Self {
        let buffer = Arc::new(Buffer {
            site: Arc::clone(queue.site()),
            size,
            inside: Mutex::default(),
            filled: Notify::new(),
            taken: Notify::new(),
            stop: Signal::default(),
        });
        let task = fill(Arc::clone(&buffer), queue.clone(), Arc::clone(terms), drain);
        if !queue.site().world.spawner.spawn(task) {
            let error = Error::configuration("prefetch needs a tokio runtime, and there is none");
            buffer.lock().end = Some(Err(error));
        }
        Self { buffer }
    }

    /// The next message; `None` at the end of a drain. Dropping the future loses nothing.
    pub(super) async fn next(&self) -> Result<Option<(Handed, Arc<Held>)>> {
        loop {
            let filled = self.buffer.filled.notified();
            {
                let mut inside = self.buffer.lock();
                if let Some(next) = inside.ready.pop_front() {
                    self.buffer.taken.notify_one();
                    return Ok(Some(next));
                }
                match inside.end.take() {
                    Some(Ok(())) => {
                        inside.end = Some(Ok(()));
                        return Ok(None);
                    }
                    Some(Err(error)) => {
                        self.buffer.taken.notify_one();
                        return Err(error);
                    }
                    None => {}
                }
            }
            filled.await;
        }
    }
}

impl Drop for Prefetched {
    fn drop(&mut self) {
        self.buffer.stop.give();
        self.buffer.give_back();
    }
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("no code panics while it holds this lock")
    }

    fn give_back(&self) {
        let left = std::mem::take(&mut self.lock().ready);
        self.site.settle_detached(left.iter().map(|(_, held)| held.settle(Action::GiveBack)).collect());
    }

    fn put<T>(&self, queue: &Queue<T>, claims: Claims) {
        let (asked, lease) = (claims.asked, claims.lease);
        let mut inside = self.lock();
        for handed in claims.into_messages() {
            let held = Held::new(&self.site, &handed, asked, lease, queue.options.max_nack_delay);
            inside.ready.push_back((handed, Arc::new(held)));
        }
        drop(inside);
        self.filled.notify_one();
    }

    /// How many more may be taken; none while an error has not been seen.
    fn room(&self) -> usize {
        let inside = self.lock();
        if inside.end.is_some() { 0 } else { self.size - inside.ready.len().min(self.size) }
    }
}

/// Fills the buffer until the stream is dropped, a drain has emptied the queue, or a shutdown begins.
async fn fill<T: Value>(buffer: Arc<Buffer>, queue: Queue<T>, terms: Arc<Terms>, drain: bool) {
    let _hold = buffer.site.hold("stream");
    let mut asking: Option<BoxFuture<'static, Result<Claims>>> = None;
    let lease = Duration::from_millis(terms.lease);
    let mut renewing = renewal::every(&buffer.site, lease, {
        let buffer = Arc::clone(&buffer);
        move || buffer.lock().ready.iter().map(|(_, held)| Arc::clone(held)).collect()
    });
    let closing = buffer.site.world.lifecycle.clone();
    let mut closing = Box::pin(async move { closing.closing().await });
    loop {
        let room = buffer.room();
        if asking.is_none() && room > 0 {
            asking = Some(ask(Arc::clone(&buffer), queue.clone(), Arc::clone(&terms), room, drain));
        }
        tokio::select! {
            biased;
            () = buffer.stop.given() => break,
            () = &mut closing => {
                buffer.lock().end = Some(Err(Error::shutting_down("stream")));
                buffer.filled.notify_one();
                break;
            }
            claims = answer(asking.as_mut()), if asking.is_some() => {
                asking = None;
                match claims {
                    Ok(claims) if claims.is_empty() && drain => buffer.lock().end = Some(Ok(())),
                    Ok(claims) => buffer.put(&queue, claims),
                    Err(error) => buffer.lock().end = Some(Err(error)),
                }
                buffer.filled.notify_one();
            }
            () = buffer.taken.notified() => {}
            () = &mut renewing => return,
        }
    }
    // Ends the wait in line; what it still brings is given back when it is dropped.
    drop(asking);
    buffer.give_back();
}

async fn answer(asking: Option<&mut BoxFuture<'static, Result<Claims>>>) -> Result<Claims> {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

fn ask<T: Value>(
    buffer: Arc<Buffer>,
    queue: Queue<T>,
    terms: Arc<Terms>,
    room: usize,
    drain: bool,
) -> BoxFuture<'static, Result<Claims>> {
    Box::pin(async move {
        if drain {
            return claim_through_outages(&queue, &terms, room).await;
        }
        queue.receivers.receive(&terms, room, &mut None, buffer.stop.given()).await
    })
}
