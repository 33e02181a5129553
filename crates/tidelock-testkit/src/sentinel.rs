//! A primary with a replica, and the sentinels that promote the replica.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};

use crate::binary::Binary;
use crate::server::{Builder, Server, Tls};
use crate::wait;

/// The name under which the sentinels know the primary.
const NAME: &str = "tidelock";

/// An odd number, so that one can fail and the others still have a majority.
const SENTINELS: usize = 3;
const QUORUM: usize = 2;

/// Two data servers and three sentinels.
#[derive(Debug)]
pub struct Sentinel {
    data: [Server; 2],
    primary: AtomicUsize,
    sentinels: Vec<Server>,
}

impl Sentinel {
    /// Starts all of them, and returns when a failover would succeed.
    pub fn start(binary: &Binary) -> Result<Self> {
        Self::start_with(binary, None, None)
    }

    /// The same with TLS on all connections.
    pub fn start_with_tls(binary: &Binary, tls: &Tls) -> Result<Self> {
        Self::start_with(binary, None, Some(tls))
    }

    /// The same with a password for the data servers, which [`Sentinel::url`] contains, and another one for the
    /// sentinels.
    pub fn start_with_passwords(binary: &Binary, data: &str, sentinels: &str) -> Result<Self> {
        Self::start_with(binary, Some((data, sentinels)), None)
    }

    fn start_with(binary: &Binary, passwords: Option<(&str, &str)>, tls: Option<&Tls>) -> Result<Self> {
        let builder = || match tls {
            Some(tls) => Server::builder(binary).tls(tls),
            None => Server::builder(binary),
        };
        let data = |builder: Builder| match passwords {
            Some((password, _)) => builder.password(password).config(format!("masterauth {password}")),
            None => builder,
        };
        let primary = data(builder()).start()?;
        let follows = format!("replicaof 127.0.0.1 {}", primary.client_port());
        let replica = data(builder()).config(follows).start()?;
        wait::until(
            "the replica follows",
            || Ok((replication(&replica, "master_link_status")? == "up").then_some(())),
        )?;
        let sentinels = (0..SENTINELS)
            .map(|_| start_sentinel(builder(), passwords, primary.client_port(), replica.client_port()))
            .collect::<Result<Vec<_>>>()?;
        let set = Self { data: [primary, replica], primary: AtomicUsize::new(0), sentinels };
        set.wait_until_acquainted()?;
        Ok(set)
    }

    /// The URL for clients, with all sentinels and the name of the primary.
    pub fn url(&self) -> String {
        let addresses: Vec<_> =
            self.sentinels.iter().map(|server| format!("127.0.0.1:{}", server.client_port())).collect();
        let primary = self.primary();
        format!("{}-sentinel://{}{}/?master={NAME}", primary.scheme(), primary.login(), addresses.join(","))
    }

    /// The server that accepts writes.
    pub fn primary(&self) -> &Server {
        &self.data[self.primary.load(Ordering::SeqCst)]
    }

    /// The other data server: the replica, or the former primary, dead since [`Sentinel::fail_over`].
    pub fn replica(&self) -> &Server {
        &self.data[1 - self.primary.load(Ordering::SeqCst)]
    }

    /// The sentinels.
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// Kills the primary, and returns when all sentinels name the replica instead and it accepts writes.
    pub fn fail_over(&self) -> Result<()> {
        let promoted = self.replica();
        self.primary().kill();
        wait::until("the replica takes over", || {
            let agreed = self.sentinels.iter().all(|sentinel| named_primary(sentinel) == Some(promoted.client_port()));
            Ok((agreed && replication(promoted, "role")? == "master").then_some(()))
        })?;
        self.primary.fetch_xor(1, Ordering::SeqCst);
        Ok(())
    }

    /// Sentinels discover each other and the replica through the primary, and elect nobody before that.
    fn wait_until_acquainted(&self) -> Result<()> {
        let expected = [("num-slaves", 1), ("num-other-sentinels", SENTINELS - 1)];
        for sentinel in &self.sentinels {
            wait::until("the sentinels know each other", || {
                let facts = sentinel.command(&["SENTINEL", "MASTER", NAME])?;
                let fact = |name| {
                    let pair = facts.items().chunks(2).find(|pair| pair[0].text() == Some(name))?;
                    usize::try_from(pair[1].int()?).ok()
                };
                Ok(expected.iter().all(|&(name, count)| fact(name) == Some(count)).then_some(()))
            })?;
        }
        Ok(())
    }
}

fn start_sentinel(builder: Builder, passwords: Option<(&str, &str)>, primary: u16, replica: u16) -> Result<Server> {
    let sentinel = builder
        .sentinel()
        .config(format!("sentinel monitor {NAME} 127.0.0.1 {primary} {QUORUM}"))
        .config(format!("sentinel down-after-milliseconds {NAME} 700"))
        .config(format!("sentinel failover-timeout {NAME} 3000"))
        .config(format!("sentinel known-replica {NAME} 127.0.0.1 {replica}"));
    match passwords {
        Some((data, own)) => sentinel.config(format!("sentinel auth-pass {NAME} {data}")).password(own).start(),
        None => sentinel.start(),
    }
}

fn named_primary(sentinel: &Server) -> Option<u16> {
    let address = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).ok()?;
    u16::try_from(address.items().get(1)?.int()?).ok()
}

fn replication(server: &Server, field: &str) -> Result<String> {
    let info = server.command(&["INFO", "replication"])?;
    Ok(info.field(field).with_context(|| format!("no {field} in {info:?}"))?.to_owned())
}
