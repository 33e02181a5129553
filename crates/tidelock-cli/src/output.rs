//! What goes to stdout.

use std::io::{self, Write as _};

use serde::Serialize;

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
