//! The model against real servers: the same random requests at the same pinned times must have the same outcomes.
//!
//! `TIDELOCK_SEED` repeats a run; the seed of each run is printed.

use std::sync::Arc;

use super::model::{Model, Now};
use super::store::{
    Accepted, Action, Change, Content, DeadFilter, DeadReason, Dedup, Due, Look, NewMessage, Place, QueueStore, Rate,
    Requeue, Settle, Settled, State, Take, Taken, View,
};
use crate::Tidelock;
use crate::backend::redis::UNSWEPT;
use crate::differential::{LostReplies, on_every_server};
use crate::name::Address;
use crate::time::{ManualClock, Timestamp};

/// Steps over all servers together.
const STEPS: usize = 100_000;

struct Run {
    random: fastrand::Rng,
    clock: ManualClock,
    model: Model,
    store: Arc<dyn QueueStore>,
    address: Address,
    process: Arc<str>,
    receipts: Vec<(u64, u64)>,
    ids: Vec<u64>,
    /// Whether only plain messages are sent, and few of them ever leave the plain line.
    plain: bool,
    /// `max_age` of the plain messages.
    age: Option<u64>,
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
        outcome
    }

    fn maybe<T>(&mut self, chance: f64, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.random.f64() < chance).then(|| value(self))
    }

    fn text(&mut self, options: &[&str]) -> Arc<str> {
        (*self.random.choice(options).expect("there are options")).into()
    }

    fn message(&mut self, plain: bool) -> NewMessage {
        let size = self.random.usize(0..40);
        let payload = std::iter::repeat_with(|| self.random.u8(..)).take(size).collect();
        let mut message = NewMessage {
            content: Content { payload, ..Content::default() },
            due: Due::Now,
            priority: 0,
            dedup: None,
            max_age: self.age,
            retention: if self.age == Some(40) { None } else { Some(300) },
            max_depth: None,
        };
        if plain {
            return message;
        }
        let now = self.clock.now().as_millis();
        message.content.meta = self.maybe(0.2, |_| b"{\"a\":1}".to_vec()).unwrap_or_default();
        message.content.ordering_key = self.maybe(0.3, |run| run.text(&["k", "kk", "k\u{1}", "x"]));
        message.due = match self.random.u8(0..5) {
            0 => Due::After(self.random.u64(0..120)),
            1 => Due::At(now.saturating_add_signed(self.random.i64(-50..120))),
            _ => Due::Now,
        };
        message.priority = self.maybe(0.3, |run| run.random.u8(0..10)).unwrap_or(0);
        message.dedup =
            self.maybe(0.2, |run| Dedup { key: run.text(&["a", "b", "c", "d"]), window: run.random.u64(1..200) });
        message.max_age = self.maybe(0.8, |run| run.random.u64(1..600));
        message.retention = self.maybe(0.8, |run| run.random.u64(1..500));
        message.max_depth = self.maybe(0.1, |run| run.random.u64(1..40));
        message
    }

    fn batch(&mut self) -> Vec<NewMessage> {
        let count = if self.random.u8(0..if self.plain { 2 } else { 4 }) == 0 { self.random.usize(1..6) } else { 1 };
        let plain = self.plain || self.random.bool();
        let mut batch: Vec<_> = (0..count).map(|_| self.message(plain)).collect();
        if let (true, Some(limit)) = (plain, self.maybe(0.2, |run| run.random.u64(1..20))) {
            for message in &mut batch {
                message.max_depth = Some(limit);
            }
        }
        batch
    }

    fn a_take(&mut self) -> Take {
        Take {
            max: if self.random.bool() { 1 } else { self.random.usize(0..8) },
            lease: if self.plain && self.random.u8(0..16) > 0 { 5_000 } else { self.random.u64(1..150) },
            consumer: self.text(&["one", "two"]),
            max_deliveries: self.maybe(0.7, |run| run.random.u64(1..4)),
            place: if self.random.bool() { Place::Original } else { Place::Back },
            park: self.random.bool(),
        }
    }

    fn settles(&mut self) -> Vec<Settle> {
        let count = self.random.usize(1..6);
        (0..count).filter_map(|_| self.one_settle()).collect()
    }

    /// Also returns whether overdue messages took the room. Then these transitions are carried out, and the send is
    /// repeated.
    fn send_on_model(&mut self, batch: &[NewMessage]) -> (Accepted, bool) {
        let expected = self.on_model(|model, now| model.send(now, batch.to_vec()));
        let again = matches!(expected, Accepted::Full { .. }) && self.model.is_settling();
        (expected, again)
    }

    fn sent(&mut self, batch: &[NewMessage], mut expected: (Accepted, bool), found: Accepted) {
        while expected.1 {
            expected = self.send_on_model(batch);
        }
        assert_eq!(expected.0, found, "send {batch:?}");
        if let Accepted::All(sent) = found {
            self.ids.extend(sent.iter().map(|(id, _)| *id));
        }
    }

    fn taken(&mut self, take: &Take, mut found: Taken) {
        let process = Arc::clone(&self.process);
        let mut expected = self.on_model(|model, now| model.take(now, &process, take));
        (expected.next, found.next) = (None, None);
        assert_eq!(expected, found, "take {take:?}");
        self.receipts.extend(found.messages.iter().map(|message| (message.id, message.fence)));
    }

    fn settled(&mut self, settles: &[Settle], found: &[Settled]) {
        let expected = self.on_model(|model, now| model.settle(now, settles.to_vec()));
        assert_eq!(expected, found, "settle {settles:?}");
    }

    async fn send(&mut self) {
        let batch = self.batch();
        let found = self.store.send(&self.address, batch.clone()).await.unwrap();
        let expected = self.send_on_model(&batch);
        self.sent(&batch, expected, found);
    }

    async fn take(&mut self) {
        let take = self.a_take();
        let found = self.store.take(&self.address, take.clone()).await.unwrap();
        self.taken(&take, found);
    }

    async fn settle(&mut self) {
        let settles = self.settles();
        if settles.is_empty() {
            return;
        }
        let found = self.store.settle(&self.address, settles.clone()).await.unwrap();
        self.settled(&settles, &found);
    }

    /// Requests made at once share a trip: sends first, then settles, then takes. This needs a single thread; another
    /// one might start the trip with only the first of them.
    async fn together(&mut self) {
        let (batch, settles, take) = (self.batch(), self.settles(), self.a_take());
        let (taken, settled, sent) = tokio::join!(
            self.store.take(&self.address, take.clone()),
            async {
                if settles.is_empty() {
                    Ok(Vec::new())
                } else {
                    self.store.settle(&self.address, settles.clone()).await
                }
            },
            self.store.send(&self.address, batch.clone()),
        );
        let expected = self.send_on_model(&batch);
        self.settled(&settles, &settled.unwrap());
        self.taken(&take, taken.unwrap());
        self.sent(&batch, expected, sent.unwrap());
    }

    fn one_settle(&mut self) -> Option<Settle> {
        let recent = self.receipts.len().saturating_sub(12);
        let (id, fence) = *self.random.choice(&self.receipts[recent..])?;
        let fence = if self.random.u8(0..20) == 0 { fence + 1 } else { fence };
        let note = self.maybe(0.3, |run| run.text(&["why", "because"]));
        let error = self.maybe(0.3, |run| run.text(&["broke", "fell"]));
        let choice = if self.plain && self.random.u8(0..16) > 0 { 0 } else { self.random.u8(0..8) };
        let action = match choice {
            0..3 => Action::Ack,
            3..5 => Action::Nack { delay: self.random.u64(0..3) * self.random.u64(0..60), note, error },
            5 => Action::Bury {
                reason: if self.random.bool() { DeadReason::Rejected } else { DeadReason::Undecodable },
                note,
                error,
            },
            6 => Action::GiveBack,
            _ => Action::Touch { lease: self.random.u64(1..150) },
        };
        Some(Settle { id, fence, action })
    }

    fn filter(&mut self) -> DeadFilter {
        let now = self.clock.now().as_millis();
        DeadFilter {
            reason: self.maybe(0.3, |run| if run.random.bool() { DeadReason::Expired } else { DeadReason::Rejected }),
            moved_before: self.maybe(0.2, |run| now - run.random.u64(0..300)),
            moved_after: self.maybe(0.2, |run| now - run.random.u64(0..300)),
        }
    }

    fn requeue(&mut self) -> Requeue {
        Requeue {
            delay: self.random.u64(0..2) * self.random.u64(0..60),
            max_age: self.maybe(0.8, |run| run.random.u64(1..400)),
            retention: self.maybe(0.8, |run| run.random.u64(1..400)),
            max_depth: self.maybe(0.3, |run| run.random.u64(1..30)),
        }
    }

    fn some_id(&mut self) -> u64 {
        let recent = self.ids.len().saturating_sub(30);
        self.random.choice(&self.ids[recent..]).copied().unwrap_or(1)
    }

    fn rate(&mut self) -> Option<Rate> {
        self.maybe(0.5, |run| Rate { limit: run.random.u64(1..6), per: run.random.u64(1..120) })
    }

    async fn change(&mut self) {
        let limit = self.maybe(0.5, |run| run.random.u64(1..5));
        let change = match self.random.u8(0..40) {
            0..3 => Change::Pause {
                for_at_most: self.maybe(0.8, |run| run.random.u64(1..60)),
                reason: self.maybe(0.5, |run| run.text(&["deploy", "fire"])),
            },
            3..8 => Change::Resume,
            8..13 => Change::LimitRate(self.rate()),
            13..16 => Change::LimitHeld(self.maybe(0.5, |run| run.random.u64(1..8))),
            16..20 => Change::Remove { id: self.some_id() },
            20 => Change::Purge,
            21 => Change::Delete,
            22..28 => Change::Requeue { id: self.some_id(), requeue: self.requeue() },
            28..32 => Change::RequeueAll { filter: self.filter(), limit, requeue: self.requeue() },
            32..38 => Change::RemoveDead { id: self.some_id() },
            _ => Change::PurgeDead { filter: self.filter(), limit },
        };
        let expected = self.on_model(|model, now| model.change(now, change.clone()));
        let found = self.store.change(&self.address, change.clone()).await.unwrap();
        assert_eq!(expected, found, "{change:?}");
    }

    async fn look(&mut self) {
        let limit = self.random.usize(1..10);
        let look = match self.random.u8(0..8) {
            0..2 => Look::Stats,
            2 => Look::Get { id: self.some_id() },
            3 => Look::GetDead { id: self.some_id() },
            4 => Look::Peek { max: limit },
            5 => Look::List { state: State::Ready, limit, after: None },
            6 => Look::List {
                state: if self.random.bool() { State::Delayed } else { State::Leased },
                limit,
                after: None,
            },
            _ => Look::ListDead { filter: self.filter(), limit, after: None },
        };
        self.compare_pages(look).await;
    }

    /// Reads a listing to its end.
    async fn compare_pages(&mut self, mut look: Look) {
        loop {
            let cursor = match &look {
                Look::List { after, .. } | Look::ListDead { after, .. } => after.clone(),
                _ => None,
            };
            let cursor = cursor.map(|token| token.parse().unwrap());
            let expected = self.on_model(|model, now| model.look(now, &look, cursor));
            let found = self.store.look(&self.address, look.clone()).await.unwrap();
            assert_eq!(expected, found, "{look:?}");
            let next = match found {
                View::Messages(_, next) | View::Deads(_, next) => next,
                _ => None,
            };
            match &mut look {
                Look::List { after, .. } | Look::ListDead { after, .. } if next.is_some() => *after = next,
                _ => return,
            }
        }
    }

    async fn step(&mut self) {
        match self.random.u8(0..100) {
            0..30 => self.send().await,
            30..50 => self.take().await,
            50..65 => self.settle().await,
            75..80 if !self.plain || self.random.u8(0..8) == 0 => self.change().await,
            65..80 => self.together().await,
            80..88 => self.look().await,
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

async fn run_on(url: &str, seed: u64) -> Run {
    let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
    let prefix = format!("{UNSWEPT}.{seed}.{}", fastrand::u32(..));
    let tide = Tidelock::connect(url).prefix(&prefix).clock(&clock).await.unwrap();
    Run {
        random: fastrand::Rng::with_seed(seed),
        clock,
        model: Model::default(),
        store: tide.world.backend.queue(),
        address: Address::new(&"default".into(), "q"),
        process: "process".into(),
        receipts: Vec::new(),
        ids: Vec::new(),
        plain: false,
        age: None,
    }
}

/// Runs `steps` steps, with a new queue every 500. If there is a `way`, some replies are lost on it.
async fn compare(mut run: Run, steps: usize, way: Option<&LostReplies>) {
    for round in 0..steps.div_ceil(500) {
        run.address = Address::new(&"default".into(), &format!("q{round}"));
        (run.model, run.receipts, run.ids) = (Model::default(), Vec::new(), Vec::new());
        (run.plain, run.age) = (round % 2 == 1, [None, Some(400), Some(40)][round % 3]);
        for step in 0..500 {
            if let Some(way) = way {
                way.at_step(step);
            }
            run.step().await;
        }
        run.compare_pages(Look::Stats).await;
        run.store.change(&run.address, Change::Delete).await.unwrap();
    }
}

async fn differential(url: String, steps: usize, seed: u64) {
    compare(run_on(&url, seed).await, steps, None).await;
}

#[tokio::test]
async fn the_model_and_the_servers_agree() {
    on_every_server(STEPS, differential).await;
}

/// Lost replies: a repeated request must get the first answer, and nothing may happen twice.
async fn lossy(url: String, steps: usize, seed: u64) {
    let Some(way) = LostReplies::before(&url).await else { return };
    compare(run_on(&way.url(), seed).await, steps, Some(&way)).await;
}

#[tokio::test]
async fn lost_replies_change_nothing() {
    on_every_server(STEPS / 10, lossy).await;
}
