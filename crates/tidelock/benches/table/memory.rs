//! The server memory of a queued message: `used_memory` with 100,000 messages with default options.

use tidelock::{Raw, Tidelock};

use crate::measure::{Row, Table};
use crate::on_redis::payload;
use crate::server::Server;

type Failure = Box<dyn std::error::Error>;

const MESSAGES: usize = 100_000;

/// What a message has in addition to its payload.
#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    DedupKey,
    /// Ten messages per key.
    OrderingKey,
}

pub async fn rows(table: &mut Table) -> Result<(), Failure> {
    let rows = [
        ("queue.memory_plain", Beside::Nothing, "200 bytes", "60 bytes"),
        ("queue.memory_dedup", Beside::DedupKey, "330 bytes", "100 bytes"),
        ("queue.memory_ordering", Beside::OrderingKey, "330 bytes", "100 bytes"),
    ];
    for (name, beside, target, goal) in rows {
        if !table.wants(name) {
            continue;
        }
        let over = measure(beside).await? - 100.0;
        let note = format!("{over:.0} bytes a message over its payload");
        table.push(Row { name, backend: "redis", ratio: over, target, goal, note, ..Row::default() });
    }
    Ok(())
}

/// Bytes per message.
async fn measure(beside: Beside) -> Result<f64, Failure> {
    let server = Server::start()?;
    let tide = Tidelock::connect(&server.url()).await?;
    let queue = tide.queue::<Raw>("bench.memory").build()?;
    queue.send(&payload()).await?;
    let before = used(&server)?;
    for batch in 0..MESSAGES / 1_000 {
        let items = (0..1_000).map(|item| {
            let (send, number) = (queue.send(&payload()), batch * 1_000 + item);
            match beside {
                Beside::Nothing => send,
                Beside::DedupKey => send.dedup_key(&format!("key-{number:012}")),
                Beside::OrderingKey => send.ordering_key(&format!("key-{:012}", number / 10)),
            }
        });
        queue.send_many(items).await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "bytes of one test server are far below 2^52")]
    let bytes = (used(&server)? - before) as f64;
    #[expect(clippy::cast_precision_loss)]
    Ok(bytes / MESSAGES as f64)
}

pub fn used(server: &Server) -> Result<i64, Failure> {
    let memory = server.command(&["INFO", "memory"])?;
    Ok(memory.field("used_memory").and_then(|bytes| bytes.parse().ok()).ok_or("INFO memory")?)
}
