//! Which errors are transient: the trait, its implementations in this crate, and the closures that can replace it.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use crate::error::{BoxError, Error};

/// An error type that knows whether the same call may succeed later.
///
/// Implemented for [`tidelock::Error`](crate::Error), for [`std::io::Error`] and for boxed errors that have one of
/// these in their chain of sources. Decided by type and never by message text: an application error that speaks of a
/// "timeout" is not retried for that.
///
/// ```
/// use std::time::Duration;
/// use tidelock::Retryable;
///
/// #[derive(Debug)]
/// enum PayError {
///     Declined,
///     Busy { wait: Duration },
/// }
///
/// impl Retryable for PayError {
///     fn is_retryable(&self) -> bool {
///         matches!(self, Self::Busy { .. })
///     }
///
///     fn retry_after(&self) -> Option<Duration> {
///         match self {
///             Self::Busy { wait } => Some(*wait),
///             Self::Declined => None,
///         }
///     }
/// }
/// # assert!(PayError::Busy { wait: Duration::ZERO }.is_retryable() && !PayError::Declined.is_retryable());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say whether a repeat may succeed",
    note = "implement `tidelock::Retryable` for it, or classify it with `.when(|error| …)`"
)]
pub trait Retryable {
    /// Whether the same call may succeed later.
    fn is_retryable(&self) -> bool;

    /// How long the server wants to be left alone, if it said so.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

impl Retryable for Error {
    fn is_retryable(&self) -> bool {
        self.is_retryable()
    }

    fn retry_after(&self) -> Option<Duration> {
        self.retry_after()
    }
}

impl Retryable for io::Error {
    fn is_retryable(&self) -> bool {
        use io::ErrorKind as Kind;
        matches!(
            self.kind(),
            Kind::ConnectionRefused
                | Kind::ConnectionReset
                | Kind::ConnectionAborted
                | Kind::NotConnected
                | Kind::BrokenPipe
                | Kind::TimedOut
                | Kind::Interrupted
                | Kind::WouldBlock
                | Kind::UnexpectedEof
                | Kind::HostUnreachable
                | Kind::NetworkUnreachable
                | Kind::NetworkDown
        )
    }
}

/// The first error in the chain of sources that is a [`tidelock::Error`](crate::Error) or a [`std::io::Error`] decides;
/// where there is none, the error is not retryable.
impl Retryable for BoxError {
    fn is_retryable(&self) -> bool {
        judge(self).is_some_and(Retryable::is_retryable)
    }

    fn retry_after(&self) -> Option<Duration> {
        judge(self)?.retry_after()
    }
}

fn judge(error: &BoxError) -> Option<&dyn Retryable> {
    let mut link: Option<&(dyn StdError + 'static)> = Some(&**error);
    while let Some(error) = link {
        if let Some(found) = error.downcast_ref::<Error>() {
            return Some(found);
        }
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return Some(found);
        }
        link = error.source();
    }
    None
}

/// Classification and hints by the error's [`Retryable`].
#[derive(Clone, Copy, Debug)]
pub struct ByType;

/// Decides about an error of type `E`: [`ByType`], or the closure passed to `when`.
pub trait Classify<E> {
    fn is_retryable(&self, error: &E) -> bool;
    /// The pause that the server asked for, as far as the classifier knows it.
    fn retry_after(&self, error: &E) -> Option<Duration>;
}

impl<E: Retryable> Classify<E> for ByType {
    fn is_retryable(&self, error: &E) -> bool {
        error.is_retryable()
    }

    fn retry_after(&self, error: &E) -> Option<Duration> {
        error.retry_after()
    }
}

impl<E, W: Fn(&E) -> bool> Classify<E> for W {
    fn is_retryable(&self, error: &E) -> bool {
        self(error)
    }

    fn retry_after(&self, _: &E) -> Option<Duration> {
        None
    }
}

/// Extracts a server's hint from an error: [`ByType`] asks the classifier, a closure decides alone.
pub trait FindHint<E> {
    fn hint<W: Classify<E>>(&self, error: &E, classifier: &W) -> Option<Duration>;
}

impl<E> FindHint<E> for ByType {
    fn hint<W: Classify<E>>(&self, error: &E, classifier: &W) -> Option<Duration> {
        classifier.retry_after(error)
    }
}

impl<E, H: Fn(&E) -> Option<Duration>> FindHint<E> for H {
    fn hint<W: Classify<E>>(&self, error: &E, _: &W) -> Option<Duration> {
        self(error)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;
    use crate::error::ErrorKind;

    /// Wraps a cause, as application errors do.
    #[derive(Debug)]
    struct Wrapper(BoxError);

    impl fmt::Display for Wrapper {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("connection timeout while loading")
        }
    }

    impl StdError for Wrapper {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&*self.0)
        }
    }

    fn wrapped(error: impl Into<BoxError>) -> BoxError {
        Box::new(Wrapper(Box::new(Wrapper(error.into()))))
    }

    #[test]
    fn exactly_the_listed_kinds_of_io_are_retryable() {
        use io::ErrorKind as Kind;
        let yes = [
            Kind::ConnectionRefused,
            Kind::ConnectionReset,
            Kind::ConnectionAborted,
            Kind::NotConnected,
            Kind::BrokenPipe,
            Kind::TimedOut,
            Kind::Interrupted,
            Kind::WouldBlock,
            Kind::UnexpectedEof,
            Kind::HostUnreachable,
            Kind::NetworkUnreachable,
            Kind::NetworkDown,
        ];
        let no = [Kind::NotFound, Kind::PermissionDenied, Kind::InvalidData, Kind::AddrInUse, Kind::OutOfMemory];
        for (kind, expected) in yes.into_iter().map(|kind| (kind, true)).chain(no.map(|kind| (kind, false))) {
            assert_eq!(io::Error::from(kind).is_retryable(), expected, "{kind:?}");
            assert_eq!(wrapped(io::Error::from(kind)).is_retryable(), expected, "boxed {kind:?}");
        }
        assert!(!io::Error::other("connection timeout").is_retryable());
    }

    #[test]
    fn exactly_the_listed_kinds_of_this_library_are_retryable() {
        let yes = [ErrorKind::Connection, ErrorKind::Timeout, ErrorKind::RateLimited, ErrorKind::LockNotAcquired];
        let no = [
            ErrorKind::InvalidArgument,
            ErrorKind::InvalidConfiguration,
            ErrorKind::PayloadTooLarge,
            ErrorKind::CapacityReached,
            ErrorKind::Encode,
            ErrorKind::Decode,
            ErrorKind::Validation,
            ErrorKind::LeaseLost,
            ErrorKind::NotFound,
            ErrorKind::Conflict,
            ErrorKind::Server,
            ErrorKind::IncompatibleFormat,
            ErrorKind::ShuttingDown,
        ];
        for (kind, expected) in yes.into_iter().map(|kind| (kind, true)).chain(no.map(|kind| (kind, false))) {
            let error = || Error::new(kind, "connection timeout loading");
            assert_eq!(Retryable::is_retryable(&error()), expected, "{kind:?}");
            assert_eq!(wrapped(error()).is_retryable(), expected, "boxed {kind:?}");
        }
        assert!(Retryable::is_retryable(&Error::new(ErrorKind::Server, "LOADING").retryable()));
    }

    #[cfg(all(feature = "redis", not(target_family = "wasm")))]
    #[test]
    fn the_codes_of_a_server_that_say_later_are_retryable() {
        use crate::backend::redis::Failure;
        let later = ["LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS"];
        for (code, expected) in later.into_iter().map(|code| (code, true)).chain([("OOM", false), ("ERR", false)]) {
            let failure = Failure::Refused { code: code.to_owned(), text: "connection".to_owned() };
            assert_eq!(wrapped(failure.into_error("test")).is_retryable(), expected, "{code}");
        }
    }

    #[test]
    fn an_error_that_only_speaks_of_a_connection_is_not_retryable() {
        for text in ["connection reset", "timeout", "loading", "ECONNRESET"] {
            assert!(!wrapped(text).is_retryable(), "{text}");
        }
    }

    #[test]
    fn the_first_known_error_of_the_chain_decides() {
        let inner = Error::new(ErrorKind::Conflict, "no").with_source(io::Error::from(io::ErrorKind::TimedOut));
        assert!(!wrapped(inner).is_retryable());
        let inner = Error::new(ErrorKind::Timeout, "yes").with_source(io::Error::from(io::ErrorKind::NotFound));
        assert!(wrapped(inner).is_retryable());
    }
}
