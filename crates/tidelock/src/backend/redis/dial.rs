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

/// Nobody has answered by now. A server without TLS waits for the end of what it takes for a request.
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
        // A server hangs up where the first bytes are none of TLS.
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

/// What the system said, which the client library hands on in a box of its own.
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
