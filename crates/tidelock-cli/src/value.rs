//! Values on the command line: durations, instants and message bodies.

use std::ops::RangeInclusive;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tidelock::Timestamp;
use tidelock::queue::Paused;

use crate::exit::Wrong;

/// Maximum number of characters of a body shown to people.
pub(crate) const SHOWN: usize = 2_000;

/// Parses `250ms`, `5s`, `1h 30m`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; expected a duration such as 250ms, 5s, 10m or 7d"))
}

/// A duration for people, rounded to sensible units.
pub(crate) fn about(duration: Duration) -> String {
    let coarse = match duration.as_secs() {
        0 => Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        seconds => Duration::from_secs(seconds),
    };
    humantime::format_duration(coarse).to_string()
}

/// An instant for people, in UTC.
pub(crate) fn instant(at: Timestamp) -> String {
    at.to_string()
}

/// A pause for people, on one line.
pub(crate) fn paused(pause: &Paused) -> String {
    let until = pause.until.map_or("until resumed".to_owned(), |until| format!("until {}", instant(until)));
    let reason = pause.reason.as_deref().map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
    format!("paused {until}{reason}\n")
}

/// A message body as JSON: `body` and `encoding`, which is `utf-8` or `base64`.
pub(crate) fn body(bytes: &[u8]) -> (Value, Value) {
    match str::from_utf8(bytes) {
        Ok(text) => (json!(text), json!("utf-8")),
        Err(_) => (json!(STANDARD.encode(bytes)), json!("base64")),
    }
}

/// A message body for people: one line of text, or marked base64. Nothing in it can control the terminal.
pub(crate) fn line(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => plain(text),
        Err(_) => format!("base64:{}", STANDARD.encode(bytes)),
    }
}

/// Text with its control characters escaped.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { plain.extend(c.escape_default()) } else { plain.push(c) }
    }
    plain
}

/// The first `max` characters, with a mark if there are more.
pub(crate) fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A count with thousands separators: `5,034`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Parses `name=value`; a value that is not JSON is taken as text.
pub(crate) fn meta(pair: &str) -> Result<(&str, Value), Wrong> {
    let (name, value) = pair.split_once('=').ok_or_else(|| Wrong(format!("--meta {pair:?} has no `=`")))?;
    Ok((name, serde_json::from_str(value).unwrap_or_else(|_| json!(value))))
}

/// Formats a table. The first row is the head; the columns in `numbers` are right-aligned.
pub(crate) fn table(rows: &[Vec<String>], numbers: RangeInclusive<usize>) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line =
        |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(column, (cell, &width))| {
                if numbers.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_text_where_it_can_be() {
        assert_eq!(body(b"{}"), (json!("{}"), json!("utf-8")));
        assert_eq!(body(b"\xff\x00"), (json!("/wA="), json!("base64")));
        assert_eq!(line(b"\xff\x00"), "base64:/wA=");
    }

    #[test]
    fn a_body_cannot_steer_the_terminal() {
        assert_eq!(line("a\x1b[2Jb\nü".as_bytes()), "a\\u{1b}[2Jb\\nü");
    }

    #[test]
    fn numbers_and_texts_are_readable() {
        assert_eq!(
            (count(0), count(999), count(1_000), count(1_234_567)),
            ("0".into(), "999".into(), "1,000".into(), "1,234,567".into())
        );
        assert_eq!(cut("äöü", 2), "äö…");
        assert_eq!(about(Duration::from_millis(1_250)), "1s");
        assert!(duration("5 parsecs").unwrap_err().contains("250ms"));
    }

    #[test]
    fn a_table_has_its_numbers_on_the_right() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["name", "lag", "paused"]), row(["ü", "1,000", "no"])];
        assert_eq!(table(&rows, 1..=1), "name    lag  paused\nü     1,000  no\n");
    }
}
