//! Pages, statistics and the log: one script call carries out a step of what is overdue, then looks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Site;
use super::stored::{self, some};
use crate::backend::SETTLING_STEPS;
use crate::backend::redis::{Answer, Arguments, Script, script, until_settled};
use crate::error::Result;
use crate::keyed::store::{
    Bounds, EventView, Happened, List, Listing, MAX_BYTES, Overflow, Position, Read, RecordView, Span, StatsView,
};

static LOOK: Script = script!(
    "keyed.look",
    "../../lua/time.lua",
    "../lua/store.lua",
    "../lua/log.lua",
    "../lua/moves.lua",
    "../lua/settle.lua",
    "../lua/look.lua",
);

/// The reply of a look.
pub(super) struct Shown {
    settling: bool,
    latest: Position,
    pub(super) answer: Answer,
}

impl Site {
    async fn look(&self, what: &str, push: impl FnOnce(&mut Arguments)) -> Result<Shown> {
        let mut arguments = self.home.arguments(None);
        arguments.push(what.as_bytes());
        push(&mut arguments);
        let mut answer = self.home.show("keyed", &LOOK, &arguments).await?;
        let settling = answer.flag()?;
        self.told_next(answer.count()?);
        let mut next = || answer.count();
        let latest = Position { incarnation: next()?, revision: next()?, event: next()? };
        Ok(Shown { settling, latest, answer })
    }

    /// Carries out what is overdue, unless some process did within the last second.
    pub(super) async fn sweep(&self) -> Result<()> {
        let before = self.home.next.swap(0, Ordering::Relaxed);
        let swept = self.sweep_now().await;
        if swept.is_err() {
            self.told_next(before);
        }
        swept
    }

    async fn sweep_now(&self) -> Result<()> {
        let mut goes_on = self.look("sweep", |arguments| arguments.push(b"")).await?.settling;
        for _ in 1..SETTLING_STEPS {
            if !goes_on {
                break;
            }
            goes_on = self.look("sweep", |arguments| arguments.push(b"on")).await?.settling;
        }
        Ok(())
    }

    pub(super) async fn list(&self, list: &List) -> Result<Listing> {
        let (low, high) = range_of(list);
        let mut shown = loop {
            let push = |arguments: &mut Arguments| {
                arguments.push(&low);
                arguments.push(&high);
                arguments.number(list.limit as u64);
                arguments.push(if list.expired { b"1" } else { b"0" });
            };
            let shown = self.look("list", push).await?;
            if !shown.settling {
                break shown;
            }
        };
        let more = shown.answer.flag()?;
        let mut records = Vec::new();
        while !shown.answer.is_over() {
            let key = stored::key(&mut shown.answer)?;
            let stamp = stored::stamp(&shown.answer.bytes()?)?;
            records.push(RecordView { key, stamp, value: shown.answer.bytes()?, expired: list.expired });
        }
        Ok(Listing { records, more, place: shown.latest })
    }

    pub(super) async fn stats(&self) -> Result<StatsView> {
        let shown = until_settled(|last| async move {
            let shown = self.look("stats", |arguments| arguments.push(if last { b"1" } else { b"0" })).await?;
            Ok((shown.settling, shown))
        });
        numbers(shown.await?)
    }

    /// Runs the script's `read` for the log after a position.
    pub(super) async fn look_into(&self, read: &Read) -> Result<Shown> {
        let push = |arguments: &mut Arguments| {
            arguments.number(read.after.incarnation);
            arguments.number(read.after.revision);
            arguments.number(read.after.event);
            arguments.number(read.max as u64);
            arguments.push(if read.park { b"1" } else { b"0" });
            arguments.push(self.home.server.channel.as_bytes());
        };
        self.look("read", push).await
    }

    pub(super) async fn read(&self, read: &Read) -> Result<Span> {
        let pinned = self.home.server.clock.pinned();
        let Shown { latest, mut answer, .. } = self.look_into(read).await?;
        let overflown = answer.count()?;
        if overflown != 0 {
            let first_available = Position { revision: overflown, event: answer.count()?, ..latest };
            let overflow = Some(Overflow { first_available });
            return Ok(Span { overflow, events: Vec::new(), end: latest, next: None });
        }
        let (next, server_now) = (answer.count()?, answer.count()?);
        let events = merged(&mut answer, read.max)?;
        // The server reported instants of its own clock: with pinned time it is the request's, else its *now* is this
        // moment.
        let now = pinned.unwrap_or_else(|| self.home.server.clock.now()).as_millis();
        let next = some(next).map(|next| (now + next).saturating_sub(server_now));
        let end = events.iter().fold(read.after, |place, event| place.behind(latest.incarnation, event));
        Ok(Span { overflow: None, events, end, next })
    }
}

/// The lowest and highest key of a listing, as bounds of a lexicographic range.
fn range_of(list: &List) -> (Vec<u8>, Vec<u8>) {
    let bound = |sign: &[u8], key: &str, end: &[u8]| [sign, key.as_bytes(), end].concat();
    let low = match &list.after_key {
        Some(after) if **after >= *list.prefix => bound(b"(", after, b""),
        _ => bound(b"[", &list.prefix, b""),
    };
    // No UTF-8 key contains this byte.
    let high = if list.prefix.is_empty() { b"+".to_vec() } else { bound(b"(", &list.prefix, b"\xff") };
    (low, high)
}

fn numbers(Shown { settling, latest, mut answer }: Shown) -> Result<StatsView> {
    let mut next = || answer.count();
    let (active, permanent, expired) = (next()?, next()?, next()?);
    let (events, event_bytes, touches) = (next()?, next()?, next()?);
    let (compacted, next_deadline) = (next()?, some(next()?));
    let bounds = Bounds {
        max_entries: next()?,
        event_retention: next()?,
        max_events: next()?,
        max_event_bytes: next()?,
        tombstone_retention: next()?,
    };
    let bounds = (latest.incarnation != 0).then_some(bounds);
    Ok(StatsView {
        active,
        permanent,
        expired,
        events,
        event_bytes,
        touches,
        latest,
        compacted,
        next_deadline,
        bounds,
        settling,
    })
}

/// Merges events and touches in order, up to the maximum of a read.
fn merged(answer: &mut Answer, max: usize) -> Result<Vec<EventView>> {
    let mut all = Vec::new();
    for _ in 0..answer.count()? {
        all.push(stored::event(&answer.bytes()?)?);
    }
    while !answer.is_over() {
        all.push(read_touch(answer)?);
    }
    all.sort_by_key(|event| event.revision);
    all.truncate(max);
    let mut bytes = 0;
    let fits = |event: &&EventView| {
        let first = bytes == 0;
        if let Happened::Upsert { value, .. } = &event.happened {
            bytes += value.len() as u64;
        }
        first || bytes <= MAX_BYTES
    };
    let fitting = all.iter().take_while(fits).count();
    all.truncate(fitting);
    Ok(all)
}

fn read_touch(answer: &mut Answer) -> Result<EventView> {
    let key: Arc<str> = stored::key(answer)?;
    let revision = answer.count()?;
    let stamp = stored::stamp(&answer.bytes()?)?;
    let happened = Happened::Touch { version: stamp.version, expires_at: stamp.expires_at.unwrap_or_default() };
    Ok(EventView { revision, at: stamp.updated_at, key, happened })
}
