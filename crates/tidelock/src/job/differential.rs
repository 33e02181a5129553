//! The model against real servers: the same random requests at the same pinned times must have the same outcomes.
//!
//! `TIDELOCK_SEED` repeats a run; the seed of each run is printed.

mod edges;
mod groups;
mod raw;

use std::collections::HashSet;
use std::sync::Arc;

use tokio::io::BufStream;
use tokio::net::TcpStream;

use self::raw::Raw;
use super::ears::News;
use super::model::{Model, Now};
use super::policy::Policy;
use super::store::{
    Acceptance, Accepted, Action, Change, Claim, Content, Due, FailureCode, GroupSettle, JobFilter, JobStore, Key,
    KeyKind, KeyLife, Look, NewJob, Origin, Overlapping, Rate, Rules, Settle, SlotNumber, View,
};
use crate::Tidelock;
use crate::backend::redis::UNSWEPT;
use crate::differential::{LostReplies, on_every_server};
use crate::handover::cursor::read_cursor;
use crate::name::Address;
use crate::time::{ManualClock, Timestamp};

/// Steps over all servers together.
const STEPS: usize = 100_000;

struct Run {
    random: fastrand::Rng,
    clock: ManualClock,
    model: Model,
    store: Arc<dyn JobStore>,
    address: Address,
    process: Arc<str>,
    /// Ids and fences of runs.
    runs: Vec<(u64, u64)>,
    ids: Vec<u64>,
    /// What groups were handed, in the form of settles.
    held: Vec<GroupSettle>,
    /// The outcomes of what groups did.
    happened: HashSet<&'static str>,
    news: Vec<News>,
    raw: Raw,
}

impl Run {
    fn now(&self) -> Now {
        Now::from_millis(self.clock.now().as_millis())
    }

    /// One step of the model, with what every operation begins and ends with.
    fn on_model<T>(&mut self, operation: impl FnOnce(&mut Model, Now) -> T) -> T {
        let now = self.now();
        self.model.advance(now);
        let outcome = operation(&mut self.model, now);
        self.model.wake(now, |_| true);
        self.news.extend(self.model.take_news().into_iter().map(|(_, news)| news));
        outcome
    }

    fn maybe<T>(&mut self, chance: f64, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.random.f64() < chance).then(|| value(self))
    }

    fn text(&mut self, options: &[&str]) -> Arc<str> {
        (*self.random.choice(options).expect("there are options")).into()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let size = self.random.usize(0..most);
        std::iter::repeat_with(|| self.random.u8(..)).take(size).collect()
    }

    fn rules(&mut self, plain: bool) -> Rules {
        if plain {
            return Rules {
                attempts: 2,
                max_crashes: 3,
                lease: 90,
                timeout: None,
                stop_grace: 5,
                max_wait: Some(300),
                retention: 200,
                policy: b"\0{}".to_vec(),
            };
        }
        Rules {
            attempts: self.random.u32(1..4),
            max_crashes: self.random.u32(1..4),
            lease: self.random.u64(1..150),
            timeout: self.maybe(0.3, |run| run.random.u64(1..100)),
            stop_grace: self.random.u64(0..50),
            max_wait: self.maybe(0.7, |run| run.random.u64(1..500)),
            retention: self.random.u64(1..400),
            policy: self.policy(),
        }
    }

    /// Any policy except for the one that only pages have.
    fn policy(&mut self) -> Vec<u8> {
        loop {
            let policy = self.bytes(10);
            if !Policy::limits(&policy) {
                return policy;
            }
        }
    }

    fn job(&mut self, plain: bool) -> NewJob {
        let content = Content { payload: self.bytes(40), ..Content::default() };
        let rules = self.rules(plain);
        let mut job = NewJob { content, due: Due::Now, priority: 0, key: None, rules, origin: None, max_depth: None };
        if plain {
            job.max_depth = self.maybe(0.1, |run| run.random.u64(1..40));
            return job;
        }
        let now = self.clock.now().as_millis();
        job.content.meta = self.maybe(0.2, |_| b"{\"a\":1}".to_vec()).unwrap_or_default();
        job.content.trace = self.maybe(0.2, |_| b"00-1".to_vec()).unwrap_or_default();
        job.content.ordering_key = self.maybe(0.3, |run| run.text(&["k", "kk", "k\u{1}", "x"]));
        job.due = match self.random.u8(0..5) {
            0 => Due::After(self.random.u64(0..120)),
            1 => Due::At(now.saturating_add_signed(self.random.i64(-50..120))),
            _ => Due::Now,
        };
        job.priority = self.maybe(0.3, |run| run.random.u8(0..10)).unwrap_or(0);
        job.key = self.maybe(0.3, |run| {
            let kind = if run.random.u8(0..4) == 0 { KeyKind::Trigger } else { KeyKind::Caller };
            let life = if run.random.bool() { KeyLife::WhileActive } else { KeyLife::For(run.random.u64(1..400)) };
            Key { kind, text: run.text(&["a", "b", "c", "d"]), life }
        });
        job.max_depth = self.maybe(0.1, |run| run.random.u64(1..40));
        job
    }

    fn origin(&mut self) -> Origin {
        let about = self.clock.now().as_millis() % 1_000 / 20;
        Origin {
            series: self.text(&["s", "s\0", "s\0t", "s\u{1}", "z"]),
            slot: self
                .maybe(0.7, |run| SlotNumber { revision: run.random.u64(1..3), slot: about + run.random.u64(0..6) }),
            overlap: match self.random.u8(0..3) {
                0 => Overlapping::Allow,
                1 => Overlapping::Skip,
                _ => Overlapping::Queue { max: self.random.u64(0..4) },
            },
            memory: self.random.u64(1..300),
            told: self.bytes(8),
        }
    }

    async fn submit(&mut self) {
        let count = if self.random.u8(0..4) == 0 { self.random.usize(1..6) } else { 1 };
        let plain = self.random.bool();
        let mut batch: Vec<_> = (0..count).map(|_| self.job(plain)).collect();
        if let (true, Some(limit)) = (plain, self.maybe(0.2, |run| run.random.u64(1..20))) {
            for job in &mut batch {
                job.max_depth = Some(limit);
            }
        }
        if count == 1 && !plain {
            batch[0].origin = self.maybe(0.3, Self::origin);
        }
        let expected = self.on_model(|model, now| model.submit(now, batch.clone()));
        let found = self.store.submit(&self.address, batch.clone()).await.unwrap();
        assert_eq!(expected, found, "submit {batch:?}");
        if let Accepted::All(all) = found {
            self.ids.extend(all.iter().filter_map(|one| match one {
                Acceptance::New { id } => Some(*id),
                Acceptance::Duplicate { .. } | Acceptance::Overlapping { .. } => None,
            }));
        }
    }

    async fn claim(&mut self) {
        let claim = Claim {
            max: if self.random.bool() { 1 } else { self.random.usize(0..8) },
            worker: self.text(&["one", "two"]),
            park: self.random.bool(),
        };
        let process = Arc::clone(&self.process);
        let mut expected = self.on_model(|model, now| model.claim(now, &process, &claim));
        let mut found = self.store.claim(&self.address, claim.clone()).await.unwrap();
        if expected.runs.is_empty() {
            assert_eq!(expected.next.map(|next| next.max(self.now().ms + 1)), found.next, "{claim:?}");
        }
        (expected.next, found.next) = (None, None);
        assert_eq!(expected, found, "{claim:?}");
        self.runs.extend(found.runs.iter().map(|run| (run.id, run.fence)));
    }

    async fn settle(&mut self) {
        let count = self.random.usize(1..6);
        let settles: Vec<_> = (0..count).filter_map(|_| self.one_settle()).collect();
        if settles.is_empty() {
            return;
        }
        let expected = self.on_model(|model, now| model.settle(now, settles.clone()));
        let found = self.store.settle(&self.address, settles.clone()).await.unwrap();
        assert_eq!(expected, found, "settle {settles:?}");
    }

    fn one_settle(&mut self) -> Option<Settle> {
        let recent = self.runs.len().saturating_sub(12);
        let (id, fence) = *self.random.choice(&self.runs[recent..])?;
        let fence = if self.random.u8(0..20) == 0 { fence + 1 } else { fence };
        let size = if self.random.u8(0..10) == 0 { 700 } else { 8 };
        let progress = self.maybe(0.2, |run| run.bytes(size));
        let delay = self.random.u64(0..3) * self.random.u64(0..60);
        let codes = [FailureCode::Error, FailureCode::Timeout, FailureCode::Fatal, FailureCode::Undecodable];
        let action = match self.random.u8(0..20) {
            0..4 => Action::Complete { result: self.bytes(20) },
            4..9 => Action::Fail {
                code: codes[self.random.usize(0..4).min(self.random.usize(0..4))],
                message: self.text(&["broke", "fell", ""]),
                delay,
            },
            9 => Action::Reschedule { delay },
            10 => Action::Release,
            11..13 => Action::Renew,
            13..15 => Action::Heartbeat { lease: self.maybe(0.5, |run| run.random.u64(1..200)) },
            15 => Action::Progress,
            _ => Action::Step { id: self.text(&["a", "b", "c", "charge"]), value: self.bytes(30) },
        };
        Some(Settle { id, fence, progress, action })
    }

    fn some_id(&mut self) -> u64 {
        let recent = self.ids.len().saturating_sub(30);
        self.random.choice(&self.ids[recent..]).copied().unwrap_or(1)
    }

    fn reason(&mut self) -> Option<Arc<str>> {
        self.maybe(0.6, |run| run.text(&["deploy", "fire", ""]))
    }

    fn rate(&mut self) -> Option<Rate> {
        self.maybe(0.5, |run| Rate { limit: run.random.u64(1..6), per: run.random.u64(1..120) })
    }

    async fn change(&mut self) {
        let change = match self.random.u8(0..40) {
            0..3 => Change::Pause { for_at_most: self.maybe(0.8, |run| run.random.u64(1..60)), reason: self.reason() },
            3..8 => Change::Resume,
            8..12 => Change::LimitRate(self.rate()),
            12..15 => Change::LimitHeld(self.maybe(0.5, |run| run.random.u64(1..8))),
            15..20 => Change::Cancel { id: self.some_id(), reason: self.reason() },
            20..30 => Change::Retry { id: self.some_id(), max_depth: self.maybe(0.2, |run| run.random.u64(1..40)) },
            30..39 => Change::Remove { id: self.some_id() },
            _ => Change::Delete,
        };
        let expected = self.on_model(|model, now| model.change(now, change.clone()));
        let found = self.store.change(&self.address, change.clone()).await.unwrap();
        assert_eq!(expected, found, "{change:?}");
    }

    async fn look(&mut self) {
        let id = self.some_id();
        let park = self.random.u8(0..3) == 0;
        let look = match self.random.u8(0..10) {
            0..2 => Look::Stats,
            2 => Look::Get { id },
            3 => Look::Join { id, park },
            4..6 => {
                let (after, max) = (self.random.u64(0..12) * self.random.u64(0..2), self.random.usize(1..6));
                Look::Events { id, after, max, park }
            }
            6 => Look::Places { id },
            7 => {
                let recent = self.runs.len().saturating_sub(12);
                let Some((id, fence)) = self.random.choice(&self.runs[recent..]).copied() else { return };
                Look::Memos { id, fence }
            }
            _ => {
                let filters = [
                    JobFilter::Ready,
                    JobFilter::Ready,
                    JobFilter::Delayed,
                    JobFilter::Running,
                    JobFilter::Completed,
                    JobFilter::Failed,
                    JobFilter::Cancelled,
                    JobFilter::TimedOut,
                ];
                let filter = *self.random.choice(&filters).expect("there are filters");
                Look::List { filter, limit: self.random.usize(1..10), after: None }
            }
        };
        self.compare_pages(look).await;
    }

    /// Reads a listing, or the events of a job, to the end.
    async fn compare_pages(&mut self, mut look: Look) {
        loop {
            let cursor = match &look {
                Look::List { after: Some(after), .. } => Some(read_cursor(after).unwrap()),
                _ => None,
            };
            let process = Arc::clone(&self.process);
            let expected = self.on_model(|model, now| model.look(now, &process, &look, cursor));
            let found = self.store.look(&self.address, look.clone()).await.unwrap();
            assert_eq!(expected, found, "{look:?}");
            match (&mut look, found) {
                (Look::List { after, .. }, View::Jobs(_, Some(next))) => *after = Some(next),
                (Look::Events { after, .. }, View::Events(events)) if !events.events.is_empty() => {
                    *after = events.events.last().expect("there are some").0;
                }
                _ => return,
            }
        }
    }

    async fn step(&mut self) {
        match self.random.u8(0..100) {
            0..26 => self.submit().await,
            26..46 => self.claim().await,
            46..66 => self.settle().await,
            66..71 => self.change().await,
            71..80 => self.look().await,
            80..88 => self.group_step().await,
            88..98 => self.clock.advance(std::time::Duration::from_millis(self.random.u64(0..30))),
            _ => {
                let now = self.clock.now().as_millis();
                let back = self.random.u8(0..5) == 0;
                let by = self.random.u64(0..400);
                self.clock.set(Timestamp::from_millis(if back { now - by.min(20) } else { now + by }));
            }
        }
    }
}

impl Run {
    /// Removes all jobs, lets everything else expire, and checks that nothing is left.
    async fn leave_nothing(&mut self) {
        self.raw.check_lifetimes(&self.address).await;
        for id in std::mem::take(&mut self.ids) {
            for change in [Change::Cancel { id, reason: None }, Change::Remove { id }] {
                // Some end by time instead.
                let change = if self.random.bool() { change } else { Change::Cancel { id, reason: None } };
                let expected = self.on_model(|model, now| model.change(now, change.clone()));
                assert_eq!(expected, self.store.change(&self.address, change).await.unwrap());
            }
        }
        self.clock.advance(std::time::Duration::from_secs(2));
        for look in [Look::Stats, Look::Stats, Look::Stats] {
            self.compare_pages(look).await;
        }
        for change in [Change::Resume, Change::LimitRate(None), Change::LimitHeld(None)] {
            let expected = self.on_model(|model, now| model.change(now, change.clone()));
            assert_eq!(expected, self.store.change(&self.address, change).await.unwrap());
        }
        self.raw.check_empty(&self.address).await;
    }
}

async fn run_on(url: &str, seed: u64, name: &str) -> Run {
    let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
    let prefix = format!("{UNSWEPT}.{seed}.{}", fastrand::u32(..));
    let tide = Tidelock::connect(url).prefix(&prefix).clock(&clock).await.unwrap();
    let stream = match url.strip_prefix("redis://") {
        Some(host) => Some(BufStream::new(TcpStream::connect(host).await.unwrap())),
        None => None,
    };
    Run {
        raw: Raw { stream, prefix },
        random: fastrand::Rng::with_seed(seed),
        clock,
        model: Model::default(),
        store: tide.world.backend.job(),
        address: Address::new(&"default".into(), name),
        process: "process".into(),
        runs: Vec::new(),
        ids: Vec::new(),
        held: Vec::new(),
        happened: HashSet::new(),
        news: Vec::new(),
    }
}

async fn differential(url: String, steps: usize, seed: u64) {
    let mut run = run_on(&url, seed, "j").await;
    for round in 0..steps.div_ceil(500) {
        run.address = Address::new(&"default".into(), &format!("j{round}"));
        (run.model, run.runs, run.ids, run.held) = (Model::default(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..500 {
            run.step().await;
        }
        run.compare_pages(Look::Stats).await;
        if round % 5 == 0 {
            run.leave_nothing().await;
        }
        run.store.change(&run.address, Change::Delete).await.unwrap();
    }
    run.check_happened();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_and_the_servers_agree() {
    on_every_server(STEPS, differential).await;
}

/// Lost replies: a repeated request must get the first answer, and nothing may happen twice.
async fn lossy(url: String, steps: usize, seed: u64) {
    let Some(way) = LostReplies::before(&url).await else { return };
    let mut run = run_on(&way.url(), seed, "lossy").await;
    for round in 0..steps.div_ceil(500) {
        run.address = Address::new(&"default".into(), &format!("lossy {round}"));
        (run.model, run.runs, run.ids, run.held) = (Model::default(), Vec::new(), Vec::new(), Vec::new());
        for step in 0..500 {
            way.at_step(step);
            run.step().await;
        }
        run.compare_pages(Look::Stats).await;
        run.store.change(&run.address, Change::Delete).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_replies_change_nothing() {
    on_every_server(STEPS / 10, lossy).await;
}
