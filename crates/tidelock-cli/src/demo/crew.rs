//! The workers of a run: in this process, or in processes of their own.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tidelock::Tidelock;
use tidelock::job::RunningJobWorker;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use super::digest::Digests;
use super::ledger::{Entry, Ledger};
use super::members::Presence;
use super::plan::Plan;
use super::worker::Shop;
use crate::exit::WorkerEnded;

/// Longer than a worker process takes to drain.
const GRACE: Duration = Duration::from_mins(1);

/// The workers.
pub(crate) enum Crew {
    Here { workers: Vec<RunningJobWorker>, shop: Arc<Shop>, presence: Presence, digests: Digests },
    Processes { children: Vec<Child>, leaving: Vec<Child>, folder: Folder },
}

impl Crew {
    /// Starts workers in this process.
    pub(crate) async fn here(plan: &Plan, tide: &Tidelock) -> anyhow::Result<Self> {
        let shop = plan.shop(tide)?;
        let presence = Presence::begin(plan, tide).await?;
        let digests = Digests::begin(plan, tide, &shop).await?;
        let workers = vec![plan.workers(tide, &shop)?.spawn(), plan.workers(tide, &shop)?.spawn()];
        Ok(Self::Here { workers, shop, presence, digests })
    }

    /// Starts `count` processes; they stop when this process ends in any way.
    pub(crate) async fn processes(plan: &Plan, count: usize) -> anyhow::Result<Self> {
        let folder = Folder::new(&plan.run)?;
        let mut children = Vec::new();
        for number in 1..=count {
            let name = worker_name(number);
            let plan = Plan { name, ledger: Some(folder.ledger()), ..plan.clone() };
            children.push(start(&plan).await.context("cannot start a worker process")?);
        }
        Ok(Self::Processes { children, leaving: Vec::new(), folder })
    }

    /// Fails if a process ended without being killed.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        if let Self::Processes { children, .. } = self {
            for child in children {
                if let Some(status) = child.try_wait()? {
                    return Err(WorkerEnded(status.code()).into());
                }
            }
        }
        Ok(())
    }

    /// Kills the first process with SIGKILL; it is not replaced.
    pub(crate) async fn kill_first(&mut self) -> anyhow::Result<()> {
        if let Self::Processes { children, .. } = self {
            let mut victim = children.remove(0);
            victim.kill().await.context("cannot kill a worker process")?;
        }
        Ok(())
    }

    /// Stops one worker in the middle of its work; it gives back what it does not finish. The last one is kept.
    pub(crate) async fn stop_one(&mut self) {
        match self {
            Self::Here { workers, .. } => {
                if workers.len() > 1
                    && let Some(worker) = workers.pop()
                {
                    worker.shutdown(Duration::ZERO).await;
                }
            }
            Self::Processes { children, leaving, .. } => {
                if children.len() > 1
                    && let Some(mut child) = children.pop()
                {
                    drop(child.stdin.take());
                    leaving.push(child);
                }
            }
        }
    }

    /// The names of this run's members.
    pub(crate) fn names(&self, plan: &Plan, killed: &[String]) -> Vec<String> {
        match self {
            Self::Here { .. } => vec![plan.name.clone()],
            Self::Processes { children, leaving, .. } => {
                (1..=children.len() + leaving.len() + killed.len()).map(worker_name).collect()
            }
        }
    }

    /// Lets the workers finish what they hold, and returns the ledger.
    pub(crate) async fn dismiss(self) -> anyhow::Result<Vec<Entry>> {
        match self {
            Self::Here { workers, shop, presence, digests } => {
                for worker in workers {
                    worker.shutdown(GRACE).await;
                }
                digests.end().await?;
                presence.end().await?;
                Ok(shop.ledger.entries()?)
            }
            Self::Processes { mut children, leaving, folder } => {
                for child in &mut children {
                    drop(child.stdin.take());
                }
                for mut child in children.into_iter().chain(leaving) {
                    let status = tokio::time::timeout(GRACE, child.wait()).await;
                    let status = status.context("a worker process does not end")??;
                    if !status.success() {
                        return Err(WorkerEnded(status.code()).into());
                    }
                }
                Ok(Ledger::shared(&folder.ledger())?.entries()?)
            }
        }
    }
}

/// The name of a worker process.
pub(crate) fn worker_name(number: usize) -> String {
    format!("demo-worker-{number}")
}

async fn start(plan: &Plan) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("demo-worker").stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut line = serde_json::to_vec(plan)?;
    line.push(b'\n');
    tell(&mut child, &line).await?;
    Ok(child)
}

/// Writes to the stdin of a process; fails with its exit code if it has ended.
async fn tell(child: &mut Child, line: &[u8]) -> anyhow::Result<()> {
    let stdin = child.stdin.as_mut().context("stdin is a pipe")?;
    match stdin.write_all(line).await {
        // Only the child has the other end, so it must have ended.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(WorkerEnded(child.wait().await?.code()).into()),
        written => Ok(written?),
    }
}

/// A temporary folder for the ledger, gone when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    fn new(run: &str) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("tidelock-{run}"));
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    fn ledger(&self) -> PathBuf {
        self.0.join("ledger.ndjson")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that is left in the temporary directory does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::{Command, Stdio, WorkerEnded, tell};

    #[tokio::test]
    async fn a_process_that_ends_before_it_has_read_is_told() {
        let mut child = Command::new("sh").args(["-c", "exit 7"]).stdin(Stdio::piped()).spawn().unwrap();
        // More than a pipe holds, so that the process ends first.
        let error = tell(&mut child, &vec![b' '; 1 << 20]).await.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(WorkerEnded(Some(7)))), "{error:#}");
    }
}
