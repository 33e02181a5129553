//! Output to stdout.

use std::fmt;
use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::json;
use tidelock::Changed;

use crate::exit::Exit;
use crate::value::plain;

/// Prints the answer as JSON or for people.
pub(crate) fn answer(as_json: bool, machine: &impl Serialize, human: &str) -> anyhow::Result<()> {
    if as_json { json(machine) } else { text(human) }
}

/// Prints text unchanged.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| if error.kind() == io::ErrorKind::BrokenPipe { Unread.into() } else { error.into() })
}

/// The reader of stdout has closed it. A separate type, because other pipes can break too.
#[derive(Debug)]
pub(crate) struct Unread;

/// Resolves when the reader of stdout has closed it. Otherwise a command that follows something would only notice with
/// its next line, which may never come.
#[cfg(unix)]
pub(crate) async fn unread() -> Unread {
    use std::os::fd::AsFd as _;
    use tokio::io::Interest;
    use tokio::net::unix::pipe::Sender;

    // It is only watched, so it need not be in non-blocking mode. A file cannot be watched, and has no reader.
    let watched = io::stdout().as_fd().try_clone_to_owned().and_then(Sender::from_owned_fd_unchecked);
    if let Ok(stdout) = watched
        && stdout.ready(Interest::ERROR).await.is_ok()
    {
        return Unread;
    }
    std::future::pending().await
}

#[cfg(not(unix))]
pub(crate) async fn unread() -> Unread {
    std::future::pending().await
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output any more")
    }
}

impl std::error::Error for Unread {}

/// Prints one JSON value on one line.
fn json(value: &impl Serialize) -> anyhow::Result<()> {
    text(&format!("{}\n", serde_json::to_string(value)?))
}

/// Prints the outcome of a change of `name`: the words for done, already so, and not found.
pub(crate) fn changed(as_json: bool, name: &str, changed: Changed, words: [&str; 3]) -> anyhow::Result<Exit> {
    let [yes, no, absent] = words;
    let human = match changed {
        Changed::Yes => yes,
        Changed::No => no,
        Changed::Absent => absent,
    };
    answer(as_json, &json!({ "changed": changed }), &format!("{}: {human}\n", plain(name)))?;
    Ok(Exit::any(changed == Changed::Yes))
}
