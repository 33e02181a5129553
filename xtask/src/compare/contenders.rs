//! The contenders, and what each of them does not do.

/// The language of a contender, which determines how to run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Rust,
    Node,
    Python,
}

/// One library, used in one way.
#[derive(Debug)]
pub(super) struct Contender {
    /// Its name in `bench-compare`.
    pub(super) name: &'static str,
    /// Its name in the tables.
    pub(super) label: &'static str,
    pub(super) language: Language,
    /// The package whose version is shown.
    pub(super) package: &'static str,
    /// What it does not do, for the last column of the tables.
    pub(super) lacks: &'static str,
    /// The most items that it can take at once.
    pub(super) most: usize,
}

/// The contender that measures the server instead of a library.
pub(super) const LIMIT: &str = "no-op";

const fn contender(
    name: &'static str,
    label: &'static str,
    language: Language,
    package: &'static str,
    lacks: &'static str,
) -> Contender {
    Contender { name, label, language, package, lacks, most: usize::MAX }
}

/// Limited to 5,000 items at once, because it moves all due items in one call, and Lua accepts some 8,000 arguments.
const fn apalis(lacks: &'static str) -> Contender {
    Contender { most: 5_000, ..contender("apalis-redis", "apalis-redis", Language::Rust, "apalis-redis", lacks) }
}

/// N, the reference rate.
pub(super) static NO_OP: Contender =
    contender(LIMIT, "no-op script (N)", Language::Rust, "redis", "any work: this is the limit of one connection");

const SIDEKIQ: Contender = contender(
    "rusty-sidekiq",
    "rusty-sidekiq",
    Language::Rust,
    "rusty-sidekiq",
    "no ack: a dead worker loses its items; no state, no result",
);

const TASKIQ: Contender = contender(
    "taskiq",
    "taskiq",
    Language::Python,
    "taskiq",
    "no state except queued and done; processed items stay in the stream; delays need a separate process",
);

const ARQ: Contender =
    contender("arq", "arq", Language::Python, "arq", "polls every 0.5 s; no state except queued and done");

/// Libraries that hand work from one process to another. The others are compared with the first.
pub(super) static JOBS: [Contender; 10] = [
    contender("tidelock-job", "Tidelock job", Language::Rust, "tidelock", ""),
    contender("tidelock-queue", "Tidelock queue", Language::Rust, "tidelock", "no state, result or events per item"),
    contender(
        "bullmq",
        "BullMQ (Node.js)",
        Language::Node,
        "bullmq",
        "retries only on request; a lost reply to an enqueue can create a duplicate job",
    ),
    contender(
        "bullmq-official",
        "BullMQ (Rust)",
        Language::Rust,
        "bullmq-official",
        "like BullMQ (Node.js); cannot wait for a result",
    ),
    apalis("polls (here every 0.1 s); fails when more than about 8,000 items are due; no ordering keys"),
    SIDEKIQ,
    TASKIQ,
    ARQ,
    contender("arq-10ms", "arq, polling every 10 ms", Language::Python, "arq", "no state except queued and done"),
    contender(
        "tidelock-job-prefetch",
        "Tidelock job, prefetch 64",
        Language::Rust,
        "tidelock",
        "jobs can wait up to 1 s in a busy worker",
    ),
];

/// The same, for workloads with a rate limit.
pub(super) static LIMITED: [Contender; 9] = [
    contender("tidelock-job", "Tidelock job", Language::Rust, "tidelock", "one limit per job name; fixed window"),
    contender(
        "tidelock-queue",
        "Tidelock queue",
        Language::Rust,
        "tidelock",
        "one limit per queue; fixed window; no state, result or events per item",
    ),
    contender("bullmq", "BullMQ (Node.js)", Language::Node, "bullmq", "one limit per queue; fixed window"),
    contender("bullmq-official", "BullMQ (Rust)", Language::Rust, "bullmq-official", "like BullMQ (Node.js)"),
    apalis("limits each worker separately; fixed window"),
    SIDEKIQ,
    TASKIQ,
    ARQ,
    contender(
        "tidelock-job-prefetch",
        "Tidelock job, prefetch 64",
        Language::Rust,
        "tidelock",
        "like the job; jobs can wait up to 1 s in a busy worker",
    ),
];

/// Without the last two, which process differently from others of the same library, but do not enqueue differently.
pub(super) static SENDERS: &[Contender] = JOBS.split_at(JOBS.len() - 2).0;

pub(super) static LOCKS: [Contender; 3] = [
    contender("tidelock-mutex", "Tidelock mutex", Language::Rust, "tidelock", ""),
    contender(
        "rslock",
        "rslock",
        Language::Rust,
        "rslock",
        "no waiter order, no fence, no renewal; waiters poll every 0 to 4 ms (200 by default)",
    ),
    contender(
        "set-nx",
        "SET NX in a loop",
        Language::Rust,
        "redis",
        "no waiter order, no fence, no renewal; waiters poll every 1 to 3 ms",
    ),
];

pub(super) static CHECKS: [Contender; 3] = [
    contender("tidelock-ratelimit", "Tidelock ratelimit", Language::Rust, "tidelock", ""),
    contender(
        "rate-limiter-flexible",
        "rate-limiter-flexible (Node.js)",
        Language::Node,
        "rate-limiter-flexible",
        "fixed windows only; one call per limit",
    ),
    contender(
        "incr",
        "INCR and EXPIRE",
        Language::Rust,
        "redis",
        "fixed windows that start at the first call; one limit per check; counts refusals",
    ),
];

pub(super) static LOCAL_CHECKS: [Contender; 2] = [
    contender("tidelock-in-process", "Tidelock ratelimit", Language::Rust, "tidelock", ""),
    contender(
        "governor",
        "governor",
        Language::Rust,
        "governor",
        "one limit per check; keys stay until it is told to shrink",
    ),
];

pub(super) static TOPICS: [Contender; 2] = [
    contender("tidelock-topic", "Tidelock topic", Language::Rust, "tidelock", ""),
    contender(
        "streams",
        "bare streams",
        Language::Rust,
        "redis",
        "no retention, leases, retries, dead letters, per-key order or gap reports; one connection per follower",
    ),
];

pub(super) static RETRIES: [Contender; 2] = [
    contender("tidelock-retry", "Tidelock retry", Language::Rust, "tidelock", ""),
    contender("backon", "backon", Language::Rust, "backon", "no budget, no timeout per attempt, no stop signal"),
];

pub(super) static CRONS: [Contender; 2] = [
    contender("tidelock-cron", "Tidelock cron", Language::Rust, "tidelock", ""),
    contender("croner", "croner", Language::Rust, "croner", ""),
];

pub(super) static SCHEDULERS: [Contender; 2] = [
    contender("tidelock-scheduler", "Tidelock scheduler", Language::Rust, "tidelock", ""),
    contender(
        "bullmq",
        "BullMQ job schedulers (Node.js)",
        Language::Node,
        "bullmq",
        "no history; missed slots are neither reported nor caught up",
    ),
];

pub(super) static REGISTRIES: [Contender; 1] =
    [contender("tidelock-registry", "Tidelock registry", Language::Rust, "tidelock", "")];
