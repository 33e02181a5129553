//! `tidelock registry …` and `tidelock ephemeral …`: every verb on every server.

use serde_json::{Value, json};
use tidelock::ephemeral::Ephemeral;
use tidelock::registry::Registry;
use tidelock::{HOUR, Raw};

use crate::run::{Ran, Stream, block_on, open, servers, tidelock_at, unique};

struct Shell {
    url: String,
    name: String,
}

impl Shell {
    fn all() -> impl Iterator<Item = Self> {
        servers().into_iter().map(|(_, url)| Self { url, name: unique("records") })
    }

    fn run(&self, kind: &str, verb: &str, arguments: &[&str]) -> Ran {
        tidelock_at(&self.url, &[&[kind, verb, &self.name], arguments].concat(), b"")
    }

    fn watch(&self, kind: &str, arguments: &[&str]) -> Stream {
        Stream::start(&self.url, &[&[kind, "watch", &self.name], arguments].concat())
    }

    async fn registry(&self) -> Registry<Raw> {
        open(&self.url).await.registry(&self.name).build().unwrap()
    }

    async fn ephemeral(&self) -> Ephemeral<Raw> {
        open(&self.url).await.ephemeral(&self.name).ttl(HOUR).build().unwrap()
    }
}

fn raw(body: &[u8]) -> Raw {
    Raw(body.to_vec())
}

fn keys(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap()).collect()
}

/// Kind, key and body.
fn seen(line: &Value) -> (&str, &str, &str) {
    let text = |field: &str| line[field].as_str().unwrap_or_default();
    (text("kind"), text("key"), text("body"))
}

#[test]
fn records_are_listed_and_shown() {
    for shell in Shell::all() {
        let empty = shell.run("registry", "ls", &["--json"]).expect(0).json();
        assert_eq!((keys(&empty), &empty["next"]), (vec![], &json!(null)));
        assert_eq!(shell.run("registry", "get", &["a/1", "--json"]).expect(1).json(), json!(null));
        let version = block_on(async {
            let registry = shell.registry().await;
            registry.upsert("a/1", &raw(b"{\"port\":25}")).await.unwrap();
            let entry = registry.upsert("a/2", &raw(b"\xff\x00\x1b[2J")).ttl(HOUR).await.unwrap();
            registry.upsert("b/1", &raw(b"old")).await.unwrap();
            entry.version
        });
        let page = shell.run("registry", "ls", &["--json", "--limit", "2"]).expect(0).json();
        assert_eq!(keys(&page), ["a/1", "a/2"]);
        let next = page["next"].as_str().unwrap();
        assert_eq!(keys(&shell.run("registry", "ls", &["--json", "--after", next]).expect(0).json()), ["b/1"]);
        let more = shell.run("registry", "ls", &["--limit", "1"]).expect(0).stdout;
        assert!(more.contains("more: --after "), "{more}");
        let page = shell.run("registry", "ls", &["--json", "--prefix", "a/"]).expect(0).json();
        assert_eq!((keys(&page), &page["next"]), (vec!["a/1", "a/2"], &json!(null)));
        shell.run("registry", "ls", &["--prefix", "a"]).expect(2);

        let entry = shell.run("registry", "get", &["a/2", "--json"]).expect(0).json();
        assert_eq!(entry, page["items"][1]);
        for (field, value) in [
            ("version", json!(version)),
            ("status", json!("active")),
            ("ttl_ms", json!(3_600_000)),
            ("body", json!("/wAbWzJK")),
            ("encoding", json!("base64")),
        ] {
            assert_eq!(entry[field], value, "{field} in {entry}");
        }
        let human = shell.run("registry", "get", &["a/1"]).expect(0).stdout;
        assert!(human.contains("permanent\n  {\"port\":25}\n"), "{human}");
        let human = shell.run("registry", "ls", &[]).expect(0).stdout;
        assert!(human.contains("ttl 1h\n  base64:/wAbWzJK\n") && !human.contains('\x1b'), "{human:?}");
    }
}

#[test]
fn what_has_expired_is_seen_if_it_is_asked_for() {
    for shell in Shell::all() {
        block_on(async {
            let registry = shell.registry().await;
            let mut changes = registry.follow().await.unwrap();
            registry.upsert("a/1", &raw(b"late")).ttl(std::time::Duration::from_millis(1)).await.unwrap();
            registry.upsert("a/2", &raw(b"here")).await.unwrap();
            while !matches!(
                changes.recv().await.unwrap().expect("it expires").kind,
                tidelock::registry::EventKind::Expire { .. }
            ) {}
        });
        assert_eq!(keys(&shell.run("registry", "ls", &["--json"]).expect(0).json()), ["a/2"]);
        let expired = shell.run("registry", "ls", &["--expired", "--json"]).expect(0).json();
        assert_eq!((keys(&expired), &expired["items"][0]["status"]), (vec!["a/1"], &json!("expired")));
        shell.run("registry", "get", &["a/1"]).expect(1);
        let entry = shell.run("registry", "get", &["a/1", "--expired", "--json"]).expect(0).json();
        assert_eq!(entry, expired["items"][0]);
    }
}

#[test]
fn a_registry_is_watched_from_its_listing_on() {
    for shell in Shell::all() {
        let registry = block_on(shell.registry());
        block_on(async {
            registry.upsert("a/1", &raw(b"1")).await.unwrap();
            registry.upsert("b/1", &raw(b"1")).await.unwrap();
        });
        let mut all = shell.watch("registry", &["--json"]);
        let mut prefix = shell.watch("registry", &["--json", "--prefix", "a/"]);
        let mut key = shell.watch("registry", &["--json", "--key", "a/1", "--limit", "2"]);
        assert_eq!(seen(&all.next()), ("listed", "a/1", "1"));
        assert_eq!(seen(&all.next()), ("listed", "b/1", "1"));
        for only in [&mut prefix, &mut key] {
            assert_eq!(seen(&only.next()), ("listed", "a/1", "1"));
        }
        for (watch, records) in [(&mut all, 2), (&mut prefix, 1), (&mut key, 1)] {
            let following = watch.next();
            assert_eq!((&following["kind"], &following["records"]), (&json!("following"), &json!(records)));
        }
        block_on(async {
            registry.upsert("a/1", &raw(b"2")).ttl(HOUR).await.unwrap();
            registry.touch("a/1").await.unwrap();
            registry.remove("b/1").reason("no longer used").await.unwrap();
            registry.upsert("a/2", &raw(b"1")).await.unwrap();
        });
        let expected = [("upsert", "a/1", "2"), ("touch", "a/1", ""), ("delete", "b/1", ""), ("upsert", "a/2", "1")];
        for (index, line) in expected.into_iter().enumerate() {
            let change = all.next();
            assert_eq!(seen(&change), line, "{change}");
            assert!(change["revision"].is_u64() && change["cursor"].is_string() && change["at"].is_u64(), "{change}");
            if index == 2 {
                assert_eq!(change["reason"], json!("no longer used"));
            } else {
                assert_eq!(seen(&prefix.next()), line);
            }
            if index < 2 {
                assert_eq!(seen(&key.next()), line);
            }
        }
        assert_eq!(key.end(), 0);
        assert_eq!(all.interrupt(), (0, Vec::<Value>::new()));
        assert_eq!(prefix.interrupt(), (0, Vec::<Value>::new()));
    }
}

#[test]
fn watching_for_people_is_a_line_for_each_change() {
    for shell in Shell::all() {
        let registry = block_on(shell.registry());
        block_on(async { registry.upsert("a/1", &raw(b"\x1b[2J")).await.unwrap() });
        let mut watch = shell.watch("registry", &["--limit", "3"]);
        assert!(watch.line().ends_with("is        a/1  \\u{1b}[2J"));
        assert_eq!(watch.line(), "1 records; changes from here on:");
        block_on(async {
            registry.remove("a/1").reason("moved\nagain").await.unwrap();
            registry.upsert("a/2", &raw(b"x")).ttl(HOUR).await.unwrap();
            registry.touch("a/2").await.unwrap();
        });
        for end in ["delete    a/1  moved\\nagain", "upsert    a/2  x"] {
            let line = watch.line();
            assert!(line.ends_with(end), "{line}");
        }
        let line = watch.line();
        assert!(line.contains("touch     a/2  expires 20"), "{line}");
        assert_eq!(watch.end(), 0);
    }
}

#[test]
fn a_watch_that_has_missed_changes_lists_again() {
    for shell in Shell::all() {
        // Only the last event is kept.
        let tide = block_on(open(&shell.url));
        let registry = tide.registry::<Raw>(&shell.name).max_events(1).build().unwrap();
        block_on(async { registry.upsert("a/1", &raw(b"1")).await.unwrap() });
        let mut watch = shell.watch("registry", &["--json"]);
        assert_eq!(seen(&watch.next()), ("listed", "a/1", "1"));
        assert_eq!(watch.next()["kind"], json!("following"));
        watch.freeze();
        block_on(async {
            registry.upsert("a/2", &raw(b"2")).await.unwrap();
            registry.remove("a/1").await.unwrap();
        });
        watch.thaw();
        assert_eq!(watch.next()["kind"], json!("overflow"));
        assert_eq!(seen(&watch.next()), ("listed", "a/2", "2"));
        assert_eq!(watch.next()["kind"], json!("following"));
        block_on(async { registry.upsert("a/3", &raw(b"3")).await.unwrap() });
        assert_eq!(seen(&watch.next()), ("upsert", "a/3", "3"));
        assert_eq!(watch.interrupt(), (0, Vec::<Value>::new()));
    }
}

#[test]
fn an_ephemeral_store_is_listed_and_watched() {
    for shell in Shell::all() {
        assert_eq!(keys(&shell.run("ephemeral", "ls", &["--json"]).expect(0).json()), Vec::<&str>::new());
        let store = block_on(shell.ephemeral());
        block_on(async {
            store.upsert("room-1/ada", &raw(b"typing")).await.unwrap();
            store.upsert("room-12/bob", &raw(b"idle")).await.unwrap();
        });
        let all = shell.run("ephemeral", "ls", &["--prefix", "room-1", "--json"]).expect(0).json();
        assert_eq!((keys(&all), &all["items"][0]["ttl_ms"]), (vec!["room-1/ada", "room-12/bob"], &json!(3_600_000)));
        let human = shell.run("ephemeral", "ls", &["--prefix", "room-1/"]).expect(0).stdout;
        assert!(human.starts_with("room-1/ada  version ") && human.ends_with("ttl 1h\n  typing\n"), "{human}");

        let mut room = shell.watch("ephemeral", &["--prefix", "room-1/", "--json", "--limit", "3"]);
        let mut ada = shell.watch("ephemeral", &["--key", "room-1/ada", "--json"]);
        for watch in [&mut room, &mut ada] {
            assert_eq!(seen(&watch.next()), ("listed", "room-1/ada", "typing"));
            assert_eq!(watch.next()["kind"], json!("following"));
        }
        block_on(async {
            store.touch("room-1/ada").await.unwrap();
            store.upsert("room-1/eve", &raw(b"idle")).ttl(std::time::Duration::from_millis(1)).await.unwrap();
        });
        assert_eq!(seen(&room.next()), ("touch", "room-1/ada", ""));
        assert_eq!(seen(&room.next()), ("upsert", "room-1/eve", "idle"));
        assert_eq!(seen(&room.next()), ("expire", "room-1/eve", ""));
        assert_eq!(room.end(), 0);
        assert_eq!(seen(&ada.next()), ("touch", "room-1/ada", ""));
        assert_eq!(ada.interrupt(), (0, Vec::<Value>::new()));
    }
}
