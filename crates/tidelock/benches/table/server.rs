//! The servers of the rows: a separate one for each, or a running one that the environment names.

use std::env;

use tidelock_testkit::{Binary, Connection, Flavour, Reply};

type Failure = Box<dyn std::error::Error>;

/// The variable with the loopback port of a running server. It must be empty, and is emptied between rows.
const PORT: &str = "TIDELOCK_BENCH_PORT";

/// A server without keys.
pub enum Server {
    Own(tidelock_testkit::Server),
    Running(u16),
}

impl Server {
    pub fn start() -> Result<Self, Failure> {
        let Ok(port) = env::var(PORT) else {
            return Ok(Self::Own(tidelock_testkit::Server::start(&Binary::find(Flavour::Redis70)?)?));
        };
        let port = port.parse().map_err(|_| format!("{PORT} is {port:?}, which is no port"))?;
        if Connection::open(port)?.command(&["DBSIZE"])?.int() != Some(0) {
            return Err(format!("the server on port {port} holds keys, which the rows would delete").into());
        }
        Ok(Self::Running(port))
    }

    pub fn url(&self) -> String {
        match self {
            Self::Own(server) => server.url(),
            Self::Running(port) => format!("redis://127.0.0.1:{port}"),
        }
    }

    pub fn command(&self, words: &[&str]) -> Result<Reply, Failure> {
        match self {
            Self::Own(server) => Ok(server.command(words)?),
            Self::Running(port) => Ok(Connection::open(*port)?.command(words)?),
        }
    }

    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Own(server) => server.pid(),
            Self::Running(_) => self.command(&["INFO", "server"]).ok()?.field("process_id")?.parse().ok(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Self::Running(_) = self
            && let Err(error) = self.command(&["FLUSHALL"])
        {
            eprintln!("the server keeps the keys of the rows: {error}");
        }
    }
}
