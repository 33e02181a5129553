//! `tidelock schedule …`: every verb on every server.

use serde_json::json;

use crate::run::{Ran, block_on, open, servers, tidelock_at, unique};

struct Shell {
    url: String,
    scheduler: String,
}

impl Shell {
    fn all() -> impl Iterator<Item = Self> {
        servers().into_iter().map(|(_, url)| Self { url, scheduler: unique("platform") })
    }

    /// `verb SCHEDULER arguments…`.
    fn run(&self, verb: &str, arguments: &[&str]) -> Ran {
        tidelock_at(&self.url, &[&["schedule", verb, &self.scheduler], arguments].concat(), b"")
    }

    fn delete(&self) {
        block_on(async {
            open(&self.url).await.scheduler(&self.scheduler).build().unwrap().delete().await.unwrap();
        });
    }
}

#[test]
fn an_option_of_another_kind_of_schedule_is_refused() {
    let kinds = [["--cron", "@daily"], ["--every", "10s"], ["--at", "2030-01-01T00:00:00Z"]];
    let options = [["--tz", "Europe/Berlin"], ["--offset", "5s"]];
    for shell in Shell::all() {
        for (kind, fits) in kinds.iter().zip([Some(options[0]), Some(options[1]), None]) {
            for option in &options {
                let job = ["x", "--job", "mail", "--input", "1"];
                let code = if fits == Some(*option) { 0 } else { 2 };
                shell.run("add", &[&job[..], kind, option].concat()).expect(code);
            }
        }
        shell.delete();
    }
}

#[test]
fn a_schedule_is_added_listed_changed_and_removed() {
    for shell in Shell::all() {
        shell.run("ls", &[]).expect(1);
        let digest = ["digest", "--cron", "0 7 * * MON-FRI", "--tz", "Europe/Berlin", "--job", "mail", "--input", "{}"];
        assert_eq!(
            shell.run("add", &[&digest[..], &["--json"]].concat()).expect(0).json(),
            json!({ "registered": "created" })
        );
        assert!(shell.run("add", &digest).expect(0).stdout.contains("unchanged"));
        shell.run("add", &["purge", "--every", "1h", "--job", "purge", "--input", "30"]).expect(0);
        let page = shell.run("ls", &["--json"]).expect(0).json();
        let ids: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["digest", "purge"]);
        let human = shell.run("ls", &[]).expect(0).stdout;
        assert!(human.contains("0 7 * * MON-FRI Europe/Berlin") && human.contains("every 1h"), "{human}");
        let slots = shell.run("next", &["purge", "--count", "3", "--json"]).expect(0).json();
        let slots: Vec<_> = slots.as_array().unwrap().iter().map(|slot| slot.as_u64().unwrap()).collect();
        assert!(slots.len() == 3 && slots.iter().all(|slot| slot % 3_600_000 == 0), "{slots:?}");
        shell.run("pause", &["digest", "--reason", "holidays"]).expect(0);
        assert!(shell.run("ls", &[]).expect(0).stdout.contains("paused: holidays"));
        shell.run("resume", &["digest"]).expect(0);
        shell.run("resume", &["digest"]).expect(1);
        shell.run("pause", &["nothing"]).expect(1);
        let stats = shell.run("stats", &["--json"]).expect(0).json();
        assert_eq!((&stats["active"], &stats["leader"]), (&json!(2), &json!(null)));
        assert!(shell.run("stats", &[]).expect(0).stdout.contains("nobody leads"));
        shell.run("rm", &["digest", "purge"]).expect(0);
        shell.run("rm", &["digest"]).expect(1);
        shell.run("next", &["digest"]).expect(1);
        shell.delete();
    }
}

#[test]
fn a_trigger_runs_without_a_leader() {
    for shell in Shell::all() {
        let job = unique("job");
        shell.run("add", &["one", "--at", "2100-01-01T00:00:00Z", "--job", &job, "--input", "{}"]).expect(0);
        let first = shell.run("trigger", &["one", "--key", "k", "--json"]).expect(0).json();
        let again = shell.run("trigger", &["one", "--key", "k", "--json"]).expect(0).json();
        assert_eq!(first["submitted"]["id"], again["submitted"]["id"], "{first} {again}");
        assert_eq!(again["submitted"]["duplicate"], json!(true));
        let jobs = tidelock_at(&shell.url, &["job", "ls", &job, "--json"], b"").expect(0).json();
        assert_eq!(jobs["items"].as_array().map(Vec::len), Some(1));
        assert!(shell.run("history", &["one"]).expect(0).stdout.contains("by a trigger with key k"));
        shell.run("trigger", &["two"]).expect(1);
        shell.delete();
        block_on(async { open(&shell.url).await.job::<(), ()>(&job).build().unwrap().delete().await.unwrap() });
    }
}

#[test]
fn what_is_wrong_with_a_schedule_is_told() {
    for shell in Shell::all() {
        let wrong = [
            (vec!["x", "--cron", "0 0 30 2 *", "--job", "j", "--input", "1"], "never matches"),
            (vec!["x", "--cron", "61 * * * *", "--job", "j", "--input", "1"], "out-of-range minute"),
            (
                vec!["x", "--cron", "* * * * *", "--tz", "Europe/Atlantis", "--job", "j", "--input", "1"],
                "Europe/Atlantis",
            ),
            (vec!["x", "--every", "10ms", "--job", "j", "--input", "1"], "period"),
            (vec!["x", "--job", "j", "--input", "1"], "--cron"),
        ];
        for (arguments, text) in wrong {
            let refused = shell.run("add", &arguments).expect(2);
            assert!(refused.stderr.contains(text), "{arguments:?}: {refused:?}");
        }
        shell.run("ls", &[]).expect(1);
    }
}
