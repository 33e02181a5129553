//! One server process.

use std::fs;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};

use crate::binary::{Binary, Flavour};
use crate::ports::free_port;
use crate::process::{Folder, Process};
use crate::resp::{Connection, Reply};
use crate::wait;

/// How often to try another port when another process took the one that looked free.
const PORT_ATTEMPTS: usize = 8;

/// The configuration of a server that has not been started.
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    binary: Binary,
    mode: Mode,
    lines: Vec<String>,
    password: Option<String>,
    tls: Option<Tls>,
}

/// The TLS certificates of a server, and whom it trusts: paths of PEM files.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate of the server.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// The certificate authority of the server and of its clients.
    pub authority: String,
    /// Whether clients have to present a certificate.
    pub asks_clients: bool,
}

/// The role in which the program is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Data,
    Sentinel,
}

impl Builder {
    /// Adds a line to the configuration file, such as `maxmemory 10mb`; a later line wins over an earlier one.
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Requires a password; [`Server::url`] and [`Server::command`] include it.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        let password = password.into();
        self.lines.push(format!("requirepass {password}"));
        self.password = Some(password);
        self
    }

    /// Also listens on a Unix socket in the server's folder; see [`Server::socket`].
    pub fn socket(self) -> Self {
        // Servers start in their own folder.
        self.config(format!("unixsocket {SOCKET}"))
    }

    /// Uses TLS with clients and other servers, on a separate port, see [`Server::client_port`]. Commands of the test
    /// use the plain port.
    pub fn tls(mut self, tls: &Tls) -> Self {
        self.tls = Some(tls.clone());
        self
    }

    /// Writes every change to disk before replying, so that the data survives [`Server::kill`].
    pub fn durable(self) -> Self {
        self.config("appendonly yes").config("appendfsync always")
    }

    /// Runs as a sentinel that monitors other servers, instead of holding data.
    pub(crate) fn sentinel(mut self) -> Self {
        self.mode = Mode::Sentinel;
        self
    }

    /// Starts the server on a free loopback port, and returns when it accepts connections.
    pub fn start(self) -> Result<Server> {
        let mut attempts = 0..PORT_ATTEMPTS;
        loop {
            let server = self.clone().prepare(free_port()?)?;
            match server.launch() {
                Ok(process) => {
                    *server.process() = Some(process);
                    return Ok(server);
                }
                Err(_) if attempts.next().is_some() && server.port_was_taken() => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn prepare(self, port: u16) -> Result<Server> {
        let folder = Folder::new(self.binary.flavour().name())?;
        let mut lines =
            vec![format!("port {port}"), "bind 127.0.0.1".into(), format!("dir {}", folder.path().display())];
        if self.mode == Mode::Data {
            lines.extend(data_defaults(self.binary.flavour()).map(str::to_owned));
        }
        let tls_port = self.tls.as_ref().map(|_| free_port()).transpose()?;
        if let (Some(tls), Some(port)) = (&self.tls, tls_port) {
            lines.extend(tls_lines(tls, port));
        }
        lines.extend(self.lines);
        fs::write(folder.path().join(CONFIG), lines.join("\n") + "\n")?;
        Ok(Server {
            binary: self.binary,
            mode: self.mode,
            password: self.password,
            port,
            tls_port,
            process: Mutex::new(None),
            folder,
        })
    }
}

const CONFIG: &str = "server.conf";
const SOCKET: &str = "socket";

/// No persistence, replicas that attach at once, and `DEBUG` where it has to be enabled.
fn data_defaults(flavour: Flavour) -> impl Iterator<Item = &'static str> {
    let debug = (flavour != Flavour::Redis62).then_some("enable-debug-command local");
    ["save \"\"", "appendonly no", "repl-diskless-sync yes", "repl-diskless-sync-delay 0"].into_iter().chain(debug)
}

/// Enables TLS with clients, with the primary of a replica, and with the servers that a sentinel monitors.
fn tls_lines(tls: &Tls, port: u16) -> [String; 6] {
    let asks = if tls.asks_clients { "yes" } else { "no" };
    [
        format!("tls-port {port}"),
        format!("tls-cert-file {}", tls.certificate),
        format!("tls-key-file {}", tls.key),
        format!("tls-ca-cert-file {}", tls.authority),
        format!("tls-auth-clients {asks}"),
        "tls-replication yes".to_owned(),
    ]
}

/// A private server on a loopback port, with a temporary folder; both are removed when the value is dropped.
#[derive(Debug)]
pub struct Server {
    binary: Binary,
    mode: Mode,
    password: Option<String>,
    port: u16,
    tls_port: Option<u16>,
    // Declared before the folder, so that the process is dropped while its folder still exists.
    process: Mutex<Option<Process>>,
    folder: Folder,
}

impl Server {
    /// Starts a server with the defaults of [`Server::builder`].
    pub fn start(binary: &Binary) -> Result<Self> {
        Self::builder(binary).start()
    }

    /// A builder for a server, by default without password and persistence.
    pub fn builder(binary: &Binary) -> Builder {
        Builder { binary: binary.clone(), mode: Mode::Data, lines: Vec::new(), password: None, tls: None }
    }

    /// The URL for clients, with the password if there is one.
    pub fn url(&self) -> String {
        format!("{}://{}127.0.0.1:{}", self.scheme(), self.login(), self.client_port())
    }

    /// The scheme of the URL.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls_port.is_some() { "rediss" } else { "redis" }
    }

    /// The credentials in front of the host in the URL.
    pub(crate) fn login(&self) -> String {
        self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default()
    }

    /// The plain port, the same for the whole life of the value.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port for clients and other servers: the TLS port if it was built with [TLS](Builder::tls).
    pub fn client_port(&self) -> u16 {
        self.tls_port.unwrap_or(self.port)
    }

    /// The path of its socket, if it was built with [one](Builder::socket).
    pub fn socket(&self) -> String {
        self.folder.path().join(SOCKET).display().to_string()
    }

    /// The process id, unless it was killed.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::id)
    }

    /// The program that it runs.
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// Kills the process, as a crash would. Does nothing if it is already dead.
    pub fn kill(&self) {
        *self.process() = None;
    }

    /// Restarts the server on the same port, killing it first if it is running. It comes back empty, unless it was
    /// built [`durable`](Builder::durable).
    pub fn restart(&self) -> Result<()> {
        self.kill();
        *self.process() = Some(self.launch()?);
        Ok(())
    }

    /// Freezes the process: its connections stay open, and nothing answers.
    pub fn freeze(&self) -> Result<()> {
        self.process().as_ref().context("the server is killed")?.freeze()
    }

    /// Resumes a frozen process.
    pub fn thaw(&self) -> Result<()> {
        self.process().as_ref().context("the server is killed")?.thaw()
    }

    /// Opens a connection for several commands.
    pub fn connect(&self) -> Result<Connection> {
        let mut connection = Connection::open(self.port)?;
        if let Some(password) = &self.password {
            connection.command(&["AUTH", password])?;
        }
        Ok(connection)
    }

    /// Runs one command on a new connection.
    pub fn command<S: AsRef<str>>(&self, words: &[S]) -> Result<Reply> {
        self.connect()?.command(words)
    }

    /// The output of the server since it was last started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.log()).unwrap_or_default()
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        // The value is consistent at every step, so a panic elsewhere in the test does not corrupt it.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&self) -> Result<Process> {
        let mut command = Command::new(self.binary.path());
        command.arg(CONFIG);
        if self.mode == Mode::Sentinel {
            command.arg("--sentinel");
        }
        let mut process = Process::start(&mut command, &self.folder)?;
        self.wait_until_ready(&mut process)
            .with_context(|| format!("start {} on port {}:\n{}", self.binary.flavour(), self.port, self.log()))?;
        Ok(process)
    }

    /// Reads readiness from the server's own log first: on the port alone, a foreign server might answer.
    fn wait_until_ready(&self, process: &mut Process) -> Result<()> {
        let ready = match self.mode {
            Mode::Data => "Ready to accept connections",
            Mode::Sentinel => "+monitor",
        };
        wait::until("the server is ready", || {
            if let Some(status) = process.exited()? {
                bail!("it ended with {status}");
            }
            Ok(self.log().contains(ready).then_some(()))
        })?;
        wait::until("the server answers", || Ok(Connection::open(self.port).ok()))?;
        Ok(())
    }

    fn port_was_taken(&self) -> bool {
        self.log().contains("Address already in use")
    }
}
