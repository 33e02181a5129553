//! Prefetching of a stream: a task that fills a buffer, renews its leases, and gives back the rest.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::{Claimed, claim_through_outages};
use crate::error::{Error, Result};
use crate::handover::held::Held;
use crate::handover::receivers::{Receivers, Terms, WaitEnd};
use crate::handover::renewal;
use crate::handover::signal::Signal;
use crate::handover::site::Claims;
use crate::handover::store::{Action, Handed};
use crate::runtime::{BoxFuture, or_never};
use crate::topic::store::GapView;

/// A buffer that a task fills. Dropping it tells the task to end.
#[derive(Debug)]
pub(super) struct Prefetched {
    buffer: Arc<Buffer>,
}

#[derive(Debug)]
struct Buffer {
    line: Arc<Receivers>,
    /// From the handle that takes.
    max_nack_delay: Duration,
    size: usize,
    inside: Mutex<Inside>,
    filled: Notify,
    taken: Notify,
    stop: Signal,
}

#[derive(Debug, Default)]
struct Inside {
    ready: VecDeque<Ready>,
    /// Why nothing more comes; `Ok` at the end of a drain.
    end: Option<Result<()>>,
}

#[derive(Debug)]
enum Ready {
    Message(Box<Handed>, Arc<Held>),
    Gap(GapView),
}

impl Ready {
    fn held(&self) -> Option<&Arc<Held>> {
        match self {
            Self::Message(_, held) => Some(held),
            Self::Gap(_) => None,
        }
    }
}

impl Prefetched {
    pub(super) fn start(
        line: &Arc<Receivers>,
        terms: &Arc<Terms>,
        max_nack_delay: Duration,
        size: usize,
        drain: bool,
    ) -> Self {
        let buffer = Arc::new(Buffer {
            line: Arc::clone(line),
            max_nack_delay,
            size,
            inside: Mutex::default(),
            filled: Notify::new(),
            taken: Notify::new(),
            stop: Signal::default(),
        });
        let task = fill(Arc::clone(&buffer), Arc::clone(terms), drain);
        if !line.site.world.spawner.spawn(task) {
            let error = Error::configuration("prefetch needs a tokio runtime, and there is none");
            buffer.lock().end = Some(Err(error));
        }
        Self { buffer }
    }

    /// The next claim; nothing at the end of a drain. Dropping the future loses nothing.
    pub(super) async fn next(&self) -> Result<Claimed> {
        loop {
            let filled = self.buffer.filled.notified();
            {
                let mut inside = self.buffer.lock();
                if let Some(next) = inside.ready.pop_front() {
                    self.buffer.taken.notify_one();
                    return Ok(match next {
                        Ready::Message(handed, held) => Claimed::One(handed, held),
                        Ready::Gap(gap) => Claimed::Gap(gap),
                    });
                }
                match inside.end.take() {
                    Some(Ok(())) => {
                        inside.end = Some(Ok(()));
                        return Ok(Claimed::Nothing);
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
        let site = &self.line.site;
        site.settle_detached(left.iter().filter_map(|ready| Some(ready.held()?.settle(Action::GiveBack))).collect());
        for ready in left {
            if let Ready::Gap(gap) = ready {
                site.keep(gap);
            }
        }
    }

    fn put(&self, mut claims: Claims) {
        let (asked, lease) = (claims.start, claims.lease);
        let mut inside = self.lock();
        inside.ready.extend(claims.take_gap().map(Ready::Gap));
        for handed in claims.into_messages() {
            let held = Held::new(&self.line.site, &handed, asked, lease, self.max_nack_delay);
            inside.ready.push_back(Ready::Message(Box::new(handed), Arc::new(held)));
        }
        drop(inside);
        self.filled.notify_one();
    }

    /// How many more may be taken; none until the reader has seen an error.
    fn room(&self) -> usize {
        let inside = self.lock();
        if inside.end.is_some() { 0 } else { self.size - inside.ready.len().min(self.size) }
    }
}

/// Fills the buffer until the stream is dropped, a drain has found nothing more, or a shutdown begins.
async fn fill(buffer: Arc<Buffer>, terms: Arc<Terms>, drain: bool) {
    let site = Arc::clone(&buffer.line.site);
    let _hold = site.hold("stream");
    let mut asking: Option<BoxFuture<'static, Result<Claims>>> = None;
    let lease = Duration::from_millis(terms.lease);
    let mut renewing = renewal::every(&site, lease, {
        let buffer = Arc::clone(&buffer);
        move || buffer.lock().ready.iter().filter_map(Ready::held).cloned().collect()
    });
    let closing = site.world.lifecycle.clone();
    let mut closing = Box::pin(async move { closing.closing().await });
    loop {
        let room = buffer.room();
        if asking.is_none() && room > 0 {
            asking = Some(ask(Arc::clone(&buffer), Arc::clone(&terms), room, drain));
        }
        tokio::select! {
            biased;
            () = buffer.stop.given() => break,
            () = &mut closing => {
                buffer.lock().end = Some(Err(Error::shutting_down("stream")));
                buffer.filled.notify_one();
                break;
            }
            claims = or_never(asking.as_mut()) => {
                asking = None;
                match claims {
                    Ok(claims) if claims.is_empty() && drain => buffer.lock().end = Some(Ok(())),
                    Ok(claims) => buffer.put(claims),
                    Err(error) => buffer.lock().end = Some(Err(error)),
                }
                buffer.filled.notify_one();
            }
            () = buffer.taken.notified() => {}
            () = &mut renewing => return,
        }
    }
    // Ends the wait in the line. If that brings claims, they are given back when dropped.
    drop(asking);
    buffer.give_back();
}

fn ask(buffer: Arc<Buffer>, terms: Arc<Terms>, room: usize, drain: bool) -> BoxFuture<'static, Result<Claims>> {
    Box::pin(async move {
        if drain {
            return claim_through_outages(&buffer.line, &terms, room).await;
        }
        buffer.line.receive(&terms, room, &mut None, pin!(buffer.stop.given().map(|()| WaitEnd::Stopped))).await
    })
}
