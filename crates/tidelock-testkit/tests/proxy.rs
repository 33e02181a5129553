//! The proxy's faults, seen from both sides.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tidelock_testkit::{Binary, Flavour, Proxy, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const PONG: &[u8] = b"+PONG\r\n";

/// Long enough for anything that will happen.
const SOON: Duration = Duration::from_secs(20);

/// Long enough to see that nothing arrives; the test cannot fail by being slow here.
const NOTHING: Duration = Duration::from_millis(50);

/// A server that answers each request with `PONG` and reports what it received.
async fn stub() -> (u16, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let (sender, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, sender.clone()));
        }
    });
    (port, received)
}

async fn answer(mut stream: TcpStream, received: mpsc::UnboundedSender<Vec<u8>>) {
    let mut buffer = [0; 1024];
    let mut pending = 0;
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let _ = received.send(buffer[..length].to_vec());
        pending += length;
        while pending >= PING.len() {
            pending -= PING.len();
            if stream.write_all(PONG).await.is_err() {
                return;
            }
        }
    }
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.expect("connect to the proxy")
}

async fn ping(stream: &mut TcpStream) {
    stream.write_all(PING).await.expect("send");
    pong(stream).await;
}

async fn pong(stream: &mut TcpStream) {
    let mut reply = [0; PONG.len()];
    timeout(SOON, stream.read_exact(&mut reply)).await.expect("in time").expect("a reply");
    assert_eq!(reply, PONG);
}

/// Reads up to the end of the connection, which may be a reset.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("the connection ends");
    bytes
}

#[tokio::test]
async fn bytes_pass_and_are_counted() {
    let (upstream, _received) = stub().await;
    let proxy = Proxy::start(upstream).await.expect("proxy");
    let (mut one, mut two) = (connect(&proxy).await, connect(&proxy).await);
    ping(&mut one).await;
    ping(&mut two).await;
    ping(&mut one).await;
    assert_eq!((proxy.connections(), proxy.open_connections(), proxy.replies()), (2, 2, 3));
    assert_eq!(proxy.bytes_up(), 3 * PING.len() as u64);
}

#[tokio::test]
async fn cut_closes_what_is_open_and_nothing_later() {
    let (upstream, _received) = stub().await;
    let proxy = Proxy::start(upstream).await.expect("proxy");
    let (mut one, mut two) = (connect(&proxy).await, connect(&proxy).await);
    ping(&mut one).await;
    ping(&mut two).await;
    proxy.cut();
    assert_eq!((rest(&mut one).await, rest(&mut two).await), (vec![], vec![]));
    ping(&mut connect(&proxy).await).await;
}

#[tokio::test]
async fn refuse_turns_away_only_new_connections() {
    let (upstream, _received) = stub().await;
    let proxy = Proxy::start(upstream).await.expect("proxy");
    let mut old = connect(&proxy).await;
    ping(&mut old).await;
    proxy.refuse(true);
    assert_eq!(rest(&mut connect(&proxy).await).await, b"");
    ping(&mut old).await;
    proxy.refuse(false);
    ping(&mut connect(&proxy).await).await;
    assert_eq!(proxy.connections(), 3);
}

#[tokio::test]
async fn stall_keeps_what_arrives() {
    let (upstream, mut received) = stub().await;
    let proxy = Proxy::start(upstream).await.expect("proxy");
    let mut client = connect(&proxy).await;
    ping(&mut client).await;
    received.recv().await.expect("the first request");
    proxy.stall(true);
    client.write_all(PING).await.expect("send");
    timeout(NOTHING, received.recv()).await.expect_err("a stalled request does not arrive");
    proxy.stall(false);
    pong(&mut client).await;
}

#[tokio::test]
async fn latency_is_of_the_round_trip_and_not_of_each_request() {
    let (upstream, _received) = stub().await;
    let proxy = Proxy::start(upstream).await.expect("proxy");
    let latency = Duration::from_millis(40);
    proxy.latency(latency);
    let mut client = connect(&proxy).await;
    let start = Instant::now();
    client.write_all(&PING.repeat(100)).await.expect("send");
    for _ in 0..100 {
        pong(&mut client).await;
    }
    assert!((latency..latency * 90).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_chosen_reply_is_swallowed_after_the_server_gave_it() {
    let (upstream, _received) = stub().await;
    let proxy = Proxy::start(upstream).await.expect("proxy");
    let mut client = connect(&proxy).await;
    proxy.drop_reply_after(3);
    client.write_all(&PING.repeat(5)).await.expect("send");
    assert_eq!(rest(&mut client).await, PONG.repeat(2));
    assert_eq!(proxy.replies(), 3);
    ping(&mut connect(&proxy).await).await;
}

#[tokio::test]
async fn requests_are_cut_at_the_chosen_byte() {
    let (upstream, mut received) = stub().await;
    let proxy = Proxy::start(upstream).await.expect("proxy");
    let mut client = connect(&proxy).await;
    ping(&mut client).await;
    received.recv().await.expect("the first request");
    proxy.cut_after_request_bytes(5);
    client.write_all(PING).await.expect("send");
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(received.recv().await.expect("a part"), PING[..5]);
    ping(&mut connect(&proxy).await).await;
}

#[tokio::test]
async fn a_real_server_has_executed_what_was_swallowed() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let server = Server::start(&binary).expect("server");
    let proxy = Proxy::start(server.port()).await.expect("proxy");
    let mut client = connect(&proxy).await;
    proxy.drop_reply_after(1);
    client.write_all(b"INCR n\r\n").await.expect("send");
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(server.command(&["GET", "n"]).expect("get").int(), Some(1));
}
