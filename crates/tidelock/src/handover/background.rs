//! A worker in the background, as its owner sees it: its statistics, stopping it, and its final report.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::site::Site;
use crate::error::{Error, Result};
use crate::opaque::opaque;

/// Statistics and stop signal of a running worker, without its value type.
pub(crate) trait Control<Stats>: Send + Sync {
    /// Gives the stop signal. `grace` overrides `shutdown_grace`, and the grace of an earlier signal if it ends
    /// sooner.
    fn stop(&self, grace: Option<Duration>);
    fn stats(&self) -> Stats;
}

opaque!(Control<Stats>);

/// A worker's final report.
pub(crate) trait Report: Default + Send + 'static {
    /// Why the worker ended before it was told to.
    fn error(&mut self) -> &mut Option<Error>;

    fn of_failure(error: Error) -> Self {
        let mut report = Self::default();
        *report.error() = Some(error);
        report
    }
}

/// A worker that runs as a task. Dropping it gives the stop signal without waiting for the end.
#[derive(Debug)]
pub(crate) struct Background<Stats, R> {
    /// `None` if it did not start.
    control: Option<Arc<dyn Control<Stats>>>,
    end: End<R>,
}

#[derive(Debug)]
enum End<R> {
    Awaited(oneshot::Receiver<R>),
    Come(Option<R>),
}

impl<Stats: Default, R: Report> Background<Stats, R> {
    /// Runs `engine` as a task, until its report.
    pub(crate) fn start(
        site: &Site,
        control: Arc<dyn Control<Stats>>,
        engine: impl Future<Output = R> + Send + 'static,
    ) -> Result<Self> {
        let (ended, end) = oneshot::channel();
        let started = site.world.spawner.spawn(async move {
            let report = engine.await;
            // Nobody waits for the report of a worker whose handle was dropped.
            let _ = ended.send(report);
        });
        if started {
            return Ok(Self { control: Some(control), end: End::Awaited(end) });
        }
        let error = Error::configuration("a worker needs a tokio runtime, and there is none");
        Err(site.context("process", error))
    }

    /// A worker that did not start.
    pub(crate) fn failed(error: Error) -> Self {
        Self { control: None, end: End::Come(Some(R::of_failure(error))) }
    }

    /// Waits until `stop` resolves, then for the worker's end.
    pub(crate) async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<R> {
        let mut stop = pin!(stop);
        tokio::select! {
            biased;
            () = self.ended() => {}
            () = &mut stop => self.stop(None),
        }
        let mut report = self.report().await;
        match report.error().take() {
            Some(error) => Err(error),
            None => Ok(report),
        }
    }

    pub(crate) async fn shutdown(mut self, grace: Duration) -> R {
        self.stop(Some(grace));
        self.report().await
    }

    pub(crate) fn stats(&self) -> Stats {
        self.control.as_ref().map(|control| control.stats()).unwrap_or_default()
    }

    /// Resolves when the worker has ended.
    pub(crate) async fn ended(&mut self) {
        if let End::Awaited(end) = &mut self.end {
            // Without a report, its runtime has ended, and the worker with it.
            let report = end.await.unwrap_or_else(|_| R::of_failure(Error::shutting_down("process")));
            self.end = End::Come(Some(report));
        }
    }

    async fn report(&mut self) -> R {
        self.ended().await;
        match &mut self.end {
            End::Come(report) => report.take().unwrap_or_default(),
            End::Awaited(_) => R::default(),
        }
    }
}

impl<Stats, R> Background<Stats, R> {
    fn stop(&self, grace: Option<Duration>) {
        if let Some(control) = &self.control {
            control.stop(grace);
        }
    }
}

impl<Stats, R> Drop for Background<Stats, R> {
    fn drop(&mut self) {
        self.stop(None);
    }
}
