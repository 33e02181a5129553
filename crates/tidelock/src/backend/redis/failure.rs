//! Failures between a request and its answer, and what they say about whether the request took effect.

use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};

use super::url::Host;
use crate::error::{Error, ErrorKind};

/// Why a request has no regular answer.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// There was no connection, so nothing was sent.
    NotSent(String),
    /// The connection broke, or no answer came in time. The request may have taken effect.
    Unknown(String),
    /// The server refused. The request did not take effect.
    Refused { code: String, text: String },
    /// This process has closed its connections: nothing was sent, and nothing will be.
    Closed,
}

impl Failure {
    pub(crate) fn from_redis(error: &RedisError) -> Self {
        if let Some(code) = server_code(error) {
            let text = error.detail().unwrap_or_default();
            if code == "ERR" && (text.starts_with("Error running script") || is_denied_in_script(text)) {
                return Self::in_script(text);
            }
            return Self::Refused { code: code.to_owned(), text: text.to_owned() };
        }
        match error.kind() {
            RedisKind::AuthenticationFailed => Self::Refused { code: "NOAUTH".to_owned(), text: error.to_string() },
            RedisKind::InvalidClientConfig | RedisKind::Client => {
                Self::Refused { code: "CLIENT".to_owned(), text: error.to_string() }
            }
            _ => Self::Unknown(error.to_string()),
        }
    }

    /// An error raised by the server inside a script. Older servers put more text before the code.
    pub(crate) fn in_script(text: &str) -> Self {
        if is_denied_in_script(text) {
            return Self::Refused { code: "NOPERM".to_owned(), text: text.to_owned() };
        }
        let is_code = |word: &str| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase());
        let words = text.split_whitespace().map(|word| word.trim_start_matches('-'));
        let code = words.clone().find(|word| is_code(word)).unwrap_or("ERR");
        let rest = text.split_once(code).map_or(text, |(_, rest)| rest.trim_start());
        Self::Refused { code: code.to_owned(), text: rest.to_owned() }
    }

    /// Whether the server refused only for now: the same request can succeed in a moment.
    pub(crate) fn is_later(&self) -> bool {
        match self {
            Self::Refused { code, .. } => is_later(code),
            Self::NotSent(_) | Self::Unknown(_) | Self::Closed => false,
        }
    }

    /// Whether the answer is no, and an immediate retry would not change it.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Closed) && !self.is_later()
    }

    /// Whether waiting does not help, however long.
    pub(crate) fn is_incurable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => is_incurable(code),
            Self::Closed => true,
            Self::NotSent(_) | Self::Unknown(_) => false,
        }
    }

    /// The meaning of a failure to connect for a call that was not sent yet. If the server temporarily refused
    /// something else, that is no answer to the call.
    pub(crate) fn while_connecting(self) -> Self {
        match self {
            Self::Refused { code, text } if !is_incurable(&code) && !is_later(&code) => {
                Self::NotSent(format!("the server refused: {code} {text}"))
            }
            failure => failure,
        }
    }

    /// Adds the server that could not be reached.
    pub(crate) fn at(self, host: &Host) -> Self {
        match self {
            Self::NotSent(cause) => Self::NotSent(format!("{host}: {cause}")),
            failure => failure,
        }
    }

    /// Adds the sentinel that did not answer, also to a refusal, because its credentials differ from those of the
    /// servers.
    pub(crate) fn of_sentinel(self, host: &Host) -> Self {
        match self {
            Self::NotSent(cause) => Self::NotSent(format!("sentinel {host}: {cause}")),
            Self::Refused { code, text } => Self::Refused { code, text: format!("{text} (sentinel {host})") },
            failure => failure,
        }
    }

    /// The error for the caller of `operation`.
    pub(crate) fn into_error(self, operation: &str) -> Error {
        match self {
            Self::NotSent(cause) => {
                Error::new(ErrorKind::Connection, format!("{operation}: not connected to the server: {cause}"))
            }
            Self::Unknown(cause) => {
                Error::new(ErrorKind::Timeout, format!("{operation}: the outcome is unknown: {cause}"))
            }
            Self::Refused { code, text } => refused(operation, &code, &text),
            Self::Closed => Error::shutting_down(operation),
        }
    }
}

fn refused(operation: &str, code: &str, text: &str) -> Error {
    if code == "TIDELOCK" {
        // Raised by our scripts: the stored state is not in this version's format.
        return Error::new(ErrorKind::IncompatibleFormat, format!("{operation}: {text}"));
    }
    let error = Error::new(ErrorKind::Server, format!("{operation}: the server refused: {code} {text}"));
    match code {
        code if is_later(code) => error.retryable(),
        code if is_incurable(code) => error,
        _ => error.passing(),
    }
}

fn is_later(code: &str) -> bool {
    matches!(code, "LOADING" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "READONLY" | "NOREPLICAS")
}

/// Access is denied, the data's format or the server's version is not supported, or the client is misconfigured.
/// Anything else may pass: memory and disks become available again, and an unforeseen error is no reason to give up
/// for good.
fn is_incurable(code: &str) -> bool {
    matches!(code, "NOPERM" | "NOAUTH" | "WRONGPASS" | "TIDELOCK" | "OLD" | "CLIENT" | "DB")
}

/// A missing permission inside a script has no error code of its own. The second text is that of Valkey.
fn is_denied_in_script(text: &str) -> bool {
    text.contains("The user executing the script can't") || text.contains("ACL failure in script")
}

/// The code of a server's error reply.
fn server_code(error: &RedisError) -> Option<&str> {
    match error.kind() {
        RedisKind::Server(ServerErrorKind::ResponseError) => Some(error.code().unwrap_or("ERR")),
        RedisKind::Server(_) | RedisKind::Extension => error.code(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_an_error_is_found_wherever_the_server_puts_it() {
        let texts = [
            "NOREPLICAS Not enough good replicas to write.",
            "-NOREPLICAS Not enough good replicas to write.",
            "@user_script: 28: -NOREPLICAS Not enough good replicas to write.",
            "Error running script (call to f_aB3): @user_script:28: @user_script: 28: -NOREPLICAS Not enough good replicas to write.",
        ];
        for text in texts {
            let Failure::Refused { code, text } = Failure::in_script(text) else { panic!("it is a refusal") };
            assert_eq!((code.as_str(), text.as_str()), ("NOREPLICAS", "Not enough good replicas to write."));
        }
    }

    #[test]
    fn what_waiting_does_not_cure_is_a_short_list() {
        let cures = |code: &str| {
            let failure = || Failure::Refused { code: code.to_owned(), text: "no".to_owned() };
            assert_eq!(failure().is_incurable(), !failure().into_error("test").may_pass(), "{code}");
            let connecting = failure().while_connecting();
            assert_eq!(failure().is_incurable(), connecting.is_final(), "{code}");
            !failure().is_incurable()
        };
        for code in ["NOPERM", "NOAUTH", "WRONGPASS", "TIDELOCK", "OLD", "CLIENT"] {
            assert!(!cures(code), "{code}");
        }
        for code in ["OOM", "MISCONF", "ERR", "LOADING", "BUSY", "READONLY", "NOREPLICAS", "UNHEARDOF"] {
            assert!(cures(code), "{code}");
        }
        assert!(Failure::Closed.is_incurable() && Failure::Closed.is_final());
        assert_eq!(Failure::Closed.into_error("test").kind(), ErrorKind::ShuttingDown);
    }

    #[test]
    fn a_right_that_is_missing_inside_a_script_is_found_without_its_code() {
        let texts = [
            "Error running script (call to f_aB3): @user_script:28: @user_script: 28: The user executing the script can't \
             run this command or subcommand",
            "The user executing the script can't run this command or subcommand script: aB3, on @user_script:1.",
            "ACL failure in script: User fleet has no permissions to run the 'get' command script: aB3, on @user_script:1.",
        ];
        for text in texts {
            assert!(Failure::in_script(text).is_incurable());
            let error = RedisError::from((ServerErrorKind::ResponseError.into(), "", text.to_owned()));
            assert!(Failure::from_redis(&error).is_incurable(), "{text}");
        }
    }
}
