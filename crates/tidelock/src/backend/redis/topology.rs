//! Which server runs a script: the only one, the one the sentinels name, or the owner of the hash slot.

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

/// The slot map is not asked for more often than this.
const REFRESH_EVERY: Duration = Duration::from_millis(50);
/// So many of those that are connected are asked, drawn at random.
const ASKED: usize = 8;
/// How long nodes may take to tell the slot map, where none that is connected does; where one does that is not well; and when
/// one has told it that is well, the others.
const ALL_WITHIN: Duration = Duration::from_secs(2);
const BETTER_WITHIN: Duration = Duration::from_millis(500);
const OTHERS_WITHIN: Duration = Duration::from_millis(50);
/// How long whoever connects waits for the other nodes when one is there.
const OTHERS_UP_WITHIN: Duration = Duration::from_millis(500);
/// A node that calls were sent to is kept for so long, also without slots of its own: they are about to move there.
const KEPT: Duration = Duration::from_secs(10);

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
    /// When calls were sent to a node by another one.
    redirected: HashMap<Host, Instant>,
    /// Replicas, which may be asked where no owner answers.
    replicas: Vec<Host>,
    is_closed: bool,
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
    /// soon is told by the calls that need it, unless there is no other until `deadline`.
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

    /// The node that another one sent a call to.
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

    /// Asks those who are connected. Where none of them is well, all may have moved: those that the URL names and replicas are
    /// asked too.
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

    /// What the one who knows most of these nodes tells. When one that is well has answered, the others have a moment more.
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
