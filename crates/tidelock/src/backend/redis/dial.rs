//! Opening connections to one server.

use std::error::Error;
use std::io;
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

/// The connection settings that all nodes of one deployment share.
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

/// The kind of server at the other end. Each kind has its own credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Data,
    Sentinel,
}

pub(crate) async fn connect_to(host: &Host, config: &NodeConfig) -> Result<Connections, Failure> {
    both(host, config).await.map_err(|failure| failure.at(host))
}

async fn both(host: &Host, config: &NodeConfig) -> Result<Connections, Failure> {
    let client = client(host, config, Peer::Data)?;
    let mut connection = open(&client).await?;
    probe::select(&mut connection, config.url.db).await?;
    probe::check_server(&mut connection, config).await?;
    let mut wakeups = client.get_async_pubsub().await.map_err(|error| not_sent(&error))?;
    wakeups.subscribe(&config.channel).await.map_err(|error| not_sent(&error))?;
    Ok((connection, wakeups.into_on_message()))
}

/// The failure for an error while connecting. No request was sent yet, so none is in doubt.
pub(crate) fn not_sent(error: &redis::RedisError) -> Failure {
    match Failure::from_redis(error) {
        Failure::Unknown(cause) => Failure::NotSent(cause),
        failure => failure,
    }
}

/// Opens a connection for requests. It has no reply timeout, because each call has its own deadline.
pub(crate) async fn open(client: &Client) -> Result<MultiplexedConnection, Failure> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(512);
    let address = client.get_connection_info().addr();
    let opened = client.get_multiplexed_async_connection_with_config(&settings);
    match tokio::time::timeout(CONNECT_TIMEOUT, opened).await {
        Ok(opened) => opened.map_err(|error| not_opened(&error, address)),
        Err(_) => {
            Err(no_answer(&format!("within {CONNECT_TIMEOUT:?}"), matches!(address, ConnectionAddr::TcpTls { .. })))
        }
    }
}

/// The failure when nobody has answered in time. A server without TLS takes the handshake for a request and waits for
/// its end.
pub(crate) fn no_answer(by_when: &str, tls: bool) -> Failure {
    Failure::NotSent(if tls {
        format!("no TLS connection {by_when}: does the port speak TLS?")
    } else {
        format!("no answer {by_when}")
    })
}

fn not_opened(error: &redis::RedisError, address: &ConnectionAddr) -> Failure {
    match (not_sent(error), address) {
        (Failure::NotSent(cause), ConnectionAddr::TcpTls { .. }) if super::tls::is_told_by_tls(error) => {
            Failure::NotSent(format!("TLS: {cause}"))
        }
        // A server that expects TLS closes the connection if the first bytes are not TLS.
        (Failure::NotSent(cause), ConnectionAddr::Tcp(..)) if is_hung_up(error) => {
            Failure::NotSent(format!("{cause}, before anything was answered: does the port ask for TLS (rediss://)?"))
        }
        (failure, _) => failure,
    }
}

fn is_hung_up(error: &redis::RedisError) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let kind = io_error(error).map(io::Error::kind);
    kind.is_some_and(|kind| matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
}

/// The operating system's error, which the client library wraps in a box of its own.
pub(super) fn io_error(error: &redis::RedisError) -> Option<&io::Error> {
    error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?.downcast_ref()
}

pub(crate) fn client(host: &Host, config: &NodeConfig, peer: Peer) -> Result<Client, Failure> {
    let address = match host.clone() {
        Host::Port { name, port } if config.url.tls => {
            ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None }
        }
        Host::Port { name, port } => ConnectionAddr::Tcp(name, port),
        Host::Socket(path) => ConnectionAddr::Unix(path.into()),
    };
    let keepalive = redis::io::tcp::socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(2));
    let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    // Only on platforms on which the client library supports it.
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let tcp = tcp.set_user_timeout(Duration::from_secs(10));
    let info = address.into_connection_info().map_err(|error| not_sent(&error))?;
    let info = info.set_redis_settings(login(config, peer)).set_tcp_settings(tcp);
    super::tls::client(info, config)
}

/// The login of a connection. Sentinels get only the credentials that are meant for them.
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
