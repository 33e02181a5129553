//! Which server runs a script: the only one, the one that the sentinels name, or the owner of the hash slot.

use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::dial::NodeConfig;
use super::failure::Failure;
use super::node::Node;
use super::slots::{SLOTS, SlotMap};
use super::url::{Deployment, Host};
use crate::hash::HashMap;

/// The slot map is refreshed at most this often.
const REFRESH_EVERY: Duration = Duration::from_millis(50);
/// How many connected nodes are asked, chosen at random.
const ASKED: usize = 8;
/// How long nodes may take to report the slot map: while no connected node has reported one; while only nodes that
/// are not well have; and, once a well node has reported it, the others.
const ALL_WITHIN: Duration = Duration::from_secs(2);
const BETTER_WITHIN: Duration = Duration::from_millis(500);
const OTHERS_WITHIN: Duration = Duration::from_millis(50);
/// How long a new connection waits for the other nodes once one node is up.
const OTHERS_UP_WITHIN: Duration = Duration::from_millis(500);
/// A node that calls were redirected to is kept this long, even without slots of its own, because they are about to
/// move there.
const KEPT: Duration = Duration::from_secs(10);

/// The servers of one deployment.
#[derive(Debug)]
pub(crate) struct Topology {
    config: Arc<NodeConfig>,
    nodes: Mutex<Nodes>,
    /// For each range of slots its last slot and its owner, ascending. Outside a cluster there is a single range.
    owners: RwLock<Vec<(u16, Arc<Node>)>>,
    refreshed: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Nodes {
    known: HashMap<Host, Arc<Node>>,
    /// When calls were redirected to each node.
    redirected: HashMap<Host, Instant>,
    /// Replicas, which can be asked if no owner answers.
    replicas: Vec<Host>,
    is_closed: bool,
}

impl Topology {
    /// Connects, and in a cluster gets the slot map.
    pub(crate) async fn connect(config: NodeConfig, deadline: Instant) -> Result<Self, Failure> {
        let config = Arc::new(config);
        let topology = Self {
            config,
            nodes: Mutex::default(),
            owners: RwLock::default(),
            refreshed: tokio::sync::Mutex::default(),
        };
        // If this fails, dropping `topology` closes the connections begun so far.
        let first = topology.first_seed(deadline).await?;
        *topology.write_owners() = vec![(SLOTS - 1, first)];
        topology.refresh().await?;
        topology.owners_up(deadline).await?;
        Ok(topology)
    }

    /// Connects to all hosts of the URL at once, and returns the first that is up.
    async fn first_seed(&self, deadline: Instant) -> Result<Arc<Node>, Failure> {
        let hosts = &self.config.url.hosts;
        // Sentinels lead to a single server, whose address they tell.
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

    /// Waits for the nodes, so that the first requests do not have to wait for one that is still connecting. A node
    /// that cannot be reached soon is left to the calls that need it, unless no other is up by `deadline`.
    async fn owners_up(&self, deadline: Instant) -> Result<(), Failure> {
        let nodes = self.known().into_iter().map(|node| async move { node.up(Some(deadline)).await });
        let mut nodes = nodes.collect::<FuturesUnordered<_>>();
        let mut reached = Err(Failure::NotSent("the cluster has no nodes".to_owned()));
        let mut until = deadline;
        while let Ok(Some(up)) = tokio::time::timeout_at(until, nodes.next()).await {
            match up {
                Ok(_) if reached.is_err() => {
                    reached = Ok(());
                    until = deadline.min(Instant::now() + OTHERS_UP_WITHIN);
                }
                Ok(_) => {}
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

    /// The node at `host`. If it is new, it is connected.
    pub(crate) fn node(&self, host: &Host) -> Arc<Node> {
        let mut nodes = self.lock();
        let is_closed = nodes.is_closed;
        let node = nodes.known.entry(host.clone()).or_insert_with(|| Node::start(host.clone(), &self.config));
        if is_closed {
            node.close(Failure::Closed);
        }
        Arc::clone(node)
    }

    /// The node that another node redirected a call to.
    pub(crate) fn redirected(&self, host: Host) -> Arc<Node> {
        let node = self.node(&host);
        self.lock().redirected.insert(host, Instant::now());
        node
    }

    fn known(&self) -> Vec<Arc<Node>> {
        self.lock().known.values().cloned().collect()
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.config.url.deployment == Deployment::Cluster
    }

    /// Refreshes the slot map of a cluster; outside a cluster there is nothing to do.
    pub(crate) async fn refresh(&self) -> Result<(), Failure> {
        if !self.is_cluster() {
            return Ok(());
        }
        let mut refreshed = self.refreshed.lock().await;
        if refreshed.is_some_and(|at| at.elapsed() < REFRESH_EVERY) {
            return Ok(());
        }
        let asked = self.ask_slots().await;
        // Also if no node could be asked, so that callers waiting here do not each start again.
        *refreshed = Some(Instant::now());
        self.adopt(asked?);
        Ok(())
    }

    /// Asks connected nodes. If none of them is well, all nodes may have moved, so the hosts in the URL and the
    /// replicas are asked too.
    async fn ask_slots(&self) -> Result<SlotMap, Failure> {
        let mut connected = self.known();
        connected.retain(|node| node.connected().is_ok());
        fastrand::shuffle(&mut connected);
        connected.truncate(ASKED);
        let connected = Self::best_of(connected, None).await;
        if connected.as_ref().is_ok_and(|map| map.standing.is_well) {
            return connected;
        }
        let replicas = self.lock().replicas.clone();
        for host in self.config.url.hosts.iter().chain(&replicas) {
            self.node(host);
        }
        let within = if connected.is_ok() { BETTER_WITHIN } else { ALL_WITHIN };
        let all = Self::best_of(self.known(), Some(Instant::now() + within)).await;
        match (connected, all) {
            (Ok(connected), Ok(all)) if all.standing < connected.standing => Ok(connected),
            (Ok(connected), Err(_)) => Ok(connected),
            (_, all) => all,
        }
    }

    /// The view of the most reliable of these nodes. Once a well node has answered, the others have only a moment
    /// more.
    async fn best_of(nodes: Vec<Arc<Node>>, deadline: Option<Instant>) -> Result<SlotMap, Failure> {
        let asked = nodes.into_iter().map(|node| async move { SlotMap::of(&node, deadline).await });
        let mut asked = asked.collect::<FuturesUnordered<_>>();
        let mut best: Result<SlotMap, _> = Err(Failure::NotSent("no node of the cluster is connected".to_owned()));
        let mut until = deadline.unwrap_or_else(|| Instant::now() + ALL_WITHIN);
        while let Ok(Some(told)) = tokio::time::timeout_at(until, asked.next()).await {
            match (told, &best) {
                (Err(failure), Err(_)) => best = Err(failure),
                (Err(_), Ok(_)) => {}
                (Ok(told), Ok(best)) if told.standing <= best.standing => {}
                (Ok(told), _) => {
                    if told.standing.is_well {
                        until = until.min(Instant::now() + OTHERS_WITHIN);
                    }
                    best = Ok(told);
                }
            }
        }
        best
    }

    fn adopt(&self, map: SlotMap) {
        let owners: Vec<_> = map.owners.iter().map(|(last, host)| (*last, self.node(host))).collect();
        let mut nodes = self.lock();
        let Nodes { known, redirected, replicas, .. } = &mut *nodes;
        redirected.retain(|_, at| at.elapsed() < KEPT);
        known.retain(|host, node| {
            let is_of_use = redirected.contains_key(host) || map.owners.iter().any(|(_, owner)| owner == host);
            if !is_of_use {
                node.close(Failure::NotSent("the node has no slots any more".to_owned()));
            }
            is_of_use
        });
        *replicas = map.replicas;
        drop(nodes);
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
