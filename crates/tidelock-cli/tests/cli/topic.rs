//! `tidelock topic …`: every verb on every server.

use std::time::Instant;

use serde_json::{Value, json};
use tidelock::Raw;
use tidelock::topic::{Start, Topic};

use crate::run::{PATIENCE, Ran, Stream, block_on, head, open, servers, tidelock_at, unique};

struct Shell {
    url: String,
    topic: String,
}

impl Shell {
    fn all() -> impl Iterator<Item = Self> {
        servers().into_iter().map(|(_, url)| Self { url, topic: unique("orders") })
    }

    fn run_with(&self, verb: &str, arguments: &[&str], stdin: &[u8]) -> Ran {
        tidelock_at(&self.url, &[&["topic", verb, &self.topic], arguments].concat(), stdin)
    }

    fn run(&self, verb: &str, arguments: &[&str]) -> Ran {
        self.run_with(verb, arguments, b"")
    }

    /// Replays up to `limit` events.
    fn tail(&self, from: &str, limit: &str) -> Vec<Value> {
        self.run("tail", &["--from", from, "--limit", limit, "--json"]).expect(0).json_lines()
    }

    async fn topic(&self) -> Topic<Raw> {
        open(&self.url).await.topic(&self.topic).max_len(1_000).build().unwrap()
    }
}

fn bodies(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["body"].as_str().unwrap()).collect()
}

#[test]
fn what_is_published_is_tailed_from_any_place() {
    for shell in Shell::all() {
        let one = ["{\"n\":1}", "--key", "o-1", "--dedup", "one", "--meta", "by=shell", "--json"];
        let first = shell.run("publish", &one).expect(0).json();
        assert_eq!(first["duplicate"], json!(false), "{first}");
        let again = shell.run("publish", &["{}", "--dedup-key", "one", "--json"]).expect(0).json();
        assert_eq!(again, json!({ "event_id": first["event_id"], "cursor": first["cursor"], "duplicate": true }));
        let human = shell.run("publish", &["{}", "--dedup-key", "one"]).expect(0).stdout;
        assert!(human.contains("duplicate") && human.contains(first["event_id"].as_str().unwrap()), "{human}");
        shell.run_with("publish", &[], b"\xff\x00\x1b[2J").expect(0);
        assert_eq!(shell.run("publish", &["a", "b", "--json"]).expect(0).json(), json!({ "published": 2 }));
        let lines = shell.run_with("publish", &["-"], b"c\n\n \nd\r\ne").expect(0).stdout;
        assert_eq!(lines, "3 events published\n");
        shell.run_with("publish", &["-"], b"\n").expect(1);

        let all = shell.tail("earliest", "7");
        assert_eq!(bodies(&all), ["{\"n\":1}", "/wAbWzJK", "a", "b", "c", "d", "e"]);
        assert_eq!((&all[0]["encoding"], &all[1]["encoding"]), (&json!("utf-8"), &json!("base64")));
        assert_eq!((&all[0]["kind"], &all[0]["ordering_key"]), (&json!("event"), &json!("o-1")));
        assert_eq!((&all[0]["meta"], &all[0]["cursor"]), (&json!({ "by": "shell" }), &first["cursor"]));
        assert_eq!(shell.tail(first["cursor"].as_str().unwrap(), "6"), all[1..]);
        assert_eq!(shell.tail("2001-09-09T01:46:40Z", "7"), all);

        let human = shell.run("tail", &["--from", "earliest", "--limit", "7"]).expect(0).stdout;
        assert_eq!(human.lines().count(), 7, "{human}");
        assert!(human.contains("key o-1  {\"n\":1}") && human.contains("base64:/wAbWzJK"), "{human}");
        assert!(!human.contains('\x1b'), "{human:?}");
    }
}

#[test]
fn a_tail_goes_on_live_and_ends_at_a_signal() {
    for shell in Shell::all() {
        shell.run("publish", &["before"]).expect(0);
        let mut tail = Stream::start(&shell.url, &["topic", "tail", &shell.topic, "--from", "earliest", "--json"]);
        assert_eq!(tail.next()["body"], json!("before"));
        shell.run("publish", &["after"]).expect(0);
        assert_eq!(tail.next()["body"], json!("after"));
        assert_eq!(tail.interrupt(), (0, Vec::<Value>::new()));

        // `latest`, the default, does not show earlier events.
        let mut tail = Stream::start(&shell.url, &["topic", "tail", &shell.topic, "--limit", "1", "--json"]);
        let topic = block_on(shell.topic());
        let began = Instant::now();
        let seen = loop {
            assert!(began.elapsed() < PATIENCE, "what is published is shown");
            // Nobody can see from outside when it has begun to follow, so publish repeatedly.
            block_on(topic.publish(&Raw(b"live".to_vec())).into_future()).unwrap();
            if let Some(seen) = tail.try_next() {
                break seen;
            }
        };
        assert_eq!(seen["body"], json!("live"));
        assert_eq!(tail.end(), 0);
    }
}

#[test]
fn a_tail_that_nobody_reads_any_more_ends() {
    for shell in Shell::all() {
        shell.run("publish", &["{}"]).expect(0);
        let (line, code) = head(&shell.url, &["topic", "tail", &shell.topic, "--from", "earliest", "--json"]);
        assert!(line.contains("cursor"), "{line}");
        assert_eq!(code, 0);
    }
}

#[test]
fn what_is_no_longer_there_is_told_and_settings_stay() {
    for shell in Shell::all() {
        let first = block_on(async {
            let topic = open(&shell.url).await.topic::<Raw>(&shell.topic).max_len(2).build().unwrap();
            let first = topic.publish(&Raw(b"0".to_vec())).await.unwrap();
            topic.publish_many((1..=4).map(|n| topic.publish(&Raw(n.to_string().into_bytes())))).await.unwrap();
            first.cursor.to_string()
        });
        let items = shell.tail(&first, "2");
        assert_eq!((&items[0]["kind"], &items[0]["missed"]), (&json!("gap"), &json!(2)), "{items:?}");
        assert_eq!((&items[0]["cause"], &items[0]["from"]), (&json!("trimmed"), &json!(first)));
        assert_eq!(bodies(&items[1..]), ["3", "4"]);
        let human = shell.run("tail", &["--from", &first, "--limit", "1"]).expect(0).stdout;
        assert!(human.starts_with("gap: 2 events were missed"), "{human}");

        shell.run("publish", &["5"]).expect(0);
        let stats = block_on(async { shell.topic().await.stats().await }).unwrap();
        assert_eq!((stats.max_len, stats.events), (Some(2), 2));
        let elsewhere = Shell { topic: unique("other"), ..shell };
        let refused = elsewhere.run("tail", &["--from", &first]).expect(2);
        assert!(refused.stderr.contains("another topic"), "{refused:?}");
    }
}

#[test]
fn a_demo_that_is_kept_leaves_its_log_and_nobody_behind() {
    for shell in Shell::all() {
        let order =
            b"{\"id\":\"o-1\",\"warehouse\":\"oslo\",\"item\":\"lamp\",\"quantity\":1,\"amount_cents\":100}\none lamp";
        let demo = tidelock_at(&shell.url, &["demo", "-", "--redis", &shell.url, "--keep", "--json"], order);
        let shell = Shell { topic: demo.expect(0).json()["job_name"].as_str().unwrap().to_owned(), ..shell };
        let events = shell.tail("earliest", "2");
        let kept = |text: &str| bodies(&events).iter().any(|body| body.contains(text));
        assert!(kept("\"charged\"") && kept("\"died\"") && kept("oslo/lamp"), "{events:?}");
        let groups = shell.run("groups", &["--json"]).expect(0).json();
        for (group, name) in groups.as_array().unwrap().iter().zip(["revenue", "stock"]) {
            assert_eq!((&group["name"], &group["lag"], &group["dead"]), (&json!(name), &json!(0), &json!(0)));
        }
        for kind in ["registry", "ephemeral"] {
            let records = tidelock_at(&shell.url, &[kind, "ls", &shell.topic, "--json"], b"").expect(0).json();
            assert_eq!(records["items"], json!([]), "{kind}");
        }
        let failed = tidelock_at(&shell.url, &["job", "ls", &shell.topic, "--state", "failed", "--json"], b"");
        assert_eq!(failed.expect(0).json()["items"].as_array().map(Vec::len), Some(1));
        block_on(async { open(&shell.url).await.job::<Raw, Raw>(&shell.topic).build().unwrap().delete().await })
            .unwrap();
    }
}

#[test]
fn groups_show_how_far_they_are() {
    for shell in Shell::all() {
        assert_eq!(shell.run("groups", &["--json"]).expect(0).json(), json!([]));
        assert_eq!(shell.run("groups", &[]).expect(0).stdout, "there are no groups\n");
        assert_eq!(shell.run("lag", &["billing", "--json"]).expect(1).json(), json!(null));
        block_on(async {
            let topic = shell.topic().await;
            topic.publish_many((0..5).map(|n| topic.publish(&Raw(n.to_string().into_bytes())))).await.unwrap();
            let billing = topic.reader("billing").build().unwrap();
            let held = billing.recv_many(2).consumer("till-7").await.unwrap();
            assert_eq!(held.len(), 2);
            topic.groups().create("audit", Start::Latest).await.unwrap();
            topic.groups().pause("audit").reason("holidays").await.unwrap();
        });
        let groups = shell.run("groups", &["--json"]).expect(0).json();
        let names: Vec<_> = groups.as_array().unwrap().iter().map(|group| &group["name"]).collect();
        assert_eq!(names, [&json!("audit"), &json!("billing")]);
        let billing = &groups[1];
        for (field, value) in
            [("lag", 5), ("unread", 3), ("in_flight", 2), ("waiting", 0), ("set_aside", 0), ("dead", 0)]
        {
            assert_eq!(billing[field], json!(value), "{field} in {billing}");
        }
        let table = shell.run("groups", &[]).expect(0).stdout;
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let rows: Vec<_> = table.lines().map(words).collect();
        assert_eq!(rows[0].join(" "), "name lag unread in flight waiting set aside dead missed paused position");
        assert_eq!(rows[1][..9], ["audit", "0", "0", "0", "0", "0", "0", "0", "yes"]);
        assert_eq!(rows[2][..9], ["billing", "5", "3", "2", "0", "0", "0", "0", "no"]);

        assert_eq!(shell.run("lag", &["billing", "--json"]).expect(0).json(), *billing);
        let human = shell.run("lag", &["billing"]).expect(0).stdout;
        assert!(human.starts_with("lag                    5\n") && human.contains("held by till-7"), "{human}");
        assert!(shell.run("lag", &["audit"]).expect(0).stdout.contains("paused until resumed: holidays"));
    }
}
