//! What goes to stdout.

use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::json;
use tidelock::Changed;

use crate::exit::Exit;
use crate::value::plain;

/// Writes the answer for machines or for people.
pub(crate) fn answer(as_json: bool, machine: &impl Serialize, human: &str) -> io::Result<()> {
    if as_json { json(machine) } else { text(human) }
}

/// Writes text as it is.
pub(crate) fn text(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes one JSON value on one line.
fn json(value: &impl Serialize) -> io::Result<()> {
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
