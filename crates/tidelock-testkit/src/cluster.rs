//! Several servers that form one cluster.

use anyhow::{Result, ensure};

use crate::binary::Binary;
use crate::server::{Builder, Server};
use crate::wait;

const SLOTS: u16 = 16_384;

/// Node addresses are announced as they are, and nodes tolerate a second or two of silence on a loaded machine.
const DEFAULTS: [&str; 4] = [
    "cluster-enabled yes",
    "cluster-config-file nodes.conf",
    "cluster-node-timeout 2000",
    "cluster-announce-ip 127.0.0.1",
];

/// A cluster of masters without replicas, each with an equal share of the slots in order.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    /// Starts that many masters, and returns when all of them report a complete cluster.
    pub fn start(binary: &Binary, masters: u16) -> Result<Self> {
        Self::start_with(binary, masters, |builder| builder)
    }

    /// As [`Cluster::start`], with more configuration for each node.
    pub fn start_with(binary: &Binary, masters: u16, configure: impl Fn(Builder) -> Builder) -> Result<Self> {
        ensure!(masters > 0, "a cluster has at least one master, not {masters}");
        let node = || {
            let defaults = DEFAULTS.into_iter().fold(Server::builder(binary), Builder::config);
            configure(defaults).start()
        };
        let nodes = (0..masters).map(|_| node()).collect::<Result<Vec<_>>>()?;
        let cluster = Self { nodes };
        cluster.share_slots(masters)?;
        cluster.introduce()?;
        wait::until("all nodes call the cluster complete", || Ok(cluster.is_complete()?.then_some(())))?;
        Ok(cluster)
    }

    /// The URL for clients, with all nodes.
    pub fn url(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.client_port())).collect();
        format!("{}-cluster://{}", self.nodes[0].scheme(), addresses.join(","))
    }

    /// One node, counted from zero.
    ///
    /// # Panics
    ///
    /// If there are not that many nodes.
    pub fn node(&self, index: usize) -> &Server {
        &self.nodes[index]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// The node that owns a slot, as long as no slot has moved since the start.
    pub fn owner(&self, slot: u16) -> &Server {
        let masters = self.nodes.len();
        let index = (0..masters).find(|&index| slot < share_end(index, masters)).unwrap_or(masters - 1);
        &self.nodes[index]
    }

    fn share_slots(&self, masters: u16) -> Result<()> {
        let mut first = 0;
        for (index, node) in self.nodes.iter().enumerate() {
            let end = share_end(index, masters.into());
            // The range form of this command is too new for the oldest server.
            let mut command = vec!["CLUSTER".to_owned(), "ADDSLOTS".to_owned()];
            command.extend((first..end).map(|slot| slot.to_string()));
            node.command(&command)?;
            // With equal epochs, the nodes would first have to resolve the conflict.
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])?;
            first = end;
        }
        Ok(())
    }

    fn introduce(&self) -> Result<()> {
        let Some((first, others)) = self.nodes.split_first() else { return Ok(()) };
        for node in others {
            node.command(&["CLUSTER", "MEET", "127.0.0.1", &first.client_port().to_string()])?;
        }
        Ok(())
    }

    fn is_complete(&self) -> Result<bool> {
        let all = self.nodes.len().to_string();
        for node in &self.nodes {
            let info = node.command(&["CLUSTER", "INFO"])?;
            if info.field("cluster_state") != Some("ok") || info.field("cluster_known_nodes") != Some(&all) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The slot after the last one of the node at this index.
fn share_end(index: usize, masters: usize) -> u16 {
    let end = usize::from(SLOTS) * (index + 1) / masters;
    u16::try_from(end).unwrap_or(SLOTS)
}

#[cfg(test)]
mod tests {
    use super::{SLOTS, share_end};

    #[test]
    fn shares_are_equal_and_leave_nothing() {
        let ends: Vec<_> = (0..3).map(|index| share_end(index, 3)).collect();
        assert_eq!(ends, [5_461, 10_922, SLOTS]);
    }
}
