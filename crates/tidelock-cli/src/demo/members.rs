//! The workers' presence: each process is a member of the run's registry, and sends heartbeats to an ephemeral store.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidelock::Tidelock;
use tidelock::ephemeral::{Ephemeral, Touch};
use tidelock::registry::{EventKind, Follower, Membership};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::plan::{LEASE, Plan};

/// The prefix of the members' keys.
const FOLDER: &str = "workers/";
/// How long to wait for the record of a dead worker to expire: far longer than its ttl.
const PATIENCE: Duration = Duration::from_secs(30);

/// The value of a member's record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) pid: u32,
    pub(crate) concurrency: usize,
}

/// The presence of this process.
pub(crate) struct Presence {
    membership: Membership<Member>,
    beats: Ephemeral<u32>,
    name: String,
    heart: JoinHandle<()>,
}

impl Presence {
    /// Becomes a member.
    pub(crate) async fn begin(plan: &Plan, tide: &Tidelock) -> tidelock::Result<Self> {
        let member = Member { pid: std::process::id(), concurrency: plan.concurrency };
        let (name, key) = (plan.name.clone(), format!("{FOLDER}{}", plan.name));
        let membership = plan.members(tide)?.register(&key, &member).ttl(LEASE).await?;
        let beats = plan.heartbeats(tide)?;
        beats.upsert(&name, &member.pid).await?;
        let heart = tokio::spawn(beat(beats.clone(), name.clone(), member.pid));
        Ok(Self { membership, beats, name, heart })
    }

    /// Leaves.
    pub(crate) async fn end(self) -> tidelock::Result<()> {
        self.heart.abort();
        // The task was aborted, so it ends.
        let _ = self.heart.await;
        self.beats.remove(&self.name).reason("done").await?;
        self.membership.leave().await?;
        Ok(())
    }
}

async fn beat(beats: Ephemeral<u32>, name: String, pid: u32) {
    let mut ticks = tokio::time::interval(LEASE / 3);
    loop {
        ticks.tick().await;
        // The next beat makes up for a failed one.
        if let Ok(Touch::Absent) = beats.touch(&name).await {
            let _ = beats.upsert(&name, &pid).await;
        }
    }
}

/// Whether a member is still present, or how it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    Here,
    Left,
    Expired,
}

/// What a follower of the records has seen of each name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attendance {
    pub(crate) names: BTreeMap<String, Stay>,
    pub(crate) touches: u64,
    /// Unexpected events.
    pub(crate) amiss: Vec<String>,
}

impl Attendance {
    fn apply<T: std::fmt::Debug>(&mut self, kind: &EventKind<T>) {
        let name = kind.key().map(|key| key.strip_prefix(FOLDER).unwrap_or(key).to_owned());
        let stay = match kind {
            EventKind::Upsert(_) => Stay::Here,
            EventKind::Delete { .. } => Stay::Left,
            EventKind::Expire { .. } => Stay::Expired,
            EventKind::Touch { .. } => {
                self.touches += 1;
                return;
            }
            EventKind::Undecodable { .. } | EventKind::Overflow { .. } => {
                self.amiss.push(format!("{kind:?}"));
                return;
            }
        };
        if let Some(name) = name {
            self.names.insert(name, stay);
        }
    }

    /// Whether every expected member has come, and none is still present.
    fn is_over(&self, expected: &[String]) -> bool {
        let is_gone = |stay: &Stay| *stay != Stay::Here;
        expected.iter().all(|name| self.names.contains_key(name)) && self.names.values().all(is_gone)
    }
}

/// Watches members come and go.
pub(crate) struct Roll {
    members: Watched,
    heartbeats: Watched,
}

impl Roll {
    /// Begins to watch; every member that comes afterwards is seen.
    pub(crate) async fn call(plan: &Plan, tide: &Tidelock) -> tidelock::Result<Self> {
        let members = Watched::start(plan.members(tide)?.follow().prefix(FOLDER).await?);
        let heartbeats = Watched::start(plan.heartbeats(tide)?.follow().await?);
        Ok(Self { members, heartbeats })
    }

    /// Whether this member has been seen.
    pub(crate) fn has_seen(&self, name: &str) -> bool {
        self.members.seen.borrow().names.contains_key(name)
    }

    /// Waits until all expected members have been seen and are gone. Returns what was seen of members and heartbeats.
    pub(crate) async fn finish(self, expected: &[String]) -> [Attendance; 2] {
        [self.members.finish(expected).await, self.heartbeats.finish(expected).await]
    }
}

struct Watched {
    seen: watch::Receiver<Attendance>,
    task: JoinHandle<()>,
}

impl Watched {
    fn start<T>(mut changes: Follower<T>) -> Self
    where
        T: Serialize + serde::de::DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
    {
        let (sender, seen) = watch::channel(Attendance::default());
        let task = tokio::spawn(async move {
            loop {
                match changes.recv().forever().await {
                    Ok(Some(event)) => sender.send_modify(|seen| seen.apply(&event.kind)),
                    Ok(None) => return,
                    Err(error) => return sender.send_modify(|seen| seen.amiss.push(error.to_string())),
                }
            }
        });
        Self { seen, task }
    }

    async fn finish(mut self, expected: &[String]) -> Attendance {
        // A run may end before its follower has received a single event. The account reports members that are still
        // present afterwards, or were not seen.
        let _ = tokio::time::timeout(PATIENCE, self.seen.wait_for(|seen| seen.is_over(expected))).await;
        self.task.abort();
        self.seen.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::{Attendance, Stay};

    #[test]
    fn it_is_not_over_before_everybody_has_been_seen() {
        let expected = ["a".to_owned(), "b".to_owned()];
        let mut seen = Attendance::default();
        assert!(!seen.is_over(&expected));
        seen.names.insert("a".to_owned(), Stay::Left);
        assert!(!seen.is_over(&expected));
        seen.names.insert("b".to_owned(), Stay::Here);
        assert!(!seen.is_over(&expected));
        seen.names.insert("b".to_owned(), Stay::Expired);
        assert!(seen.is_over(&expected));
    }
}
