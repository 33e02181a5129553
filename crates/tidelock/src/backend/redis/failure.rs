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
}

impl Failure {
    pub(crate) fn from_redis(error: &RedisError) -> Self {
        if let Some(code) = server_code(error) {
            let text = error.detail().unwrap_or_default();
            if code == "ERR" && text.starts_with("Error running script") {
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
            Self::NotSent(_) | Self::Unknown(_) => false,
        }
    }

    /// Whether the server said no for good.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Refused { .. }) && !self.is_later()
    }

    /// Says which server could not be reached.
    pub(crate) fn at(self, host: &Host) -> Self {
        match self {
            Self::NotSent(cause) => Self::NotSent(format!("{host}: {cause}")),
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
        }
    }
}

fn refused(operation: &str, code: &str, text: &str) -> Error {
    if code == "TIDELOCK" {
        // The scripts' own word: the stored state is not what this version writes.
        return Error::new(ErrorKind::IncompatibleFormat, format!("{operation}: {text}"));
    }
    let error = Error::new(ErrorKind::Server, format!("{operation}: the server refused: {code} {text}"));
    if is_later(code) { error.retryable() } else { error }
}

fn is_later(code: &str) -> bool {
    matches!(code, "LOADING" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "READONLY" | "NOREPLICAS")
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
}
