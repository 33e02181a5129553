//! The command line.

use clap::{Parser, Subcommand};

use crate::{demo, ephemeral, job, ping, queue, registry, schedule, topic};

/// Coordination primitives for fleets: see them work, and look into queues, topics, jobs and records.
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
    /// Ask the server, and tell how long the answer took.
    Ping(ping::Args),
    /// Look into a queue, and repair it.
    Queue {
        #[command(subcommand)]
        verb: queue::Verb,
    },
    /// Publish events, follow a topic, look at its groups.
    Topic {
        #[command(subcommand)]
        verb: topic::Verb,
    },
    /// Look at jobs, and change what becomes of them.
    Job {
        #[command(subcommand)]
        verb: job::Verb,
    },
    /// Look at the schedules of a fleet, and change them.
    Schedule {
        #[command(subcommand)]
        verb: schedule::Verb,
    },
    /// Look at the records of a registry, and watch them.
    Registry {
        #[command(subcommand)]
        verb: registry::Verb,
    },
    /// Look at the records of an ephemeral store, and watch them.
    Ephemeral {
        #[command(subcommand)]
        verb: ephemeral::Verb,
    },
}

const AFTER_HELP: &str = "\
Examples:
  tidelock demo                                       everything in this process, no server needed
  tidelock demo --redis redis://127.0.0.1 --processes 4 --chaos
  export TIDELOCK_URL=redis://127.0.0.1               said once instead of --redis each time
  tidelock ping
  tidelock queue stats mail
  tidelock queue dead-letters mail --json | jq .items[0]
  tidelock topic tail orders --from earliest
  tidelock topic groups orders                        how far each group is behind
  tidelock job ls mail.send --state failed
  tidelock schedule ls platform
  tidelock registry watch services --prefix apps/mail/

Servers (--redis or TIDELOCK_URL; the variable keeps a password out of the list of processes):
  redis://[user[:password]@]host[:port][/db]          Redis 6.2 or later, Valkey (also valkey://)
  redis-cluster://host:port,host:port                 some nodes of a cluster
  redis-sentinel://host:port,host:port?master=name    sentinels and the name of what they watch
  rediss://, rediss-cluster://, rediss-sentinel://    the same over TLS
  redis+unix:///path[?db=0&user=name&pass=password]   a socket of this machine (also unix://)
What they ask for beside: TIDELOCK_ROOT_CERTIFICATE, TIDELOCK_CLIENT_CERTIFICATE and TIDELOCK_CLIENT_KEY name PEM files,
TIDELOCK_SENTINEL_USER and TIDELOCK_SENTINEL_PASSWORD are for the sentinels themselves; each is an option, too.

Exit codes:
  0    done; the answer is yes
  1    the answer is no: nothing there, nothing changed
  2    the request is wrong: arguments, a URL, a file that cannot be read
  3    the server cannot be reached, or refused
  4    the demo's account does not add up
  130  interrupted";
