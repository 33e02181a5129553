//! Which server runs a script: the only one, the one the sentinels name, or the owner of the hash slot.

use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use redis::{Value, cmd};
use tokio::time::Instant;

use super::failure::Failure;
use super::node::{Node, NodeConfig};
use super::url::{Deployment, Host};
use crate::hash::HashMap;

/// Slots of a cluster.
const SLOTS: u16 = 16_384;
/// The slot map is not asked for more often than this.
const REFRESH_EVERY: Duration = Duration::from_millis(50);

/// The servers of one deployment.
#[derive(Debug)]
pub(crate) struct Topology {
    config: Arc<NodeConfig>,
    nodes: Mutex<HashMap<Host, Arc<Node>>>,
    /// For each range of slots its last slot and its owner, ascending; a single range outside a cluster.
    owners: RwLock<Vec<(u16, Arc<Node>)>>,
    refreshed: tokio::sync::Mutex<Option<Instant>>,
}

/// The slot of a hash tag.
pub(crate) fn slot(tag: &str) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes()) % SLOTS
}

impl Topology {
    /// Connects, and in a cluster learns the slot map.
    pub(crate) async fn connect(config: NodeConfig, deadline: Instant) -> Result<Self, Failure> {
        let config = Arc::new(config);
        let topology = Self {
            config,
            nodes: Mutex::default(),
            owners: RwLock::default(),
            refreshed: tokio::sync::Mutex::default(),
        };
        let mut last = Failure::NotSent("the URL names no host".to_owned());
        for host in topology.config.url.hosts.clone() {
            let node = topology.node(&host);
            match node.up(Some(deadline)).await {
                Ok(_) => {
                    *topology.write_owners() = vec![(SLOTS - 1, node)];
                    topology.refresh().await?;
                    topology.all_up(deadline).await?;
                    return Ok(topology);
                }
                Err(failure) => last = failure,
            }
            topology.nodes.lock().expect("no code panics while it holds this lock").remove(&host);
            if topology.config.url.deployment != Deployment::Cluster {
                break;
            }
        }
        topology.close();
        Err(last)
    }

    /// The first request of a new connection does not wait for a node that is still connecting.
    async fn all_up(&self, deadline: Instant) -> Result<(), Failure> {
        let nodes: Vec<_> =
            self.nodes.lock().expect("no code panics while it holds this lock").values().cloned().collect();
        for node in nodes {
            node.up(Some(deadline)).await?;
        }
        Ok(())
    }

    /// The node that runs scripts of `slot`.
    pub(crate) fn owner(&self, slot: u16) -> Arc<Node> {
        let owners = self.owners.read().expect("no code panics while it holds this lock");
        let index = owners.partition_point(|(last, _)| *last < slot).min(owners.len() - 1);
        Arc::clone(&owners[index].1)
    }

    /// The node at `host`, which is connected to if it is new.
    pub(crate) fn node(&self, host: &Host) -> Arc<Node> {
        let mut nodes = self.nodes.lock().expect("no code panics while it holds this lock");
        Arc::clone(nodes.entry(host.clone()).or_insert_with(|| Node::start(host.clone(), &self.config)))
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.config.url.deployment == Deployment::Cluster
    }

    /// Asks the cluster who owns what; outside a cluster there is nothing to ask.
    pub(crate) async fn refresh(&self) -> Result<(), Failure> {
        if !self.is_cluster() {
            return Ok(());
        }
        let mut refreshed = self.refreshed.lock().await;
        if refreshed.is_some_and(|at| at.elapsed() < REFRESH_EVERY) {
            return Ok(());
        }
        *refreshed = Some(Instant::now());
        let known: Vec<_> =
            self.nodes.lock().expect("no code panics while it holds this lock").values().cloned().collect();
        let mut last = Failure::NotSent("no node of the cluster is connected".to_owned());
        for node in known {
            let answer = match node.up(None).await {
                Ok(up) => up.send(cmd("CLUSTER").arg("SLOTS")).await,
                Err(failure) => Err(failure),
            };
            match answer.and_then(|answer| parse_slots(&answer, &node.host())) {
                Ok(ranges) => {
                    self.adopt(ranges);
                    return Ok(());
                }
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    fn adopt(&self, mut ranges: Vec<(u16, Host)>) {
        ranges.sort();
        let owners: Vec<_> = ranges.iter().map(|(last, host)| (*last, self.node(host))).collect();
        if owners.is_empty() {
            return;
        }
        let mut nodes = self.nodes.lock().expect("no code panics while it holds this lock");
        nodes.retain(|host, node| {
            let owns = ranges.iter().any(|(_, owner)| owner == host);
            if !owns {
                node.close();
            }
            owns
        });
        drop(nodes);
        *self.write_owners() = owners;
    }

    fn write_owners(&self) -> std::sync::RwLockWriteGuard<'_, Vec<(u16, Arc<Node>)>> {
        self.owners.write().expect("no code panics while it holds this lock")
    }

    pub(crate) fn close(&self) {
        for node in self.nodes.lock().expect("no code panics while it holds this lock").values() {
            node.close();
        }
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        self.close();
    }
}

/// `CLUSTER SLOTS`: for each range its first and last slot, then its owner as (host, port, …).
fn parse_slots(answer: &Value, asked: &Host) -> Result<Vec<(u16, Host)>, Failure> {
    let wrong = || Failure::Unknown("the server's CLUSTER SLOTS reply is not understood".to_owned());
    let Value::Array(ranges) = answer else { return Err(wrong()) };
    ranges
        .iter()
        .map(|range| {
            let Value::Array(range) = range else { return Err(wrong()) };
            let (Some(Value::Int(last)), Some(Value::Array(owner))) = (range.get(1), range.get(2)) else {
                return Err(wrong());
            };
            let name = match owner.first() {
                Some(Value::BulkString(name)) if !name.is_empty() => String::from_utf8_lossy(name).into_owned(),
                // A node that does not know its own address means the one it was asked at.
                _ => asked.name.clone(),
            };
            let Some(Value::Int(port)) = owner.get(1) else { return Err(wrong()) };
            let (Ok(last), Ok(port)) = (u16::try_from(*last), u16::try_from(*port)) else { return Err(wrong()) };
            Ok((last, Host { name, port }))
        })
        .collect()
}
