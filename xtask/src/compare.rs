//! `cargo xtask compare`: the same workloads for Tidelock and other libraries, on one server in one run.
//!
//! The workloads themselves are in `bench-compare/`, a separate workspace. This module decides who runs what and in
//! which order, measures server and processes, and writes the tables.

mod benchmark;
mod contenders;
mod page;
mod programs;
mod rows;
mod trial;
mod works;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::json;
use tidelock_testkit::{Flavour, Proxy, Server};
use tokio::runtime::Runtime;

use crate::cargo::target_folder;
use crate::setup;

use self::contenders::{Contender, LIMIT};
use self::programs::Programs;
use self::rows::{Row, Samples};
use self::trial::{Site, Trial};
use self::works::{Kind, WORKS, Work};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Print the rows as JSON, and nothing else to stdout.
    #[arg(long)]
    json: bool,
    /// Only check that everything runs, in one or two minutes; the figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Run only the workloads whose names begin with this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Write the tables into `docs/benchmarks.md`.
    #[arg(long, conflicts_with_all = ["quick", "only"])]
    write: bool,
}

/// How much to measure.
#[derive(Clone, Copy, Debug)]
struct Scale {
    rounds: usize,
    /// Target duration of one trial.
    seconds: f64,
    /// Items of the probe that determines how many items a trial gets.
    probe: usize,
    /// The maximum number of items of a workload of fixed size.
    most: usize,
}

impl Scale {
    /// Seconds of a trial that is limited by time instead of items.
    fn timed(&self) -> f64 {
        self.seconds * 2.5
    }
}

const FULL: Scale = Scale { rounds: 3, seconds: 0.6, probe: 600, most: 1_000_000 };
const QUICK: Scale = Scale { rounds: 1, seconds: 0.1, probe: 150, most: 1_000 };

/// Seconds; a fill that would take longer is left out.
const LONGEST_FILL: f64 = 30.0;

/// Everything that a run needs.
#[derive(Debug)]
struct Comparison {
    scale: Scale,
    programs: Programs,
    server: Server,
    folder: PathBuf,
    /// End-to-end rate of each contender. Its latency is measured at half of that load.
    through: BTreeMap<&'static str, f64>,
    /// Items per second of each contender so far, in workloads of fixed size.
    fills: BTreeMap<(&'static str, &'static str), f64>,
    /// A proxy that adds a millisecond to each round trip.
    proxy: Proxy,
    _runtime: Runtime,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = target_folder()?.join("compare");
    let programs = Programs::prepare(&folder)?;
    let server = Server::start(&setup::server(Flavour::Redis70)?)?;
    let runtime = Runtime::new()?;
    let proxy = runtime.block_on(Proxy::start(server.port()))?;
    proxy.latency(Duration::from_millis(1));
    let scale = if options.quick { QUICK } else { FULL };
    let mut comparison = Comparison {
        scale,
        programs,
        server,
        folder,
        through: BTreeMap::new(),
        fills: BTreeMap::new(),
        proxy,
        _runtime: runtime,
    };
    let (limit, mut rows) = (comparison.limit(), Vec::new());
    for work in WORKS.iter().filter(|work| options.only.as_ref().is_none_or(|only| work.name.starts_with(only))) {
        let (measured, raw) = comparison.measure(work)?;
        let path = comparison.folder.join(format!("{}.json", work.name));
        fs::write(path, serde_json::to_string_pretty(&raw)?)?;
        rows.extend(measured);
        if options.write {
            // So that an interrupted run keeps its results.
            page::write(&page::tables(&rows, &limit, &comparison.programs.missing))?;
        }
    }
    ensure!(!rows.is_empty(), "no workload has a name that begins with this");
    if options.json {
        println!("{}", json!({ "rows": rows.iter().map(Row::json).collect::<Vec<_>>() }));
    } else {
        print!("{}", page::tables(&rows, &limit, &comparison.programs.missing));
    }
    Ok(())
}

impl Comparison {
    /// The results of the server's own benchmark, or why there are none.
    fn limit(&self) -> String {
        let requests = if self.scale.rounds > 1 { 100_000 } else { 1_000 };
        benchmark::table(&self.server, requests).unwrap_or_else(|reason| format!("Not measured: {reason:#}\n"))
    }

    /// Runs all contenders in turn, several times over, so that a disturbance of the machine hits all of them.
    fn measure(&mut self, work: &'static Work) -> Result<(Vec<Row>, serde_json::Value)> {
        eprintln!("\n== {}", work.name);
        let mut samples: Vec<Samples> = Vec::new();
        for contender in work.contenders() {
            if let Some(reason) = self.programs.lacks(contender) {
                eprintln!("{:<18} {reason}", contender.name);
                continue;
            }
            samples.push(self.begin(work, contender)?);
        }
        for _ in 0..work.rounds(self.scale.rounds) {
            for sample in &mut samples {
                if sample.goes_on() {
                    let trial = self.trial(work, sample.contender, sample.items)?;
                    sample.push(trial);
                }
            }
        }
        if let Kind::Memory(_) = work.kind {
            let rates = samples.iter().filter(|sample| sample.goes_on());
            self.fills.extend(rates.map(|sample| ((sample.contender.name, work.command), sample.ops_per_s())));
        }
        if work.is_flow() {
            self.through.extend(samples.iter().map(|sample| (sample.contender.name, sample.ops_per_s())));
        }
        let raw = json!({ "work": work.name, "contenders": samples.iter().map(Samples::json).collect::<Vec<_>>() });
        let rows = rows::rows(work, &samples)?;
        for row in &rows {
            eprintln!("{}", row.line());
        }
        Ok((rows, raw))
    }

    /// Probes how many items the contender does in the time of a trial, so that nobody's figure reflects only its
    /// warm-up.
    fn begin(&self, work: &Work, contender: &'static Contender) -> Result<Samples> {
        if !matches!(work.kind, Kind::Rate | Kind::LocalRate) {
            return self.sized(work, contender);
        }
        let probe = self.trial(work, contender, self.scale.probe)?;
        let items = probe.ops_per_s().unwrap_or_default() * self.scale.seconds;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, clamped")]
        let mut samples =
            Samples::new(contender, (items as usize).clamp(self.scale.probe / 5, work.most().min(contender.most)));
        if probe.failure().is_some() {
            samples.push(probe);
        }
        Ok(samples)
    }

    /// Uses the number of items that the workload prescribes, or leaves the contender out if that would take too long.
    fn sized(&self, work: &Work, contender: &'static Contender) -> Result<Samples> {
        let mut samples = Samples::new(contender, work.size(self.scale.most, self.scale.timed()));
        #[expect(clippy::cast_precision_loss, reason = "at most some millions")]
        let items = samples.items as f64;
        if let Some(rate) = self.fills.get(&(contender.name, work.command))
            && items / rate > LONGEST_FILL
        {
            let reason = format!("left out: takes {:.0} s at {rate:.0} per second", items / rate);
            samples.push(Trial::failed(&reason));
        } else if let Kind::Memory(_) = work.kind {
            // Cached scripts must not count as memory of items.
            self.trial(work, contender, 10)?;
        }
        Ok(samples)
    }

    fn trial(&self, work: &Work, contender: &Contender, items: usize) -> Result<Trial> {
        let (server, programs, log) = (&self.server, &self.programs, self.folder.join("complaints.log"));
        let url = if work.far { self.proxy.url() } else { server.url() };
        let site = Site { server, url, programs, log };
        site.clear()?;
        let name = contender.name;
        if let Some(before) = work.prepare
            && name != LIMIT
        {
            let prepared = site.run(contender, before, &["--batch=1000".into(), format!("--items={items}")])?;
            if prepared.failure().is_some() {
                return Ok(prepared);
            }
        }
        let rate = self.through.get(name).map_or(100.0, |rate| (rate / 2.0).max(1.0));
        let seconds = self.scale.timed();
        let mut arguments = work.arguments();
        arguments.extend([format!("--items={items}"), format!("--rate={rate}"), format!("--seconds={seconds}")]);
        site.run(contender, work.command, &arguments).with_context(|| format!("{name} at {}", work.name))
    }
}
