//! Lines of arbitrary bytes, one message each.

use std::io::{self, BufRead, Read as _};

use crate::exit::Wrong;

/// The longest line that can be a message.
const MAX_LINE: usize = crate::queue::MAX_BODY;
/// Maximum number of lines per batch.
const BATCH: usize = 250;
/// Maximum bytes per batch, unless a single line is longer.
const BATCH_BYTES: usize = 1_024 * 1_024;

/// One line of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Bytes without the line ending (`\n` or `\r\n`).
    Bytes(Vec<u8>),
    /// Nothing but white space.
    Blank,
    /// Longer than a message may be; skipped.
    TooLong,
}

/// Reads the next lines; empty at the end of the input.
pub(crate) fn batch(input: &mut dyn BufRead) -> io::Result<Vec<Line>> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while lines.len() < BATCH && bytes < BATCH_BYTES {
        let Some(line) = next(input, MAX_LINE)? else { break };
        if let Line::Bytes(line) = &line {
            bytes += line.len();
        }
        lines.push(line);
    }
    Ok(lines)
}

/// Sends each non-blank line of stdin as a request, in batches. Returns the number sent. Errors contain that number and
/// `done` (`messages were sent`), so that the user need not send everything again.
pub(crate) async fn send_each<R>(
    done: &str,
    request: impl Fn(Vec<u8>) -> anyhow::Result<R>,
    send: impl AsyncFn(Vec<R>) -> tidelock::Result<usize>,
) -> anyhow::Result<u64> {
    let mut sent = 0;
    loop {
        let lines = tokio::task::spawn_blocking(|| batch(&mut io::stdin().lock())).await??;
        if lines.is_empty() {
            return Ok(sent);
        }
        let mut requests = Vec::new();
        for line in lines {
            match line {
                Line::Bytes(line) => requests.push(request(line)?),
                Line::Blank => {}
                Line::TooLong => {
                    return Err(Wrong(format!("a line is longer than {MAX_LINE} bytes; {sent} {done} before")).into());
                }
            }
        }
        if requests.is_empty() {
            continue;
        }
        let answered = send(requests).await;
        let answered = answered.map_err(|error| anyhow::Error::new(error).context(format!("after {sent} {done}")))?;
        sent += answered as u64;
    }
}

/// Stands for stdin as an argument.
pub(crate) const STDIN: &str = "-";

/// What was given as an argument; stdin to its end if nothing was, or `-`.
pub(crate) async fn body(given: Option<&str>) -> anyhow::Result<Vec<u8>> {
    match given {
        Some(text) if text != STDIN => Ok(text.as_bytes().to_owned()),
        _ => Ok(tokio::task::spawn_blocking(read_all).await??),
    }
}

fn read_all() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn next(input: &mut dyn BufRead, max: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    // The line ending may take two more bytes.
    if input.take(max as u64 + 2).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let complete = line.pop_if(|byte| *byte == b'\n').is_some();
    line.pop_if(|byte| *byte == b'\r');
    if line.len() > max {
        if !complete {
            input.skip_until(b'\n')?;
        }
        return Ok(Some(Line::TooLong));
    }
    Ok(Some(if line.trim_ascii().is_empty() { Line::Blank } else { Line::Bytes(line) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut text: &[u8], max: usize) -> Vec<Line> {
        std::iter::from_fn(|| next(&mut text, max).unwrap()).collect()
    }

    #[test]
    fn lines_are_bytes_without_their_end() {
        let bytes = |text: &[u8]| Line::Bytes(text.to_vec());
        assert_eq!(
            lines(b"a \r\n\n \t\n\xff\nlast", 9),
            [bytes(b"a "), Line::Blank, Line::Blank, bytes(b"\xff"), bytes(b"last")]
        );
    }

    #[test]
    fn the_longest_line_passes_and_a_longer_one_is_skipped() {
        let bytes = |text: &[u8]| Line::Bytes(text.to_vec());
        assert_eq!(
            lines(b"abc\nabc\r\nabcd\nabcdefgh\nabc", 3),
            [bytes(b"abc"), bytes(b"abc"), Line::TooLong, Line::TooLong, bytes(b"abc")]
        );
    }
}
