//! Reading packed bytes, as scripts store and return them.

use std::sync::Arc;

use crate::error::{Error, ErrorKind};

/// Reads from the front; `None` if too few bytes are left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// One byte.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A big-endian number of `size` bytes, at most eight.
    pub(crate) fn number(&mut self, size: usize) -> Option<u64> {
        Some(self.take(size)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A number of `size` bytes that is a length.
    pub(crate) fn length(&mut self, size: usize) -> Option<usize> {
        usize::try_from(self.number(size)?).ok()
    }

    /// The next `length` bytes as text.
    pub(crate) fn text(&mut self, length: usize) -> Option<Arc<str>> {
        self.take(length).map(text)
    }

    /// The next `length` bytes as text; an empty one means none.
    pub(crate) fn text_or_none(&mut self, length: usize) -> Option<Text> {
        self.take(length).map(|bytes| Text((!bytes.is_empty()).then(|| text(bytes))))
    }
}

/// A text, or none.
#[derive(Clone, Debug)]
pub(crate) struct Text(pub(crate) Option<Arc<str>>);

/// The error for a stored value that this version did not write.
pub(crate) fn foreign(what: &str, size: usize) -> Error {
    let message = format!("a stored {what} of {size} bytes is not of this version's format");
    Error::new(ErrorKind::IncompatibleFormat, message)
}

/// Stored bytes as text.
fn text(bytes: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(bytes).into()
}
