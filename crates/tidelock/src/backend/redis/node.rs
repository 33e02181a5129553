//! One server: a connection for requests, one for wake-ups, and the task that maintains both.

use std::pin::pin;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, cmd};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::dial::{CONNECT_TIMEOUT, Connections, NodeConfig, connect_to, no_answer};
use super::failure::Failure;
use super::observe::Attempt;
use super::sentinel::{self, Primary};
use super::url::{Deployment, Host};
use crate::backoff::Pauses;

/// Pauses between attempts to connect: short enough to be back within a second, long enough not to spin.
const RECONNECT: Pauses = Pauses::new(Duration::from_millis(50), Duration::from_millis(500));
/// A connection without any reply for this long, while a call waited for one, is replaced.
const SILENCE: Duration = Duration::from_secs(1);
/// A request connection that was idle for this long is probed. Servers that close idle connections usually wait
/// longer.
const IDLE: Duration = Duration::from_secs(20);

/// The state of a node's connections.
#[derive(Clone)]
enum Link {
    Down(Failure),
    Up(Up),
    /// Why it is no longer used.
    Closed(Failure),
}

/// A connection that was up when it was obtained.
#[derive(Clone)]
pub(crate) struct Up {
    connection: MultiplexedConnection,
    generation: u64,
    heard: Arc<Heard>,
}

/// When a connection delivered its latest reply. One that delivers replies to any caller is alive, however slow it
/// is.
struct Heard {
    opened: Instant,
    /// The connection is given up after this much silence: longer if the server is far away.
    patience: Duration,
    /// Milliseconds after `opened`.
    latest: AtomicU64,
    /// Whether a probe is in flight.
    in_doubt: AtomicBool,
}

impl Heard {
    /// For a connection that was just opened. Opening it took several round trips, so it indicates the distance.
    fn after(opening: Duration) -> Self {
        let patience = (opening * 2).clamp(SILENCE, SILENCE * 3);
        Self { opened: Instant::now(), patience, latest: AtomicU64::new(0), in_doubt: AtomicBool::new(false) }
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
    /// Where it was last connected, or will be. The election is 0 for a server that no sentinel named.
    place: Mutex<Primary>,
    config: Arc<NodeConfig>,
    link: watch::Sender<Link>,
    /// The latest connection that was reported broken, and why.
    broken: watch::Sender<(u64, Failure)>,
    /// The number of connections so far.
    generation: AtomicU64,
    /// Whether a task maintains the connections. The task ends with its runtime.
    is_supervised: AtomicBool,
}

impl Node {
    /// Starts to connect to `host`. With Sentinel, the sentinels are asked for the host before each attempt.
    pub(crate) fn start(host: Host, config: &Arc<NodeConfig>) -> Arc<Self> {
        let not_yet = || no_answer("yet", config.url.tls).at(&host);
        let node = Arc::new(Self {
            link: watch::Sender::new(Link::Down(not_yet())),
            broken: watch::Sender::new((0, not_yet())),
            place: Mutex::new(Primary { host, epoch: 0 }),
            config: Arc::clone(config),
            generation: AtomicU64::new(0),
            is_supervised: AtomicBool::new(false),
        });
        node.supervised();
        node
    }

    /// Ensures that a task maintains the connections: on the caller's runtime if the previous one was shut down.
    fn supervised(self: &Arc<Self>) {
        if self.is_supervised.load(Acquire) || matches!(&*self.link.borrow(), Link::Closed(_)) {
            return;
        }
        if !self.is_supervised.swap(true, AcqRel) {
            // If this is dropped without having run, its `Drop` resets the flag.
            self.config.spawner.spawn(supervise(Supervision(Arc::downgrade(self))));
        }
    }

    pub(crate) fn host(&self) -> Host {
        self.place().host.clone()
    }

    fn place(&self) -> MutexGuard<'_, Primary> {
        self.place.lock().expect("no code panics while it holds this lock")
    }

    /// The connection. Waits for one until `deadline`; `None` does not wait.
    pub(crate) async fn up(self: &Arc<Self>, deadline: Option<Instant>) -> Result<Up, Failure> {
        self.supervised();
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

    /// Fails if there is no connection now.
    pub(crate) fn connected(self: &Arc<Self>) -> Result<(), Failure> {
        self.supervised();
        match &*self.link.borrow() {
            Link::Up(_) => Ok(()),
            link => settled(link, false).map_or(Ok(()), |answer| answer.map(|_| ())),
        }
    }

    /// Why there is no connection.
    fn down(&self) -> Failure {
        match &*self.link.borrow() {
            Link::Down(failure) | Link::Closed(failure) => failure.clone(),
            Link::Up(_) => Failure::NotSent("the connection was closed".to_owned()),
        }
    }

    /// Resolves when the connection `up` was given up, whether there is another one or not.
    pub(crate) async fn replaced(&self, up: &Up) {
        let is_replaced = |link: &Link| match link {
            Link::Up(current) => current.generation != up.generation,
            Link::Down(_) => true,
            // Calls in flight may finish.
            Link::Closed(_) => false,
        };
        // The sender belongs to this node.
        let _ = self.link.subscribe().wait_for(is_replaced).await;
    }

    /// Reports that the connection `up` is no longer usable.
    pub(crate) fn report_broken(&self, up: &Up, why: Failure) {
        self.broken.send_if_modified(|broken| {
            let is_news = broken.0 < up.generation;
            if is_news {
                *broken = (up.generation, why);
            }
            is_news
        });
    }

    /// A call that was sent at `since` was given up without an answer. Replies come in the order of the calls. If
    /// other calls were answered recently, the server is only slow, and a new connection would lose the replies in
    /// flight on this one. A call with a short deadline cannot tell the difference, so the connection is probed.
    pub(crate) fn unanswered(self: &Arc<Self>, up: &Up, since: Instant) {
        if up.is_silent(since) {
            self.report_broken(up, no_reply());
        } else {
            self.doubt(up);
        }
    }

    /// Probes whether the connection `up` still answers, unless a probe is in flight.
    fn doubt(self: &Arc<Self>, up: &Up) {
        if up.heard.in_doubt.swap(true, AcqRel) {
            return;
        }
        let (node, up) = (Arc::clone(self), up.clone());
        tokio::spawn(async move {
            let since = Instant::now();
            let broken = match tokio::time::timeout(up.heard.patience, up.send(&cmd("PING"))).await {
                Ok(Err(Failure::Unknown(cause))) => Some(Failure::NotSent(cause)),
                Ok(_) => None,
                Err(_) => up.is_silent(since).then(no_reply),
            };
            if let Some(why) = broken {
                node.report_broken(&up, why);
            }
            up.heard.in_doubt.store(false, Release);
        });
    }

    /// Probes an idle connection. A server may close it, and the client only notices when it sends something. That
    /// must not be a call that is made only once.
    fn look_after_idle(self: &Arc<Self>) {
        if let Link::Up(up) = &*self.link.borrow()
            && up.heard.latest().elapsed() >= IDLE
        {
            self.doubt(up);
        }
    }

    /// Closes the connections for good; `why` is what calls are told from now on.
    pub(crate) fn close(&self, why: Failure) {
        self.link.send_replace(Link::Closed(why));
    }
}

/// The error for a connection that fell silent.
pub(crate) const NO_REPLY: &str = "the connection did not answer any more";

fn no_reply() -> Failure {
    Failure::NotSent(NO_REPLY.to_owned())
}

/// What a call can conclude from `link` without waiting. A call that may be retried waits for a connection to come
/// back.
fn settled(link: &Link, may_wait: bool) -> Option<Result<Up, Failure>> {
    match link {
        Link::Up(up) => Some(Ok(up.clone())),
        Link::Closed(failure) => Some(Err(failure.clone())),
        Link::Down(failure) if failure.is_incurable() => Some(Err(failure.clone())),
        Link::Down(failure) => (!may_wait).then(|| Err(failure.clone())),
    }
}

impl Up {
    /// Whether there was no reply at all for long, while a call that was sent at `since` waited for one.
    fn is_silent(&self, since: Instant) -> bool {
        since.max(self.heard.latest()).elapsed() >= self.heard.patience
    }

    /// Resolves when there has been no reply at all for long, while a call that was sent at `since` waits for one.
    pub(crate) async fn silence(&self, since: Instant) {
        while !self.is_silent(since) {
            tokio::time::sleep_until(since.max(self.heard.latest()) + self.heard.patience).await;
        }
    }

    pub(crate) async fn send(&self, command: &Cmd) -> Result<redis::Value, Failure> {
        let mut connection = self.connection.clone();
        // An error reply arrives here as a value.
        let reply = connection.req_packed_command(command).await;
        self.heard.note();
        reply.and_then(redis::Value::extract_error).map_err(|error| Failure::from_redis(&error))
    }

    /// Sends commands without commands of other callers in between. Returns the last reply.
    pub(crate) async fn send_together(&self, pipeline: &Pipeline, count: usize) -> Result<redis::Value, Failure> {
        let mut connection = self.connection.clone();
        let replies = connection.req_packed_commands(pipeline, 0, count).await;
        self.heard.note();
        let last = replies.map_err(|error| Failure::from_redis(&error))?.pop();
        let last = last.ok_or_else(|| Failure::Unknown("the server gave no reply".to_owned()))?;
        last.extract_error().map_err(|error| Failure::from_redis(&error))
    }
}

/// The task that maintains a node's connections. Its drop tells the node that it ended.
struct Supervision(Weak<Node>);

impl Drop for Supervision {
    fn drop(&mut self) {
        let Some(node) = self.0.upgrade() else { return };
        node.set(Link::Down(Failure::NotSent("the runtime that kept the connection was shut down".to_owned())));
        node.is_supervised.store(false, Release);
    }
}

/// Maintains a node's connections until it is closed or dropped, or until the runtime is shut down.
async fn supervise(supervision: Supervision) {
    let node = &supervision.0;
    let mut pauses = RECONNECT;
    loop {
        let Some(strong) = node.upgrade() else { return };
        let began = Instant::now();
        let connected = match tokio::time::timeout(CONNECT_TIMEOUT * 2, connect(&strong)).await {
            Ok(connected) => connected,
            Err(_) => Err(Failure::NotSent(format!("no answer from {} in time", strong.host()))),
        };
        let host = strong.host();
        let attempt = Attempt::over(&host, connected.is_ok());
        match connected {
            Ok((connection, wakeups)) => {
                let _connected = attempt.connected(&host);
                let generation = strong.generation.fetch_add(1, Relaxed) + 1;
                let heard = Arc::new(Heard::after(began.elapsed()));
                if !strong.set(Link::Up(Up { connection, generation, heard })) {
                    return;
                }
                strong.config.wakes.reset();
                drop(strong);
                let Some(failure) = listen(node, generation, wakeups).await else { return };
                let Some(strong) = node.upgrade() else { return };
                tracing::warn!(server = %strong.host(), ?failure, "the connection to the server was lost");
                // A server that temporarily refuses writes can be connected to at once: no reason to reset the
                // pauses.
                if !failure.is_later() {
                    pauses = RECONNECT;
                }
                if !strong.set(Link::Down(failure)) {
                    return;
                }
                // Waiting objects query again, and learn that there is no connection.
                strong.config.wakes.reset();
            }
            Err(failure) => {
                tracing::debug!(server = %strong.host(), ?failure, "cannot connect to the server");
                if !strong.set(Link::Down(failure.while_connecting())) {
                    return;
                }
            }
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

impl Node {
    /// Sets the state unless the node was closed meanwhile.
    fn set(&self, link: Link) -> bool {
        self.link.send_if_modified(|current| {
            if matches!(current, Link::Closed(_)) {
                return false;
            }
            *current = link;
            true
        })
    }
}

/// Delivers wake-ups until a connection breaks (`Some`), or the node is closed or dropped (`None`).
async fn listen(node: &Weak<Node>, generation: u64, mut wakeups: redis::aio::PubSubStream) -> Option<Failure> {
    let (config, place) = {
        let strong = node.upgrade()?;
        (Arc::clone(&strong.config), strong.place().clone())
    };
    let wakes = &config.wakes;
    let mut switched = pin!(async {
        match &config.url.deployment {
            Deployment::Sentinel { primary } => sentinel::switched(&config, primary, &place).await,
            Deployment::Standalone | Deployment::Cluster => std::future::pending().await,
        }
    });
    let mut idle = tokio::time::interval(IDLE);
    idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let strong = node.upgrade()?;
        let (mut ended, mut broken) = (strong.link.subscribe(), strong.broken.subscribe());
        // Must not keep the node alive after its last handle is dropped.
        drop(strong);
        tokio::select! {
            message = wakeups.next() => match message {
                Some(message) => wakes.deliver(message.get_payload_bytes()),
                None => return Some(Failure::NotSent("the server closed the connection".to_owned())),
            },
            Primary { host, epoch } = &mut switched => {
                // From now on, sentinels that do not know of this election are ignored.
                node.upgrade()?.place().epoch = epoch;
                return Some(Failure::NotSent(format!("the sentinels name another primary: {host}")));
            }
            _ = idle.tick() => node.upgrade()?.look_after_idle(),
            broken = broken.wait_for(|(broken, _)| *broken >= generation) => return Some(broken.ok()?.1.clone()),
            _ = ended.wait_for(|link| matches!(link, Link::Closed(_))) => return None,
        }
    }
}

async fn connect(node: &Node) -> Result<Connections, Failure> {
    let config = &node.config;
    let Deployment::Sentinel { primary } = &config.url.deployment else {
        return connect_to(&node.host(), config).await;
    };
    let mut answers = sentinel::ask_all(config, primary);
    let known = node.place().epoch;
    let (mut tried, mut newest) = (Vec::new(), None);
    let (mut last, mut refused) = (None::<Failure>, None);
    while let Some(answer) = answers.next().await {
        let failure = match answer {
            Ok(Primary { host, epoch }) => {
                newest = newest.max(Some(epoch));
                if tried.contains(&host) {
                    continue;
                }
                if epoch < known {
                    Failure::NotSent(format!("{host} was the primary before the latest election"))
                } else {
                    match connect_to(&host, config).await {
                        Ok(connections) => {
                            *node.place() = Primary { host, epoch };
                            return Ok(connections);
                        }
                        Err(failure) => {
                            tried.push(host);
                            failure
                        }
                    }
                }
            }
            Err(failure) if failure.is_incurable() => {
                refused = Some(failure);
                continue;
            }
            Err(failure) => failure,
        };
        if !last.as_ref().is_some_and(Failure::is_incurable) {
            last = Some(failure);
        }
    }
    if newest.is_some_and(|newest| newest < known) {
        // All sentinels report older elections: they were set up again, and count from the beginning.
        node.place().epoch = 0;
    }
    Err(nobody(last, refused))
}

/// Why no sentinel led to a primary. A single misconfigured sentinel is no reason to give up, because the others make
/// up for it in a moment. So its refusal only counts if there is no other failure.
fn nobody(last: Option<Failure>, refused: Option<Failure>) -> Failure {
    match (last, refused) {
        (Some(Failure::NotSent(cause)), Some(Failure::Refused { code, text })) => {
            Failure::NotSent(format!("{cause}; refused: {code} {text}"))
        }
        (last, refused) => last.or(refused).unwrap_or(Failure::NotSent("the URL names no sentinel".to_owned())),
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let up = matches!(&*self.link.borrow(), Link::Up(_));
        f.debug_struct("Node").field("host", &self.host()).field("up", &up).finish_non_exhaustive()
    }
}
