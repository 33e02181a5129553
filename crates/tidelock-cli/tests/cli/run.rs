//! Running the binary.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use serde_json::Value;
use tidelock::Tidelock;
use tokio::runtime::Runtime;

/// Longer than a busy machine takes for anything.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The only JSON value on stdout.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON values on stdout, one on each line.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// Both outputs, to check what must not be in them.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// The binary, without any environment variable that would affect it.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelock"));
    command.args(arguments).stdin(Stdio::null());
    for variable in [
        "TIDELOCK_URL",
        "TIDELOCK_ROOT_CERTIFICATE",
        "TIDELOCK_CLIENT_CERTIFICATE",
        "TIDELOCK_CLIENT_KEY",
        "TIDELOCK_SENTINEL_USER",
        "TIDELOCK_SENTINEL_PASSWORD",
    ] {
        command.env_remove(variable);
    }
    command
}

pub(crate) fn tidelock(arguments: &[&str]) -> Ran {
    finish(command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()), b"")
}

/// Runs with a URL in the environment and text on stdin.
pub(crate) fn tidelock_at(url: &str, arguments: &[&str], stdin: &[u8]) -> Ran {
    tidelock_with(&[("TIDELOCK_URL", url)], arguments, stdin)
}

/// Runs with arbitrary environment variables.
pub(crate) fn tidelock_with(variables: &[(&str, &str)], arguments: &[&str], stdin: &[u8]) -> Ran {
    let mut command = command(arguments);
    command.envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(&mut command, stdin)
}

fn finish(command: &mut Command, stdin: &[u8]) -> Ran {
    let mut child = command.spawn().expect("the binary starts");
    if let Some(mut pipe) = child.stdin.take() {
        // A command that ends without reading its input closes the pipe.
        let _ = pipe.write_all(stdin);
    }
    let output = child.wait_with_output().expect("the binary ends");
    Ran {
        code: output.status.code().expect("the binary ends by itself"),
        stdout: String::from_utf8(output.stdout).expect("stdout is text"),
        stderr: String::from_utf8(output.stderr).expect("stderr is text"),
    }
}

/// Runs a command, reads one line and closes its stdout, as `| head -1` does. Returns the line and the exit code.
pub(crate) fn head(url: &str, arguments: &[&str]) -> (String, i32) {
    let mut child =
        command(arguments).env("TIDELOCK_URL", url).stdout(Stdio::piped()).spawn().expect("the binary starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("stdout is a pipe")).read_line(&mut line).expect("a line comes");
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait().expect("the binary ends").code()));
    (line, ended.recv_timeout(PATIENCE).expect("it ends").expect("it ends by itself"))
}

/// A command that runs until it is told to end.
pub(crate) struct Stream {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Stream {
    pub(crate) fn start(url: &str, arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        let mut child = command.env("TIDELOCK_URL", url).stdout(Stdio::piped()).spawn().expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The next line; waits for it.
    pub(crate) fn line(&mut self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line comes")
    }

    /// The JSON value on the next line; waits for it.
    pub(crate) fn next(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The JSON value on the next line, if it has already arrived.
    pub(crate) fn try_next(&mut self) -> Option<Value> {
        match self.lines.try_recv() {
            Ok(line) => Some(serde_json::from_str(&line).expect("JSON")),
            Err(mpsc::TryRecvError::Empty) => None,
            Err(mpsc::TryRecvError::Disconnected) => panic!("it has ended"),
        }
    }

    /// Waits until it has ended by itself; returns its exit code.
    pub(crate) fn end(mut self) -> i32 {
        assert_eq!(self.lines.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected), "nothing more comes");
        self.child.wait().expect("the binary ends").code().expect("it ends by itself")
    }

    /// Stops the process.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
        // A signal arrives some time after it was sent: wait for the effect. If the state is unknown, assume that it
        // has arrived.
        while self.state().is_some_and(|state| state != 'T') {}
    }

    /// Continues the process.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill").success());
    }

    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// Sends Ctrl-C; returns the exit code and the remaining output.
    pub(crate) fn interrupt(mut self) -> (i32, Vec<Value>) {
        self.signal("-INT");
        let code = self.child.wait().expect("the binary ends").code().expect("it ends by itself");
        (code, self.lines.iter().map(|line| serde_json::from_str(&line).expect("JSON")).collect())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The library on a server, to create what the command shows.
pub(crate) async fn open(url: &str) -> Tidelock {
    Tidelock::connect(url).await.expect("the server is there")
}

/// Runs on one runtime for all tests, because what was opened on it lives as long as it does.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime starts"));
    RUNTIME.block_on(work)
}

/// A name that no other test or run uses.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos();
    format!("{what}-{}-{since}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A file that is removed when dropped.
#[derive(Debug)]
pub(crate) struct TemporaryFile(pub(crate) PathBuf);

impl TemporaryFile {
    pub(crate) fn new(content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(unique("tidelock-orders"));
        std::fs::write(&path, content).expect("the temporary folder can be written");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("the temporary folder has a readable name")
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The servers of this run. Without any, a test that needs one reports so and is skipped, or fails in CI.
pub(crate) fn servers() -> Vec<(String, String)> {
    let servers = tidelock_testkit::shared_servers();
    if servers.is_empty() {
        assert!(!tidelock_testkit::is_ci(), "no servers in {}", tidelock_testkit::SHARED_SERVERS);
        eprintln!("skipped: no servers in {}", tidelock_testkit::SHARED_SERVERS);
    }
    servers
}
