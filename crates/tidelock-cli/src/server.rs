//! Which server, and how to reach it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tidelock::Tidelock;

use crate::exit::Wrong;
use crate::value::duration;

/// Said to every command that talks to a server.
#[derive(Args)]
pub(crate) struct Server {
    #[command(flatten)]
    connection: Connection,
    /// What all keys on the server begin with.
    #[arg(long, value_name = "TEXT", default_value = "tidelock", visible_alias = "key-prefix")]
    prefix: String,
}

impl Server {
    /// Connects.
    pub(crate) async fn open(&self) -> anyhow::Result<Tidelock> {
        self.connection.open(&self.prefix).await
    }

    pub(crate) fn json(&self) -> bool {
        self.connection.json
    }
}

/// The same for commands whose `--prefix` is one of records.
#[derive(Args)]
pub(crate) struct RecordServer {
    #[command(flatten)]
    connection: Connection,
    /// What all keys on the server begin with.
    #[arg(long, value_name = "TEXT", default_value = "tidelock")]
    key_prefix: String,
}

impl RecordServer {
    /// Connects.
    pub(crate) async fn open(&self) -> anyhow::Result<Tidelock> {
        self.connection.open(&self.key_prefix).await
    }

    pub(crate) fn json(&self) -> bool {
        self.connection.json
    }
}

#[derive(Args)]
struct Connection {
    /// The server; `tidelock --help` lists the forms.
    #[arg(long = "redis", value_name = "URL", env = "TIDELOCK_URL", hide_env_values = true)]
    url: Option<String>,
    /// Whose objects to look at.
    #[arg(long, value_name = "NAME", default_value = "default")]
    tenant: String,
    /// Trust the authorities in this PEM file, and no others.
    #[arg(long, value_name = "FILE")]
    root_certificate: Option<PathBuf>,
    /// How long to try.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    timeout: Duration,
    /// Print JSON for machines.
    #[arg(long)]
    json: bool,
}

impl Connection {
    async fn open(&self, prefix: &str) -> anyhow::Result<Tidelock> {
        let url = self
            .url
            .as_deref()
            .ok_or_else(|| Wrong("no server: give --redis redis://host:port, or set TIDELOCK_URL".to_owned()))?;
        let mut connect = Tidelock::connect(url).prefix(prefix).tenant(&self.tenant).name("cli");
        connect = connect.request_timeout(self.timeout);
        if let Some(path) = &self.root_certificate {
            connect = connect.root_certificate(root_certificate(path)?);
        }
        Ok(connect.await?)
    }
}

/// The certificates of a private authority.
pub(crate) fn root_certificate(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read the certificates {}", path.display()))
}
