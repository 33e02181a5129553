//! What goes to stdout.

use std::fmt;
use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::json;
use tidelock::Changed;

use crate::exit::Exit;
use crate::value::plain;

/// Writes the answer for machines or for people.
pub(crate) fn answer(as_json: bool, machine: &impl Serialize, human: &str) -> anyhow::Result<()> {
    if as_json { json(machine) } else { text(human) }
}

/// Writes text as it is.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| if error.kind() == io::ErrorKind::BrokenPipe { Unread.into() } else { error.into() })
}

/// Whoever read stdout has closed it. Its own type, because other pipes break, too.
#[derive(Debug)]
pub(crate) struct Unread;

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output any more")
    }
}

impl std::error::Error for Unread {}

/// Writes one JSON value on one line.
fn json(value: &impl Serialize) -> anyhow::Result<()> {
    text(&format!("{}\n", serde_json::to_string(value)?))
}

/// Answers what became of a change of `name`: with what was done, what was so already, or that there is no such thing.
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
