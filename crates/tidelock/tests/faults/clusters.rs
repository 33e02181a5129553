//! Clusters whose nodes leave, die or report outdated slots.

use std::time::{Duration, Instant};

use tidelock::{Queue, Tidelock};
use tidelock_testkit::{Binary, Cluster, Flavour, Server};

use crate::stage::{open, until, within};

fn queues(tide: &Tidelock) -> Vec<Queue<u64>> {
    (0..20).map(|id| tide.queue(&id.to_string()).build().expect("the defaults are good")).collect()
}

fn ok(node: &Server, command: &[&str]) {
    let answer = node.command(command).expect("the node answers");
    assert_ne!(answer.text().map(|text| text.starts_with("ERR")), Some(true), "{command:?}: {answer:?}");
}

/// Removes the last of three nodes from the cluster: its slots go to the first one. It keeps running on its own.
fn retire(cluster: &Cluster) {
    let [heir, other, leaving] = cluster.nodes() else { panic!("there are three") };
    let slots: Vec<_> = (0..16_384).filter(|slot| cluster.owner(*slot).port() == leaving.port()).collect();
    let slots: Vec<_> = slots.iter().map(u16::to_string).collect();
    let with_slots = |verb| ["CLUSTER", verb].into_iter().chain(slots.iter().map(String::as_str)).collect::<Vec<_>>();
    ok(leaving, &["FLUSHALL"]);
    for node in [leaving, other, heir] {
        ok(node, &with_slots("DELSLOTS"));
    }
    ok(heir, &with_slots("ADDSLOTS"));
    ok(heir, &["CLUSTER", "BUMPEPOCH"]);
    let id = leaving.command(&["CLUSTER", "MYID"]).expect("the node answers");
    for node in [heir, other] {
        ok(node, &["CLUSTER", "FORGET", id.text().expect("a text")]);
    }
    ok(leaving, &["CLUSTER", "RESET", "SOFT"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_retired_is_believed_by_nobody() {
    for flavour in [Flavour::Redis62, Flavour::Redis70, Flavour::Valkey8] {
        let Some(binary) = Binary::or_skip(flavour) else { continue };
        let cluster = Cluster::start(&binary, 3).unwrap();
        let mut fleet = Vec::new();
        for _ in 0..10 {
            fleet.push(queues(&open(&cluster.url()).await));
        }
        retire(&cluster);
        for queues in &fleet {
            for queue in queues {
                until("it is served", async || queue.send(&1).await.is_ok()).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_connects_does_not_wait_for_a_node_that_is_away() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let cluster = Cluster::start_with(&binary, 3, |node| node.config("cluster-require-full-coverage no")).unwrap();
    drop(open(&cluster.url()).await);
    cluster.node(2).kill();
    let began = Instant::now();
    let tide = within(Tidelock::connect(&cluster.url()).request_timeout(Duration::from_secs(40))).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let served = futures_util::future::select_all(queues(&tide).iter().map(|queue| queue.send(&1).into_future())).await;
    served.0.expect("two are there");
}
