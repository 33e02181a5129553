//! The stored keys, as the servers report them.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use crate::job::redis::PARTS;
use crate::name::Address;

/// A server's information on a key, by an inline command. Not available in a cluster.
pub(super) struct Raw {
    pub(super) stream: Option<BufStream<TcpStream>>,
    pub(super) prefix: String,
}

impl Raw {
    async fn ask(&mut self, command: &str, address: &Address, part: &str) -> i64 {
        let stream = self.stream.as_mut().expect("it was asked whether there is one");
        let line = format!("{command} {}:{{job/default/{}}}:{part}\r\n", self.prefix, address.id);
        stream.write_all(line.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut reply = String::new();
        stream.read_line(&mut reply).await.unwrap();
        reply.trim_start_matches(':').trim_end().parse().unwrap_or_else(|_| panic!("{line} gives {reply}"))
    }

    /// Every existing key lives about as long as the record, or forever with it.
    pub(super) async fn check_lifetimes(&mut self, address: &Address) {
        if self.stream.is_none() {
            return;
        }
        let record = self.ask("PTTL", address, "record").await;
        for part in PARTS.into_iter().filter(|part| *part != "parked") {
            let left = self.ask("PTTL", address, part).await;
            let same = left == -2 || (record == -1) == (left == -1) && left > record - 660_000;
            assert!(same, "{part} lives for {left} ms, the record for {record} ms");
        }
    }

    /// Nothing but the record and the long entries is left, and all of it has an end.
    pub(super) async fn check_empty(&mut self, address: &Address) {
        if self.stream.is_none() {
            return;
        }
        for part in PARTS.into_iter().filter(|part| !["record", "parked"].contains(part)) {
            let (command, most) = match part {
                "jobs" | "inputs" | "details" => ("HLEN", 1),
                "running" | "started" | "kept" => ("ZCARD", 1),
                "line" => ("LLEN", 0),
                "keys" | "series" | "watchers" => ("HLEN", 0),
                _ => ("ZCARD", 0),
            };
            let length = self.ask(command, address, part).await;
            assert!(length <= most, "{part} holds {length}");
        }
        assert!(self.ask("PTTL", address, "record").await > 0);
    }
}
