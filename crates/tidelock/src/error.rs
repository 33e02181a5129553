//! The only error type of the library: a kind to act on, and a message for people.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde::Serializer;

use crate::mutex::NotAcquired;
use crate::ratelimit::Verdict;

/// A boxed error of any origin.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// The result of every fallible call in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, coarse enough to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument of a call is outside its range; nothing was sent.
    InvalidArgument,
    /// An option of a builder, or a URL, is outside its range.
    InvalidConfiguration,
    /// The encoded value with its metadata is larger than the limit.
    PayloadTooLarge,
    /// A limit on how much may be stored or may wait is reached.
    CapacityReached,
    /// A value could not be turned into bytes.
    Encode,
    /// Stored bytes could not be turned into a value.
    Decode,
    /// The handle's check refused the value.
    Validation,
    /// The lease under which the call was made has ended.
    LeaseLost,
    /// The object of the call does not exist.
    NotFound,
    /// Somebody else's change came first.
    Conflict,
    /// No answer in time: the outcome is unknown.
    Timeout,
    /// There is no connection to the backend: the request was not sent.
    Connection,
    /// The server refused the command or script.
    Server,
    /// The stored state was written by a format that this version cannot read.
    IncompatibleFormat,
    /// The [`Tidelock`](crate::Tidelock) was shut down.
    ShuttingDown,
    /// Refused by a rate limit; [`Error::verdict`] has the details.
    RateLimited,
    /// The lock was not acquired in time; [`Error::not_acquired`] has the details.
    LockNotAcquired,
}

impl ErrorKind {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid argument",
            Self::InvalidConfiguration => "invalid configuration",
            Self::PayloadTooLarge => "payload too large",
            Self::CapacityReached => "capacity reached",
            Self::Encode => "cannot encode",
            Self::Decode => "cannot decode",
            Self::Validation => "validation failed",
            Self::LeaseLost => "lease lost",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::IncompatibleFormat => "incompatible data format",
            Self::ShuttingDown => "shutting down",
            Self::RateLimited => "rate limited",
            Self::LockNotAcquired => "lock not acquired",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// An error of this library.
///
/// The message names the operation, the object, what was expected and what was found. It never contains credentials.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    cure: Cure,
    message: String,
    detail: Detail,
    source: Option<BoxError>,
}

/// What may resolve the failure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cure {
    Nothing,
    /// Long-running work waits it out; repeating a single call is not worthwhile.
    Waiting,
    /// The same call may succeed later.
    Repeating,
}

enum Detail {
    None,
    Verdict(Verdict),
    NotAcquired(NotAcquired),
    Raw(Vec<u8>),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retryable = matches!(
            kind,
            ErrorKind::Connection | ErrorKind::Timeout | ErrorKind::RateLimited | ErrorKind::LockNotAcquired
        );
        let cure = if retryable { Cure::Repeating } else { Cure::Nothing };
        Self(Box::new(Inner { kind, cure, message: message.into(), detail: Detail::None, source: None }))
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidConfiguration, message)
    }

    /// The backend's answer does not fit the request: the backend is of another version.
    pub(crate) fn misfit() -> Self {
        Self::new(ErrorKind::IncompatibleFormat, "the backend's answer does not fit the question")
    }

    pub(crate) fn shutting_down(operation: &str) -> Self {
        Self::shut_down().in_context(operation)
    }

    /// As [`shutting_down`](Self::shutting_down), if the operation is added as context.
    pub(crate) fn shut_down() -> Self {
        Self::new(ErrorKind::ShuttingDown, "this Tidelock was shut down")
    }

    pub(crate) fn rate_limited(message: impl Into<String>, verdict: Verdict) -> Self {
        let mut error = Self::new(ErrorKind::RateLimited, message);
        error.0.detail = Detail::Verdict(verdict);
        error
    }

    pub(crate) fn lock_not_acquired(message: impl Into<String>, not_acquired: NotAcquired) -> Self {
        let mut error = Self::new(ErrorKind::LockNotAcquired, message);
        error.0.detail = Detail::NotAcquired(not_acquired);
        error
    }

    /// Marks that the same call may succeed later although its kind alone does not imply it.
    pub(crate) fn retryable(mut self) -> Self {
        self.0.cure = Cure::Repeating;
        self
    }

    /// Marks that the cause is transient, although repeating the same call is not worthwhile.
    #[cfg(all(feature = "redis", not(target_family = "wasm")))]
    pub(crate) fn passing(mut self) -> Self {
        self.0.cure = self.0.cure.max(Cure::Waiting);
        self
    }

    /// Whether long-running work (a worker, a stream, a follower) should wait it out, even if repeating a single call
    /// is not worthwhile: a full server, for example, will have room again at some time.
    pub(crate) fn may_pass(&self) -> bool {
        self.0.cure >= Cure::Waiting
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Attaches the stored bytes that could not be decoded.
    pub(crate) fn with_raw(mut self, raw: Vec<u8>) -> Self {
        self.0.detail = Detail::Raw(raw);
        self
    }

    /// Prefixes the message with `context` (an operation and its object).
    pub(crate) fn in_context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// A copy of the error for another caller: all requests of a shared trip fail together.
    pub(crate) fn duplicate(&self) -> Self {
        let source = self.0.source.as_ref().map(|source| BoxError::from(source.to_string()));
        let Inner { kind, cure, message, .. } = &*self.0;
        Self(Box::new(Inner { kind: *kind, cure: *cure, message: message.clone(), detail: Detail::None, source }))
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later.
    ///
    /// True for connection, timeout, rate limited and lock not acquired, for a server error whose code means *later*,
    /// and for a capacity that is a depth.
    pub fn is_retryable(&self) -> bool {
        self.0.cure == Cure::Repeating
    }

    /// How long to wait before a repeat makes sense, if the backend said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.0.detail {
            Detail::Verdict(verdict) => Some(verdict.retry_after),
            Detail::None | Detail::NotAcquired(_) | Detail::Raw(_) => None,
        }
    }

    /// The verdict of a refused rate limit check.
    pub fn verdict(&self) -> Option<&Verdict> {
        match &self.0.detail {
            Detail::Verdict(verdict) => Some(verdict),
            _ => None,
        }
    }

    /// The stored bytes of the one record that could not be decoded, if the call was about one.
    pub fn raw(&self) -> Option<&[u8]> {
        match &self.0.detail {
            Detail::Raw(raw) => Some(raw),
            _ => None,
        }
    }

    /// Who holds the lock that was not acquired, as far as the backend says.
    pub fn not_acquired(&self) -> Option<&NotAcquired> {
        match &self.0.detail {
            Detail::NotAcquired(not_acquired) => Some(not_acquired),
            _ => None,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

/// Serializes an error as its text.
pub(crate) fn as_text<S: Serializer>(error: &Error, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(error)
}

/// As [`as_text`], for an optional error.
#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
pub(crate) fn as_optional_text<S: Serializer>(error: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&error.as_ref().map(Error::to_string), serializer)
}
