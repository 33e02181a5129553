//! Compares the model with real servers: the same random requests at the same pinned time must have the same outcomes.
//!
//! `TIDELOCK_SEED` repeats a run; the seed of each run is printed.

use std::sync::Arc;
use std::time::Duration;

use super::model::Model;
use super::store::{
    Action, Begin, Change, Content, DeadFilter, DeadReason, Dedup, Look, NewEvent, Position, Read, ReaderTerms,
    Settings, Settle, Take, TopicStore, View, read_dead_cursor,
};
use crate::Tidelock;
use crate::backend::redis::UNSWEPT;
use crate::differential::on_every_server;
use crate::name::Address;
use crate::time::{ManualClock, Now, Timestamp};

/// Total steps over all servers.
const STEPS: usize = 100_000;
const GROUPS: [&str; 3] = ["billing", "mail", "g:{x}%/"];

struct Run {
    random: fastrand::Rng,
    clock: ManualClock,
    model: Model,
    store: Arc<dyn TopicStore>,
    address: Address,
    settings: Settings,
    receipts: Vec<(Arc<str>, u64, u64)>,
    places: Vec<Position>,
    seen: std::collections::HashMap<Arc<str>, Position>,
}

impl Run {
    fn now(&self) -> Now {
        Now::from_millis(self.clock.now().as_millis())
    }

    /// One step of the model, including what surrounds every operation.
    fn on_model<T>(&mut self, group: Option<&str>, operation: impl FnOnce(&mut Model, Now) -> T) -> T {
        let now = self.now();
        self.model.advance(now, group);
        let outcome = operation(&mut self.model, now);
        self.model.wake(now);
        outcome
    }

    fn maybe<T>(&mut self, chance: f64, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.random.f64() < chance).then(|| value(self))
    }

    fn text(&mut self, options: &[&str]) -> Arc<str> {
        (*self.random.choice(options).expect("there are options")).into()
    }

    fn group(&mut self) -> Arc<str> {
        self.text(&GROUPS)
    }

    fn event(&mut self) -> NewEvent {
        let size = self.random.usize(0..40);
        let payload = std::iter::repeat_with(|| self.random.u8(..)).take(size).collect();
        let content = Content {
            payload,
            meta: self.maybe(0.1, |_| b"{\"a\":1}".to_vec()).unwrap_or_default(),
            ordering_key: self.maybe(0.3, |run| run.text(&["k", "kk", "k\u{1}", "x"])),
            ..Content::default()
        };
        let dedup =
            self.maybe(0.2, |run| Dedup { key: run.text(&["a", "b", "c", "d"]), window: run.random.u64(1..200) });
        NewEvent { content, dedup }
    }

    async fn publish(&mut self) {
        let count = if self.random.u8(0..4) == 0 { self.random.usize(1..9) } else { 1 };
        let batch: Vec<_> = (0..count).map(|_| self.event()).collect();
        if self.random.u8(0..40) == 0 {
            self.settings = Settings {
                retention: self.maybe(0.8, |run| run.random.u64(1..600)),
                max_len: self.maybe(0.4, |run| run.random.u64(1..20)),
            };
        }
        let settings = self.settings;
        let expected = self.on_model(None, |model, now| model.publish(now, settings, batch.clone()));
        let found = self.store.publish(&self.address, settings, batch.clone()).await.unwrap();
        assert_eq!(expected, found, "publish {batch:?}");
        self.places.extend(found.events.iter().map(|(place, _)| *place));
    }

    fn some_place(&mut self) -> Position {
        let recent = self.places.len().saturating_sub(40);
        let place = self.random.choice(&self.places[recent..]).copied().unwrap_or_default();
        match self.random.u8(0..12) {
            0 => Position { life: 17, ..place },
            1 => Position { ordinal: place.ordinal + 5, ..place },
            2 => Position { at: place.at + 3, ..place },
            3 => Position::default(),
            _ => place,
        }
    }

    fn begin(&mut self) -> Begin {
        let now = self.clock.now().as_millis();
        match self.random.u8(0..6) {
            0..2 => Begin::Earliest,
            2 => Begin::Latest,
            3 => Begin::At(now.saturating_sub(self.random.u64(0..200))),
            _ => Begin::After(self.some_place()),
        }
    }

    async fn take(&mut self) {
        let group = self.group();
        let reader = ReaderTerms {
            begin: self.begin(),
            max_in_flight: if self.random.bool() { 10_000 } else { self.random.u64(1..6) },
            ordered: self.random.u8(0..5) > 0,
            dead_retention: self.maybe(0.8, |run| run.random.u64(1..500)),
        };
        let take = Take {
            max: if self.random.bool() { 1 } else { self.random.usize(0..8) },
            lease: self.random.u64(1..150),
            consumer: self.text(&["one", "two"]),
            max_deliveries: self.maybe(0.7, |run| run.random.u64(1..4)),
            park: self.random.bool(),
            reader: Arc::new(reader),
            seen: self.maybe(0.7, |run| run.seen.get(&group).copied()).flatten(),
        };
        let mut expected = self.on_model(Some(&group), |model, now| model.take(now, &group, &take)).unwrap();
        let mut found = self.store.take(&self.address, &group, take.clone()).await.unwrap();
        (expected.next, found.next) = (None, None);
        assert_eq!(expected, found, "take for {group} {take:?}");
        if let Some(seen) = found.seen {
            self.seen.insert(Arc::clone(&group), seen);
        }
        self.receipts.extend(found.events.iter().map(|event| (Arc::clone(&group), event.place.at, event.fence)));
    }

    async fn settle(&mut self) {
        let recent = self.receipts.len().saturating_sub(12);
        let Some((group, ..)) = self.random.choice(&self.receipts[recent..]).cloned() else { return };
        let count = self.random.usize(1..6);
        let settles: Vec<_> = (0..count).filter_map(|_| self.one_settle(&group)).collect();
        if settles.is_empty() {
            return;
        }
        let expected = self.on_model(Some(&group), |model, now| model.settle(now, &group, settles.clone()));
        let found = self.store.settle(&self.address, &group, settles.clone()).await.unwrap();
        assert_eq!(expected, found, "settle for {group} {settles:?}");
    }

    fn one_settle(&mut self, group: &Arc<str>) -> Option<Settle> {
        let recent = self.receipts.len().saturating_sub(12);
        let (of, id, fence) = self.random.choice(&self.receipts[recent..]).cloned()?;
        if of != *group {
            return None;
        }
        let fence = if self.random.u8(0..20) == 0 { fence + 1 } else { fence };
        let note = self.maybe(0.3, |run| run.text(&["why", "because"]));
        let error = self.maybe(0.3, |run| run.text(&["broke", "fell"]));
        let action = match self.random.u8(0..9) {
            0..3 => Action::Ack,
            3..5 => Action::Nack { delay: self.random.u64(0..3) * self.random.u64(0..60), note, error },
            5 => {
                let reason = if self.random.bool() { DeadReason::Rejected } else { DeadReason::Undecodable };
                Action::Bury { reason, note, error }
            }
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

    async fn change(&mut self) {
        let group = self.group();
        let limit = self.maybe(0.5, |run| run.random.u64(1..5));
        let delay = self.random.u64(0..2) * self.random.u64(0..60);
        let change = match self.random.u8(0..48) {
            0..3 => Change::Pause {
                group,
                for_at_most: self.maybe(0.8, |run| run.random.u64(1..60)),
                reason: self.maybe(0.5, |run| run.text(&["deploy", "fire"])),
            },
            3..12 => Change::Resume { group },
            12..15 => Change::CreateGroup { group, begin: self.begin() },
            15..19 => Change::Seek { group, begin: self.begin() },
            19..21 => Change::RemoveGroup { group },
            21 => Change::Delete,
            22..30 => Change::Requeue { group, at: self.some_place().at, delay },
            30..36 => Change::RequeueAll { group, filter: self.filter(), limit, delay },
            36..44 => Change::RemoveDead { group, at: self.some_place().at },
            _ => Change::PurgeDead { group, filter: self.filter(), limit },
        };
        let group = change.group().cloned();
        let expected = self.on_model(group.as_deref(), |model, now| model.change(now, change.clone()));
        let found = self.store.change(&self.address, change.clone()).await.unwrap();
        assert_eq!(expected, found, "{change:?}");
    }

    async fn look(&mut self) {
        let limit = self.random.usize(1..10);
        let group = self.group();
        let look = match self.random.u8(0..10) {
            0 => Look::Stats,
            1 => Look::Resolve { begin: self.begin() },
            2 => Look::Page { after: self.maybe(0.8, Self::some_place), limit },
            3 => Look::PageBack { before: self.maybe(0.8, Self::some_place), limit },
            4..7 => Look::Group { group },
            7 => Look::GetDead { group, at: self.some_place().at },
            8 => Look::Groups,
            _ => Look::ListDead { group, filter: self.filter(), limit, after: None },
        };
        self.compare_pages(look).await;
    }

    /// Reads all pages of a listing.
    async fn compare_pages(&mut self, mut look: Look) {
        loop {
            let (group, after) = match &look {
                Look::ListDead { group, after, .. } => (Some(Arc::clone(group)), after.clone()),
                Look::Group { group } | Look::GetDead { group, .. } => (Some(Arc::clone(group)), None),
                _ => (None, None),
            };
            if look == Look::Groups {
                for name in GROUPS {
                    if self.model.has_group(name) {
                        self.on_model(Some(name), |_, _| ());
                    }
                }
            }
            let after = after.map(|token| read_dead_cursor(&token).unwrap());
            // A look at the log writes nothing on a server: only the next step that writes fixes where the log begins.
            let expected = match &group {
                Some(name) => self.on_model(Some(name), |model, now| model.look(now, &look, after)),
                None => self.model.look(self.now(), &look, after),
            };
            let found = self.store.look(&self.address, look.clone()).await.unwrap();
            assert_eq!(expected, found, "{look:?}");
            match (&mut look, found) {
                (Look::ListDead { after, .. }, View::Deads(_, next)) if next.is_some() => *after = next,
                _ => return,
            }
        }
    }

    async fn read(&mut self) {
        let read = Read { after: self.some_place(), max: self.random.usize(1..10), park: self.random.bool() };
        let expected = self.model.read(self.now(), read);
        let found = self.store.read(&self.address, read).await.unwrap();
        assert_eq!(expected, found, "{read:?}");
    }

    async fn step(&mut self) {
        match self.random.u8(0..100) {
            0..25 => self.publish().await,
            25..50 => self.take().await,
            50..70 => self.settle().await,
            70..76 => self.change().await,
            76..82 => self.look().await,
            82..88 => self.read().await,
            88..98 => self.clock.advance(Duration::from_millis(self.random.u64(0..30))),
            _ => {
                let now = self.clock.now().as_millis();
                let back = self.random.u8(0..5) == 0;
                let by = self.random.u64(0..400);
                self.clock.set(Timestamp::from_millis(if back { now - by.min(20) } else { now + by }));
            }
        }
    }
}

async fn differential(url: String, steps: usize, seed: u64) {
    let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
    let prefix = format!("{UNSWEPT}.{seed}.{}", fastrand::u32(..));
    let tide = Tidelock::connect(&url).prefix(&prefix).clock(&clock).await.unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..steps.div_ceil(500) {
        let mut run = Run {
            random: random.fork(),
            clock: clock.clone(),
            model: Model::default(),
            store: tide.world.backend.topic(),
            address: Address::new(&"default".into(), &format!("t{round}")),
            settings: Settings { retention: Some(400), max_len: None },
            receipts: Vec::new(),
            places: Vec::new(),
            seen: std::collections::HashMap::default(),
        };
        for _ in 0..500 {
            run.step().await;
        }
        run.compare_pages(Look::Stats).await;
        run.compare_pages(Look::Groups).await;
        run.store.change(&run.address, Change::Delete).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_and_the_servers_agree() {
    on_every_server(STEPS, differential).await;
}
