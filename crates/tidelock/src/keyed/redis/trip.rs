//! A trip: one script call that carries all changes waiting when the lane became free.

use std::sync::Arc;

use redis::Value;
use tokio::sync::oneshot;

use super::Site;
use super::stored::{self, read_stamp, some};
use crate::Error;
use crate::backend::redis::{
    self as server, Answer, Arguments, Bytes, Carrier, Lane, Lanes, Script, script, unexpected,
};
use crate::error::Result;
use crate::keyed::store::{Action, Bounds, Change, Changed, Life, Outcome, RecordView};

static TRIP: Script = script!(
    "keyed.trip",
    "../../lua/time.lua",
    "../lua/store.lua",
    "../lua/log.lua",
    "../lua/moves.lua",
    "../lua/settle.lua",
    "../lua/change.lua",
    "../lua/repeat.lua",
    "../lua/trip.lua",
);

/// One caller's part of a trip.
#[derive(Debug)]
pub(super) enum Request {
    Change { change: Change, reply: oneshot::Sender<Result<Changed>> },
    Delete { reply: oneshot::Sender<Result<bool>> },
}

impl server::Request for Request {
    fn bytes(&self) -> usize {
        match self {
            Self::Change { change, .. } => change.key.len() + value_of(&change.action).len() + 64,
            Self::Delete { .. } => 64,
        }
    }

    fn is_withdrawn(&self) -> bool {
        match self {
            Self::Change { reply, .. } => reply.is_closed(),
            Self::Delete { reply } => reply.is_closed(),
        }
    }

    fn fail(&mut self, error: &Error) {
        match self {
            Self::Change { reply, .. } => server::refuse(reply, error),
            Self::Delete { reply } => server::refuse(reply, error),
        }
    }
}

impl Request {
    fn key(&self) -> &str {
        match self {
            Self::Change { change, .. } => &change.key,
            Self::Delete { .. } => "",
        }
    }

    /// Answers the caller with the script's outcome.
    fn answer(mut self, outcome: &[u8]) {
        let wrong = || unexpected("keyed", &Value::BulkString(outcome.to_vec()));
        if outcome == b"!" {
            return server::Request::fail(&mut self, &stored::not_understood());
        }
        match self {
            Self::Change { change, reply } => {
                drop(reply.send(changed(&change.key, outcome).ok_or_else(wrong)));
            }
            Self::Delete { reply } => {
                let existed = match outcome {
                    b"D1" => Ok(true),
                    b"D0" => Ok(false),
                    _ => Err(wrong()),
                };
                drop(reply.send(existed));
            }
        }
    }
}

/// The changes of one object, batched into trips.
#[derive(Debug)]
pub(super) struct Changes {
    site: Arc<Site>,
    lanes: Lanes<Request>,
}

impl Changes {
    pub(super) fn new(site: &Arc<Site>) -> Arc<Self> {
        Arc::new(Self { site: Arc::clone(site), lanes: Lanes::new(&site.home) })
    }

    /// Sends the requests under the lane's number; returns the script's outcomes.
    pub(super) async fn make_trip(&self, lane: &Lane, load: &[Request]) -> Result<Answer> {
        let mut arguments = self.site.home.arguments(Some(&lane.answers));
        arguments.number(lane.number);
        push_changes(load, &mut arguments);
        let answer = self.site.home.run(&TRIP, &arguments, lane.repeat()).await?;
        let mut answer = Answer::read("keyed", answer)?;
        self.site.told_next(answer.count()?);
        Ok(answer)
    }
}

impl Carrier for Changes {
    type Request = Request;

    fn lanes(&self) -> &Lanes<Request> {
        &self.lanes
    }

    async fn carry(self: &Arc<Self>, lane: &mut Lane, load: Vec<Request>) {
        match self.make_trip(lane, &load).await {
            Ok(mut answer) => {
                for mut request in load {
                    match answer.bytes() {
                        // A conflict whose record did not fit into the reply: the next trip asks again.
                        Ok(outcome) if outcome == b"+" => self.submit(request),
                        Ok(outcome) => request.answer(&outcome),
                        Err(error) => server::Request::fail(&mut request, &error),
                    }
                }
            }
            Err(error) => load.into_iter().for_each(|mut request| server::Request::fail(&mut request, &error)),
        }
    }
}

fn push_changes(load: &[Request], arguments: &mut Arguments) {
    arguments.number(load.len() as u64);
    for request in load {
        arguments.push(request.key().as_bytes());
    }
    let mut in_force = None;
    for request in load {
        let Request::Change { change, .. } = request else {
            arguments.push(b"d-");
            continue;
        };
        if in_force != Some(change.bounds) {
            push_bounds(&change.bounds, arguments);
            in_force = Some(change.bounds);
        }
        push_action(&change.action, arguments);
    }
}

fn push_bounds(bounds: &Bounds, arguments: &mut Arguments) {
    arguments.push(b"b-");
    let Bounds { max_entries, event_retention, max_events, max_event_bytes, tombstone_retention } = *bounds;
    for number in [max_entries, event_retention, max_events, max_event_bytes, tombstone_retention] {
        arguments.number(number);
    }
}

fn push_action(action: &Action, arguments: &mut Arguments) {
    match action {
        Action::Upsert { value, life } => {
            arguments.push(with_life('u', *life).as_bytes());
            arguments.push(value);
        }
        Action::Cas { expected, value, life } => {
            arguments.push(with_life('c', *life).as_bytes());
            push_version(*expected, arguments);
            arguments.push(value);
        }
        Action::Touch { ttl, if_version } => {
            arguments.push(format!("t-{}", ttl.unwrap_or(0)).as_bytes());
            push_version(*if_version, arguments);
        }
        Action::Remove { reason, if_version } => {
            arguments.push(if reason.is_some() { b"r1" } else { b"r0" });
            push_version(*if_version, arguments);
            arguments.push(reason.as_deref().unwrap_or_default().as_bytes());
        }
    }
}

/// An expected version. Every number is valid, including 0, which matches no record.
fn push_version(version: Option<u64>, arguments: &mut Arguments) {
    match version {
        Some(version) => arguments.number(version),
        None => arguments.push(b""),
    }
}

fn with_life(letter: char, life: Life) -> String {
    match life {
        Life::Permanent => format!("{letter}p"),
        Life::For(ttl) => format!("{letter}f{ttl}"),
        Life::Keep => format!("{letter}k"),
    }
}

fn value_of(action: &Action) -> &[u8] {
    match action {
        Action::Upsert { value, .. } | Action::Cas { value, .. } => value,
        Action::Touch { .. } | Action::Remove { .. } => &[],
    }
}

/// Parses the outcome of a change.
fn changed(key: &Arc<str>, outcome: &[u8]) -> Option<Changed> {
    let mut reader = Bytes(outcome);
    let mut replaced = None;
    if outcome.first() == Some(&b'B') {
        reader.take(1)?;
        replaced = Some(Bounds {
            max_entries: reader.number(8)?,
            event_retention: reader.number(8)?,
            max_events: reader.number(8)?,
            max_event_bytes: reader.number(8)?,
            tombstone_retention: reader.number(8)?,
        });
    }
    let outcome = match reader.byte()? {
        b'S' => Outcome::Stored(read_stamp(&mut reader)?),
        b'F' => Outcome::Full { limit: reader.number(8)? },
        b'N' => Outcome::Conflict(None),
        b'C' => {
            let stamp = read_stamp(&mut reader)?;
            let (key, value) = (Arc::clone(key), reader.0.to_vec());
            Outcome::Conflict(Some(RecordView { key, value, stamp, expired: false }))
        }
        b'E' => Outcome::Extended { version: reader.number(8)?, expires_at: some(reader.number(8)?)? },
        b'P' => Outcome::Permanent,
        b'V' => Outcome::Stale { version: reader.number(8)? },
        b'R' => Outcome::Removed,
        b'A' => Outcome::Absent,
        _ => return None,
    };
    Some(Changed { outcome, replaced })
}
