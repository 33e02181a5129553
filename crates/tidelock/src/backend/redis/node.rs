//! One server: a connection for requests, one for wake-ups, and the task that keeps both.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline, RedisConnectionInfo};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::failure::Failure;
use super::probe;
use super::url::{Host, Url};
use super::wake::Wakes;

/// What every node of one deployment is connected with.
#[derive(Debug)]
pub(crate) struct NodeConfig {
    pub(crate) url: Url,
    /// Roots to trust beside the built-in ones, as PEM.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only TLS asks for it"))]
    pub(crate) root_certificate: Option<Vec<u8>>,
    /// The key that holds the format version.
    pub(crate) format_key: String,
    /// The channel on which this process hears wake-ups.
    pub(crate) channel: String,
    pub(crate) wakes: Arc<Wakes>,
}

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pauses between attempts to connect: short enough to be back within a second, long enough to be no hot loop.
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_millis(500);

/// The state of a node's connections.
#[derive(Clone)]
enum Link {
    Down(Failure),
    Up(Up),
    Closed,
}

/// A connection that was good when it was looked at.
#[derive(Clone)]
pub(crate) struct Up {
    connection: MultiplexedConnection,
    generation: u64,
    heard: Arc<Heard>,
}

/// When a connection brought its latest reply: one that brings others' replies is alive, however slow.
struct Heard {
    opened: Instant,
    /// Milliseconds after `opened`.
    latest: AtomicU64,
}

impl Heard {
    fn now() -> Self {
        Self { opened: Instant::now(), latest: AtomicU64::new(0) }
    }

    fn note(&self) {
        let since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.latest.store(since, Relaxed);
    }

    fn latest(&self) -> Instant {
        self.opened + Duration::from_millis(self.latest.load(Relaxed))
    }
}

/// One server of the deployment.
pub(crate) struct Node {
    host: Mutex<Host>,
    config: Arc<NodeConfig>,
    link: watch::Sender<Link>,
    broken: Notify,
}

impl Node {
    /// Begins to connect to `host`; with Sentinel, `host` is asked for anew before each attempt.
    pub(crate) fn start(host: Host, config: &Arc<NodeConfig>) -> Arc<Self> {
        let link = watch::Sender::new(Link::Down(Failure::NotSent("not connected yet".to_owned())));
        let node = Arc::new(Self { host: Mutex::new(host), config: Arc::clone(config), link, broken: Notify::new() });
        tokio::spawn(supervise(Arc::downgrade(&node)));
        node
    }

    pub(crate) fn host(&self) -> Host {
        self.host.lock().expect("no code panics while it holds this lock").clone()
    }

    /// The connection, waiting for one until `deadline`; `None` does not wait.
    pub(crate) async fn up(&self, deadline: Option<Instant>) -> Result<Up, Failure> {
        if let Some(answer) = settled(&self.link.borrow(), deadline.is_some()) {
            return answer;
        }
        let mut receiver = self.link.subscribe();
        let wait = receiver.wait_for(|link| settled(link, true).is_some());
        let waited = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, wait).await.ok().and_then(Result::ok),
            None => None,
        };
        match waited.as_deref().and_then(|link| settled(link, true)) {
            Some(answer) => answer,
            None => Err(self.down()),
        }
    }

    /// Fails where there is no connection just now.
    pub(crate) fn connected(&self) -> Result<(), Failure> {
        match &*self.link.borrow() {
            Link::Up(_) => Ok(()),
            link => settled(link, false).map_or(Ok(()), |answer| answer.map(|_| ())),
        }
    }

    /// Why there is no connection.
    fn down(&self) -> Failure {
        match &*self.link.borrow() {
            Link::Down(failure) => failure.clone(),
            Link::Up(_) | Link::Closed => Failure::NotSent("the connection was closed".to_owned()),
        }
    }

    /// Resolves when the connection `up` was given up, for another one or for none.
    pub(crate) async fn replaced(&self, up: &Up) {
        let is_replaced = |link: &Link| match link {
            Link::Up(current) => current.generation != up.generation,
            Link::Down(_) => true,
            // What is under way may come to its end.
            Link::Closed => false,
        };
        // The sender is this node's.
        let _ = self.link.subscribe().wait_for(is_replaced).await;
    }

    /// Tells that the connection `up` does not answer any more.
    pub(crate) fn report_broken(&self, up: &Up) {
        if matches!(&*self.link.borrow(), Link::Up(current) if current.generation == up.generation) {
            self.broken.notify_one();
        }
    }

    pub(crate) fn close(&self) {
        self.link.send_replace(Link::Closed);
        self.broken.notify_one();
    }
}

/// What a request can conclude from `link` without waiting; a repeatable one waits for a connection to come back.
fn settled(link: &Link, may_wait: bool) -> Option<Result<Up, Failure>> {
    match link {
        Link::Up(up) => Some(Ok(up.clone())),
        Link::Closed => Some(Err(Failure::NotSent("the connection was closed".to_owned()))),
        Link::Down(failure) if failure.is_final() => Some(Err(failure.clone())),
        Link::Down(failure) => (!may_wait).then(|| Err(failure.clone())),
    }
}

impl Up {
    /// When the connection brought its latest reply to any caller.
    pub(crate) fn heard(&self) -> Instant {
        self.heard.latest()
    }

    pub(crate) async fn send(&self, command: &Cmd) -> Result<redis::Value, Failure> {
        let mut connection = self.connection.clone();
        // An error reply comes as a value here.
        let reply = connection.req_packed_command(command).await;
        self.heard.note();
        reply.and_then(redis::Value::extract_error).map_err(|error| Failure::from_redis(&error))
    }

    /// Sends commands that nothing of other callers may stand between; answers the last reply.
    pub(crate) async fn send_together(&self, pipeline: &Pipeline, count: usize) -> Result<redis::Value, Failure> {
        let mut connection = self.connection.clone();
        let replies = connection.req_packed_commands(pipeline, 0, count).await;
        self.heard.note();
        let last = replies.map_err(|error| Failure::from_redis(&error))?.pop();
        let last = last.ok_or_else(|| Failure::Unknown("the server gave no reply".to_owned()))?;
        last.extract_error().map_err(|error| Failure::from_redis(&error))
    }
}

/// Keeps a node connected until it is closed or dropped.
async fn supervise(node: Weak<Node>) {
    let mut pause = RECONNECT_MIN;
    for generation in 1.. {
        let Some(strong) = node.upgrade() else { return };
        let connected = match tokio::time::timeout(CONNECT_TIMEOUT * 2, connect(&strong)).await {
            Ok(connected) => connected,
            Err(_) => Err(Failure::NotSent(format!("no answer from {} in time", strong.host()))),
        };
        match connected {
            Ok((connection, wakeups)) => {
                if !strong.set(Link::Up(Up { connection, generation, heard: Arc::new(Heard::now()) })) {
                    return;
                }
                strong.config.wakes.reset();
                pause = RECONNECT_MIN;
                drop(strong);
                let Some(failure) = listen(&node, wakeups).await else { return };
                let Some(strong) = node.upgrade() else { return };
                tracing::warn!(server = %strong.host(), "the connection to the server was lost");
                if !strong.set(Link::Down(failure)) {
                    return;
                }
            }
            Err(failure) => {
                tracing::debug!(server = %strong.host(), ?failure, "cannot connect to the server");
                if !strong.set(Link::Down(failure)) {
                    return;
                }
            }
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(RECONNECT_MAX);
    }
}

impl Node {
    /// Sets the state unless the node was closed meanwhile.
    fn set(&self, link: Link) -> bool {
        self.link.send_if_modified(|current| {
            if matches!(current, Link::Closed) {
                return false;
            }
            *current = link;
            true
        })
    }
}

/// Hands out wake-ups until a connection breaks (`Some`) or the node is closed or dropped (`None`).
async fn listen(node: &Weak<Node>, mut wakeups: redis::aio::PubSubStream) -> Option<Failure> {
    let wakes = Arc::clone(&node.upgrade()?.config.wakes);
    loop {
        let strong = node.upgrade()?;
        let mut ended = strong.link.subscribe();
        tokio::select! {
            message = wakeups.next() => match message {
                Some(message) => wakes.deliver(message.get_payload_bytes()),
                None => return Some(Failure::NotSent("the server closed the connection".to_owned())),
            },
            () = strong.broken.notified() => {
                if matches!(&*strong.link.borrow(), Link::Closed) {
                    return None;
                }
                return Some(Failure::NotSent("the connection broke".to_owned()));
            }
            _ = ended.wait_for(|link| matches!(link, Link::Closed)) => return None,
        }
    }
}

async fn connect(node: &Node) -> Result<(MultiplexedConnection, redis::aio::PubSubStream), Failure> {
    let config = &node.config;
    if let super::url::Deployment::Sentinel { primary } = &config.url.deployment {
        let host = probe::ask_sentinels(config, primary).await?;
        *node.host.lock().expect("no code panics while it holds this lock") = host;
    }
    let host = node.host();
    let client = client(&host, config, true)?;
    let mut connection = open(&client).await.map_err(|failure| failure.at(&host))?;
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

pub(crate) fn client(host: &Host, config: &NodeConfig, data: bool) -> Result<Client, Failure> {
    let url = &config.url;
    let mut login = RedisConnectionInfo::default().set_lib_name("tidelock", env!("CARGO_PKG_VERSION"));
    if data {
        login = login.set_db(url.db);
        if let Some(username) = &url.username {
            login = login.set_username(username);
        }
        if let Some(password) = &url.password {
            login = login.set_password(password);
        }
    }
    let (name, port) = (host.name.clone(), host.port);
    let address = if url.tls {
        ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(name, port)
    };
    let keepalive = redis::io::tcp::socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(2));
    let tcp = redis::io::tcp::TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(Duration::from_secs(10));
    let info = address.into_connection_info().map_err(|error| not_sent(&error))?;
    let info = info.set_redis_settings(login).set_tcp_settings(tcp);
    super::tls::client(info, config)
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let up = matches!(&*self.link.borrow(), Link::Up(_));
        f.debug_struct("Node").field("host", &self.host()).field("up", &up).finish_non_exhaustive()
    }
}
