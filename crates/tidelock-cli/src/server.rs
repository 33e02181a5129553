//! The server, and how to reach it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tidelock::{Connect, Tidelock};

use crate::exit::Wrong;
use crate::value::duration;

/// Said to every command that talks to a server.
#[derive(Args)]
pub(crate) struct Server {
    #[command(flatten)]
    connection: Connection,
    /// The prefix of all keys on the server.
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
    /// The prefix of all keys on the server.
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
    /// The tenant.
    #[arg(long, value_name = "NAME", default_value = "default")]
    tenant: String,
    #[command(flatten)]
    access: Access,
    /// How long to try before giving up.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = patience)]
    timeout: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn patience(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(10)..=Duration::from_hours(1);
    let time = duration(text)?;
    if range.contains(&time) { Ok(time) } else { Err("expected 10ms to 1h".to_owned()) }
}

impl Connection {
    async fn open(&self, prefix: &str) -> anyhow::Result<Tidelock> {
        let url = self
            .url
            .as_deref()
            .ok_or_else(|| Wrong("no server: give --redis redis://host:port, or set TIDELOCK_URL".to_owned()))?;
        let mut connect = Tidelock::connect(url).prefix(prefix).tenant(&self.tenant).name("cli");
        connect = connect.request_timeout(self.timeout);
        Ok(self.access.give(connect)?.await?)
    }
}

/// What some servers ask for beside the URL.
#[derive(Args)]
struct Access {
    /// Trust only the authorities in this PEM file.
    #[arg(long, value_name = "FILE", env = "TIDELOCK_ROOT_CERTIFICATE")]
    root_certificate: Option<PathBuf>,
    /// The client certificate, a PEM file, for servers that require one.
    #[arg(long, value_name = "FILE", env = "TIDELOCK_CLIENT_CERTIFICATE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// The private key of the client certificate, a PEM file.
    #[arg(long, value_name = "FILE", env = "TIDELOCK_CLIENT_KEY", requires = "client_certificate")]
    client_key: Option<PathBuf>,
    /// The user name for the sentinels.
    #[arg(long, value_name = "NAME", env = "TIDELOCK_SENTINEL_USER", requires = "sentinel_password")]
    sentinel_user: Option<String>,
    /// The password for the sentinels; the password in the URL is for the data servers.
    #[arg(long, value_name = "PASSWORD", env = "TIDELOCK_SENTINEL_PASSWORD", hide_env_values = true)]
    sentinel_password: Option<String>,
}

impl Access {
    fn give(&self, mut connect: Connect) -> anyhow::Result<Connect> {
        if let Some(path) = &self.root_certificate {
            connect = connect.root_certificate(read_pem(path)?);
        }
        if let (Some(certificate), Some(key)) = (&self.client_certificate, &self.client_key) {
            connect = connect.client_certificate(read_pem(certificate)?, read_pem(key)?);
        }
        if let Some(password) = &self.sentinel_password {
            connect = connect.sentinel_credentials(self.sentinel_user.as_deref(), password);
        }
        Ok(connect)
    }
}

/// Reads certificates or a key.
pub(crate) fn read_pem(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read the PEM file {}", path.display()))
}
