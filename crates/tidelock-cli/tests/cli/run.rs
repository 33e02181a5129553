//! Running the binary.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The one JSON value on stdout.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Both outputs, to look for what must not be there.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// The binary, with nothing of the caller's environment that it would act on.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelock"));
    command.args(arguments).env_remove("TIDELOCK_URL").stdin(Stdio::null());
    command
}

pub(crate) fn tidelock(arguments: &[&str]) -> Ran {
    finish(command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()), b"")
}

/// The same with a URL in the environment and text on stdin.
pub(crate) fn tidelock_at(url: &str, arguments: &[&str], stdin: &[u8]) -> Ran {
    let mut command = command(arguments);
    command.env("TIDELOCK_URL", url).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
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

/// A name that no other test and no other run uses.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos();
    format!("{what}-{}-{since}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A file that is gone when dropped.
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

/// The servers of the run; a test that needs one and has none says so, and fails in CI.
pub(crate) fn servers() -> Vec<(String, String)> {
    let servers = tidelock_testkit::shared_servers();
    if servers.is_empty() {
        assert!(!tidelock_testkit::is_ci(), "no servers in {}", tidelock_testkit::SHARED_SERVERS);
        eprintln!("skipped: no servers in {}", tidelock_testkit::SHARED_SERVERS);
    }
    servers
}
