//! What a sender specifies for a message or event before sending: the common part of sending and publishing.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::check;
use crate::codec::Border;
use crate::error::{Error, ErrorKind, Result};
use crate::handover::store::{Content, Dedup, MAX_BATCH, MAX_BYTES};
use crate::meta::Meta;
use crate::name;
use crate::queue::store::Due;
use crate::time::{Clock, DAY, TEN_YEARS, Timestamp, whole_millis};

/// An encoded value, and what is sent along with it.
#[derive(Debug)]
pub(crate) struct Draft {
    payload: Result<Vec<u8>>,
    pub(crate) ordering_key: Option<Arc<str>>,
    pub(crate) dedup_key: Option<Arc<str>>,
    pub(crate) dedup_for: Option<Duration>,
    meta: Map<String, Json>,
    meta_fault: Option<Error>,
    pub(crate) trace: Option<Box<str>>,
}

impl Draft {
    pub(crate) fn new(payload: Result<Vec<u8>>) -> Self {
        Self {
            payload,
            ordering_key: None,
            dedup_key: None,
            dedup_for: None,
            meta: Map::new(),
            meta_fault: None,
            trace: None,
        }
    }

    /// Replaces the value.
    pub(crate) fn put(&mut self, payload: Result<Vec<u8>>) {
        self.payload = payload;
    }

    /// Attaches a JSON value under a name. An error is reported when the draft is finished.
    pub(crate) fn attach(&mut self, name: &str, value: &impl Serialize) {
        match serde_json::to_value(value) {
            Ok(value) => {
                self.meta.insert(name.to_owned(), value);
            }
            Err(source) => {
                let text = format!("the meta value {name:?} cannot be encoded as JSON: {source}");
                self.meta_fault = Some(Error::new(ErrorKind::Encode, text).with_source(source));
            }
        }
    }

    /// Rejects arguments outside their range.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(key) = &self.ordering_key {
            name::check(Error::argument, "ordering_key", key, name::MAX_KEY)?;
        }
        if let Some(key) = &self.dedup_key {
            name::check(Error::argument, "dedup_key", key, name::MAX_KEY)?;
        }
        if let Some(window) = self.dedup_for {
            check::lasting(Error::argument, "dedup_for", window)?;
            if self.dedup_key.is_none() {
                return Err(Error::argument(format!("dedup_for ({window:?}) needs a dedup_key")));
            }
        }
        match &self.trace {
            Some(trace) if !is_traceparent(trace) => {
                Err(Error::argument(format!("traceparent must be a W3C trace context, but is {trace:?}")))
            }
            _ => Ok(()),
        }
    }

    /// The content to store, after the checks; fails if value or metadata cannot be encoded or are too large.
    pub(crate) fn finish<T>(self, border: &Border<T>) -> Result<(Content, Option<Dedup>)> {
        if let Some(fault) = self.meta_fault {
            return Err(fault);
        }
        let content = Content {
            payload: self.payload?,
            meta: Meta::encode(&self.meta),
            trace: self.trace.map(|trace| trace.into_boxed_bytes().into_vec()).unwrap_or_default(),
            ordering_key: self.ordering_key,
        };
        border.check_size(content.size())?;
        let window = whole_millis(self.dedup_for.unwrap_or(7 * DAY));
        Ok((content, self.dedup_key.map(|key| Dedup { key, window })))
    }
}

/// When a message is first due, and its priority.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct When {
    pub(crate) delay: Option<Duration>,
    pub(crate) at: Option<Timestamp>,
    pub(crate) priority: u8,
}

impl When {
    /// Rejects arguments outside their range, by the backend's clock.
    pub(crate) fn check(&self, clock: &Clock) -> Result<()> {
        if let Some(delay) = self.delay {
            check::range(Error::argument, "delay", delay, Duration::ZERO, TEN_YEARS)?;
        }
        if let (Some(delay), Some(at)) = (self.delay, self.at) {
            return Err(Error::argument(format!("either delay or at, but both came: {delay:?} and {at}")));
        }
        if let Some(at) = self.at {
            // The backend's clock decides when it is due; this only rejects absurd instants.
            let latest = clock.now() + TEN_YEARS;
            if at > latest {
                return Err(Error::argument(format!("at must be at most 10 years ahead ({latest}), but is {at}")));
            }
        }
        check::range(Error::argument, "priority", self.priority, 0, 9)
    }

    pub(crate) fn due(&self) -> Due {
        match (self.delay, self.at) {
            (Some(delay), _) if !delay.is_zero() => Due::After(whole_millis(delay)),
            (_, Some(at)) => Due::At(at.as_millis()),
            _ => Due::Now,
        }
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>` in lower case; neither id may be all zero.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, len| part.len() == len && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let named = |part: &str| part.bytes().any(|byte| byte != b'0');
    match parts[..] {
        [version, trace, span, flags] => {
            let shape = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
            shape && version != "ff" && named(trace) && named(span)
        }
        _ => false,
    }
}

/// Finishes the items of a batch: checks the arguments of all of them first, then values and sizes. Errors name the
/// item.
pub(crate) fn batch<I, N>(
    items: Vec<I>,
    check: impl Fn(usize, &I) -> Result<()>,
    finish: impl Fn(I) -> Result<N>,
    content: impl Fn(&N) -> &Content,
) -> Result<Vec<N>> {
    let count = items.len();
    if count == 0 {
        return Err(Error::argument(format!("a batch must be 1..={MAX_BATCH} items, but has {count}")));
    }
    if count > MAX_BATCH {
        let text = format!("payload exceeds limit: a batch must be 1..={MAX_BATCH} items, but has {count} or more");
        return Err(Error::new(ErrorKind::PayloadTooLarge, text));
    }
    for (index, item) in items.iter().enumerate() {
        check(index, item)?;
    }
    let mut bytes = 0;
    let mut batch = Vec::with_capacity(count);
    for (index, item) in items.into_iter().enumerate() {
        let item = finish(item).map_err(|error| error.in_context(format_args!("item {index}")))?;
        bytes += content(&item).size();
        if bytes > MAX_BYTES && count > 1 {
            let text =
                format!("item {index}: payload exceeds limit: the batch has {bytes} bytes or more, limit {MAX_BYTES}");
            return Err(Error::new(ErrorKind::PayloadTooLarge, text));
        }
        batch.push(item);
    }
    Ok(batch)
}
