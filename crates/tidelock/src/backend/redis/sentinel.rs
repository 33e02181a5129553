//! Asking sentinels which server is the primary, and since which election.

use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use redis::{Value, cmd};

use super::dial::{NodeConfig, Peer, client, not_sent, open};
use super::failure::Failure;
use super::url::Host;
use crate::backoff::Pauses;

/// Pauses between attempts to reach a sentinel that is away.
const AGAIN: Pauses = Pauses::new(Duration::from_millis(250), Duration::from_secs(5));

/// A primary, as a sentinel names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Primary {
    pub(crate) host: Host,
    /// The number of the election that made it the primary. If two sentinels disagree, the one with the higher number
    /// is right.
    pub(crate) epoch: u64,
}

/// Asks all sentinels for the primary at once, so that one that hangs delays nobody.
pub(crate) fn ask_all<'a>(
    config: &'a NodeConfig,
    name: &'a str,
) -> impl Stream<Item = Result<Primary, Failure>> + Unpin + 'a {
    config.url.hosts.iter().map(|sentinel| ask(sentinel, config, name)).collect::<FuturesUnordered<_>>()
}

async fn ask(sentinel: &Host, config: &NodeConfig, name: &str) -> Result<Primary, Failure> {
    named_by(sentinel, config, name).await.map_err(|failure| failure.of_sentinel(sentinel))
}

async fn named_by(sentinel: &Host, config: &NodeConfig, name: &str) -> Result<Primary, Failure> {
    let mut connection = open(&client(sentinel, config, Peer::Sentinel)?).await?;
    let mut question = cmd("SENTINEL");
    question.arg("MASTER").arg(name);
    let answer: Value = match question.query_async(&mut connection).await.map_err(|error| not_sent(&error)) {
        Err(Failure::Refused { text, .. }) if text.contains("No such master") => Value::Nil,
        answer => answer?,
    };
    primary_of(&answer).ok_or_else(|| Failure::NotSent(format!("it knows no master {name:?}")))
}

/// The answer alternates between names and values.
fn primary_of(answer: &Value) -> Option<Primary> {
    let facts: Vec<(String, String)> = redis::from_redis_value_ref(answer).ok()?;
    let fact = |name| facts.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let host = Host::Port { name: fact("ip")?.to_owned(), port: fact("port")?.parse().ok()? };
    Some(Primary { host, epoch: fact("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0) })
}

/// Resolves when a sentinel reports a later election that made another server the primary.
///
/// The former primary may be cut off from the sentinels but not from its clients. It accepts writes until it learns
/// of the election. A client that stayed there would hold locks and slots that others get from the new primary.
pub(crate) async fn switched(config: &NodeConfig, name: &str, known: &Primary) -> Primary {
    let watches = config.url.hosts.iter().map(|sentinel| watch(sentinel, config, name, known));
    let first = watches.collect::<FuturesUnordered<_>>().next().await;
    // A URL without sentinels is invalid.
    first.expect("there is a sentinel")
}

async fn watch(sentinel: &Host, config: &NodeConfig, name: &str, known: &Primary) -> Primary {
    let mut pauses = AGAIN;
    loop {
        if let Ok(mut news) = subscribe(sentinel, config).await {
            pauses = AGAIN;
            loop {
                // Asks after it has subscribed, so that nothing in between is missed.
                match ask(sentinel, config, name).await {
                    Ok(named) if named.epoch > known.epoch && named.host != known.host => return named,
                    _ => {}
                }
                if news.next().await.is_none() {
                    break;
                }
            }
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

async fn subscribe(sentinel: &Host, config: &NodeConfig) -> Result<redis::aio::PubSubStream, Failure> {
    let mut news =
        client(sentinel, config, Peer::Sentinel)?.get_async_pubsub().await.map_err(|error| not_sent(&error))?;
    news.subscribe("+switch-master").await.map_err(|error| not_sent(&error))?;
    Ok(news.into_on_message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_sentinel_is_read() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let facts = ["name", "main", "ip", "10.0.0.1", "port", "6379", "flags", "master", "config-epoch", "7"];
        let expected = Primary { host: Host::Port { name: "10.0.0.1".into(), port: 6_379 }, epoch: 7 };
        assert_eq!(primary_of(&Value::Array(facts.map(text).to_vec())), Some(expected));
        assert_eq!(primary_of(&Value::Array(facts[..4].iter().map(|fact| text(fact)).collect())), None);
        assert_eq!(primary_of(&Value::Nil), None);
    }
}
