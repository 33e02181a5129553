//! Which server runs a script: the only one, the one the sentinels name, or the owner of the hash slot.

use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::{Value, cmd};
use tokio::time::Instant;

use super::dial::NodeConfig;
use super::failure::Failure;
use super::node::Node;
use super::url::{Deployment, Host};
use crate::hash::HashMap;

/// Slots of a cluster.
const SLOTS: u16 = 16_384;
/// The slot map is not asked for more often than this.
const REFRESH_EVERY: Duration = Duration::from_millis(50);
/// How long a node may take to tell the slot map, and how long all together where none is connected.
const TELL_WITHIN: Duration = Duration::from_millis(500);
const ALL_WITHIN: Duration = Duration::from_secs(2);

/// The servers of one deployment.
#[derive(Debug)]
pub(crate) struct Topology {
    config: Arc<NodeConfig>,
    nodes: Mutex<Nodes>,
    /// For each range of slots its last slot and its owner, ascending; a single range outside a cluster.
    owners: RwLock<Vec<(u16, Arc<Node>)>>,
    refreshed: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Nodes {
    known: HashMap<Host, Arc<Node>>,
    is_closed: bool,
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
        // Dropped on failure, it closes what it has begun.
        let first = topology.first_seed(deadline).await?;
        *topology.write_owners() = vec![(SLOTS - 1, first)];
        topology.refresh().await?;
        topology.owners_up(deadline).await?;
        Ok(topology)
    }

    /// Connects to all hosts of the URL at once, and gives the first that is up.
    async fn first_seed(&self, deadline: Instant) -> Result<Arc<Node>, Failure> {
        let hosts = &self.config.url.hosts;
        // Sentinels are one server, whose place they tell.
        let hosts = if self.is_cluster() { &hosts[..] } else { &hosts[..1] };
        let seeds = hosts.iter().map(|host| {
            let node = self.node(host);
            async move { node.up(Some(deadline)).await.map(|_| node) }
        });
        let mut seeds = seeds.collect::<FuturesUnordered<_>>();
        let mut last = Failure::NotSent("the URL names no host".to_owned());
        while let Some(seed) = seeds.next().await {
            match seed {
                Ok(node) => return Ok(node),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    /// The first request of a new connection does not wait for a node that is still connecting. One that cannot be reached
    /// until `deadline` is told by the calls that need it, unless there is no other.
    async fn owners_up(&self, deadline: Instant) -> Result<(), Failure> {
        let mut reached = Err(Failure::NotSent("the cluster has no nodes".to_owned()));
        for node in self.known() {
            match node.up(Some(deadline)).await {
                Ok(_) => reached = Ok(()),
                Err(failure) if failure.is_incurable() => return Err(failure),
                Err(failure) => reached = reached.map_err(|_| failure),
            }
        }
        reached
    }

    /// The node that runs scripts of `slot`.
    pub(crate) fn owner(&self, slot: u16) -> Arc<Node> {
        let owners = self.owners.read().expect("no code panics while it holds this lock");
        let index = owners.partition_point(|(last, _)| *last < slot).min(owners.len() - 1);
        Arc::clone(&owners[index].1)
    }

    /// The node at `host`, which is connected to if it is new.
    pub(crate) fn node(&self, host: &Host) -> Arc<Node> {
        let mut nodes = self.lock();
        let is_closed = nodes.is_closed;
        let node = nodes.known.entry(host.clone()).or_insert_with(|| Node::start(host.clone(), &self.config));
        if is_closed {
            node.close(Failure::Closed);
        }
        Arc::clone(node)
    }

    fn known(&self) -> Vec<Arc<Node>> {
        self.lock().known.values().cloned().collect()
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
        let asked = self.ask_slots().await;
        // Also where nobody could be asked: those who wait here do not begin anew, one after the other.
        *refreshed = Some(Instant::now());
        self.adopt(asked?);
        Ok(())
    }

    /// Asks those who are connected. Where none of them answers, all may have moved: those that the URL names are asked too,
    /// and whoever is back first answers.
    async fn ask_slots(&self) -> Result<Vec<(u16, Host)>, Failure> {
        for node in self.known() {
            if let Ok(ranges) = slots_of(&node, None).await {
                return Ok(ranges);
            }
        }
        let deadline = Instant::now() + ALL_WITHIN;
        for host in &self.config.url.hosts {
            self.node(host);
        }
        let asked = self.known().into_iter().map(|node| async move { slots_of(&node, Some(deadline)).await });
        let mut asked = asked.collect::<FuturesUnordered<_>>();
        let mut last = Failure::NotSent("no node of the cluster is connected".to_owned());
        while let Some(told) = asked.next().await {
            match told {
                Ok(ranges) => return Ok(ranges),
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
        self.lock().known.retain(|host, node| {
            let owns = ranges.iter().any(|(_, owner)| owner == host);
            if !owns {
                node.close(Failure::NotSent("the node has no slots any more".to_owned()));
            }
            owns
        });
        *self.write_owners() = owners;
    }

    fn write_owners(&self) -> std::sync::RwLockWriteGuard<'_, Vec<(u16, Arc<Node>)>> {
        self.owners.write().expect("no code panics while it holds this lock")
    }

    fn lock(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().expect("no code panics while it holds this lock")
    }

    pub(crate) fn close(&self) {
        let mut nodes = self.lock();
        nodes.is_closed = true;
        for node in nodes.known.values() {
            node.close(Failure::Closed);
        }
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        self.close();
    }
}

/// Asks a node for the slot map. Without a deadline it is asked only if it is connected.
async fn slots_of(node: &Arc<Node>, deadline: Option<Instant>) -> Result<Vec<(u16, Host)>, Failure> {
    let up = node.up(deadline).await?;
    let since = Instant::now();
    let Ok(told) = tokio::time::timeout(TELL_WITHIN, up.send(cmd("CLUSTER").arg("SLOTS"))).await else {
        node.unanswered(&up, since);
        return Err(Failure::Unknown(format!("{} did not tell its slots in time", node.host())));
    };
    parse_slots(&told?, &node.host())
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
            let name = match (owner.first(), asked) {
                (Some(Value::BulkString(name)), _) if !name.is_empty() => String::from_utf8_lossy(name).into_owned(),
                // A node that does not know its own address means the one it was asked at.
                (_, Host::Port { name, .. }) => name.clone(),
                (_, Host::Socket(_)) => return Err(wrong()),
            };
            let Some(Value::Int(port)) = owner.get(1) else { return Err(wrong()) };
            let (Ok(last), Ok(port)) = (u16::try_from(*last), u16::try_from(*port)) else { return Err(wrong()) };
            Ok((last, Host::Port { name, port }))
        })
        .collect()
}
