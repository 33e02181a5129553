//! Following a topic.

use std::time::SystemTime;

use clap::Args;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tidelock::topic::{Cursor, Event, Gap, GapCause, Item, RawEvent, Start};
use tidelock::{Raw, Timestamp};

use super::Target;
use crate::exit::Exit;
use crate::value::{SHOWN, body, count, cut, instant, line, plain};
use crate::{output, stop};

const TAIL_HELP: &str = "\
Prints one line per event: its cursor, time of publication, ordering key, and body; bytes that are not UTF-8 are shown as
base64 and marked. With --json each line is an object; its `kind` is `event`, `gap` (events that are no longer available:
`missed` is their number, if known) or `undecodable`. Runs until Ctrl-C (exit code 0). It belongs to no group and takes
no events from any.

--from: `latest` begins with the next event published, `earliest` with the first event that is still kept, a cursor after
the event it was shown with, a time with the first event published at or after it.

Examples:
  tidelock topic tail orders
  tidelock topic tail orders --from earliest --limit 10 --json | jq -r .body
  tidelock topic tail orders --from 2026-01-31T12:00:00Z";

#[derive(Args)]
#[command(after_help = TAIL_HELP)]
pub(crate) struct Tail {
    #[command(flatten)]
    target: Target,
    /// Where to begin: `earliest`, `latest`, a cursor, or a time in UTC.
    #[arg(long, value_name = "PLACE", default_value = "latest", value_parser = start)]
    from: Start,
    /// End after this number of events.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

impl Tail {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        stop::until_signal(self.follow()).await
    }

    async fn follow(&self) -> anyhow::Result<Exit> {
        let (_tide, topic) = self.target.open().await?;
        let mut items = topic.follow().start(self.from).await?;
        let mut left = self.limit.unwrap_or(u64::MAX);
        while let Some(item) = items.next().await {
            let item = item?;
            output::answer(self.target.json(), &machine(&item), &human(&item))?;
            left -= u64::from(!matches!(item, Item::Gap(_)));
            if left == 0 {
                break;
            }
        }
        Ok(Exit::Yes)
    }
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => return Ok(Start::Earliest),
        "latest" => return Ok(Start::Latest),
        _ => {}
    }
    if let Ok(cursor) = text.parse::<Cursor>() {
        return Ok(Start::After(cursor));
    }
    let time: Result<SystemTime, _> = humantime::parse_rfc3339_weak(text);
    time.map(|time| Start::At(Timestamp::from(time)))
        .map_err(|_| "expected earliest, latest, a cursor, or a time such as 2026-01-31T12:00:00Z".to_owned())
}

fn machine(item: &Item<Event<Raw>>) -> Value {
    match item {
        Item::Event(event) => {
            let (body, encoding) = body(&event.data().0);
            json!({
                "kind": "event",
                "event_id": event.event_id(),
                "cursor": event.cursor(),
                "published_at": event.published_at(),
                "ordering_key": event.ordering_key(),
                "meta": event.meta(),
                "body": body,
                "encoding": encoding,
            })
        }
        Item::Gap(gap) => {
            json!({ "kind": "gap", "from": gap.from, "to": gap.to, "missed": gap.missed, "cause": gap.cause })
        }
        Item::Undecodable(raw) => {
            let (body, encoding) = body(&raw.raw);
            json!({
                "kind": "undecodable",
                "event_id": raw.event_id,
                "cursor": raw.cursor,
                "published_at": raw.published_at,
                "ordering_key": raw.ordering_key,
                "meta": raw.meta,
                "error": raw.error,
                "body": body,
                "encoding": encoding,
            })
        }
    }
}

fn human(item: &Item<Event<Raw>>) -> String {
    match item {
        Item::Event(event) => one(event.cursor(), event.published_at(), event.ordering_key(), &event.data().0),
        Item::Gap(gap) => told(*gap),
        Item::Undecodable(RawEvent { cursor, published_at, ordering_key, raw, error, .. }) => {
            let event = one(*cursor, *published_at, ordering_key.as_deref(), raw);
            format!("{}  undecodable: {}\n", event.trim_end(), plain(error))
        }
    }
}

fn one(cursor: Cursor, at: Timestamp, key: Option<&str>, body: &[u8]) -> String {
    let key = key.map(|key| format!("key {}  ", plain(key))).unwrap_or_default();
    format!("{cursor}  {}  {key}{}\n", instant(at), cut(&line(body), SHOWN))
}

fn told(gap: Gap) -> String {
    let missed = gap.missed.map_or("an unknown number of".to_owned(), count);
    let why = match gap.cause {
        GapCause::Trimmed => "they are no longer kept",
        GapCause::Replaced => "the log was deleted or lost, and began anew",
        _ => "for a reason that this version does not know",
    };
    format!("gap: {missed} events were missed before {}: {why}\n", gap.to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_word_a_cursor_or_a_time() {
        assert_eq!(start("earliest").unwrap(), Start::Earliest);
        let at = |text| match start(text).unwrap() {
            Start::At(at) => at.as_millis(),
            other => panic!("{other:?}"),
        };
        assert_eq!(at("2026-01-31T12:00:00Z"), 1_769_860_800_000);
        assert_eq!(at("2026-01-31 12:00:00.250"), 1_769_860_800_250);
        assert!(start("yesterday").unwrap_err().contains("earliest"));
    }
}
