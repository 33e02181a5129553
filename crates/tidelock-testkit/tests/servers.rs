//! Starting real servers and breaking them.

use std::process::{Command, Stdio};
use std::time::Duration;

use tidelock_testkit::{Binary, Cluster, Flavour, Reply, Sentinel, Server};

fn binaries() -> impl Iterator<Item = Binary> {
    Flavour::ALL.into_iter().filter_map(Binary::or_skip)
}

#[test]
fn each_flavour_starts_and_is_what_it_says() {
    for binary in binaries() {
        let server = Server::start(&binary).expect("start");
        let info = server.command(&["INFO", "server"]).expect("info");
        assert_eq!(info.field("process_id"), server.pid().map(|pid| pid.to_string()).as_deref());
        let version = if binary.flavour() == Flavour::Valkey8 { "valkey_version" } else { "redis_version" };
        assert_eq!(info.field(version), Some(binary.version()));
        server.command(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]).expect("DEBUG is allowed");
    }
}

#[test]
fn a_server_comes_back_empty_unless_it_is_durable() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let forgetful = Server::start(&binary).expect("start");
    let durable = Server::builder(&binary).durable().start().expect("start");
    for server in [&forgetful, &durable] {
        server.command(&["SET", "key", "value"]).expect("set");
        server.kill();
        assert_eq!(server.pid(), None);
        server.command(&["PING"]).expect_err("a dead server does not answer");
        server.restart().expect("restart");
    }
    assert_eq!(forgetful.command(&["GET", "key"]).expect("get"), Reply::Nil);
    assert_eq!(durable.command(&["GET", "key"]).expect("get"), Reply::Text("value".into()));
}

#[test]
fn a_password_is_asked_for_and_given() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let server = Server::builder(&binary).password("secret").config("maxmemory 10mb").start().expect("start");
    assert_eq!(server.url(), format!("redis://:secret@127.0.0.1:{}", server.port()));
    let limit = server.command(&["CONFIG", "GET", "maxmemory"]).expect("the password is given");
    assert_eq!(limit.items()[1].int(), Some(10 * 1024 * 1024));
}

#[test]
fn a_bad_configuration_shows_the_log() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let error = Server::builder(&binary).config("no-such-option yes").start().expect_err("it cannot start");
    assert!(format!("{error:#}").contains("no-such-option"), "{error:#}");
}

#[test]
fn a_frozen_server_answers_after_it_is_thawed() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let server = Server::start(&binary).expect("start");
    server.freeze().expect("freeze");
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| server.command(&["PING"]));
        // Enough time to answer for a server that is not frozen.
        std::thread::park_timeout(Duration::from_millis(50));
        assert!(!asked.is_finished(), "a frozen server answered");
        server.thaw().expect("thaw");
        asked.join().expect("no panic")
    });
    assert_eq!(answer.expect("an answer"), Reply::Text("PONG".into()));
}

#[test]
fn a_cluster_serves_each_slot_where_it_says() {
    for binary in binaries() {
        let cluster = Cluster::start(&binary, 3).expect("start");
        assert_eq!(cluster.url().matches("127.0.0.1:").count(), 3);
        let slot = cluster.node(0).command(&["CLUSTER", "KEYSLOT", "{tide}:key"]).expect("slot").int();
        let slot = slot.and_then(|slot| u16::try_from(slot).ok()).expect("a slot is a small number");
        let owner = cluster.owner(slot);
        owner.command(&["SET", "{tide}:key", "value"]).expect("the owner takes the key");
        let other = cluster.nodes().iter().find(|node| node.port() != owner.port()).expect("three nodes");
        let error = other.command(&["GET", "{tide}:key"]).expect_err("another node points to the owner");
        assert!(format!("{error:#}").ends_with(&format!("127.0.0.1:{}", owner.port())), "{error:#}");
        cluster.node(2).kill();
    }
}

#[test]
fn sentinels_promote_the_replica() {
    for binary in binaries() {
        let set = Sentinel::start(&binary).expect("start");
        let (primary, replica) = (set.primary().port(), set.replica().port());
        set.fail_over().expect("fail over");
        assert_eq!((set.primary().port(), set.replica().port()), (replica, primary));
        set.primary().command(&["SET", "key", "value"]).expect("the new primary takes writes");
    }
}

/// Runs in a separate process, which dies while its server runs: see the next test.
const STARTS_AND_ABORTS: &str = "TESTKIT_STARTS_AND_ABORTS";

#[test]
fn nothing_outlives_a_process_that_aborts() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    if std::env::var_os(STARTS_AND_ABORTS).is_some() {
        let server = Server::start(&binary).expect("start");
        eprintln!("started={}", server.port());
        std::process::abort();
    }
    let run = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "nothing_outlives_a_process_that_aborts", "--nocapture"])
        .env(STARTS_AND_ABORTS, "1")
        .stdout(Stdio::null())
        .output()
        .expect("run");
    let printed = String::from_utf8_lossy(&run.stderr);
    let port = printed.lines().find_map(|line| line.strip_prefix("started=")?.parse().ok()).expect("a port");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while tidelock_testkit::Connection::open(port).is_ok() {
        assert!(std::time::Instant::now() < deadline, "the server on port {port} still runs");
        std::thread::yield_now();
    }
}
