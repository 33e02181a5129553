//! Compares the model with real servers: the same random requests at the same pinned time must have the same outcomes.
//!
//! `TIDELOCK_SEED` repeats a run; the seed of each run is printed.

use std::sync::Arc;

use super::model::Model;
use super::store::{Action, Bounds, Change, Get, KeyedStore, Kind, Life, List, Object, Outcome, Position, Read, STEP};
use crate::Tidelock;
use crate::backend::SETTLING_STEPS;
use crate::backend::redis::UNSWEPT;
use crate::differential::on_every_server;
use crate::name::Address;
use crate::time::{ManualClock, Now, Timestamp};

/// Total steps over all servers.
const STEPS: usize = 100_000;
/// Steps on one object.
const ROUND: usize = 500;

const KEYS: [&str; 14] =
    ["a", "a/b", "a/b/c", "a/c", "a0", "b", "B", "é", "é/x", "\u{10ffff}", "z", "z/1", "z/2", "zz"];
const PREFIXES: [&str; 7] = ["", "", "a", "a/", "a/b", "z/", "é"];

struct Run {
    random: fastrand::Rng,
    clock: ManualClock,
    model: Model,
    store: Arc<dyn KeyedStore>,
    object: Object,
    bounds: Bounds,
    versions: Vec<u64>,
    places: Vec<Position>,
}

impl Run {
    fn now(&self) -> Now {
        Now::from_millis(self.clock.now().as_millis())
    }

    fn maybe<T>(&mut self, chance: f64, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.random.f64() < chance).then(|| value(self))
    }

    fn key(&mut self) -> Arc<str> {
        (*self.random.choice(KEYS).expect("there are keys")).into()
    }

    fn value(&mut self) -> Vec<u8> {
        let size = self.random.usize(0..40);
        std::iter::repeat_with(|| self.random.u8(..)).take(size).collect()
    }

    fn version(&mut self) -> u64 {
        let recent = self.versions.len().saturating_sub(10);
        self.random.choice(&self.versions[recent..]).copied().unwrap_or(1)
    }

    /// Usually the version that the key has; sometimes one that no record has.
    fn expected(&mut self, key: &Arc<str>) -> u64 {
        if self.random.u8(0..10) == 0 {
            return 0;
        }
        let get = Get { key: Arc::clone(key), include_expired: false };
        let current = self.model.get(self.now(), &get).map(|record| record.stamp.version);
        current.filter(|_| self.random.u8(0..5) > 0).unwrap_or_else(|| self.version())
    }

    fn ttl(&mut self) -> u64 {
        match self.random.u8(0..30) {
            0 => 3_650 * 86_400_000,
            1..15 => 60 * self.random.u64(1..4),
            _ => self.random.u64(1..250),
        }
    }

    fn life(&mut self) -> Life {
        match self.random.u8(0..8) {
            0 if self.object.kind == Kind::Registry => Life::Permanent,
            1..3 if self.object.kind == Kind::Registry => Life::Keep,
            _ => Life::For(self.ttl()),
        }
    }

    fn change_bounds(&mut self) {
        self.bounds.max_events = self.random.u64(1..12);
        self.bounds.max_event_bytes = self.random.u64(1..300);
        self.bounds.event_retention = self.random.u64(1..300);
        self.bounds.max_entries = max_entries(&mut self.random);
        if self.object.kind == Kind::Registry {
            self.bounds.tombstone_retention = self.random.u64(1..300);
        }
    }

    fn change(&mut self) -> Change {
        let key = self.key();
        let action = match self.random.u8(0..20) {
            0..8 => Action::Upsert { value: self.value(), life: self.life() },
            8..11 if self.object.kind == Kind::Registry => {
                let expected = self.maybe(0.6, |run| run.expected(&key));
                Action::Cas { expected, value: self.value(), life: self.life() }
            }
            8..16 => {
                Action::Touch { ttl: self.maybe(0.3, Self::ttl), if_version: self.maybe(0.3, |run| run.expected(&key)) }
            }
            _ => Action::Remove {
                reason: self.maybe(0.5, |run| if run.random.bool() { "left".into() } else { "".into() }),
                if_version: self.maybe(0.4, |run| run.expected(&key)),
            },
        };
        Change { key, action, bounds: self.bounds }
    }

    /// One change, or several that share a trip.
    async fn changes(&mut self) {
        let count = if self.random.u8(0..4) == 0 { self.random.usize(2..8) } else { 1 };
        if self.random.u8(0..50) == 0 {
            self.change_bounds();
        }
        let changes: Vec<_> = (0..count).map(|_| self.change()).collect();
        let found = changes.iter().map(|change| self.store.change(&self.object, change.clone()));
        let found = futures_util::future::join_all(found.collect::<Vec<_>>()).await;
        for (change, found) in changes.into_iter().zip(found) {
            let expected = self.model.change(self.now(), change.clone());
            assert_eq!(expected, found.unwrap(), "{change:?}");
            if let Outcome::Stored(stamp) = expected.outcome {
                self.versions.push(stamp.version);
            }
        }
    }

    /// Gets of one key, or of all at once.
    async fn gets(&mut self) {
        let keys = if self.random.bool() { vec![self.key()] } else { KEYS.iter().map(|key| (*key).into()).collect() };
        let include_expired = self.random.u8(0..4) > 0;
        let gets: Vec<_> = keys.into_iter().map(|key| Get { key, include_expired }).collect();
        let found: Vec<_> = gets.iter().map(|get| self.store.get(&self.object, get.clone())).collect();
        for (get, found) in gets.iter().zip(futures_util::future::join_all(found).await) {
            assert_eq!(self.model.get(self.now(), get), found.unwrap(), "{get:?}");
        }
    }

    /// Reads all pages of a listing.
    async fn list(&mut self) {
        let mut list = List {
            prefix: (*self.random.choice(PREFIXES).expect("there are prefixes")).into(),
            after_key: None,
            limit: self.random.usize(1..8),
            expired: self.random.u8(0..3) == 0,
        };
        loop {
            let now = self.now();
            while {
                self.model.settle(now, STEP);
                self.model.is_settling(now)
            } {}
            let expected = self.model.list(now, &list);
            let found = self.store.list(&self.object, list.clone()).await.unwrap();
            assert_eq!(expected, found, "{list:?}");
            self.places.push(found.place);
            let Some(last) = found.records.last().filter(|_| found.more) else { return };
            list.after_key = Some(Arc::clone(&last.key));
        }
    }

    async fn stats(&mut self) {
        let now = self.now();
        for _ in 0..SETTLING_STEPS {
            self.model.settle(now, STEP);
            if !self.model.is_settling(now) {
                break;
            }
        }
        assert_eq!(self.model.stats(now), self.store.stats(&self.object).await.unwrap());
    }

    async fn find_places(&mut self) {
        let expected = self.model.places(self.now());
        let found = self.store.places(&self.object).await.unwrap();
        assert_eq!(expected, found);
        self.places.extend([found.first, found.latest]);
    }

    async fn read(&mut self) {
        let recent = self.places.len().saturating_sub(30);
        let mut after = self.random.choice(&self.places[recent..]).copied().unwrap_or_default();
        match self.random.u8(0..30) {
            0 => after.revision += self.random.u64(1..2_000_000),
            1 => after.revision = after.revision.saturating_sub(self.random.u64(1..300_000)),
            2 => after.incarnation += 1,
            3 => after.incarnation = 0,
            4 => after.event += 1,
            5..10 => after.event = 0,
            _ => {}
        }
        let read = Read { after, max: self.random.usize(1..12), park: self.random.bool() };
        let now = self.now();
        self.model.settle(now, STEP);
        let expected = self.model.read(now, &read);
        let found = self.store.read(&self.object, read).await.unwrap();
        assert_eq!(expected, found, "{read:?}");
        self.places.push(found.end);
    }

    async fn delete(&mut self) {
        let expected = self.model.delete(self.now());
        assert_eq!(expected, self.store.delete(&self.object).await.unwrap());
    }

    async fn step(&mut self) {
        match self.random.u8(0..100) {
            0..45 => self.changes().await,
            45..53 => self.gets().await,
            53..57 => self.list().await,
            57..60 => self.stats().await,
            60..64 => self.find_places().await,
            64..80 => self.read().await,
            80 if self.random.u8(0..3) == 0 => self.delete().await,
            81..97 => self.clock.advance(std::time::Duration::from_millis(self.random.u64(0..30))),
            _ => {
                let now = self.clock.now().as_millis();
                let back = self.random.u8(0..3) == 0;
                let by = self.random.u64(0..500);
                self.clock.set(Timestamp::from_millis(if back { now - by.min(20) } else { now + by }));
            }
        }
    }
}

/// Usually fewer than there are keys.
fn max_entries(random: &mut fastrand::Rng) -> u64 {
    if random.bool() { random.u64(1..5) } else { random.u64(1..16) }
}

async fn differential(url: String, steps: usize, seed: u64) {
    let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
    let prefix = format!("{UNSWEPT}.{seed}.{}", fastrand::u32(..));
    let tide = Tidelock::connect(&url).prefix(&prefix).clock(&clock).await.unwrap();
    let store = tide.world.backend.keyed();
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..steps.div_ceil(ROUND) {
        let kind = if round % 2 == 0 { Kind::Registry } else { Kind::Ephemeral };
        let mut random = random.fork();
        let bounds = Bounds {
            max_entries: max_entries(&mut random),
            event_retention: random.u64(1..400),
            max_events: random.u64(1..12),
            max_event_bytes: random.u64(1..300),
            tombstone_retention: if kind == Kind::Registry { random.u64(1..300) } else { 0 },
        };
        let address = Address::new(&"default".into(), &format!("o{round}"));
        let mut run = Run {
            random,
            clock: clock.clone(),
            model: Model::new(kind),
            store: Arc::clone(&store),
            object: Object { kind, address },
            bounds,
            versions: Vec::new(),
            places: Vec::new(),
        };
        for _ in 0..ROUND {
            run.step().await;
        }
        run.stats().await;
        run.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_and_the_servers_agree() {
    on_every_server(STEPS, differential).await;
}
