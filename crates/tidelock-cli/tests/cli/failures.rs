//! Failures, by exit code and message.

use tidelock_testkit::{Binary, Flavour, Server, free_port};

use crate::run::{command, tidelock, tidelock_at};

const SECRET: &str = "correct-horse";

#[test]
fn a_file_that_is_not_there_is_a_wrong_request() {
    for path in ["/no/such/orders.ndjson", "/"] {
        let ran = tidelock(&["demo", path, "--json"]).expect(2);
        assert!(ran.stderr.contains(path) && ran.stdout.is_empty(), "{ran:?}");
    }
}

#[test]
fn a_reader_of_stdout_that_has_seen_enough_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command(&["demo", "--print-orders"]).stdout(writer).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn arguments_that_make_no_sense_are_wrong_requests() {
    for arguments in [
        &["demo", "--processes", "2"] as &[_],
        &["demo", "--redis", "redis://127.0.0.1", "--processes", "1", "--chaos"],
        &["demo", "--keep"],
        &["demo", "--concurrency", "0"],
        &["queue", "purge", "mail"],
        &["queue", "requeue", "mail"],
        &["queue", "stats", "mail"],
        &["topic", "publish", "orders", "{}", "-"],
        &["topic", "publish", "orders", "{}", "{}", "--dedup", "one"],
        &["topic", "publish", "orders", "-", "--dedup", "one"],
        &["topic", "publish", "orders", "{}", "--dedup-for", "1h"],
        &["topic", "tail", "orders", "--from", "yesterday"],
        &["topic", "tail", "orders", "--limit", "0"],
        &["topic", "lag", "orders"],
        &["topic", "groups", "orders"],
        &["registry", "get", "services"],
        &["registry", "ls", "services", "--limit", "-1"],
        &["registry", "watch", "services", "--key", "a/1", "--prefix", "a/"],
        &["ephemeral", "watch", "presence", "--key", "a", "--prefix", "a"],
        &["ephemeral", "ls", "presence", "--expired"],
        &["ping"],
    ] {
        let ran = tidelock(arguments).expect(2);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn a_timeout_out_of_range_is_named_as_it_was_given() {
    for timeout in ["0s", "9ms", "2h", "soon"] {
        let ran = tidelock_at("redis://127.0.0.1:1", &["ping", "--timeout", timeout], b"").expect(2);
        assert!(ran.stderr.contains("--timeout") && ran.stderr.contains(timeout), "{ran:?}");
    }
}

#[test]
fn a_url_that_is_none_is_a_wrong_request_and_is_not_repeated() {
    for url in [
        format!("http://me:{SECRET}@localhost"),
        format!("redis://me:{SECRET}@localhost:port"),
        format!("redis://me:{SECRET}@"),
        SECRET.to_owned(),
    ] {
        for ran in [tidelock_at(&url, &["ping"], b""), tidelock(&["demo", "--redis", &url])] {
            let ran = ran.expect(2);
            assert!(!ran.all().contains(SECRET), "{ran:?}");
            assert!(ran.stderr.contains("redis://"), "it says what is expected: {ran:?}");
        }
    }
}

#[test]
fn a_server_that_is_not_there_is_told_without_the_password() {
    let port = free_port().unwrap();
    let url = format!("redis://me:{SECRET}@127.0.0.1:{port}");
    let timeout = ["--timeout", "2s"];
    let verbs = [
        &["ping"] as &[_],
        &["queue", "stats", "mail", "--json"],
        &["topic", "publish", "orders", "{}", "--json"],
        &["topic", "tail", "orders"],
        &["topic", "groups", "orders"],
        &["topic", "lag", "orders", "billing"],
        &["registry", "ls", "services", "--json"],
        &["registry", "get", "services", "a/1"],
        &["registry", "watch", "services"],
        &["ephemeral", "ls", "presence"],
        &["ephemeral", "watch", "presence", "--json"],
    ];
    let ran = verbs.map(|verb| tidelock_at(&url, &[verb, &timeout].concat(), b""));
    for ran in ran.into_iter().chain([tidelock(&["demo", "--redis", &url])]) {
        let ran = ran.expect(3);
        assert!(ran.stdout.is_empty() && !ran.all().contains(SECRET), "{ran:?}");
        assert!(ran.stderr.contains(&format!("127.0.0.1:{port}: ")), "it says which server: {ran:?}");
    }
}

#[test]
fn a_wrong_password_is_refused_at_once_and_not_shown() {
    let Some(binary) = Binary::or_skip(Flavour::Redis62) else { return };
    let server = Server::builder(&binary).password("battery-staple").start().unwrap();
    let port = server.port();
    for url in [format!("redis://:{SECRET}@127.0.0.1:{port}"), format!("redis://127.0.0.1:{port}")] {
        let ran = tidelock_at(&url, &["queue", "send", "mail", "{}"], b"").expect(3);
        assert!(!ran.all().contains(SECRET) && !ran.all().contains("battery-staple"), "{ran:?}");
    }
    tidelock_at(&server.url(), &["ping"], b"").expect(0);
}

#[test]
fn help_does_not_show_the_environment() {
    let url = format!("redis://me:{SECRET}@localhost");
    let ran = tidelock_at(&url, &["queue", "stats", "--help"], b"").expect(0);
    assert!(!ran.all().contains(SECRET) && ran.stdout.contains("TIDELOCK_URL"), "{ran:?}");
}
