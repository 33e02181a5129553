//! `tidelock job …`: every verb on every server.

use serde_json::{Value, json};
use tidelock::Raw;
use tidelock::job::{Job, JobError};

use crate::run::{Ran, Stream, block_on, open, servers, tidelock_at, unique};

struct Shell {
    url: String,
    job: String,
}

impl Shell {
    fn all() -> impl Iterator<Item = Self> {
        servers().into_iter().map(|(_, url)| Self { url, job: unique("mail") })
    }

    /// `verb JOB arguments…`.
    fn run(&self, verb: &str, arguments: &[&str]) -> Ran {
        tidelock_at(&self.url, &[&["job", verb, &self.job], arguments].concat(), b"")
    }

    fn submit(&self, arguments: &[&str]) -> String {
        let submitted = self.run("submit", &[arguments, &["--json"]].concat()).expect(0).json();
        submitted["id"].as_str().unwrap().to_owned()
    }

    /// Processes the waiting jobs: `good` completes, everything else fails.
    fn work(&self, count: usize) {
        block_on(async {
            let tide = open(&self.url).await;
            let job: Job<Raw, Raw> = tide.job(&self.job).build().unwrap();
            let worker = job.process(async |ctx, input: Raw| {
                ctx.progress(&Raw(b"half".to_vec()))?;
                if input.0 == b"good" { Ok(Raw(b"done".to_vec())) } else { Err(JobError::fatal("no good")) }
            });
            let worker = worker.spawn();
            while worker.stats().completed + worker.stats().failed < count as u64 {
                tokio::task::yield_now().await;
            }
            worker.shutdown(tidelock::SECOND).await;
        });
    }
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[test]
fn what_is_submitted_is_listed_shown_and_removed() {
    for shell in Shell::all() {
        shell.run("ls", &[]).expect(1);
        let id = shell.submit(&["{\"n\":1}", "--dedup-key", "one", "--meta", "by=shell", "--priority", "3"]);
        let again = shell.run("submit", &["{}", "--dedup-key", "one", "--json"]).expect(0).json();
        assert_eq!(again, json!({ "id": id, "duplicate": true }));
        let later = shell.submit(&["later", "--delay", "1h"]);
        assert_eq!(ids(&shell.run("ls", &["--json"]).expect(0).json()), [id.as_str()]);
        assert_eq!(ids(&shell.run("ls", &["--state", "delayed", "--json"]).expect(0).json()), [later.as_str()]);
        let shown = shell.run("show", &[&id, "--json"]).expect(0).json();
        assert_eq!(shown["input"], json!({ "body": "{\"n\":1}", "encoding": "utf-8" }));
        assert_eq!((&shown["meta"], &shown["priority"]), (&json!({ "by": "shell" }), &json!(3)));
        assert!(shell.run("show", &[&id]).expect(0).stdout.contains("submitted"));
        let stats = shell.run("stats", &["--json"]).expect(0).json();
        assert_eq!(
            (&stats["ready"], &stats["delayed"], &stats["totals"]["submitted"]),
            (&json!(1), &json!(1), &json!(2))
        );
        assert_eq!(shell.run("rm", &[&id, "--json"]).expect(0).json(), json!([{ "id": id, "outcome": "removed" }]));
        shell.run("rm", &[&id]).expect(1);
        shell.run("show", &[&id]).expect(1);
        shell.run("show", &["x"]).expect(2);
        shell.run("rm", &[&later]).expect(0);
    }
}

#[test]
fn ends_are_seen_and_what_failed_runs_again() {
    for shell in Shell::all() {
        let (good, bad) = (shell.submit(&["good"]), shell.submit(&["\u{1b}[2J"]));
        shell.work(2);
        let shown = shell.run("show", &[&good, "--json"]).expect(0).json();
        assert_eq!((&shown["state"], &shown["result"]["body"]), (&json!("completed"), &json!("done")));
        let failed = shell.run("ls", &["--state", "failed", "--json"]).expect(0).json();
        assert_eq!(ids(&failed), [bad.as_str()]);
        assert_eq!(failed["items"][0]["last_failure"]["code"], json!("FATAL"));
        let human = shell.run("show", &[&bad]).expect(0).stdout;
        assert!(human.contains("FATAL") && human.contains("no good") && !human.contains('\u{1b}'), "{human:?}");
        let outcomes = shell.run("retry", &[&bad, &good, "1", "--json"]).expect(1).json();
        let words: Vec<_> = outcomes.as_array().unwrap().iter().map(|one| one["outcome"].as_str().unwrap()).collect();
        assert_eq!(words, ["submitted", "not_retryable", "not_found"]);
        let events = shell.run("events", &[&good, "--json"]).expect(0).json_lines();
        let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["submitted", "started", "progress", "completed"]);
        assert!(shell.run("events", &[&good]).expect(0).stdout.contains("completed"));
        shell.run("events", &["1"]).expect(1);
        assert!(shell.run("stats", &[]).expect(0).stdout.contains("completed"));
        shell.run("rm", &[&good, &bad]).expect(0);
    }
}

#[test]
fn a_cancel_ends_those_who_follow() {
    for shell in Shell::all() {
        let id = shell.submit(&["text"]);
        let mut following = Stream::start(&shell.url, &["job", "events", &shell.job, &id, "--json"]);
        assert_eq!(following.next()["kind"], json!("submitted"));
        shell.run("cancel", &[&id, "--reason", "wrong month"]).expect(0);
        let cancelled = following.next();
        assert_eq!((&cancelled["kind"], &cancelled["reason"]), (&json!("cancelled"), &json!("wrong month")));
        assert_eq!(following.end(), 0);
        let again = shell.run("cancel", &[&id, "--json"]).expect(1).json();
        assert_eq!(again[0]["outcome"], json!("already_finished"));
        shell.run("cancel", &["1"]).expect(1);
        shell.run("rm", &[&id]).expect(0);
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
        shell.run("pause", &["--reason", "provider down", "--for", "1h"]).expect(0);
        assert_eq!(shell.run("stats", &["--json"]).expect(0).json()["paused"]["reason"], json!("provider down"));
        assert!(shell.run("stats", &[]).expect(0).stdout.contains("provider down"));
        shell.run("resume", &[]).expect(0);
    }
}
