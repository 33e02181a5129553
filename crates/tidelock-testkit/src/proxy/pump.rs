//! One connection of the proxy: two directions, each with a reader that decides and a writer that waits.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::Shared;
use super::frames::{Frame, Frames};

const CHUNK: usize = 16 * 1024;

/// The number of chunks in transit, which is also how much a stalled connection reads ahead.
const CHUNKS_UNDERWAY: usize = 64;

/// Bytes in transit, and when they may arrive.
struct Chunk {
    bytes: Vec<u8>,
    due: Instant,
}

/// What a reader decided about the bytes that it read.
struct Verdict {
    forward: Vec<u8>,
    close: bool,
}

/// Forwards until either side or a fault closes the connection; the caller then closes both sides.
pub(super) async fn both_ways(client: &mut TcpStream, server: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let mut replies = ReplyFilter { shared, frames: Frames::default(), partial: Vec::new() };
    let up = one_way(
        from_client,
        to_server,
        shared,
        |bytes| judge_requests(shared, bytes),
        |written| {
            shared.bytes_up.fetch_add(written, Ordering::SeqCst);
        },
    );
    let down = one_way(from_server, to_client, shared, |bytes| replies.judge(bytes), |_| {});
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

async fn one_way(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    shared: &Shared,
    mut judge: impl FnMut(&[u8]) -> Verdict,
    mut written: impl FnMut(u64),
) -> io::Result<()> {
    let (sender, mut underway) = mpsc::channel::<Chunk>(CHUNKS_UNDERWAY);
    let read = async move {
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = from.read(&mut buffer).await?;
            let verdict = judge(&buffer[..length]);
            let due = Instant::now() + shared.plan().latency;
            let sent = sender.send(Chunk { bytes: verdict.forward, due }).await;
            if length == 0 || verdict.close || sent.is_err() {
                return Ok::<_, io::Error>(());
            }
        }
    };
    let write = async {
        let mut stalled = shared.stalled.subscribe();
        while let Some(chunk) = underway.recv().await {
            if chunk.due > Instant::now() {
                shared.clock.sleep_until(chunk.due).await;
            }
            // The sender lives in `shared`, so this returns only when the stall ends.
            let _ = stalled.wait_for(|stalled| !stalled).await;
            to.write_all(&chunk.bytes).await?;
            written(chunk.bytes.len() as u64);
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|_| ())
}

fn judge_requests(shared: &Shared, bytes: &[u8]) -> Verdict {
    let admitted = shared.admits_requests(bytes.len());
    Verdict { forward: bytes[..admitted].to_vec(), close: admitted < bytes.len() }
}

/// Holds a reply back until it is complete, because only then can it be dropped without a trace.
struct ReplyFilter<'a> {
    shared: &'a Shared,
    frames: Frames,
    partial: Vec<u8>,
}

impl ReplyFilter<'_> {
    fn judge(&mut self, bytes: &[u8]) -> Verdict {
        let mut forward = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.partial.push(byte);
            match self.frames.take(byte) {
                Some(Frame::Reply) if self.shared.swallows_reply() => return Verdict { forward, close: true },
                Some(_) => forward.append(&mut self.partial),
                None => {}
            }
        }
        Verdict { forward, close: false }
    }
}
