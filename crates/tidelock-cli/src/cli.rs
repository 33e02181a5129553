//! The command line.

use clap::{Parser, Subcommand};

use crate::{demo, ephemeral, job, ping, queue, registry, schedule, topic};

/// Coordination primitives for fleets: run a demo, and inspect and manage queues, topics, jobs, schedules and records.
#[derive(Parser)]
#[command(name = "tidelock", version, after_help = AFTER_HELP, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a fleet of workers over a file of orders, and check that the account adds up.
    Demo(demo::Args),
    /// One worker process of a demo; its parent tells it what to do on stdin.
    #[command(hide = true)]
    DemoWorker,
    /// Ping the server, and print how long the answer took.
    Ping(ping::Args),
    /// Inspect a queue, send messages, manage dead letters.
    Queue {
        #[command(subcommand)]
        verb: queue::Verb,
    },
    /// Publish events, follow a topic, inspect its groups.
    Topic {
        #[command(subcommand)]
        verb: topic::Verb,
    },
    /// Inspect, submit, retry, cancel and remove jobs.
    Job {
        #[command(subcommand)]
        verb: job::Verb,
    },
    /// Inspect, add, pause, trigger and remove schedules.
    Schedule {
        #[command(subcommand)]
        verb: schedule::Verb,
    },
    /// List and watch the records of a registry.
    Registry {
        #[command(subcommand)]
        verb: registry::Verb,
    },
    /// List and watch the records of an ephemeral store.
    Ephemeral {
        #[command(subcommand)]
        verb: ephemeral::Verb,
    },
}

const AFTER_HELP: &str = "\
Examples:
  tidelock demo                                       everything in this process, no server needed
  tidelock demo --redis redis://127.0.0.1 --processes 4 --chaos
  export TIDELOCK_URL=redis://127.0.0.1               instead of --redis each time
  tidelock ping
  tidelock queue stats mail
  tidelock queue dead-letters mail --json | jq .items[0]
  tidelock topic tail orders --from earliest
  tidelock topic groups orders                        how far each group is behind
  tidelock job ls mail.send --state failed
  tidelock schedule ls platform
  tidelock registry watch services --prefix apps/mail/

Servers (--redis or TIDELOCK_URL; the variable keeps a password out of the process list):
  redis://[user[:password]@]host[:port][/db]          Redis 6.2 or later, Valkey (also valkey://)
  redis-cluster://host:port,host:port                 some nodes of a cluster
  redis-sentinel://host:port,host:port?master=name    sentinels and the name of the primary they watch
  rediss://, rediss-cluster://, rediss-sentinel://    the same over TLS
  redis+unix:///path[?db=0&user=name&pass=password]   a socket on this machine (also unix://)
Also from the environment: TIDELOCK_ROOT_CERTIFICATE, TIDELOCK_CLIENT_CERTIFICATE and TIDELOCK_CLIENT_KEY name PEM files;
TIDELOCK_SENTINEL_USER and TIDELOCK_SENTINEL_PASSWORD are for the sentinels themselves. Each is an option, too.

Exit codes:
  0    done; the answer is yes
  1    the answer is no: nothing there, nothing changed
  2    the request is wrong: arguments, a URL, a file that cannot be read
  3    the server cannot be reached, or refused
  4    the demo's account does not add up
  130  interrupted";
