//! Records of registries and ephemeral stores: showing and watching them.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tidelock::Raw;
use tidelock::ephemeral::Ephemeral;
use tidelock::registry::{Cursor, Entry, Event, EventKind, Follow, Follower, Listed, Registry, Snapshot, Version};

use crate::exit::Exit;
use crate::output;
use crate::stop;
use crate::value::{SHOWN, about, body, count, cut, instant, line, plain};

/// The store to watch.
pub(crate) enum Store {
    Registry(Registry<Raw>),
    Ephemeral(Ephemeral<Raw>),
}

/// Which records are watched, and for how long.
#[derive(Args)]
pub(crate) struct Watch {
    /// Only keys with this prefix.
    #[arg(long, value_name = "PREFIX", conflicts_with = "key")]
    prefix: Option<String>,
    /// Only this key.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// End after this number of changes, not counting the records listed first.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

impl Watch {
    /// Shows the existing records, and then every change, without a gap between the two.
    pub(crate) async fn run(&self, store: &Store, as_json: bool) -> anyhow::Result<Exit> {
        stop::until_signal(self.follow(store, as_json)).await
    }

    async fn follow(&self, store: &Store, as_json: bool) -> anyhow::Result<Exit> {
        let mut left = self.limit.unwrap_or(u64::MAX);
        loop {
            let (mut changes, listed) = self.begin(store, as_json).await?;
            while let Some(event) = changes.recv().forever().await? {
                if event.revision <= listed {
                    continue;
                }
                output::answer(as_json, &machine_event(&event), &human_event(&event))?;
                left -= 1;
                if left == 0 {
                    return Ok(Exit::Yes);
                }
                if matches!(event.kind, EventKind::Overflow { .. }) {
                    break;
                }
            }
        }
    }

    /// Lists the existing records and follows from that instant on. Changes up to the returned revision are in the
    /// listing.
    async fn begin(&self, store: &Store, as_json: bool) -> anyhow::Result<(Follower<Raw>, u64)> {
        let (items, changes, cursor, listed) = if let Some(key) = &self.key {
            // The position first: changes between the two calls are already in the record.
            let changes = store.follow().key(key).await?;
            let entry = store.get(key).await?;
            let listed = entry.as_ref().map_or(0, |entry| revision(entry.version));
            let cursor = changes.cursor();
            (entry.map(Listed::Entry).into_iter().collect(), changes, cursor, listed)
        } else {
            let prefix = self.prefix.as_deref().unwrap_or_default();
            let Snapshot { items, cursor, .. } = store.snapshot(prefix).await?;
            (items, store.follow().prefix(prefix).after(&cursor).await?, cursor, 0)
        };
        for item in &items {
            let mut listed = machine(item);
            listed["kind"] = json!("listed");
            output::answer(as_json, &listed, &human_line(item))?;
        }
        let following = json!({ "kind": "following", "records": items.len(), "cursor": cursor });
        output::answer(
            as_json,
            &following,
            &format!("{} records; changes from here on:\n", count(items.len() as u64)),
        )?;
        Ok((changes, listed))
    }
}

/// A version is the revision of a change.
fn revision(version: Version) -> u64 {
    version.to_string().parse().expect("a version is a decimal number")
}

impl Store {
    async fn snapshot(&self, prefix: &str) -> tidelock::Result<Snapshot<Raw>> {
        match self {
            Self::Registry(registry) => registry.snapshot().prefix(prefix).await,
            Self::Ephemeral(store) => store.snapshot().prefix(prefix).await,
        }
    }

    async fn get(&self, key: &str) -> tidelock::Result<Option<Entry<Raw>>> {
        match self {
            Self::Registry(registry) => registry.get(key).await,
            Self::Ephemeral(store) => store.get(key).await,
        }
    }

    fn follow(&self) -> Follow<Raw> {
        match self {
            Self::Registry(registry) => registry.follow(),
            Self::Ephemeral(store) => store.follow(),
        }
    }
}

/// A record as JSON.
pub(crate) fn machine(item: &Listed<Raw>) -> Value {
    match item {
        Listed::Entry(entry) => machine_entry(entry),
        Listed::Raw(raw) => undecodable(&raw.key, raw.version, &raw.raw, &raw.error),
    }
}

/// An existing record as JSON.
pub(crate) fn machine_entry(entry: &Entry<Raw>) -> Value {
    let (body, encoding) = body(&entry.value.0);
    json!({
        "key": entry.key,
        "version": entry.version,
        "status": entry.status,
        "created_at": entry.created_at,
        "updated_at": entry.updated_at,
        "ttl_ms": entry.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
        "expires_at": entry.expires_at,
        "body": body,
        "encoding": encoding,
    })
}

fn undecodable(key: &str, version: Version, raw: &[u8], error: &tidelock::Error) -> Value {
    let (body, encoding) = body(raw);
    json!({ "key": key, "version": version, "error": error.to_string(), "body": body, "encoding": encoding })
}

/// A record for people: its attributes, and its value on a separate line.
pub(crate) fn human(item: &Listed<Raw>) -> String {
    match item {
        Listed::Entry(entry) => human_entry(entry),
        Listed::Raw(raw) => {
            let (key, error) = (plain(&raw.key), plain(&raw.error.to_string()));
            format!("{key}  version {}  {error}\n  {}\n", raw.version, shown(&raw.raw))
        }
    }
}

/// An existing record for people.
pub(crate) fn human_entry(entry: &Entry<Raw>) -> String {
    let (key, updated) = (plain(&entry.key), instant(entry.updated_at));
    format!("{key}  version {}  updated {updated}  {}\n  {}\n", entry.version, life(entry), shown(&entry.value.0))
}

fn life(entry: &Entry<Raw>) -> String {
    let Some(expires) = entry.expires_at else { return "permanent".to_owned() };
    let verb = match entry.status {
        tidelock::registry::Status::Expired => "expired",
        _ => "expires",
    };
    format!("{verb} {}  ttl {}", instant(expires), about(entry.ttl.unwrap_or(Duration::ZERO)))
}

fn shown(bytes: &[u8]) -> String {
    cut(&line(bytes), SHOWN)
}

fn machine_event(event: &Event<Raw>) -> Value {
    let (kind, mut fields) = match &event.kind {
        EventKind::Upsert(entry) => ("upsert", machine_entry(entry)),
        EventKind::Undecodable { key, version, raw, error } => ("undecodable", undecodable(key, *version, raw, error)),
        EventKind::Touch { key, version, expires_at } => {
            ("touch", json!({ "key": key, "version": version, "expires_at": expires_at }))
        }
        EventKind::Delete { key, version, reason } => {
            ("delete", json!({ "key": key, "version": version, "reason": reason }))
        }
        EventKind::Expire { key, version } => ("expire", json!({ "key": key, "version": version })),
        EventKind::Overflow { after, first_available } => {
            ("overflow", json!({ "after": after, "first_available": first_available }))
        }
    };
    fields["kind"] = json!(kind);
    fields["revision"] = json!(event.revision);
    fields["at"] = json!(event.at);
    fields["cursor"] = json!(event.cursor);
    fields
}

fn human_event(event: &Event<Raw>) -> String {
    let (word, rest) = match &event.kind {
        EventKind::Upsert(entry) => ("upsert", shown(&entry.value.0)),
        EventKind::Undecodable { raw, error, .. } => {
            ("upsert", format!("{}  {}", shown(raw), plain(&error.to_string())))
        }
        EventKind::Touch { expires_at, .. } => ("touch", format!("expires {}", instant(*expires_at))),
        EventKind::Delete { reason, .. } => ("delete", reason.as_deref().map(plain).unwrap_or_default()),
        EventKind::Expire { .. } => ("expire", String::new()),
        EventKind::Overflow { .. } => {
            ("overflow", "changes were missed, because they are no longer kept; all records once more:".to_owned())
        }
    };
    let key = event.kind.key().map(|key| format!("{}  ", plain(key))).unwrap_or_default();
    let line = format!("{}  {word:<8}  {key}{rest}", instant(event.at));
    format!("{}\n", line.trim_end())
}

fn human_line(item: &Listed<Raw>) -> String {
    match item {
        Listed::Entry(entry) => {
            let (updated, key) = (instant(entry.updated_at), plain(&entry.key));
            format!("{updated}  {:<8}  {key}  {}\n", "is", shown(&entry.value.0))
        }
        Listed::Raw(_) => human(item),
    }
}

/// A page of a listing as JSON.
pub(crate) fn machine_page(items: &[Listed<Raw>], cursor: &Cursor) -> Value {
    json!({ "items": items.iter().map(machine).collect::<Vec<_>>(), "cursor": cursor })
}
