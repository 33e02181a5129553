//! Publishing events.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tidelock::topic::{self, Topic};
use tidelock::{Raw, Tidelock};

use super::Target;
use crate::exit::{Exit, Wrong};
use crate::lines::{self, STDIN};
use crate::output;
use crate::value::{count, duration, meta};

const PUBLISH_HELP: &str = "\
The body is sent byte for byte: if readers decode JSON, it has to be JSON. Several bodies are several events, published
all or none. `-` publishes each line of stdin and skips blank lines; without a body, stdin is read to its end as one
event. A duplicate of an earlier dedup key is not a failure: the answer says `duplicate`.

The retention of a topic is that of its latest publisher. This command does not change it; the first event of a new topic
sets 7 days.

Examples:
  tidelock topic publish orders '{\"id\":\"o-1\"}' --key o-1
  tidelock topic publish orders '{\"id\":\"o-1\"}' --dedup charged:o-1
  tidelock topic publish orders - < events.ndjson";

#[derive(Args)]
#[command(after_help = PUBLISH_HELP)]
pub(crate) struct Publish {
    #[command(flatten)]
    target: Target,
    /// The bodies; `-` for one event per line of stdin; read from stdin as one event if omitted.
    #[arg(value_name = "BODY")]
    bodies: Vec<String>,
    /// Within each group, events with the same key are delivered in order, one at a time.
    #[arg(long, value_name = "KEY", visible_alias = "key")]
    ordering_key: Option<String>,
    /// Publish nothing if this key was used within the window.
    #[arg(long, value_name = "KEY", visible_alias = "dedup")]
    dedup_key: Option<String>,
    /// The window of --dedup-key [default: 7d].
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "dedup_key")]
    dedup_for: Option<Duration>,
    /// Metadata; a value that is not JSON is taken as text.
    #[arg(long, value_name = "KEY=VALUE")]
    meta: Vec<String>,
}

impl Publish {
    pub(crate) async fn run(&self) -> anyhow::Result<Exit> {
        let is_lines = self.bodies == [STDIN];
        if !is_lines && self.bodies.iter().any(|body| body == STDIN) {
            return Err(Wrong(format!("`{STDIN}` stands for all events, and takes no other body beside it")).into());
        }
        if self.dedup_key.is_some() && (is_lines || self.bodies.len() > 1) {
            return Err(Wrong("--dedup-key is for one event: several with one key would be one".to_owned()).into());
        }
        let (_tide, topic) = self.open().await?;
        match &self.bodies[..] {
            [] => self.publish_one(&topic, lines::body(None).await?).await,
            [_] if is_lines => self.publish_lines(&topic).await,
            [body] => self.publish_one(&topic, body.clone().into_bytes()).await,
            bodies => {
                let events = bodies.iter().map(|body| self.request(&topic, body.clone().into_bytes()));
                let published = topic.publish_many(events.collect::<Result<Vec<_>, _>>()?).await?;
                self.told(published.len() as u64)
            }
        }
    }

    /// The topic with its current settings, so that publishing does not change them.
    async fn open(&self) -> anyhow::Result<(Tidelock, Topic<Raw>)> {
        let (tide, topic) = self.target.open().await?;
        let stats = topic.stats().await?;
        if stats.published_total == 0 {
            return Ok((tide, topic));
        }
        let same = self.target.define(&tide).retention(stats.retention).max_len(stats.max_len).build()?;
        Ok((tide, same))
    }

    async fn publish_one(&self, topic: &Topic<Raw>, body: Vec<u8>) -> anyhow::Result<Exit> {
        let published = self.request(topic, body)?.await?;
        let duplicate = if published.duplicate { "  duplicate: published before, nothing was added" } else { "" };
        output::answer(self.target.json(), &published, &format!("{}{duplicate}\n", published.event_id))?;
        Ok(Exit::Yes)
    }

    fn request(&self, topic: &Topic<Raw>, body: Vec<u8>) -> anyhow::Result<topic::Publish<Raw>> {
        let mut request = topic.publish(&Raw(body));
        if let Some(key) = &self.ordering_key {
            request = request.ordering_key(key);
        }
        if let Some(key) = &self.dedup_key {
            request = request.dedup_key(key);
        }
        if let Some(window) = self.dedup_for {
            request = request.dedup_for(window);
        }
        for pair in &self.meta {
            let (name, value) = meta(pair)?;
            request = request.meta(name, &value);
        }
        Ok(request)
    }

    async fn publish_lines(&self, topic: &Topic<Raw>) -> anyhow::Result<Exit> {
        let publish = async |events| Ok(topic.publish_many(events).await?.len());
        let published = lines::send_each("events were published", |body| self.request(topic, body), publish).await?;
        self.told(published)
    }

    fn told(&self, published: u64) -> anyhow::Result<Exit> {
        let human = format!("{} events published\n", count(published));
        output::answer(self.target.json(), &json!({ "published": published }), &human)?;
        Ok(Exit::any(published > 0))
    }
}
