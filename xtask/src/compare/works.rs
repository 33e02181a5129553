//! What is measured, in the order of the tables.

use super::contenders::{
    CHECKS, CRONS, Contender, JOBS, LIMITED, LOCAL_CHECKS, LOCKS, NO_OP, REGISTRIES, RETRIES, SCHEDULERS, SENDERS,
    TOPICS,
};

/// What a workload measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Items per second, with as many items as fill the time of a trial.
    Rate,
    /// The same without a server.
    LocalRate,
    /// Items per second that get through under a limit, relative to those that it allows.
    Held,
    /// Latency in milliseconds.
    Latency,
    /// Bytes of server memory per item, with this many items.
    Memory(usize),
}

#[derive(Debug)]
pub(super) struct Work {
    pub(super) name: &'static str,
    /// The heading of its table. Workloads with the same title share a table.
    pub(super) title: &'static str,
    pub(super) kind: Kind,
    /// Its name in `bench-compare`.
    pub(super) command: &'static str,
    callers: usize,
    batch: usize,
    limit: Option<RateLimit>,
    /// The workload that prepares the items of this one.
    pub(super) prepare: Option<&'static str>,
    /// Whether each round trip to the server takes a millisecond more.
    pub(super) far: bool,
    contenders: &'static [Contender],
}

/// A number of items per window.
#[derive(Clone, Copy, Debug)]
struct RateLimit {
    items: u32,
    window_ms: u32,
}

/// The defaults: one caller, nothing prepared, as many items as fit the time.
const JOB: Work = Work {
    name: "",
    title: "",
    kind: Kind::Rate,
    command: "",
    callers: 1,
    batch: 100,
    limit: None,
    prepare: None,
    far: false,
    contenders: &JOBS,
};

const ENQUEUE: Work = Work { command: "enqueue", contenders: SENDERS, ..JOB };
const PROCESS: Work = Work { command: "process", prepare: Some("fill"), ..JOB };
const PACED: Work = Work { callers: 10, contenders: &LIMITED, ..PROCESS };
const LATENCY: Work = Work { kind: Kind::Latency, ..JOB };
const LOCK: Work = Work { contenders: &LOCKS, ..JOB };
const TOPIC: Work = Work { contenders: &TOPICS, callers: 64, ..JOB };

const fn fill(name: &'static str, items: usize, contenders: &'static [Contender]) -> Work {
    let title = "Memory of queued 100-byte items, by count";
    Work { name, title, kind: Kind::Memory(items), command: "fill", batch: 1_000, contenders, ..JOB }
}

const fn delay(name: &'static str, items: usize) -> Work {
    Work { title: "Memory of delayed 100-byte items, by count", command: "delay", ..fill(name, items, SENDERS) }
}

const fn schedules(name: &'static str, items: usize) -> Work {
    let title = "Memory of schedules, by count";
    Work { title, command: "schedule", ..fill(name, items, &SCHEDULERS) }
}

const fn records(name: &'static str, items: usize) -> Work {
    let title = "Memory of registry records, by count";
    Work { title, command: "register", ..fill(name, items, &REGISTRIES) }
}

pub(super) static WORKS: [Work; 42] = [
    Work { name: "job.enqueue_1", title: "Enqueue one by one, one caller", ..ENQUEUE },
    Work { name: "job.enqueue_64", title: "Enqueue one by one, 64 callers", callers: 64, ..ENQUEUE },
    Work { name: "job.bulk", title: "Enqueue in bulk, 100 per call, one caller", command: "bulk", ..ENQUEUE },
    Work { name: "job.process_1", title: "Process, one handler", ..PROCESS },
    Work { name: "job.process_10", title: "Process, 10 handlers", callers: 10, ..PROCESS },
    Work { name: "job.process_64", title: "Process, 64 handlers", callers: 64, ..PROCESS },
    Work {
        name: "job.limit_far",
        title: "Process, 10 handlers, rate limit never reached: 100,000 per second",
        command: "paced",
        limit: Some(RateLimit { items: 100_000, window_ms: 1_000 }),
        ..PACED
    },
    Work {
        name: "job.limit_reached",
        title: "Process, 10 handlers, rate limit always reached: 100 per 100 ms",
        kind: Kind::Held,
        command: "held",
        limit: Some(RateLimit { items: 100, window_ms: 100 }),
        ..PACED
    },
    Work { name: "job.flow", title: "64 callers enqueue, 64 handlers process", command: "flow", callers: 64, ..JOB },
    Work { name: "job.ordered", title: "The same, with 100 ordering keys", command: "ordered", callers: 64, ..JOB },
    Work {
        name: "job.latency_idle",
        title: "From enqueue to handler, worker idle",
        command: "idle",
        callers: 10,
        ..LATENCY
    },
    Work {
        name: "job.latency_loaded",
        title: "From enqueue to handler, at half of the end-to-end rate",
        command: "loaded",
        callers: 64,
        ..LATENCY
    },
    Work {
        name: "mutex.uncontended",
        title: "Lock and unlock, 64 callers, a separate resource for each lock",
        command: "uncontended",
        callers: 64,
        ..LOCK
    },
    Work {
        name: "mutex.contended",
        title: "Lock and unlock, 16 callers, one resource",
        command: "contended",
        callers: 16,
        ..LOCK
    },
    Work {
        name: "ratelimit.check",
        title: "Rate limit check, 64 callers, 1,000 users",
        command: "check",
        callers: 64,
        contenders: &CHECKS,
        ..JOB
    },
    Work {
        name: "ratelimit.in_process",
        title: "The same in process, one caller",
        kind: Kind::LocalRate,
        command: "check",
        contenders: &LOCAL_CHECKS,
        ..JOB
    },
    Work { name: "topic.publish", title: "Publish to a log, 64 callers", command: "publish", ..TOPIC },
    Work {
        name: "topic.consume",
        title: "A group works through a log",
        command: "consume",
        prepare: Some("log"),
        ..TOPIC
    },
    Work {
        name: "topic.fan_out",
        title: "From publish to the last of 100 followers",
        kind: Kind::Latency,
        command: "fan-out",
        ..TOPIC
    },
    Work { name: "topic.memory", title: "Memory of 100-byte events", command: "log", ..fill("", 20_000, &TOPICS) },
    Work {
        name: "retry.call",
        title: "A call that succeeds at once, wrapped in a retry",
        kind: Kind::LocalRate,
        command: "retry",
        contenders: &RETRIES,
        ..JOB
    },
    Work {
        name: "cron.next",
        title: "The next slot of `*/15 8-17 * * MON-FRI` in Berlin",
        kind: Kind::LocalRate,
        command: "cron",
        contenders: &CRONS,
        ..JOB
    },
    fill("growth.queued_3", 1_000, SENDERS),
    fill("growth.queued_4", 10_000, SENDERS),
    fill("growth.queued_5", 100_000, SENDERS),
    fill("growth.queued_6", 1_000_000, SENDERS),
    delay("growth.delayed_3", 1_000),
    delay("growth.delayed_4", 10_000),
    delay("growth.delayed_5", 100_000),
    delay("growth.delayed_6", 1_000_000),
    schedules("growth.scheduled_3", 1_000),
    schedules("growth.scheduled_4", 10_000),
    schedules("growth.scheduled_5", 100_000),
    schedules("growth.scheduled_6", 1_000_000),
    records("growth.registered_3", 1_000),
    records("growth.registered_4", 10_000),
    records("growth.registered_5", 100_000),
    records("growth.registered_6", 1_000_000),
    Work { name: "far.enqueue_1", title: "1 ms away: enqueue, one caller", far: true, ..ENQUEUE },
    Work { name: "far.enqueue_64", title: "1 ms away: enqueue, 64 callers", callers: 64, far: true, ..ENQUEUE },
    Work { name: "far.process_10", title: "1 ms away: process, 10 handlers", callers: 10, far: true, ..PROCESS },
    Work {
        name: "far.latency_idle",
        title: "1 ms away: from enqueue to handler, worker idle",
        command: "idle",
        callers: 10,
        far: true,
        ..LATENCY
    },
];

impl Work {
    /// Its contenders, the one that the others are compared with first. Everything with a rate also has N.
    pub(super) fn contenders(&self) -> impl Iterator<Item = &'static Contender> {
        let limit = (self.kind == Kind::Rate).then_some(&NO_OP);
        self.contenders.iter().chain(limit)
    }

    /// Memory is measured once, because it is the same each time.
    pub(super) fn rounds(&self, rounds: usize) -> usize {
        if let Kind::Memory(_) = self.kind { 1 } else { rounds }
    }

    /// The number of items if it does not depend on the contender. A latency is sampled as often as time permits; a
    /// limit gets twice as many items as it may let through in that time.
    pub(super) fn size(&self, most: usize, seconds: f64) -> usize {
        match self.kind {
            Kind::Memory(items) => items.min(most),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
            Kind::Held => (self.allowed_per_s() * seconds * 2.0) as usize,
            _ => 400.min(most),
        }
    }

    /// The rate that its limit allows; infinite without one.
    pub(super) fn allowed_per_s(&self) -> f64 {
        self.limit.map_or(f64::INFINITY, |limit| f64::from(limit.items) * 1_000.0 / f64::from(limit.window_ms))
    }

    /// The number of items above which a rate does not become more precise.
    pub(super) fn most(&self) -> usize {
        if self.kind == Kind::LocalRate { 20_000_000 } else { 200_000 }
    }

    /// Whether its rate is end to end.
    pub(super) fn is_flow(&self) -> bool {
        self.command == "flow"
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![format!("--callers={}", self.callers), format!("--batch={}", self.batch)];
        if let Some(RateLimit { items, window_ms }) = self.limit {
            arguments.extend([format!("--limit={items}"), format!("--window={window_ms}")]);
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Kind, WORKS};

    #[test]
    fn each_work_has_a_name_of_its_own() {
        let names: BTreeSet<_> = WORKS.iter().map(|work| work.name).collect();
        assert_eq!(names.len(), WORKS.len());
        assert!(!names.contains(""));
    }

    #[test]
    fn a_limit_that_is_to_be_reached_has_more_before_it_than_it_allows() {
        let held: Vec<_> = WORKS.iter().filter(|work| work.kind == Kind::Held).collect();
        assert!(!held.is_empty());
        for work in held {
            assert!((work.allowed_per_s() - 1_000.0).abs() < 1e-9, "what its title says");
            assert_eq!(work.size(1_000_000, 1.5), 3_000);
            assert!(work.arguments().contains(&"--limit=100".to_owned()), "{:?}", work.arguments());
        }
    }
}
