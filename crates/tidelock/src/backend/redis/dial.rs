//! Opening connections to one server.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

use super::access::Access;
use super::failure::Failure;
use super::probe;
use super::url::{Host, Url};
use super::wake::Wakes;
use crate::runtime::Spawner;

/// What every node of one deployment is connected with.
#[derive(Debug)]
pub(crate) struct NodeConfig {
    pub(crate) url: Url,
    pub(crate) access: Access,
    /// The key that holds the format version.
    pub(crate) format_key: String,
    /// The channel on which this process hears wake-ups.
    pub(crate) channel: String,
    pub(crate) wakes: Arc<Wakes>,
    pub(crate) spawner: Arc<Spawner>,
}

/// How long one attempt to connect may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection for requests, and one for wake-ups.
pub(crate) type Connections = (MultiplexedConnection, PubSubStream);

/// Who is at the other end: each has credentials of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Data,
    Sentinel,
}

pub(crate) async fn connect_to(host: &Host, config: &NodeConfig) -> Result<Connections, Failure> {
    let client = client(host, config, Peer::Data)?;
    let mut connection = open(&client).await.map_err(|failure| failure.at(host))?;
    probe::select(&mut connection, config.url.db).await?;
    probe::check_server(&mut connection, config).await?;
    let mut wakeups = client.get_async_pubsub().await.map_err(|error| not_sent(&error))?;
    wakeups.subscribe(&config.channel).await.map_err(|error| not_sent(&error))?;
    Ok((connection, wakeups.into_on_message()))
}

/// A failure while connecting: nothing was asked yet, so nothing can be in doubt.
pub(crate) fn not_sent(error: &redis::RedisError) -> Failure {
    match Failure::from_redis(error) {
        Failure::Unknown(cause) => Failure::NotSent(cause),
        failure => failure,
    }
}

/// A request connection without a reply timeout of its own: each call has its deadline.
pub(crate) async fn open(client: &Client) -> Result<MultiplexedConnection, Failure> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(512);
    client.get_multiplexed_async_connection_with_config(&settings).await.map_err(|error| not_sent(&error))
}

pub(crate) fn client(host: &Host, config: &NodeConfig, peer: Peer) -> Result<Client, Failure> {
    let (name, port) = (host.name.clone(), host.port);
    let address = if config.url.tls {
        ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(name, port)
    };
    let keepalive = redis::io::tcp::socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(2));
    let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    // Where the client library has it.
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let tcp = tcp.set_user_timeout(Duration::from_secs(10));
    let info = address.into_connection_info().map_err(|error| not_sent(&error))?;
    let info = info.set_redis_settings(login(config, peer)).set_tcp_settings(tcp);
    super::tls::client(info, config)
}

/// What a connection says of itself. Sentinels get the credentials that are meant for them, and no others.
fn login(config: &NodeConfig, peer: Peer) -> RedisConnectionInfo {
    let (username, password) = match (peer, &config.access.sentinels) {
        (Peer::Data, _) => (config.url.username.as_deref(), config.url.password.as_deref()),
        (Peer::Sentinel, Some(own)) => (own.username.as_deref(), Some(own.password.as_str())),
        (Peer::Sentinel, None) => (None, None),
    };
    let mut login = RedisConnectionInfo::default().set_lib_name("tidelock", env!("CARGO_PKG_VERSION"));
    if let Some(username) = username {
        login = login.set_username(username);
    }
    if let Some(password) = password {
        login = login.set_password(password);
    }
    login
}
