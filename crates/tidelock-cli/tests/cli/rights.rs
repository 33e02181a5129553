//! The permissions that the operations guide grants to a fleet suffice for everything, and allow nothing else.

use std::path::Path;

use tidelock_testkit::{Binary, Flavour, Reply, Server};

use crate::run::{TemporaryFile, tidelock, tidelock_at};

/// The words of the guide's ACL command.
fn rule() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/operations.md");
    let guide = std::fs::read_to_string(path).unwrap();
    let line = guide.lines().find(|line| line.starts_with("ACL SETUSER")).expect("the guide has the rule");
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn the_rights_of_the_guide_are_enough() {
    for flavour in Flavour::ALL {
        let Some(binary) = Binary::or_skip(flavour) else { continue };
        let server = Server::start(&binary).unwrap();
        assert_eq!(server.command(&rule()).unwrap(), Reply::Text("OK".to_owned()));
        let port = server.port();
        let url = format!("redis://fleet:secret@127.0.0.1:{port}");

        let order = |id: u32, rest: &str| {
            format!(r#"{{"id":"o-{id}","warehouse":"oslo","item":"lamp","quantity":1,"amount_cents":100{rest}}}"#)
        };
        let orders = [order(1, ""), order(1, ""), order(2, r#","fail_attempts":1"#), "no order".to_owned()].join("\n");
        let file = TemporaryFile::new(orders.as_bytes());
        tidelock(&["demo", file.path(), "--redis", &url, "--processes", "2", "--json"]).expect(0);
        for verb in [&["send", "mail", "{}"] as &[_], &["pause", "mail"], &["resume", "mail"], &["stats", "mail"]] {
            tidelock_at(&url, &[&["queue"], verb].concat(), b"").expect(0);
        }
        for command in [
            &["topic", "publish", "orders", "{}", "--key", "o-1", "--dedup", "one"] as &[_],
            &["topic", "tail", "orders", "--from", "earliest", "--limit", "1"],
            &["topic", "groups", "orders"],
            &["registry", "ls", "services"],
            &["ephemeral", "ls", "presence"],
        ] {
            tidelock_at(&url, command, b"").expect(0);
        }
        let elsewhere = tidelock_at(&url, &["ping", "--prefix", "other"], b"").expect(3);
        assert!(elsewhere.stderr.contains("NOPERM"), "{elsewhere:?}");
    }
}
