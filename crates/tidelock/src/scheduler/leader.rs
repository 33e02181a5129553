//! The running instance of a handle: it sends beats, leads if it may, and runs handlers.
//!
//! It has three tasks: the *pulse* beats and keeps the lease, the *desk* decides and dispatches while the instance
//! leads, and the task in this file starts and ends the other two. The pulse continues even while the desk waits.

mod desk;
mod entry;
mod flight;
mod pulse;
mod term;
mod tray;
mod zones;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::{join, join_all};
use serde::Serialize;
use tokio::sync::{Notify, oneshot, watch};

use self::desk::Desk;
use self::pulse::Pulse;
use self::term::{Office, Term};
use super::Core;
use super::observe::LostBy;
use crate::error::{Error, Result};
use crate::job::RunningJobWorker;
use crate::tidelock::process_name;

/// How an instance ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StopReport {
    /// Runs of its handlers that had not ended by the end of the grace, and were given back to others.
    pub given_back: u64,
}

/// The instance of a handle, which may not be started.
#[derive(Debug, Default)]
pub(super) struct Instance {
    running: Mutex<Option<Arc<Control>>>,
}

/// The externally visible state of an instance.
#[derive(Debug, Default)]
struct Control {
    stop: watch::Sender<bool>,
    started: watch::Sender<Started>,
    ended: watch::Sender<Option<StopReport>>,
}

#[derive(Debug, Default)]
enum Started {
    #[default]
    Pending,
    /// The backend has answered a beat, or cannot be reached.
    Yes,
    /// An error that waiting does not cure.
    No(Error),
}

impl Instance {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Control>>> {
        self.running.lock().expect("no code panics while it holds this lock")
    }
}

impl Control {
    async fn ended(&self) -> StopReport {
        let mut ended = self.ended.subscribe();
        // The sender lives as long as `self`.
        ended.wait_for(Option::is_some).await.ok().and_then(|report| *report).unwrap_or_default()
    }

    async fn started(&self) -> Result<()> {
        let mut started = self.started.subscribe();
        match started.wait_for(|started| !matches!(started, Started::Pending)).await.as_deref() {
            Ok(Started::No(error)) => Err(error.duplicate()),
            _ => Ok(()),
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }
}

/// Starts the instance unless it is started already.
pub(super) async fn start(core: &Arc<Core>) -> Result<()> {
    begin(core).await?.started().await
}

/// The state of the instance, which is started if necessary.
async fn begin(core: &Arc<Core>) -> Result<Arc<Control>> {
    core.site.check_beginning("start")?;
    loop {
        let control = {
            let mut running = core.instance.lock();
            if let Some(control) = &*running {
                Arc::clone(control)
            } else {
                let control = Arc::<Control>::default();
                *running = Some(Arc::clone(&control));
                drop(running);
                let conductor = Conductor { core: Arc::clone(core), control: Arc::clone(&control), report: None };
                core.site.world.spawner.spawn(conductor.run());
                control
            }
        };
        if !control.is_stopping() {
            return Ok(control);
        }
        control.ended().await;
    }
}

/// Stops the instance if it is started, and waits for its end.
pub(super) async fn stop(core: &Core) -> StopReport {
    let control = core.instance.lock().clone();
    match control {
        Some(control) => {
            control.stop.send_replace(true);
            control.ended().await
        }
        None => StopReport::default(),
    }
}

/// Starts the instance, waits, and stops it.
pub(super) async fn run_until(core: &Arc<Core>, until: impl Future<Output = ()>) -> Result<StopReport> {
    let mut until = pin!(until);
    let control = tokio::select! {
        biased;
        control = begin(core) => control?,
        () = &mut until => return Ok(StopReport::default()),
    };
    let signal = Signal(Arc::clone(&control));
    tokio::select! {
        biased;
        ended = async {
            control.started().await?;
            Ok(control.ended().await)
        } => return ended,
        () = &mut until => {}
    }
    drop(signal);
    Ok(control.ended().await)
}

/// Stops an instance when it is dropped.
struct Signal(Arc<Control>);

impl Drop for Signal {
    fn drop(&mut self) {
        self.0.stop.send_replace(true);
    }
}

/// The state that the tasks of an instance share.
#[derive(Debug)]
pub(super) struct Engine {
    core: Arc<Core>,
    /// The name of the instance, new at each start.
    name: Arc<str>,
    office: Office,
    /// Wakes the pulse, in addition to the backend's bell.
    nudge: Arc<Notify>,
    /// Set when nothing more may be decided.
    closing: watch::Sender<bool>,
    /// Set when the desk has ended, so that the pulse may stop.
    quiet: watch::Sender<bool>,
    control: Arc<Control>,
}

impl Engine {
    fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    async fn closing(&self) {
        reached(&self.closing).await;
    }

    /// Ends a leadership if it is the current one.
    fn lose(&self, term: &Arc<Term>, reason: LostBy) {
        if self.office.leave(term) {
            self.tell_end(term, reason);
        }
    }

    fn tell_end(&self, term: &Term, reason: LostBy) {
        if term.is_untold() {
            self.core.tell(super::Happening::LeaderLost { epoch: term.epoch, reason });
        }
    }
}

async fn reached(flag: &watch::Sender<bool>) {
    // The sender is alive, so the wait can only end because the flag is set.
    let _ = flag.subscribe().wait_for(|set| *set).await;
}

/// Runs an instance from its start to its end. If it is dropped with its runtime, the handle can be started again.
struct Conductor {
    core: Arc<Core>,
    control: Arc<Control>,
    report: Option<StopReport>,
}

impl Conductor {
    async fn run(mut self) {
        let world = Arc::clone(&self.core.site.world);
        let hold = world.lifecycle.hold("scheduler", self.core.site.id());
        let engine = Arc::new(Engine {
            core: Arc::clone(&self.core),
            name: process_name(&world.process),
            office: Office::default(),
            nudge: Arc::default(),
            closing: watch::Sender::new(false),
            quiet: watch::Sender::new(false),
            control: Arc::clone(&self.control),
        });
        self.core.site.enlist(&engine.nudge);
        let (work, inbox) = tray::inbox();
        let (pulse_over, pulse) = oneshot::channel::<()>();
        let (desk_over, desk) = oneshot::channel::<()>();
        let pulse_task = Pulse::new(&engine, work);
        let desk_task = Desk::new(&engine, inbox);
        world.spawner.spawn(async move {
            pulse_task.run().await;
            drop(pulse_over);
        });
        world.spawner.spawn(async move {
            desk_task.run().await;
            drop(desk_over);
        });
        let started = tokio::select! {
            biased;
            started = self.control.started() => Some(started.is_ok()),
            () = self.stopped() => None,
        };
        let mut workers = Vec::new();
        if started == Some(true) {
            workers = self.start_workers();
            self.stopped().await;
        } else if self.control.is_stopping() {
            // The caller that started it gets no error.
            self.control.started.send_if_modified(pulse::began);
        }
        self.control.stop.send_replace(true);
        engine.closing.send_replace(true);
        if self.core.targets.are_called()
            && let Some(term) = engine.office.current()
        {
            // Nothing more is begun. Only what is in flight is still written, before another instance may lead.
            engine.tell_end(&term, LostBy::Stop);
        }
        let leaving = async {
            desk_ended(&engine, desk).await;
            engine.quiet.send_replace(true);
            let _ = pulse.await;
            // Earlier beats may still reach the backend.
            if started != Some(false) {
                leave(&engine).await;
            }
        };
        let (given_back, ()) = join(self.stop_workers(workers), leaving).await;
        self.report = Some(StopReport { given_back });
        drop(hold);
    }

    async fn stopped(&self) {
        tokio::select! {
            biased;
            () = reached(&self.control.stop) => {}
            () = self.core.site.world.lifecycle.closing() => {}
        }
    }

    fn start_workers(&self) -> Vec<RunningJobWorker> {
        let Core { site, options, handlers, .. } = &*self.core;
        handlers.iter().map(|(name, start)| start(&site.world, &site.address.part(name), options)).collect()
    }

    async fn stop_workers(&self, workers: Vec<RunningJobWorker>) -> u64 {
        let world = &self.core.site.world;
        let left = world.lifecycle.deadline().map(|deadline| deadline.since(world.clock.tick()));
        let grace = self.core.options.stop_grace.min(left.unwrap_or(self.core.options.stop_grace));
        let reports = join_all(workers.into_iter().map(|worker| worker.shutdown(grace))).await;
        reports.iter().map(|report| report.given_back).sum()
    }
}

/// Waits until the desk's task ends, by itself or with its runtime, but no longer than a lease. A target that never
/// answers would otherwise delay the end of the instance, and with it the next leader. What the target answers later
/// is not written any more: the next leader submits that slot again, as after a crash.
async fn desk_ended(engine: &Engine, mut desk: oneshot::Receiver<()>) {
    let lease = engine.core.options.lease;
    tokio::select! {
        biased;
        _ = &mut desk => return,
        () = engine.core.site.world.clock.sleep(lease) => {}
    }
    if let Some(term) = engine.office.current() {
        engine.lose(&term, LostBy::Stop);
    }
    let _ = desk.await;
}

/// Gives up leadership and handlers.
async fn leave(engine: &Engine) {
    if let Some(term) = engine.office.current() {
        engine.lose(&term, LostBy::Stop);
    }
    let site = &engine.core.site;
    if let Err(error) = site.store().leave(&site.address, Arc::clone(&engine.name)).await {
        tracing::warn!(
            target: "tidelock::scheduler", scheduler = %site.id(), %error,
            "an instance that stopped could not release its lease, which will expire"
        );
    }
}

impl Drop for Conductor {
    fn drop(&mut self) {
        let mut running = self.core.instance.lock();
        if running.as_ref().is_some_and(|control| Arc::ptr_eq(control, &self.control)) {
            *running = None;
        }
        drop(running);
        self.control.stop.send_replace(true);
        self.control.started.send_if_modified(|started| {
            let pending = matches!(started, Started::Pending);
            if pending {
                *started = Started::No(Error::shutting_down("start"));
            }
            pending
        });
        self.control.ended.send_replace(Some(self.report.unwrap_or_default()));
    }
}
