//! Checks before a connection is used: the server's version, the stored format, whether the server takes writes.

use redis::aio::MultiplexedConnection;
use redis::{Value, cmd};

use super::dial::{NodeConfig, not_sent};
use super::failure::Failure;
use super::url::Deployment;

/// The format of everything under a prefix. It changes when an older version could not read the new data.
pub(crate) const FORMAT: &str = "1";

/// Selects the database of the URL. The connection for wake-ups does not need this, because published messages reach
/// all databases.
pub(crate) async fn select(connection: &mut MultiplexedConnection, db: i64) -> Result<(), Failure> {
    if db == 0 {
        return Ok(());
    }
    let selected: Result<Value, _> = cmd("SELECT").arg(db).query_async(connection).await;
    match selected.map_err(|error| not_sent(&error)) {
        Ok(_) => Ok(()),
        Err(Failure::Refused { code, text }) if code == "ERR" => {
            Err(Failure::Refused { code: "DB".to_owned(), text: format!("database {db} of the URL: {text}") })
        }
        Err(failure) => Err(failure),
    }
}

/// Refuses a server that is too old, and a prefix with a format unknown to this version.
pub(crate) async fn check_server(connection: &mut MultiplexedConnection, config: &NodeConfig) -> Result<(), Failure> {
    check_version(connection).await?;
    match check_format(connection, config).await {
        // In a cluster the key may belong to another node. That node is checked when it is connected.
        Err(Failure::Refused { code, .. }) if code == "MOVED" || code == "ASK" => return Ok(()),
        // Or the key belongs to no node for now, which is no reason to do without all other nodes.
        Err(Failure::Refused { code, text }) if code == "CLUSTERDOWN" && text.contains("slot not served") => {
            return Ok(());
        }
        checked => checked?,
    }
    if matches!(config.url.deployment, Deployment::Sentinel { .. }) {
        return check_primary(connection, config).await;
    }
    Ok(())
}

/// Reads before it writes, because a server that is temporarily full or read-only can still hand out what it has.
async fn check_format(connection: &mut MultiplexedConnection, config: &NodeConfig) -> Result<(), Failure> {
    let mut found = stored_format(connection, config).await?;
    if found.is_none() {
        claim_format(connection, config).await?;
        // Another version may have been faster.
        found = stored_format(connection, config).await?;
    }
    match found.as_deref() {
        Some(FORMAT) | None => Ok(()),
        Some(other) => Err(Failure::Refused {
            code: "TIDELOCK".to_owned(),
            text: format!("the data was written in format {other:?}, this version reads format {FORMAT:?}"),
        }),
    }
}

async fn stored_format(connection: &mut MultiplexedConnection, config: &NodeConfig) -> Result<Option<String>, Failure> {
    cmd("GET").arg(&config.format_key).query_async(connection).await.map_err(|error| not_sent(&error))
}

async fn claim_format(connection: &mut MultiplexedConnection, config: &NodeConfig) -> Result<(), Failure> {
    let mut claim = cmd("SET");
    claim.arg(&config.format_key).arg(FORMAT).arg("NX");
    let claimed: Result<Value, _> = claim.query_async(connection).await;
    claimed.map(|_| ()).map_err(|error| not_sent(&error))
}

/// Sentinels that do not know of a failover name the former primary, which may be a replica by now.
async fn check_primary(connection: &mut MultiplexedConnection, config: &NodeConfig) -> Result<(), Failure> {
    match claim_format(connection, config).await {
        Err(Failure::Refused { code, text }) if code != "READONLY" => {
            tracing::debug!(code, text, "the primary takes no writes for the moment");
            Ok(())
        }
        claimed => claimed,
    }
}

/// `HELLO` without arguments is an error before Redis 6.2, so it serves as the version check.
async fn check_version(connection: &mut MultiplexedConnection) -> Result<(), Failure> {
    let answer: Result<Value, _> = cmd("HELLO").query_async(connection).await;
    let failure = match answer {
        Ok(_) => return Ok(()),
        Err(error) => not_sent(&error),
    };
    match failure {
        Failure::Refused { code, text } if code == "ERR" && is_of_an_old_server(&text) => Err(Failure::Refused {
            code: "OLD".to_owned(),
            text: format!("the server is older than Redis 6.2, the oldest that tidelock works with ({text})"),
        }),
        // A user without permission for this command is not refused because of that.
        Failure::Refused { code, .. } if code == "NOPERM" => Ok(()),
        failure => Err(failure),
    }
}

/// The texts of Redis 6.0, and of earlier versions. Others answer `ERR` for reasons that pass.
fn is_of_an_old_server(text: &str) -> bool {
    text.contains("wrong number of arguments") || text.contains("unknown command")
}
