//! Queries of a topic and its groups, and reading its log.

use std::sync::Arc;

use futures_util::future::try_join_all;

use super::Remote;
use super::group::RemoteGroup;
use super::stored::{Stored, begin_bytes, event, gap, place, place_bytes};
use crate::backend::redis::{Answer, Arguments, Script, reason_letter, script, until_settled};
use crate::error::Result;
use crate::topic::store::{
    Begin, DeadFilter, DeadView, GroupView, Look, MAX_BYTES, PauseView, Position, READ_BYTES, Read, Settings, Span,
    StatsView, View, read_dead_cursor,
};

static LOOK: Script = script!(
    "topic.look",
    "../../lua/time.lua",
    "../lua/store.lua",
    "../lua/log.lua",
    "../lua/read.lua",
    "../lua/begin.lua",
    "../lua/parked.lua",
    "../lua/look.lua",
);

static GROUP_LOOK: Script = script!(
    "group.look",
    "../../lua/time.lua",
    "../../lua/rank.lua",
    "../lua/store.lua",
    "../lua/log.lua",
    "../lua/read.lua",
    "../lua/begin.lua",
    "../lua/parked.lua",
    "../lua/group.lua",
    "../lua/moves.lua",
    "../lua/whole.lua",
    "../lua/group_look.lua",
);

/// How many groups are queried at once.
const TOGETHER: usize = 32;

/// The parameters of a read: start, direction, limits, and the process to park if nothing is found.
struct Reading<'a> {
    what: &'a str,
    from: Option<Position>,
    max: usize,
    bytes: usize,
    process: &'a str,
}

impl Remote {
    async fn show(&self, what: &str, push: impl FnOnce(&mut Arguments)) -> Result<Answer> {
        let mut arguments = self.home.arguments(None);
        arguments.push(what.as_bytes());
        push(&mut arguments);
        self.home.show("look", &LOOK, &arguments).await
    }

    pub(super) async fn look(&self, look: Look) -> Result<View> {
        match look {
            Look::Stats => Ok(View::Stats(self.stats().await?)),
            Look::Latest => self.resolve(Begin::Latest).await,
            Look::Resolve { begin } => self.resolve(begin).await,
            Look::Page { after, limit } => Ok(View::Span(self.page("read", after, limit).await?)),
            Look::PageBack { before, limit } => Ok(View::Span(self.page("back", before, limit).await?)),
            Look::Group { group } => Ok(View::Group(self.group(&group).view().await?)),
            Look::Groups => Ok(View::Groups(self.group_views().await?)),
            Look::GetDead { group, at } => Ok(View::Dead(self.group(&group).letter(at).await?)),
            Look::ListDead { group, filter, limit, after } => {
                let after = after.as_deref().map(read_dead_cursor).transpose()?;
                self.group(&group).letters(filter, limit, after).await
            }
        }
    }

    async fn resolve(&self, begin: Begin) -> Result<View> {
        let mut shown = self.show("resolve", |arguments| arguments.push(&begin_bytes(begin))).await?;
        Ok(View::Place(shown.unpacked(place)?))
    }

    async fn stats(&self) -> Result<StatsView> {
        let mut shown = self.show("stats", |_| ()).await?;
        let latest = Position { life: shown.count()?, at: shown.count()?, ordinal: shown.count()? };
        let (first, at) = (shown.count()?, shown.count()?);
        let is_set = shown.count()? == 1;
        let (retention, max_len) = (shown.number()?, shown.count()?);
        Ok(StatsView {
            events: (latest.ordinal + 1).saturating_sub(first),
            first: (at != 0).then_some(Position { life: latest.life, at, ordinal: first }),
            latest,
            oldest_at: (at != 0).then_some(at / 1_000),
            published_total: latest.ordinal,
            groups: shown.count()?,
            settings: is_set.then_some(Settings { retention, max_len: (max_len != 0).then_some(max_len) }),
        })
    }

    async fn read_log(&self, reading: Reading<'_>) -> Result<Span> {
        let push = |arguments: &mut Arguments| {
            arguments.push(reading.from.map(place_bytes).as_ref().map_or(&[][..], |bytes| &bytes[..]));
            arguments.number(reading.max as u64);
            arguments.number(reading.bytes as u64);
            arguments.push(reading.process.as_bytes());
        };
        let mut shown = self.show(reading.what, push).await?;
        let life = shown.count()?;
        let gap = shown.unpacked(gap)?.0;
        let more = shown.flag()?;
        self.home.told_next(shown.count()?);
        let mut events = Vec::with_capacity(shown.left() / 2);
        while !shown.is_over() {
            let ordinal = shown.count()?;
            events.push(event(life, ordinal, shown.bytes()?)?);
        }
        Ok(Span { gap, events, more })
    }

    pub(super) async fn read(&self, read: Read) -> Result<Span> {
        let process = if read.park { &*self.home.server.channel } else { "" };
        let reading = Reading { what: "read", from: Some(read.after), max: read.max, bytes: READ_BYTES, process };
        self.read_log(reading).await
    }

    async fn page(&self, what: &str, from: Option<Position>, max: usize) -> Result<Span> {
        self.read_log(Reading { what, from, max, bytes: MAX_BYTES, process: "" }).await
    }

    pub(super) async fn group_names(&self) -> Result<Vec<Arc<str>>> {
        let mut names = self.show("names", |_| ()).await?.texts()?;
        names.sort();
        Ok(names)
    }

    async fn group_views(&self) -> Result<Vec<GroupView>> {
        let mut views = Vec::new();
        for names in self.group_names().await?.chunks(TOGETHER) {
            let groups: Vec<_> = names.iter().map(|name| self.group(name)).collect();
            let some = try_join_all(groups.iter().map(|group| group.view())).await?;
            views.extend(some.into_iter().flatten());
        }
        Ok(views)
    }
}

impl RemoteGroup {
    /// Runs the look script, repeatedly while more is overdue than one step carries out. Returns whether more still is,
    /// the life, and the result.
    async fn show(&self, what: &str, push: impl Fn(&mut Arguments)) -> Result<(bool, u64, Answer)> {
        let push = &push;
        until_settled(|_| async move {
            let mut arguments = self.home.arguments(None);
            arguments.push(what.as_bytes());
            push(&mut arguments);
            let mut shown = self.home.show("look", &GROUP_LOOK, &arguments).await?;
            let settling = shown.flag()?;
            let life = shown.count()?;
            Ok((settling, (settling, life, shown)))
        })
        .await
    }

    async fn view(&self) -> Result<Option<GroupView>> {
        let (settling, _, mut shown) = self.show("group", |_| ()).await?;
        if shown.is_over() {
            return Ok(None);
        }
        let position = shown.unpacked(place)?;
        let (unread, in_flight, waiting) = (shown.count()?, shown.count()?, shown.count()?);
        let (set_aside, dead, missed) = (shown.count()?, shown.count()?, shown.count()?);
        let (oldest, holder) = (shown.count()?, shown.text()?);
        let (paused, reason) = (shown.number()?, shown.text()?);
        let pause = PauseView { until: paused, reason: (!reason.is_empty()).then_some(reason) };
        Ok(Some(GroupView {
            name: Arc::clone(&self.name),
            position,
            unread,
            in_flight,
            waiting,
            set_aside,
            dead,
            missed,
            oldest_open_at: (oldest != 0).then_some(oldest / 1_000),
            oldest_open_holder: (!holder.is_empty()).then_some(holder),
            paused: (paused != Some(0)).then_some(pause),
            settling,
        }))
    }

    async fn letter(&self, at: u64) -> Result<Option<DeadView>> {
        let (_, life, mut shown) = self.show("dead", |arguments| arguments.push(&at.to_be_bytes())).await?;
        if shown.is_over() {
            return Ok(None);
        }
        Ok(Stored::read(shown.bytes()?)?.into_dead(life))
    }

    /// Asks for one letter more than the page holds, to find out whether there is a next page.
    async fn letters(&self, filter: DeadFilter, limit: usize, after: Option<(u64, u64)>) -> Result<View> {
        let mut found = Vec::new();
        let mut before = after.map_or_else(Vec::new, |(moved_at, at)| pair(moved_at, at));
        loop {
            let wanted = limit + 1 - found.len();
            let push = |arguments: &mut Arguments| {
                arguments.number(wanted as u64);
                arguments.push(&before);
                push_filter(filter, arguments);
            };
            let (_, life, shown) = self.show("deads", push).await?;
            let mut items = shown.each(Ok)?;
            let Some(last) = items.pop() else { return Ok(View::Deads(found, None)) };
            for item in items {
                found.extend(Stored::read(item)?.into_dead(life));
            }
            if found.len() > limit || last.is_empty() {
                break;
            }
            before = last;
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| format!("{}.{}", last.moved_at, last.place.at));
        Ok(View::Deads(found, next))
    }
}

/// Two numbers of eight bytes each.
pub(super) fn pair(one: u64, other: u64) -> Vec<u8> {
    [one.to_be_bytes(), other.to_be_bytes()].concat()
}

/// Encodes a filter for the scripts: reason, moved before, moved after.
pub(super) fn push_filter(filter: DeadFilter, arguments: &mut Arguments) {
    arguments.push(filter.reason.map_or(b"", reason_letter));
    for bound in [filter.moved_before, filter.moved_after] {
        match bound {
            Some(instant) => arguments.number(instant),
            None => arguments.push(b"-1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Stage, event, group};
    use super::*;

    #[tokio::test]
    async fn an_answer_with_dead_letters_ends_where_it_is_full() {
        let large = event(&vec![7; MAX_BYTES / 2]);
        for stage in Stage::all().await {
            for _ in 0..3 {
                stage.publish(Settings { retention: None, max_len: None }, vec![large.clone()]).await;
                stage.bury(1).await;
            }
            let remote = stage.remote().await.group(&group());
            let push = |arguments: &mut Arguments| {
                arguments.number(10);
                arguments.push(b"");
                push_filter(DeadFilter::default(), arguments);
            };
            let (_, _, shown) = remote.show("deads", push).await.unwrap();
            assert_eq!(shown.left(), 2, "one letter, and where to go on");
            let View::Deads(found, next) = remote.letters(DeadFilter::default(), 10, None).await.unwrap() else {
                panic!("letters were asked for")
            };
            assert_eq!((found.len(), next), (3, None), "the page goes on");
        }
    }
}
