//! Reading packed bytes: what scripts store and answer.

use std::sync::Arc;

/// Reads from the front; `None` where too little is left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next so many bytes.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// One byte.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A big-endian number of so many bytes, at most eight.
    pub(crate) fn number(&mut self, size: usize) -> Option<u64> {
        Some(self.take(size)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A number of so many bytes that is a length.
    pub(crate) fn length(&mut self, size: usize) -> Option<usize> {
        usize::try_from(self.number(size)?).ok()
    }

    /// So many bytes as text.
    pub(crate) fn text(&mut self, length: usize) -> Option<Text> {
        self.take(length).map(|bytes| Text(String::from_utf8_lossy(bytes).into()))
    }
}

/// A text of which an empty one may stand for none.
#[derive(Clone, Debug)]
pub(crate) struct Text(pub(crate) Arc<str>);

impl Text {
    pub(crate) fn unless_empty(self) -> Option<Arc<str>> {
        Some(self.0).filter(|text| !text.is_empty())
    }
}
