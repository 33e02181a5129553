//! N, the limit of the server: a script that does nothing, through one multiplexed connection.

use std::time::Instant;

use anyhow::{Result, ensure};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _};

use crate::protocol::{Outcome, Stage, Task};

/// A bare connection, set up as a library would.
pub(crate) async fn connect(url: &str) -> Result<MultiplexedConnection> {
    let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    let info = url.into_connection_info()?.set_tcp_settings(tcp);
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(512);
    Ok(Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await?)
}

pub(crate) async fn run(stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let mut connection = connect(&task.url).await?;
    let hash: String = redis::cmd("SCRIPT").arg("LOAD").arg("return 1").query_async(&mut connection).await?;
    stage.ready()?;
    let start = Instant::now();
    crate::jobs::spread(task.items, task.callers, move |_| {
        let (mut connection, hash) = (connection.clone(), hash.clone());
        async move {
            let answer: i64 = redis::cmd("EVALSHA").arg(hash).arg(1).arg("no-op").query_async(&mut connection).await?;
            ensure!(answer == 1, "the script returned {answer}");
            Ok(())
        }
    })
    .await?;
    Ok(Outcome::rate(task.items, start.elapsed()))
}
