//! `tidelock demo`: a fleet of workers takes orders from a file, and the account has to add up.

mod audit;
mod course;
mod crew;
mod digest;
mod event;
mod input;
mod ledger;
mod members;
mod order;
mod plan;
mod progress;
mod projection;
mod readers;
mod report;
mod worker;

use std::path::PathBuf;

use anyhow::Context as _;
use tidelock::job::JobId;
use tidelock::{SECOND, Tidelock};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use self::digest::Digests;
use self::input::Input;
use self::members::Presence;
use self::plan::{PATIENCE, Plan};
use crate::exit::Exit;
use crate::server::read_pem;
use crate::{output, stop};

const AFTER_HELP: &str = "\
FILE has one order per line, as JSON:
  {\"id\":\"o-1\",\"warehouse\":\"cadiz\",\"item\":\"buoy\",\"quantity\":2,\"amount_cents\":1200}
  id             text, 1..=512 bytes; an order whose id was seen before is refused as a duplicate
  warehouse      text; warehouse and item together are the shelf that is locked while the order is packed
  item           text
  quantity       1..=1000000
  amount_cents   1..=1000000000
  work_ms        optional: how long packing takes, up to 60000
  fail_attempts  optional: the first N attempts to charge fail; 5 are made in all
Other fields are ignored. Blank lines are skipped, lines over 16 MiB refused; both are counted. Every other line becomes
a job with the line as its input: a line that is not an order fails, with its bytes and the reason.

Each order is a job. One of its steps waits for the payment provider's rate limit (--rate), locks the shelf, packs, and
charges in a ledger that checks order ids and fences; once stored, the step is not run again. The outcome of the order is
published to a topic, where two groups add the events up to the revenue and to the items sold. Each worker process is a
member of a registry, and keeps a heartbeat. At the end these are compared: what was submitted, what the ledger shows,
what the jobs count, what the topic holds, what the groups made of it, and which members were seen.
  accepted = settled + dead   (+ unfinished, after Ctrl-C)
  events     one for each order that was settled or died, however often it was run
  lost       accepted, but neither charged nor failed
  double     two holders of one lock at once, one order accepted twice, or one run handled twice
  replayed   run again after a charge and not charged again: what at least once means

A schedule sends a digest each second. Every process registers it and may lead; each slot is one run, whoever crashes.

When a third of the orders is done, the reader that counts items crashes with events in hand, and another one takes over;
and one of the workers is told to stop, and gives back what it has not finished.

--processes starts worker processes; --chaos kills the first of them with SIGKILL when a third of the orders is done.
It is not replaced: the others take over its work when its leases of 3 s have expired. The locks and the limit of a run
expire from the server within about an hour; everything else is deleted at the end.

Examples:
  tidelock demo
  tidelock demo my-orders.ndjson --json
  tidelock demo --print-orders > my-orders.ndjson
  tidelock demo --redis redis://127.0.0.1 --processes 4 --chaos

Exit code 0 if the account adds up, 4 if not (or if a worker process died by itself), 130 after Ctrl-C (which lets the
workers finish what they hold).";

/// Arguments of `tidelock demo`.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
#[expect(clippy::struct_excessive_bools, reason = "they are switches of a command line")]
pub(crate) struct Args {
    /// A file of orders, `-` for stdin [default: about 5,000 built-in orders].
    file: Option<PathBuf>,
    /// Keep jobs, topic, locks and records on this server instead of in this process.
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// The prefix of all keys.
    #[arg(long, value_name = "TEXT", default_value = "tidelock", requires = "redis")]
    prefix: String,
    /// Trust only the authorities in this PEM file.
    #[arg(long, value_name = "FILE", requires = "redis")]
    root_certificate: Option<PathBuf>,
    /// The number of worker processes to start [default: work in this process].
    #[arg(long, value_name = "COUNT", requires = "redis", value_parser = clap::value_parser!(u16).range(1..=64))]
    processes: Option<u16>,
    /// Kill a worker process midway; takes at least two.
    #[arg(long, requires = "processes")]
    chaos: bool,
    /// The number of concurrent orders per process.
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    concurrency: u16,
    /// The payment provider's limit: total charges per second.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Do not delete the jobs, the topic and the records at the end.
    #[arg(long, requires = "redis")]
    keep: bool,
    /// Print the final accounts as one JSON object, and nothing else on stdout.
    #[arg(long)]
    json: bool,
    /// Print the built-in orders and do nothing else.
    #[arg(long, exclusive = true)]
    print_orders: bool,
}

/// Runs the demo.
pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    if args.print_orders {
        output::text(&String::from_utf8_lossy(input::BUILT_IN))?;
        return Ok(Exit::Yes);
    }
    if args.chaos && args.processes.is_none_or(|count| count < 2) {
        Err(crate::exit::Wrong("--chaos needs --processes 2 or more: somebody has to take over".to_owned()))?;
    }
    let input = Input::open(args.file.as_deref())?;
    let plan = args.plan()?;
    let stop = stop::on_signal();
    // A wrong address should be reported soon; a server that was reachable once is waited for.
    plan.open(5 * SECOND).await?;
    let tide = plan.open(PATIENCE).await?;
    let outcome = course::carry_out(&args, &plan, &tide, input, stop).await;
    if !args.keep {
        let deleted = delete(&plan, &tide).await;
        // The first error is the one to report.
        if outcome.is_ok() {
            deleted?;
        }
    }
    let report = outcome?;
    tide.shutdown(SECOND).await;
    output::answer(args.json, &report, &report.to_string())?;
    Ok(report.exit())
}

/// Removes what the run has left on the backend and would stay there for long.
async fn delete(plan: &Plan, tide: &Tidelock) -> tidelock::Result<()> {
    plan.orders(tide)?.delete().await?;
    plan.topic(tide)?.delete().await?;
    plan.members(tide)?.delete().await?;
    plan.heartbeats(tide)?.delete().await?;
    digest::delete(plan, tide).await
}

/// Runs one worker process: the plan arrives on stdin, and the end of stdin means stop.
pub(crate) async fn work() -> anyhow::Result<Exit> {
    // Ctrl-C on a terminal goes to all processes; the parent decides what it means.
    tokio::spawn(async {
        loop {
            stop::signal().await;
        }
    });
    let mut stdin = BufReader::new(tokio::io::stdin());
    let mut line = String::new();
    stdin.read_line(&mut line).await?;
    let plan: Plan = serde_json::from_str(&line).context("this command is started by `tidelock demo` alone")?;
    let tide = plan.open(PATIENCE).await?;
    let shop = plan.shop(&tide)?;
    let ended = async move {
        let mut rest = String::new();
        let _ = stdin.read_line(&mut rest).await;
    };
    let presence = Presence::begin(&plan, &tide).await?;
    let digests = Digests::begin(&plan, &tide, &shop).await?;
    plan.workers(&tide, &shop)?.run_until(ended).await?;
    digests.end().await?;
    presence.end().await?;
    tide.shutdown(SECOND).await;
    Ok(Exit::Yes)
}

impl Args {
    fn plan(&self) -> anyhow::Result<Plan> {
        let millis = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        Ok(Plan {
            run: format!("demo-{millis}-{}", std::process::id()),
            url: self.redis.clone(),
            prefix: self.prefix.clone(),
            root_certificate: self.root_certificate.as_deref().map(read_pem).transpose()?,
            name: "demo".to_owned(),
            concurrency: self.concurrency.into(),
            rate: self.rate,
            ledger: None,
        })
    }
}

/// The number of a job, as written in the ledger.
fn number(id: JobId) -> u64 {
    id.to_string().parse().expect("the id of a job is a decimal number")
}
