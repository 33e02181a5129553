//! Which node of a cluster owns which slots, according to its nodes.

use std::sync::Arc;
use std::time::Duration;

use redis::{Value, cmd};
use tokio::time::Instant;

use super::failure::Failure;
use super::node::{Node, Up};
use super::url::Host;

/// The number of slots in a cluster.
pub(crate) const SLOTS: u16 = 16_384;
/// How long a node may take to answer.
const TELL_WITHIN: Duration = Duration::from_millis(500);

/// The slot of a hash tag.
pub(crate) fn slot(tag: &str) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes()) % SLOTS
}

/// One node's view of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotMap {
    pub(crate) standing: Standing,
    /// For each range of slots, its last slot and its owner.
    pub(crate) owners: Vec<(u16, Host)>,
    pub(crate) replicas: Vec<Host>,
}

/// How reliable a node's view is: if two nodes disagree, the one with the greater standing is right. A node that was
/// cut off from the others or removed from the cluster keeps reporting what it knew last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    /// Whether it is in contact with a majority, and serves its slots.
    pub(crate) is_well: bool,
    /// The latest election that it knows of.
    epoch: u64,
}

impl SlotMap {
    /// Asks a node. Without a deadline, only if it is connected.
    pub(crate) async fn of(node: &Arc<Node>, deadline: Option<Instant>) -> Result<Self, Failure> {
        let up = node.up(deadline).await?;
        let since = Instant::now();
        let Ok(told) = tokio::time::timeout(TELL_WITHIN, Self::ask(&up, &node.host())).await else {
            node.unanswered(&up, since);
            return Err(Failure::Unknown(format!("{} did not tell its slots in time", node.host())));
        };
        told
    }

    async fn ask(up: &Up, asked: &Host) -> Result<Self, Failure> {
        // One after the other, so that the map is not older than the node's standing.
        let standing = match up.send(cmd("CLUSTER").arg("INFO")).await {
            Ok(told) => Standing::of(&told),
            // A user who may only query the slots has to trust every node.
            Err(Failure::Refused { code, .. }) if code == "NOPERM" => Standing { is_well: true, epoch: 0 },
            Err(failure) => return Err(failure),
        };
        let told = up.send(cmd("CLUSTER").arg("SLOTS")).await?;
        let wrong = || Failure::Unknown("the server's CLUSTER SLOTS reply is not understood".to_owned());
        let map = Self::read(standing, &told, asked).ok_or_else(wrong)?;
        if map.owners.is_empty() {
            return Err(Failure::NotSent(format!("{asked} knows of no slots")));
        }
        Ok(map)
    }

    /// `CLUSTER SLOTS`: for each range its first and last slot, then its owner and its replicas as (host, port, …).
    fn read(standing: Standing, told: &Value, asked: &Host) -> Option<Self> {
        let Value::Array(ranges) = told else { return None };
        let mut map = Self { standing, owners: Vec::new(), replicas: Vec::new() };
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let [_, Value::Int(last), owner, others @ ..] = &range[..] else { return None };
            map.owners.push((u16::try_from(*last).ok()?, endpoint(owner, asked)?));
            map.replicas.extend(others.iter().filter_map(|other| endpoint(other, asked)));
        }
        map.owners.sort();
        Some(map)
    }
}

impl Standing {
    /// `CLUSTER INFO`: lines of `name:value`.
    fn of(told: &Value) -> Self {
        let text = match told {
            Value::BulkString(text) => String::from_utf8_lossy(text),
            Value::VerbatimString { text, .. } => text.into(),
            _ => return Self::default(),
        };
        let fact = |name| text.lines().find_map(|line| line.trim().split_once(':').filter(|(known, _)| *known == name));
        Self {
            is_well: fact("cluster_state").is_some_and(|(_, state)| state == "ok"),
            epoch: fact("cluster_current_epoch").and_then(|(_, epoch)| epoch.parse().ok()).unwrap_or(0),
        }
    }
}

fn endpoint(told: &Value, asked: &Host) -> Option<Host> {
    let Value::Array(told) = told else { return None };
    let name = match told.first() {
        Some(Value::BulkString(name)) => String::from_utf8_lossy(name),
        _ => "".into(),
    };
    let Some(Value::Int(port)) = told.get(1) else { return None };
    reached_at(&name, u16::try_from(*port).ok()?, asked)
}

/// `3999 127.0.0.1:6381`, as in `MOVED` and `ASK`, from the node at `asked`.
pub(crate) fn redirected(text: &str, asked: &Host) -> Option<Host> {
    let (name, port) = text.split_whitespace().nth(1)?.rsplit_once(':')?;
    reached_at(name, port.parse().ok()?, asked)
}

/// A node that does not know its own address, or must not reveal it, means the address at which it was asked.
fn reached_at(name: &str, port: u16, asked: &Host) -> Option<Host> {
    match (name, asked) {
        ("" | "?", Host::Port { name, .. }) => Some(Host::Port { name: name.clone(), port }),
        ("" | "?", Host::Socket(_)) => None,
        (name, _) => Some(Host::Port { name: name.to_owned(), port }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str, port: u16) -> Host {
        Host::Port { name: name.to_owned(), port }
    }

    fn told(name: Value, port: i64) -> Value {
        Value::Array(vec![name, Value::Int(port), Value::BulkString(b"id".to_vec())])
    }

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn owners_and_replicas_are_told_by_range() {
        let range = |first, last, nodes: Vec<Value>| {
            Value::Array([Value::Int(first), Value::Int(last)].into_iter().chain(nodes).collect())
        };
        let answer = Value::Array(vec![
            range(100, 16_383, vec![told(text("b"), 2), told(text("c"), 3)]),
            range(0, 99, vec![told(Value::Nil, 1), told(text("?"), 4)]),
        ]);
        let map = SlotMap::read(Standing::default(), &answer, &at("a", 9)).unwrap();
        assert_eq!(map.owners, [(99, at("a", 1)), (16_383, at("b", 2))]);
        assert_eq!(map.replicas, [at("c", 3), at("a", 4)]);
        assert_eq!(SlotMap::read(Standing::default(), &Value::Nil, &at("a", 9)), None);
    }

    #[test]
    fn redirects_without_a_name_lead_to_the_same_host() {
        assert_eq!(redirected("3999 127.0.0.1:6381", &at("a", 1)), Some(at("127.0.0.1", 6_381)));
        assert_eq!(redirected("3999 :6381", &at("a", 1)), Some(at("a", 6_381)));
        assert_eq!(redirected("3999 ::1:6381", &at("a", 1)), Some(at("::1", 6_381)));
        assert_eq!(redirected("3999", &at("a", 1)), None);
    }

    #[test]
    fn who_is_well_and_knows_of_the_latest_election_is_right() {
        let standing = |state: &str, epoch: u64| {
            Standing::of(&text(&format!("cluster_state:{state}\r\ncluster_current_epoch:{epoch}\r\n")))
        };
        assert!(standing("ok", 3) > standing("ok", 2));
        assert!(standing("ok", 2) > standing("fail", 3));
        assert!(standing("fail", 3) > standing("fail", 0));
    }
}
