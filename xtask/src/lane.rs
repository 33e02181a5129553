//! Sections that run in parallel with the others. They wait for pages and single-threaded programs, and leave a core
//! idle.

use std::env;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::cargo::target_folder;
use crate::report::Report;

/// Waits until its input ends, at the latest when this process is gone, and then kills the whole lane. It ignores the
/// signals that a terminal sends to all processes.
const WATCHER: &str = r#"trap "" INT TERM HUP; read -r _; kill -s KILL -- "-$0""#;

/// A separate process for some sections, so that their output stays in one piece. Everything that it started ends with
/// this value.
#[derive(Debug)]
pub(crate) struct Lane {
    child: Child,
    watcher: Child,
    log: PathBuf,
}

impl Lane {
    /// Starts `cargo xtask test --only` with these sections; their output goes to a file.
    pub(crate) fn start(sections: &str) -> Result<Self> {
        let folder = target_folder()?;
        fs::create_dir_all(&folder)?;
        let log = folder.join("lane.log");
        let file = File::create(&log)?;
        let mut command = Command::new(env::current_exe()?);
        command.args(["test", "--only", sections]).process_group(0);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let mut child = command.spawn().with_context(|| format!("cannot start {sections}"))?;
        match watch(&child) {
            Ok(watcher) => Ok(Self { child, watcher, log }),
            Err(error) => {
                child.kill().and_then(|()| child.wait()).context("cannot stop what cannot be watched")?;
                Err(error)
            }
        }
    }

    /// Fails if the lane has already failed.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) if !status.success() => self.told(status).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Waits for its end, prints its output, and reports what it skipped.
    pub(crate) fn join(mut self, report: &mut Report) -> Result<()> {
        let status = self.child.wait()?;
        report.adopt(&self.told(status)?);
        Ok(())
    }

    fn told(&self, status: ExitStatus) -> Result<String> {
        let text = fs::read_to_string(&self.log)?;
        eprint!("{text}");
        ensure!(status.success(), "it ended with {status}");
        Ok(text)
    }
}

impl Drop for Lane {
    /// The watcher kills the rest of the lane when its input ends, before the child is reaped. Until then, no other
    /// process group can have the id that the watcher knows.
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
        let _ = self.child.wait();
    }
}

fn watch(child: &Child) -> Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", WATCHER, &child.id().to_string()]).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("cannot start the shell that watches over a lane")
}

#[cfg(test)]
mod tests {
    use super::{Child, Command, Lane, PathBuf, Stdio, fs, watch};
    use std::io::Read as _;
    use std::os::unix::process::CommandExt as _;

    /// A lane that runs this shell script, and its output.
    fn lane(text: &str) -> (Lane, std::process::ChildStdout) {
        let mut command = Command::new("sh");
        let mut child: Child = command.args(["-c", text]).process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let watcher = watch(&child).unwrap();
        (Lane { child, watcher, log: PathBuf::new() }, output)
    }

    #[test]
    fn what_a_lane_started_ends_with_it() {
        let (lane, mut output) = lane("sleep 1000 & echo begun; wait");
        let mut begun = [0; 6];
        output.read_exact(&mut begun).unwrap();
        drop(lane);
        // The sleeping process holds the other end, so this returns when that process ends.
        assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn a_lane_that_failed_is_found_out() {
        let (mut lane, mut output) = lane("exit 3");
        output.read_to_end(&mut Vec::new()).unwrap();
        let log = std::env::temp_dir().join(format!("tidelock-lane-{}", std::process::id()));
        fs::write(&log, "it said this\n").unwrap();
        lane.log.clone_from(&log);
        lane.child.wait().unwrap();
        assert!(lane.check().unwrap_err().to_string().contains('3'));
        fs::remove_file(log).unwrap();
    }
}
