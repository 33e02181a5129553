//! What can go wrong between a request and its answer, and what that says about whether it took effect.

use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};

use super::url::Host;
use crate::error::{Error, ErrorKind};

/// A request that was not answered as asked.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// There was no connection: nothing was sent.
    NotSent(String),
    /// The connection broke, or no answer came in time: it may have taken effect.
    Unknown(String),
    /// The server said no: it did not take effect.
    Refused { code: String, text: String },
    /// This process has let go of the servers: nothing was sent, and nothing will be.
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

    /// An error that a server raised inside a script: older ones put more in front of the code.
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

    /// Whether the server said *not now*: the same request can pass in a moment.
    pub(crate) fn is_later(&self) -> bool {
        match self {
            Self::Refused { code, .. } => is_later(code),
            Self::NotSent(_) | Self::Unknown(_) | Self::Closed => false,
        }
    }

    /// Whether the answer is no, and asking again at once would not change it.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Closed) && !self.is_later()
    }

    /// Whether waiting does not cure it, however long.
    pub(crate) fn is_incurable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => is_incurable(code),
            Self::Closed => true,
            Self::NotSent(_) | Self::Unknown(_) => false,
        }
    }

    /// What a failure to connect means to a call, which was not asked yet: that the server refused something else for the
    /// moment is no answer to it.
    pub(crate) fn while_connecting(self) -> Self {
        match self {
            Self::Refused { code, text } if !is_incurable(&code) && !is_later(&code) => {
                Self::NotSent(format!("the server refused: {code} {text}"))
            }
            failure => failure,
        }
    }

    /// Says which server could not be reached.
    pub(crate) fn at(self, host: &Host) -> Self {
        match self {
            Self::NotSent(cause) => Self::NotSent(format!("{host}: {cause}")),
            failure => failure,
        }
    }

    /// Says which sentinel gave no answer, also where it refused: its credentials are not those of the servers.
    pub(crate) fn of_sentinel(self, host: &Host) -> Self {
        match self {
            Self::NotSent(cause) => Self::NotSent(format!("sentinel {host}: {cause}")),
            Self::Refused { code, text } => Self::Refused { code, text: format!("{text} (sentinel {host})") },
            failure => failure,
        }
    }

    /// The error that the caller of `operation` gets.
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
        // The scripts' own word: the stored state is not what this version writes.
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

/// Access is denied, the format or the age of the server is not ours, or the client is configured wrongly. Anything else
/// passes: memory and disks get room again, and what nobody foresaw is no reason to give up for good.
fn is_incurable(code: &str) -> bool {
    matches!(code, "NOPERM" | "NOAUTH" | "WRONGPASS" | "TIDELOCK" | "OLD" | "CLIENT" | "DB")
}

/// Inside a script a missing right has no code of its own; the second text is Valkey's.
fn is_denied_in_script(text: &str) -> bool {
    text.contains("The user executing the script can't") || text.contains("ACL failure in script")
}

/// The first word of a server's error reply.
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
