//! A child process in a folder of its own, which leaves nothing behind, even when this process is killed.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::wait;

/// Waits until its input ends, at the latest when the owner of the other end is gone, and then cleans up where no
/// destructor could run any more. It ignores the signals that a terminal sends to all processes.
const WATCHER: &str = r#"trap "" INT TERM HUP; read -r _; kill -KILL "$0" 2>/dev/null; test -n "$1" && rm -rf "$1""#;

/// A temporary folder, removed on drop.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Creates a folder whose name contains `purpose`.
    pub(crate) fn new(purpose: &str) -> Result<Self> {
        let name = format!("tidelock-{purpose}-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("make the folder {}", path.display()))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The log of the process of this folder.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that is already gone is fine, and a failure to remove it is not worth a panic in a destructor.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A running child and its watcher.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    watcher: Child,
}

impl Process {
    /// Starts `command` inside `folder`. Its output goes to the folder's log, which starts empty.
    pub(crate) fn start(command: &mut Command, folder: &Folder) -> Result<Self> {
        let log = File::create(folder.log())?;
        let mut child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        match watch(&child, folder) {
            Ok(watcher) => Ok(Self { child, watcher }),
            Err(error) => {
                child.kill().and_then(|()| child.wait()).context("stop a child that cannot be watched")?;
                Err(error)
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if the child has ended by itself.
    pub(crate) fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Freezes the child, as if its machine hung; returns when it has stopped.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal("STOP")?;
        wait::until("the process stands still", || Ok(self.state().is_none_or(|state| state == 'T').then_some(())))
    }

    /// Resumes a frozen child.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name, &self.id().to_string()]).status()?;
        ensure!(status.success(), "cannot send SIG{name} to process {}", self.id());
        Ok(())
    }

    /// The kernel's letter for the state of the child; `None` on systems without `/proc`.
    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }
}

impl Drop for Process {
    /// Kills the child, frozen or not. The watcher ends before the child is reaped: until then, no other process can
    /// have the id that the watcher knows.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
        let _ = self.child.wait();
    }
}

fn watch(child: &Child, folder: &Folder) -> Result<Child> {
    Command::new("sh")
        .args(["-c", WATCHER, &child.id().to_string()])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start the shell that watches over a server")
}
