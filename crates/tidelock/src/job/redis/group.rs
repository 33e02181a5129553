//! Groups that read the events of jobs: their part of a trip.

use std::sync::Arc;

use redis::Value;
use tokio::sync::oneshot;

use super::Remote;
use super::stored::events_of;
use super::trip::Request;
use crate::backend::redis::{Arguments, Bytes, Carrier, unexpected};
use crate::error::Result;
use crate::job::store::{EventView, GroupAction, GroupSettle, GroupTake, GroupTaken, HandedEvent, Lost};

pub(super) fn push_take(take: &GroupTake, channel: &str, arguments: &mut Arguments) {
    let max = u16::try_from(take.max).expect("a take is small").to_be_bytes();
    arguments.push(b"take");
    arguments.pieces(&[&take.id.to_be_bytes(), &max, &take.lease.to_be_bytes(), &[u8::from(take.park)]]);
    arguments.push(take.group.as_bytes());
    arguments.push(channel.as_bytes());
}

pub(super) fn push_settles(settles: &[GroupSettle], arguments: &mut Arguments) {
    arguments.push(b"settle_events");
    arguments.number(settles.len() as u64);
    for GroupSettle { id, group, number, fence, action } in settles {
        let (letter, duration) = match *action {
            GroupAction::Commit => (b'c', 0),
            GroupAction::Return { delay, unused: false } => (b'n', delay),
            GroupAction::Return { delay, unused: true } => (b'b', delay),
            GroupAction::Touch { lease } => (b't', lease),
        };
        let number = u32::try_from(*number).expect("a job counts its events in four bytes").to_be_bytes();
        arguments.pieces(&[&id.to_be_bytes(), &number, &fence.to_be_bytes(), &[letter], &duration.to_be_bytes()]);
        arguments.push(group.as_bytes());
    }
}

pub(super) fn settled(results: &[u8], count: usize) -> Option<Vec<bool>> {
    (results.len() == count).then(|| results.iter().map(|result| *result == b'1').collect())
}

/// `next` is still relative: the time from now.
pub(super) fn taken(item: &[u8]) -> Result<GroupTaken> {
    let wrong = || unexpected("take", &Value::BulkString(item.to_vec()));
    let mut bytes = Bytes(item);
    let Head { mut taken, last, handed } = read_head(&mut bytes).ok_or_else(wrong)?;
    let mut events: Vec<(u64, EventView)> = Vec::new();
    while !bytes.0.is_empty() {
        let before = bytes.number(4).ok_or_else(wrong)?;
        let chunk = bytes.length(4).and_then(|length| bytes.take(length)).ok_or_else(wrong)?;
        events.extend((before + 1..).zip(events_of(chunk)?));
    }
    for (number, attempt, fence) in handed {
        let at = events.binary_search_by_key(&number, |(number, _)| *number).map_err(|_| wrong())?;
        let event = events[at].1.clone();
        taken.events.push(HandedEvent { number, fence, attempt, event, is_last: number == last });
    }
    Ok(taken)
}

struct Head {
    taken: GroupTaken,
    /// The number of the event with which the job ended; 0 if it has not.
    last: u64,
    /// Numbers, attempts and fences.
    handed: Vec<(u64, u64, u64)>,
}

/// The part of an answer before its chunks.
fn read_head(bytes: &mut Bytes<'_>) -> Option<Head> {
    if bytes.byte()? != b'g' {
        return None;
    }
    let (flags, after) = (bytes.byte()?, bytes.number(8)?);
    let lost = Lost { from: bytes.number(4)?, to: bytes.number(4)?, missed: bytes.number(4)? };
    let (last, count) = (bytes.number(4)?, bytes.number(2)?);
    let handed = (0..count).map(|_| Some((bytes.number(4)?, bytes.number(4)?, bytes.number(8)?)));
    let handed = handed.collect::<Option<_>>()?;
    let taken = GroupTaken {
        gap: (lost.missed > 0).then_some(lost),
        events: Vec::new(),
        next: (after != 0).then_some(after),
        ended: flags & 1 != 0,
        full: flags & 2 != 0,
    };
    Some(Head { taken, last, handed })
}

impl Remote {
    pub(super) fn hand_over_events(
        self: &Arc<Self>,
        take: &GroupTake,
        taken: GroupTaken,
        reply: oneshot::Sender<Result<GroupTaken>>,
    ) {
        if let Err(Ok(taken)) = reply.send(Ok(taken)) {
            // The receive was dropped while its take was in flight, or it timed out.
            if let Some(Lost { from, to, missed }) = taken.gap {
                let (id, group) = (take.id, &take.group);
                tracing::warn!(job = %self.home.place.tag, id, %group, from, to, missed, "a group has missed events of a job, and no reader was left to report it to");
            }
            let give_back = |event: HandedEvent| GroupSettle {
                id: take.id,
                group: Arc::clone(&take.group),
                number: event.number,
                fence: event.fence,
                action: GroupAction::Return { delay: 0, unused: true },
            };
            let settles: Vec<_> = taken.events.into_iter().map(give_back).collect();
            if !settles.is_empty() {
                self.submit(Request::SettleEvents { settles, reply: None });
            }
        }
    }
}
