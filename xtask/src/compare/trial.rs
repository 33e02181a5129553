//! One workload of one contender in one process, and what server and process spend on it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tidelock_testkit::Server;

use super::contenders::Contender;
use super::programs::Programs;

/// A trial that takes longer has failed.
const PATIENCE: Duration = Duration::from_mins(1);
/// Clock ticks of `/proc` per second, on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// The environment in which contenders run.
#[derive(Debug)]
pub(super) struct Site<'a> {
    pub(super) server: &'a Server,
    /// Where they connect: the server itself, or a proxy in front of it.
    pub(super) url: String,
    pub(super) programs: &'a Programs,
    /// Their stderr.
    pub(super) log: PathBuf,
}

/// The result of one run; `outcome` is what the contender reported.
#[derive(Debug)]
pub(super) struct Trial {
    outcome: Value,
    startup: Duration,
    /// Seconds of CPU.
    server_cpu: f64,
    client_cpu: Option<f64>,
    /// By how much the server's memory grew.
    bytes: i64,
}

impl Trial {
    /// A trial that was not run, or failed.
    pub(super) fn failed(reason: &str) -> Self {
        let outcome = json!({ "failed": reason });
        Self { outcome, startup: Duration::ZERO, server_cpu: 0.0, client_cpu: None, bytes: 0 }
    }

    /// Why there is no figure.
    pub(super) fn failure(&self) -> Option<&str> {
        self.outcome["unsupported"].as_str().or(self.outcome["failed"].as_str())
    }

    fn items(&self) -> Option<f64> {
        self.outcome["items"].as_f64().filter(|items| *items > 0.0)
    }

    pub(super) fn ops_per_s(&self) -> Option<f64> {
        Some(self.items()? / self.outcome["seconds"].as_f64().filter(|seconds| *seconds > 0.0)?)
    }

    pub(super) fn p50_ms(&self) -> Option<f64> {
        self.outcome["p50_ms"].as_f64()
    }

    pub(super) fn p99_ms(&self) -> Option<f64> {
        self.outcome["p99_ms"].as_f64()
    }

    pub(super) fn startup_ms(&self) -> f64 {
        self.startup.as_secs_f64() * 1_000.0
    }

    pub(super) fn server_us_per_item(&self) -> Option<f64> {
        Some(self.server_cpu * 1e6 / self.items()?)
    }

    pub(super) fn client_us_per_item(&self) -> Option<f64> {
        Some(self.client_cpu? * 1e6 / self.items()?)
    }

    pub(super) fn bytes_per_item(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "bytes of one server are far below 2^52")]
        let bytes = self.bytes as f64;
        Some(bytes / self.items()?)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "outcome": self.outcome,
            "startup_ms": self.startup_ms(),
            "server_cpu_s": self.server_cpu,
            "client_cpu_s": self.client_cpu,
            "server_bytes": self.bytes,
        })
    }
}

impl Site<'_> {
    /// Empties the server, but keeps its cached scripts.
    pub(super) fn clear(&self) -> Result<()> {
        self.server.command(&["FLUSHALL", "SYNC"]).map(drop)
    }

    /// Runs a workload to its end. A contender that fails has no figure, and the others continue.
    pub(super) fn run(&self, contender: &Contender, work: &str, arguments: &[String]) -> Result<Trial> {
        let before = self.info("used_memory")?;
        let clients = self.info("connected_clients")?;
        let complaints = fs::metadata(&self.log).map_or(0, |log| log.len());
        let start = Instant::now();
        let mut child = self
            .programs
            .command(contender)?
            .args([contender.name, work, "--url", &self.url])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&self.log)?)
            .spawn()
            .with_context(|| format!("cannot run {}", contender.name))?;
        let lines = lines(child.stdout.take().context("the child has a stdout")?);
        let trial = self.follow(&mut child, &lines, start);
        end(&mut child)?;
        let mut trial = trial.unwrap_or_else(|error| {
            let reason = self.complaint(complaints).unwrap_or_else(|| format!("{error:#}"));
            eprintln!("{} fails at {work}: {reason}", contender.name);
            Trial::failed(&format!("fails: {reason}"))
        });
        self.wait_for_clients(clients)?;
        #[expect(clippy::cast_possible_truncation, reason = "a whole number of bytes")]
        let bytes = (self.info("used_memory")? - before) as i64;
        trial.bytes = bytes;
        Ok(trial)
    }

    fn follow(&self, child: &mut Child, lines: &Receiver<String>, start: Instant) -> Result<Trial> {
        let mut stdin = child.stdin.take().context("the child has a stdin")?;
        let ready = next(lines)?;
        if ready != "ready" {
            bail!("it printed {ready:?} instead of `ready`");
        }
        let startup = start.elapsed();
        let (server_cpu, client_cpu) = (self.server_cpu()?, cpu(child.id()));
        stdin.write_all(b"go\n")?;
        let outcome = serde_json::from_str(&next(lines)?)?;
        let client_cpu = cpu(child.id()).zip(client_cpu).map(|(after, before)| after - before);
        Ok(Trial { outcome, startup, server_cpu: self.server_cpu()? - server_cpu, client_cpu, bytes: 0 })
    }

    /// The error that a contender wrote to the log, from this byte on.
    fn complaint(&self, from: u64) -> Option<String> {
        let log = fs::read(&self.log).ok()?;
        let new = String::from_utf8_lossy(log.get(usize::try_from(from).ok()?..)?).into_owned();
        new.lines().rev().find_map(|line| line.strip_prefix("Error: ")).map(str::to_owned)
    }

    /// Connection buffers would be counted as memory of items.
    fn wait_for_clients(&self, clients: f64) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.info("connected_clients")? > clients && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn info(&self, field: &str) -> Result<f64> {
        let info = self.server.command(&["INFO", "all"])?;
        let value = info.field(field).and_then(|value| value.parse().ok());
        value.with_context(|| format!("INFO has no {field}"))
    }

    fn server_cpu(&self) -> Result<f64> {
        Ok(self.info("used_cpu_user")? + self.info("used_cpu_sys")?)
    }
}

/// The stdout of a child, line by line, until it ends.
fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (line, lines) = channel();
    thread::spawn(move || {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.send(text).is_err() {
                return;
            }
        }
    });
    lines
}

fn next(lines: &Receiver<String>) -> Result<String> {
    lines.recv_timeout(PATIENCE).context("it ended, or took too long")
}

/// A child ends when its input is closed, as it is by now; one that does not is killed.
fn end(child: &mut Child) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// CPU seconds that a process has used, if the system reports them.
fn cpu(process: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}
