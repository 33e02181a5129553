//! The reference of all rows: a no-op script, through one multiplexed connection of the client library.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo};

use crate::measure::{Table, median, rate};
use crate::server::Server;

/// The server that all rows run on, and a bare connection for N in addition to those of the library.
pub struct Stage {
    pub server: Server,
    connection: MultiplexedConnection,
    hash: String,
}

impl Stage {
    pub async fn open() -> Result<Self, Box<dyn std::error::Error>> {
        let server = Server::start()?;
        let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
        let info = server.url().as_str().into_connection_info()?.set_tcp_settings(tcp);
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(512);
        let mut connection = Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await?;
        let hash = redis::cmd("SCRIPT").arg("LOAD").arg("return 1").query_async(&mut connection).await?;
        Ok(Self { server, connection, hash })
    }

    pub async fn call(&self) {
        call(self.connection.clone(), self.hash.clone()).await;
    }

    /// N: 64 callers, each awaiting its own call.
    pub async fn no_op(&self, table: &mut Table) -> f64 {
        let (connection, hash) = (self.connection.clone(), self.hash.clone());
        let n = rate(64, 1, move |_| call(connection.clone(), hash.clone())).await;
        table.push_no_op(n);
        n
    }

    /// Runs rounds of one operation between measurements of N. Returns the median rate and the median ratio.
    pub async fn ratio<Fut: Future<Output = f64>>(
        &self,
        table: &mut Table,
        mut round: impl FnMut() -> Fut,
    ) -> (f64, f64) {
        let (mut rates, mut ratios) = (Vec::new(), Vec::new());
        let mut before = self.no_op(table).await;
        for _ in 0..crate::measure::ROUNDS {
            let rate = round().await;
            let after = self.no_op(table).await;
            rates.push(rate);
            ratios.push(rate / f64::midpoint(before, after));
            before = after;
        }
        (median(rates), median(ratios))
    }
}

async fn call(mut connection: MultiplexedConnection, hash: String) {
    let mut command = redis::cmd("EVALSHA");
    command.arg(hash).arg(1).arg("no-op");
    let answer: i64 = command.query_async(&mut connection).await.expect("the server answers");
    assert_eq!(answer, 1);
}
