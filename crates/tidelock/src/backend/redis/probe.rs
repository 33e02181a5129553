//! Questions asked before a connection is used: who is primary, how old is the server, which format is stored.

use redis::aio::MultiplexedConnection;
use redis::{Value, cmd};

use super::failure::Failure;
use super::node::{NodeConfig, client, not_sent, open};
use super::url::Host;

/// The format of everything under a prefix. It changes when an older version could not read what is stored.
pub(crate) const FORMAT: &str = "1";

/// Asks the sentinels in turn for the address of the primary.
pub(crate) async fn ask_sentinels(config: &NodeConfig, primary: &str) -> Result<Host, Failure> {
    let mut last = Failure::NotSent("the URL names no sentinel".to_owned());
    for sentinel in &config.url.hosts {
        match ask_sentinel(sentinel, config, primary).await {
            Ok(host) => return Ok(host),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

async fn ask_sentinel(sentinel: &Host, config: &NodeConfig, primary: &str) -> Result<Host, Failure> {
    let connection = open(&client(sentinel, config, false)?).await;
    let mut connection = connection.map_err(|failure| failure.at(sentinel))?;
    let mut question = cmd("SENTINEL");
    question.arg("get-master-addr-by-name").arg(primary);
    let answer: Option<(String, u16)> =
        question.query_async(&mut connection).await.map_err(|error| not_sent(&error))?;
    match answer {
        Some((name, port)) => Ok(Host { name, port }),
        None => Err(Failure::NotSent(format!("sentinel {sentinel} knows no master {primary:?}"))),
    }
}

/// Refuses a server that is too old, and a prefix whose format this version does not know.
pub(crate) async fn check_server(connection: &mut MultiplexedConnection, config: &NodeConfig) -> Result<(), Failure> {
    check_version(connection).await?;
    let mut claim = cmd("SET");
    claim.arg(&config.format_key).arg(FORMAT).arg("NX");
    let claimed: Result<Value, _> = claim.query_async(connection).await;
    if let Err(error) = claimed {
        let failure = not_sent(&error);
        // In a cluster the key may belong to another node: the node that has it is asked when it is connected.
        let elsewhere = matches!(&failure, Failure::Refused { code, .. } if code == "MOVED" || code == "ASK");
        return if elsewhere { Ok(()) } else { Err(failure) };
    }
    let found: Option<String> =
        cmd("GET").arg(&config.format_key).query_async(connection).await.map_err(|error| not_sent(&error))?;
    match found.as_deref() {
        Some(FORMAT) | None => Ok(()),
        Some(other) => Err(Failure::Refused {
            code: "TIDELOCK".to_owned(),
            text: format!("the data was written in format {other:?}, this version reads format {FORMAT:?}"),
        }),
    }
}

/// `HELLO` without arguments is an error before Redis 6.2, which makes it the test.
async fn check_version(connection: &mut MultiplexedConnection) -> Result<(), Failure> {
    let answer: Result<Value, _> = cmd("HELLO").query_async(connection).await;
    let failure = match answer {
        Ok(_) => return Ok(()),
        Err(error) => not_sent(&error),
    };
    match failure {
        Failure::Refused { code, text } if code == "ERR" => Err(Failure::Refused {
            code: "OLD".to_owned(),
            text: format!("the server is older than Redis 6.2, the oldest that tidelock works with ({text})"),
        }),
        // A user who may not ask is not refused for it.
        Failure::Refused { code, .. } if code == "NOPERM" => Ok(()),
        failure => Err(failure),
    }
}
