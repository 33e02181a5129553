//! Registries and ephemeral stores.
//!
//! A record is shown as `[key, value, version, created, updated, ttl, end, expired]`; `null` for no ttl and no end.

use std::fmt;

use js_sys::Array;
use tidelock::ephemeral::{self, Ephemeral};
use tidelock::registry::{
    self, Cas, Entry, Event, EventKind, Follow, Follower, Listed, Removal, Status, Touch, TouchRequest, Version,
};
use tidelock::web::{self, Begun, begin};
use tidelock::{EphemeralBuilder, ErrorKind, Raw, Registry, RegistryBuilder};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::call::{Answer, call};
use crate::error::thrown;
use crate::number::{count, js, js_millis, millis};
use crate::optional::Optional as _;
use crate::tenants::Tenants;
use crate::{PAYLOAD_LIMIT, text};

/// The library's id of the object: each factory call has a world of its own.
const ID: &str = "keyed";

/// The registry of one factory call.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawRegistry {
    tenants: Tenants<Registry<Raw>>,
}

#[wasm_bindgen]
impl RawRegistry {
    /// A registry in a world of its own. `step`: how many overdue records are settled before the page gets a turn.
    #[wasm_bindgen(constructor)]
    pub fn new(
        max_entries: f64,
        event_retention: f64,
        max_events: f64,
        tombstone_retention: f64,
        step: f64,
    ) -> Result<RawRegistry, JsValue> {
        let registry = web::in_turns(size(step).unwrap_or(1))
            .registry::<Raw>(ID)
            .payload_limit(PAYLOAD_LIMIT)
            .with(count(max_entries), RegistryBuilder::max_entries)
            .with(millis(event_retention), RegistryBuilder::event_retention)
            .with(count(max_events), RegistryBuilder::max_events)
            .with(millis(tombstone_retention), RegistryBuilder::tombstone_retention);
        let registry = registry.build().map_err(|error| thrown(&error))?;
        Ok(Self { tenants: Tenants::new(registry, Registry::tenant) })
    }

    /// Returns the record. Without `ttl` it is permanent.
    pub fn upsert(&self, tenant: &str, key: &str, value: String, ttl: f64) -> Answer {
        let request =
            self.tenants.get(tenant).upsert(key, &Raw(value.into_bytes())).with(millis(ttl), registry::Upsert::ttl);
        call(request, shown)
    }

    /// Returns the record, or `null` if none is active or it has another version.
    pub fn cas(&self, tenant: &str, key: &str, version: &str, value: String) -> Answer {
        let known = version.parse::<Version>().ok().filter(|known| known.to_string() == version);
        let Some(version) = known else { return Ok(JsValue::NULL) };
        let request = self.tenants.get(tenant).cas(key, version, &Raw(value.into_bytes()));
        call(
            async {
                match request.await {
                    Ok(Cas::Swapped(entry)) => Ok(Some(entry)),
                    Ok(Cas::Conflict(_)) => Ok(None),
                    // An existing record always has room, so there was none.
                    Err(error) if error.kind() == ErrorKind::CapacityReached => Ok(None),
                    Err(error) => Err(error),
                }
            },
            maybe,
        )
    }

    /// Returns `[version, end]`, or `null` if none is active, or it is permanent and there is no `ttl`.
    pub fn touch(&self, tenant: &str, key: &str, ttl: f64) -> Answer {
        let request = self.tenants.get(tenant).touch(key).with(millis(ttl), TouchRequest::ttl);
        call(request, touched)
    }

    /// Returns whether there was an active record.
    pub fn remove(&self, tenant: &str, key: &str, reason: Option<String>) -> Answer {
        let request = self.tenants.get(tenant).remove(key).with(reason, |request, reason| request.reason(&reason));
        call(request, |removal| matches!(removal, Removal::Removed).into())
    }

    /// Returns the record, or `null`.
    pub fn get(&self, tenant: &str, key: &str, include_expired: bool) -> Answer {
        let mut request = self.tenants.get(tenant).get(key);
        if include_expired {
            request = request.include_expired();
        }
        call(request, maybe)
    }

    /// Returns `[records, cursor, first key of the next page or null]`.
    pub fn list(&self, tenant: &str, prefix: &str, expired: bool, limit: f64, after_key: Option<String>) -> Answer {
        let registry = self.tenants.get(tenant);
        let page = move |limit: usize| {
            let list = registry.list().limit(limit);
            if expired { list.expired() } else { list }
        };
        let first =
            page(size(limit).unwrap_or(usize::MAX)).prefix(prefix).with(after_key, |first, key| first.after_key(&key));
        let prefix = prefix.to_owned();
        call(
            async move {
                let listing = first.await?;
                let next = match &listing.next {
                    Some(token) => page(1).prefix(&prefix).after(token).await?.items.pop(),
                    None => None,
                };
                Ok((listing, next))
            },
            |(listing, next)| {
                let next = next.map_or(JsValue::NULL, |next| next.key().into());
                Array::of3(&listed(listing.items), &js(web::revision(&listing.cursor)).into(), &next).into()
            },
        )
    }

    /// Follows the changes of a key, of a prefix, or all.
    pub fn follow(&self, tenant: &str, key: Option<String>, prefix: &str, after: f64) -> Result<RawFollower, JsValue> {
        let mut follow = self.tenants.get(tenant).follow();
        follow = match key {
            Some(key) => follow.key(&key),
            None => follow.prefix(prefix),
        };
        RawFollower::begin(follow, after)
    }
}

/// The ephemeral store of one factory call.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawEphemeral {
    tenants: Tenants<Ephemeral<Raw>>,
}

#[wasm_bindgen]
impl RawEphemeral {
    /// A store in a world of its own. `step`: how many overdue records are settled before the page gets a turn.
    #[wasm_bindgen(constructor)]
    pub fn new(
        ttl: f64,
        max_entries: f64,
        event_retention: f64,
        max_events: f64,
        step: f64,
    ) -> Result<RawEphemeral, JsValue> {
        let store = web::in_turns(size(step).unwrap_or(1))
            .ephemeral::<Raw>(ID)
            .payload_limit(PAYLOAD_LIMIT)
            .with(millis(ttl), EphemeralBuilder::ttl)
            .with(count(max_entries), EphemeralBuilder::max_entries)
            .with(millis(event_retention), EphemeralBuilder::event_retention)
            .with(count(max_events), EphemeralBuilder::max_events);
        let store = store.build().map_err(|error| thrown(&error))?;
        Ok(Self { tenants: Tenants::new(store, Ephemeral::tenant) })
    }

    /// Returns the record.
    pub fn upsert(&self, tenant: &str, key: &str, value: String, ttl: f64) -> Answer {
        let request =
            self.tenants.get(tenant).upsert(key, &Raw(value.into_bytes())).with(millis(ttl), ephemeral::Upsert::ttl);
        call(request, shown)
    }

    /// Returns `[version, end]`, or `null` if there is no record.
    pub fn touch(&self, tenant: &str, key: &str, ttl: f64) -> Answer {
        let request = self.tenants.get(tenant).touch(key).with(millis(ttl), TouchRequest::ttl);
        call(request, touched)
    }

    /// Returns whether there was a record.
    pub fn remove(&self, tenant: &str, key: &str, reason: Option<String>) -> Answer {
        let request = self.tenants.get(tenant).remove(key).with(reason, |request, reason| request.reason(&reason));
        call(request, |removal| matches!(removal, Removal::Removed).into())
    }

    /// Returns `[records, cursor]`.
    pub fn snapshot(&self, tenant: &str) -> Answer {
        call(self.tenants.get(tenant).snapshot(), |snapshot| {
            Array::of2(&listed(snapshot.items), &js(web::revision(&snapshot.cursor)).into()).into()
        })
    }

    /// Follows the changes.
    pub fn follow(&self, tenant: &str, after: f64) -> Result<RawFollower, JsValue> {
        RawFollower::begin(self.tenants.get(tenant).follow(), after)
    }
}

/// A follower of the changes of a store.
#[wasm_bindgen]
pub struct RawFollower {
    follower: Follower<Raw>,
}

#[wasm_bindgen]
impl RawFollower {
    /// Returns an event, or `null` if none arrives in time. Without `wait` there is no limit. Calls are served in
    /// order.
    ///
    /// An event is `["upsert", cursor, record]`, `["touch", cursor, at, key, version, end]`, `["delete", cursor, at,
    /// key, reason]`, `["expire", cursor, at, key]` or `["overflow", cursor, after, first]`.
    pub fn recv(&self, wait: f64) -> Answer {
        call(web::recv_in_line(&self.follower, millis(wait)), |event| event.map_or(JsValue::NULL, told))
    }
}

impl RawFollower {
    /// `after`: the position to follow; negative for the oldest change; NaN for now.
    fn begin(mut follow: Follow<Raw>, after: f64) -> Result<Self, JsValue> {
        if after < 0.0 {
            follow = follow.from_start();
        } else if let Some(place) = count(after) {
            follow = web::follow_after(follow, place);
        }
        match begin(follow.into_future()) {
            Begun::Ready(follower) => Ok(Self { follower: follower.map_err(|error| thrown(&error))? }),
            Begun::Pending(_) => Err("a place in this page is known at once".into()),
        }
    }
}

impl fmt::Debug for RawFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawFollower").finish_non_exhaustive()
    }
}

/// Converts a count.
fn size(number: f64) -> Option<usize> {
    count(number).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
}

fn shown(entry: Entry<Raw>) -> JsValue {
    let ttl = entry.ttl.map_or(JsValue::NULL, |ttl| js_millis(ttl).into());
    let end = entry.expires_at.map_or(JsValue::NULL, |end| js(end.as_millis()).into());
    [
        entry.key.into(),
        text(&entry.value.0),
        entry.version.to_string().into(),
        js(entry.created_at.as_millis()).into(),
        js(entry.updated_at.as_millis()).into(),
        ttl,
        end,
        (entry.status == Status::Expired).into(),
    ]
    .into_iter()
    .collect::<Array>()
    .into()
}

fn maybe(entry: Option<Entry<Raw>>) -> JsValue {
    entry.map_or(JsValue::NULL, shown)
}

fn listed(items: Vec<Listed<Raw>>) -> JsValue {
    // Raw bytes always decode.
    items.into_iter().filter_map(|item| item.into_entry().ok()).map(shown).collect::<Array>().into()
}

fn touched(touch: Touch) -> JsValue {
    match touch {
        Touch::Extended { version, expires_at } => {
            Array::of2(&version.to_string().into(), &js(expires_at.as_millis()).into()).into()
        }
        _ => JsValue::NULL,
    }
}

fn told(event: Event<Raw>) -> JsValue {
    let (cursor, at) = (js(event.revision).into(), js(event.at.as_millis()).into());
    let parts: Vec<JsValue> = match event.kind {
        EventKind::Upsert(entry) => vec!["upsert".into(), cursor, shown(entry)],
        EventKind::Touch { key, version, expires_at } => {
            let end = js(expires_at.as_millis()).into();
            vec!["touch".into(), cursor, at, key.into(), version.to_string().into(), end]
        }
        EventKind::Delete { key, reason, .. } => vec!["delete".into(), cursor, at, key.into(), reason.into()],
        EventKind::Expire { key, .. } => vec!["expire".into(), cursor, at, key.into()],
        EventKind::Overflow { after, first_available } => {
            let places = [&after, &first_available].map(|place| js(web::revision(place)).into());
            let [after, first] = places;
            vec!["overflow".into(), cursor, after, first]
        }
        // Raw bytes always decode.
        EventKind::Undecodable { .. } => Vec::new(),
    };
    parts.into_iter().collect::<Array>().into()
}
