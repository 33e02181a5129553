//! `tidelock queue …`: every verb on every server.

use serde_json::json;
use tidelock::{Queue, Raw};

use crate::run::{Ran, block_on, open, servers, tidelock_at, unique};

struct Shell {
    url: String,
    queue: String,
}

impl Shell {
    fn all() -> impl Iterator<Item = Self> {
        servers().into_iter().map(|(_, url)| Self { url, queue: unique("mail") })
    }

    /// `verb QUEUE arguments…`, with text on stdin.
    fn run_with(&self, verb: &str, arguments: &[&str], stdin: &[u8]) -> Ran {
        tidelock_at(&self.url, &[&["queue", verb, &self.queue], arguments].concat(), stdin)
    }

    fn run(&self, verb: &str, arguments: &[&str]) -> Ran {
        self.run_with(verb, arguments, b"")
    }
}

#[test]
fn what_is_sent_is_seen_and_purged() {
    for shell in Shell::all() {
        shell.run("peek", &[]).expect(1);
        let sent =
            shell.run("send", &["{\"n\":1}", "--dedup-key", "one", "--meta", "by=shell", "--json"]).expect(0).json();
        assert_eq!(sent["duplicate"], json!(false));
        let again = shell.run("send", &["{}", "--dedup-key", "one", "--json"]).expect(0).json();
        assert_eq!(again, json!({ "id": sent["id"], "duplicate": true }));
        shell.run_with("send", &["--priority", "9"], b"\xff\x00\x1b[2J").expect(0);
        shell.run("send", &["later", "--delay", "1h"]).expect(0);
        let lines = shell.run_with("send", &["--lines", "--json"], b"a\n\n \nb\r\nc").expect(0).json();
        assert_eq!(lines, json!({ "sent": 3 }));

        let peeked = shell.run("peek", &["--json"]).expect(0).json();
        let bodies: Vec<_> = peeked.as_array().unwrap().iter().map(|message| &message["body"]).collect();
        assert_eq!(bodies, [&json!("/wAbWzJK"), &json!("{\"n\":1}"), &json!("a"), &json!("b"), &json!("c")]);
        assert_eq!((&peeked[0]["encoding"], &peeked[1]["encoding"]), (&json!("base64"), &json!("utf-8")));
        assert_eq!(peeked[1]["meta"], json!({ "by": "shell" }));
        let human = shell.run("peek", &["--max", "1"]).expect(0).stdout;
        assert!(human.contains("base64:/wAbWzJK") && !human.contains('\x1b'), "{human:?}");

        let stats = shell.run("stats", &["--json"]).expect(0).json();
        assert_eq!((&stats["ready"], &stats["delayed"], &stats["accepted"]), (&json!(5), &json!(1), &json!(6)));
        let human = shell.run("stats", &[]).expect(0).stdout;
        assert!(human.contains("ready") && human.contains("next at"), "{human}");
        assert_eq!(shell.run("purge", &["--yes", "--json"]).expect(0).json(), json!({ "removed": 6 }));
        shell.run("purge", &["--yes"]).expect(1);
    }
}

#[test]
fn a_dash_stands_for_stdin_and_filters_of_all_are_refused_beside_ids() {
    for shell in Shell::all() {
        shell.run_with("send", &["-"], b"from stdin").expect(0);
        let peeked = shell.run("peek", &["--json"]).expect(0).json();
        assert_eq!(peeked[0]["body"], json!("from stdin"));
        for filter in [["--reason", "rejected"], ["--limit", "1"]] {
            shell.run("requeue", &[&["1764000000000123"], &filter[..]].concat()).expect(2);
            shell.run("requeue", &filter).expect(2);
            shell.run("requeue", &[&["--all"], &filter[..]].concat()).expect(1);
        }
        shell.run_with("send", &["--lines", "--dedup-for", "5s"], b"a").expect(2);
        shell.run("purge", &["--yes"]).expect(0);
    }
}

#[test]
fn limits_are_seen_and_removed() {
    for shell in Shell::all() {
        shell.run("rate-limit", &["--remove"]).expect(1);
        shell.run("rate-limit", &["100"]).expect(0);
        shell.run("rate-limit", &["100", "--per", "1s"]).expect(1);
        shell.run("rate-limit", &["10", "--per", "1m"]).expect(0);
        let limit = &shell.run("stats", &["--json"]).expect(0).json()["rate_limit"];
        assert_eq!((&limit["limit"], &limit["per"], &limit["used"]), (&json!(10), &json!(60_000), &json!(0)));
        assert!(shell.run("stats", &[]).expect(0).stdout.contains("limited to 10 per 1m"));
        for wrong in [&[] as &[_], &["0"], &["10", "--per", "0s"], &["10", "--remove"], &["--per", "1s", "--remove"]] {
            shell.run("rate-limit", wrong).expect(2);
        }
        shell.run("rate-limit", &["--remove"]).expect(0);
        assert_eq!(shell.run("stats", &["--json"]).expect(0).json()["rate_limit"], json!(null));
        shell.run("concurrency-limit", &["--remove"]).expect(1);
        shell.run("concurrency-limit", &["10"]).expect(0);
        shell.run("concurrency-limit", &["10"]).expect(1);
        assert_eq!(shell.run("stats", &["--json"]).expect(0).json()["concurrency_limit"], json!(10));
        assert!(shell.run("stats", &[]).expect(0).stdout.contains("limited to 10 at once"));
        for wrong in [&[] as &[_], &["0"], &["10", "--remove"]] {
            shell.run("concurrency-limit", wrong).expect(2);
        }
        shell.run("concurrency-limit", &["--remove"]).expect(0);
    }
}

#[test]
fn a_pause_is_seen_and_ends() {
    for shell in Shell::all() {
        shell.run("resume", &[]).expect(1);
        shell.run("send", &["{}"]).expect(0);
        shell.run("pause", &["--reason", "provider down", "--for", "1h"]).expect(0);
        let stats = shell.run("stats", &["--json"]).expect(0).json();
        assert_eq!(stats["paused"]["reason"], json!("provider down"));
        assert!(shell.run("stats", &[]).expect(0).stdout.contains("provider down"));
        shell.run("resume", &[]).expect(0);
        assert_eq!(shell.run("stats", &["--json"]).expect(0).json()["paused"], json!(null));
        shell.run("purge", &["--yes"]).expect(0);
    }
}

#[test]
fn dead_letters_are_listed_requeued_and_purged() {
    for shell in Shell::all() {
        shell.run("dead-letters", &[]).expect(1);
        shell.run("requeue", &["--all"]).expect(1);
        block_on(async {
            let tide = open(&shell.url).await;
            let queue: Queue<Raw> = tide.queue(&shell.queue).build().unwrap();
            for text in ["one lamp, please", "another one", "[1]"] {
                queue.send(&Raw(text.into())).await.unwrap();
                let delivery = queue.recv().await.unwrap().expect("it was just sent");
                delivery.dead_letter("no order").error(&"not an order").await.unwrap();
            }
        });

        let page = shell.run("dead-letters", &["--json", "--limit", "2"]).expect(0).json();
        let next = page["next"].as_str().unwrap();
        let rest = shell.run("dead-letters", &["--json", "--limit", "2", "--after", next]).expect(0).json();
        assert_eq!((page["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()), (2, 1));
        assert_eq!(rest["next"], json!(null));
        let letter = &rest["items"][0];
        assert_eq!((&letter["reason"], &letter["attempts"]), (&json!("rejected"), &json!(1)));
        assert!(letter["last_error"].as_str().unwrap().starts_with("not "), "{letter}");
        shell.run("dead-letters", &["--reason", "expired"]).expect(1);
        assert!(shell.run("dead-letters", &[]).expect(0).stdout.contains("one lamp, please"));

        let id = letter["id"].as_str().unwrap();
        shell.run("requeue", &[id, "not-an-id"]).expect(2);
        assert_eq!(shell.run("requeue", &[id, "--json"]).expect(0).json(), json!({ "requeued": 1 }));
        shell.run("requeue", &[id]).expect(1);
        let requeued = shell.run("requeue", &["--all", "--limit", "1", "--delay", "1h", "--json"]).expect(0).json();
        assert_eq!(requeued, json!({ "requeued": 1 }));
        assert_eq!(shell.run("purge", &["--dead", "--yes", "--json"]).expect(0).json(), json!({ "removed": 1 }));
        assert_eq!(shell.run("purge", &["--yes", "--json"]).expect(0).json(), json!({ "removed": 2 }));
    }
}
