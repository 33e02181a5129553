//! Exit codes, and the error messages on stderr.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use tidelock::ErrorKind;

use crate::output::Unread;

/// How the command ended; `tidelock --help` explains the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Yes = 0,
    No = 1,
    Wrong = 2,
    Backend = 3,
    Account = 4,
    Interrupted = 130,
}

impl Exit {
    /// `Yes` if there was something.
    pub(crate) fn any(there: bool) -> Self {
        if there { Self::Yes } else { Self::No }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Reports why the command failed.
pub(crate) fn failed(error: &anyhow::Error) -> Exit {
    if error.is::<Unread>() {
        // The reader of the output has seen enough and closed it.
        return Exit::Yes;
    }
    let message = message(error);
    // The library redacts credentials itself, and its messages may show the form of a URL.
    let is_ours = !error.chain().any(<dyn std::error::Error>::is::<tidelock::Error>);
    eprintln!("error: {}", if is_ours { redact(&message) } else { message });
    if let Some(WorkerEnded(code)) = error.downcast_ref() {
        // The worker's failure is the demo's; without the worker there is no account.
        return if *code == Some(Exit::Backend as i32) { Exit::Backend } else { Exit::Account };
    }
    error.downcast_ref::<tidelock::Error>().map_or(Exit::Wrong, |error| kind(error.kind()))
}

/// Reports invalid arguments, or answers `--help`.
pub(crate) fn refused_arguments(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Yes;
    }
    let text = error.render();
    let text = if io::stderr().is_terminal() { text.ansi().to_string() } else { text.to_string() };
    eprint!("{}", redact(&text));
    Exit::Wrong
}

fn kind(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::InvalidArgument
        | ErrorKind::InvalidConfiguration
        | ErrorKind::PayloadTooLarge
        | ErrorKind::Encode
        | ErrorKind::Validation => Exit::Wrong,
        _ => Exit::Backend,
    }
}

/// The chain of causes. An error of the library already contains its own.
fn message(error: &anyhow::Error) -> String {
    let mut parts = Vec::new();
    for cause in error.chain() {
        parts.push(cause.to_string());
        if cause.is::<tidelock::Error>() {
            break;
        }
    }
    parts.join(": ")
}

/// Removes user and password from URLs in unexpected places.
fn redact(text: &str) -> String {
    let mut words = Vec::new();
    for word in text.split_inclusive(char::is_whitespace) {
        let start = word.find("://").map(|scheme| scheme + 3);
        match start.and_then(|start| Some((start, start + word[start..].rfind('@')?))) {
            Some((start, at)) => words.push(format!("{}***{}", &word[..start], &word[at..])),
            None => words.push(word.to_owned()),
        }
    }
    words.concat()
}

/// A worker process of the demo ended on its own, with this exit code.
#[derive(Debug)]
pub(crate) struct WorkerEnded(pub(crate) Option<i32>);

impl fmt::Display for WorkerEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(code) => write!(f, "a worker process ended with exit code {code}"),
            None => f.write_str("a worker process was killed"),
        }
    }
}

impl std::error::Error for WorkerEnded {}

/// A request that makes no sense.
#[derive(Debug)]
pub(crate) struct Wrong(pub(crate) String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Exit, Unread, failed, redact};

    #[test]
    fn only_output_that_nobody_reads_is_no_failure() {
        assert_eq!(failed(&anyhow::Error::new(Unread).context("after 3 messages")), Exit::Yes);
        let other = anyhow::Error::new(io::Error::from(io::ErrorKind::BrokenPipe)).context("another pipe");
        assert_ne!(failed(&other), Exit::Yes);
    }

    #[test]
    fn credentials_are_left_out() {
        assert_eq!(
            redact("unexpected 'redis://me:s3c@ret@host:1/0' found\n"),
            "unexpected 'redis://***@host:1/0' found\n"
        );
        assert_eq!(redact("redis://host:1 and a@b"), "redis://host:1 and a@b");
    }
}
