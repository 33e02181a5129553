//! A proxy between client and server that drops replies, delays traffic and cuts connections at a chosen byte.

mod clock;
mod frames;
mod pump;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::clock::Clock;

/// Forwards every connection to one upstream port, and applies the faults that the test sets.
///
/// Faults can be set while traffic flows, and apply to existing and later connections. Replies are forwarded only as a
/// whole, so a client never sees half of one. Dropping the proxy closes everything.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    /// Starts forwarding to a local port, inside the current tokio runtime.
    pub async fn start(upstream_port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("bind the proxy's port")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::new(upstream_port));
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { port, shared, acceptor })
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Closes all existing connections; new ones are accepted.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// While on, closes each new connection as soon as it is accepted. Existing ones stay.
    pub fn refuse(&self, on: bool) {
        self.shared.refusing.store(on, Ordering::SeqCst);
    }

    /// While on, forwards nothing in either direction. What arrives in the meantime is forwarded afterwards.
    pub fn stall(&self, on: bool) {
        self.shared.stalled.send_replace(on);
    }

    /// Makes each round trip take this much longer, half of it in each direction, to a tenth of a millisecond. Order
    /// and bandwidth stay the same.
    pub fn latency(&self, round_trip: Duration) {
        self.shared.plan().latency = round_trip / 2;
    }

    /// Lets the server carry out everything, but drops the `n`th reply from now, counted from 1 over all connections,
    /// and closes its connection. Later replies pass again.
    ///
    /// RESP3 pushes are not counted. Published messages on a RESP2 connection are, because they look like replies.
    ///
    /// # Panics
    ///
    /// If `n` is zero.
    pub fn drop_reply_after(&self, n: u64) {
        assert!(n > 0, "replies are counted from 1");
        self.shared.plan().replies_until_drop = Some(n);
    }

    /// Forwards only this many more bytes of requests, counted over all connections, and then closes the connection
    /// that sends more. Later requests pass again.
    pub fn cut_after_request_bytes(&self, n: usize) {
        self.shared.plan().request_budget = Some(n);
    }

    /// The number of connections that clients have opened so far, including refused ones.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The number of open connections.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// The number of request bytes that have reached the server.
    pub fn bytes_up(&self) -> u64 {
        self.shared.bytes_up.load(Ordering::SeqCst)
    }

    /// The number of replies that the server has sent, including dropped ones.
    pub fn replies(&self) -> u64 {
        self.shared.replies.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.cut();
    }
}

/// The state that the test and the connections share.
#[derive(Debug)]
struct Shared {
    upstream: u16,
    cuts: watch::Sender<u64>,
    stalled: watch::Sender<bool>,
    refusing: AtomicBool,
    plan: Mutex<Plan>,
    /// Used only for delays.
    clock: LazyLock<Clock>,
    connections: AtomicUsize,
    open: AtomicUsize,
    bytes_up: AtomicU64,
    replies: AtomicU64,
}

/// Faults that are consumed as bytes pass.
#[derive(Debug, Default)]
struct Plan {
    /// In one direction.
    latency: Duration,
    replies_until_drop: Option<u64>,
    request_budget: Option<usize>,
}

impl Shared {
    fn new(upstream: u16) -> Self {
        Self {
            upstream,
            cuts: watch::Sender::default(),
            stalled: watch::Sender::default(),
            refusing: AtomicBool::default(),
            plan: Mutex::default(),
            clock: LazyLock::new(Clock::start),
            connections: AtomicUsize::default(),
            open: AtomicUsize::default(),
            bytes_up: AtomicU64::default(),
            replies: AtomicU64::default(),
        }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // A plan is consistent after every assignment.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the reply that has just arrived is the one to drop.
    fn swallows_reply(&self) -> bool {
        self.replies.fetch_add(1, Ordering::SeqCst);
        let mut plan = self.plan();
        plan.replies_until_drop = plan.replies_until_drop.map(|left| left - 1);
        plan.replies_until_drop.take_if(|left| *left == 0).is_some()
    }

    /// How many of these request bytes may pass; if not all, their connection ends.
    fn admits_requests(&self, bytes: usize) -> usize {
        let mut plan = self.plan();
        match plan.request_budget {
            Some(budget) if budget < bytes => {
                plan.request_budget = None;
                budget
            }
            Some(budget) => {
                plan.request_budget = Some(budget - bytes);
                bytes
            }
            None => bytes,
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // An error here means that the listener has ended; the test sees refused connections.
    while let Ok((client, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        if !shared.refusing.load(Ordering::SeqCst) {
            shared.open.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(client, Arc::clone(&shared), shared.cuts.subscribe()));
        }
    }
}

async fn serve(mut client: TcpStream, shared: Arc<Shared>, mut cuts: watch::Receiver<u64>) {
    let forward = async {
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.upstream)).await?;
        pump::both_ways(&mut client, &mut server, &shared).await
    };
    tokio::select! {
        _ = cuts.changed() => {}
        // The two sides see how a connection ended; here it only matters that it did.
        _ = forward => {}
    }
    drop(client);
    shared.open.fetch_sub(1, Ordering::SeqCst);
}
