//! The events of a job.

use std::borrow::Cow;

use js_sys::{Array, Error as JsError};
use tidelock::job::{Follower, Gap, Item, JobCursor, JobEvent, JobEventKind, JobId, Start};
use tidelock::{ErrorKind, Job, Raw};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::call::{Answer, begun};
use crate::error::thrown;
use crate::following::Following;
use crate::number::js;

/// Follows the events of a job.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawJobEvents {
    following: Following<Follower>,
}

#[wasm_bindgen]
impl RawJobEvents {
    /// Returns `[cursor, at, type, run, next at, text, attempt]` for an event, `[null, from, to, missed]` for a gap, or
    /// `null` if nothing can come any more.
    pub fn next(&self) -> Answer {
        self.following.next(|item| match item {
            Item::Event(event) => Some(Ok(shown(&event)?.into())),
            Item::Gap(gap) => Some(Ok(lost(&gap))),
        })
    }
}

/// Begins to follow after a position: `None` means now, `0` the first event that is kept.
pub(super) fn follow(job: &Job<Raw, Raw>, id: &str, after: Option<String>) -> Answer {
    let foreign = |text: &str| JsValue::from(JsError::new(&format!("invalid cursor: {text}")));
    let start = match after.as_deref() {
        None | Some("$") => Ok(Start::Latest),
        Some("0" | "0-0") => Ok(Start::Earliest),
        Some(text) => text.parse::<JobCursor>().map(Start::After).map_err(|_| foreign(text)),
    }?;
    let follow = match (id.parse::<JobId>(), after.as_deref()) {
        (Ok(id), _) => job.events(id).follow().start(start),
        (Err(_), Some(text)) if matches!(start, Start::After(_)) => return Err(foreign(text)),
        // An invalid id has no events.
        (Err(_), _) => return Ok(RawJobEvents { following: Following::new(None) }.into()),
    };
    let after = after.unwrap_or_default();
    begun(async move {
        match follow.await {
            Ok(follower) => Ok(RawJobEvents { following: Following::new(Some(follower)) }.into()),
            Err(error) if error.kind() == ErrorKind::InvalidArgument => Err(foreign(&after)),
            Err(error) => Err(thrown(&error)),
        }
    })
}

/// A gap, for the TypeScript layer.
pub(super) fn lost(gap: &Gap) -> JsValue {
    let (from, to) = (gap.from.to_string(), gap.to.to_string());
    Array::of4(&JsValue::NULL, &from.into(), &to.into(), &js(gap.missed).into()).into()
}

/// An event, for the TypeScript layer; `None`: it is not shown.
pub(super) fn shown(event: &JobEvent) -> Option<Array> {
    let run = |attempt: u64| JsValue::from(format!("{}-{attempt}", event.job));
    let none = JsValue::UNDEFINED;
    let (kind, number, next_at, said) = match &event.kind {
        JobEventKind::Submitted => ("submitted", None, none, None),
        JobEventKind::Started { attempt, .. } => ("started", Some(*attempt), none, None),
        JobEventKind::Heartbeat { attempt } => ("heartbeat", Some(*attempt), none, None),
        JobEventKind::Progress { value } => ("progress", None, none, Some(String::from_utf8_lossy(value.as_bytes()))),
        JobEventKind::Step { id } => ("step", None, none, Some(id.into())),
        JobEventKind::Retry { attempt, message, next_at, .. } => {
            ("retry", Some(*attempt), js(next_at.as_millis()).into(), Some(message.into()))
        }
        JobEventKind::Completed => ("completed", None, none, None),
        JobEventKind::Failed { message, .. } => ("failed", None, none, Some(message.into())),
        JobEventKind::Cancelled { reason } => ("cancelled", None, none, reason.as_ref().map(Cow::from)),
        _ => return None,
    };
    let shown = Array::of5(
        &event.cursor.to_string().into(),
        &js(event.at.as_millis()).into(),
        &kind.into(),
        &number.map_or(JsValue::UNDEFINED, run),
        &next_at,
    );
    shown.push(&said.map_or(JsValue::UNDEFINED, |said| JsValue::from_str(&said)));
    shown.push(&number.map_or(JsValue::UNDEFINED, |attempt| js(attempt).into()));
    Some(shown)
}
