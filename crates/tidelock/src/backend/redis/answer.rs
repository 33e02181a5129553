//! A script's answer, read item by item.

use std::sync::Arc;

use redis::Value;

use super::Bytes;
use crate::error::{Error, ErrorKind, Result};

/// The unread items of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The operation, for errors.
    operation: &'static str,
    items: std::vec::IntoIter<Value>,
}

impl Answer {
    /// Begins to read an answer that is a list.
    pub(crate) fn read(operation: &'static str, answer: Value) -> Result<Self> {
        match answer {
            Value::Array(items) => Ok(Self { operation, items: items.into_iter() }),
            other => Err(unexpected(operation, &other)),
        }
    }

    /// The number of unread items.
    pub(crate) fn left(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left() == 0
    }

    /// The next item, of any type.
    pub(crate) fn item(&mut self) -> Value {
        self.items.next().unwrap_or(Value::Nil)
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>> {
        match self.item() {
            Value::BulkString(bytes) => Ok(bytes),
            other => Err(self.wrong(&other)),
        }
    }

    pub(crate) fn text(&mut self) -> Result<Arc<str>> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into())
    }

    /// A number, as an integer or decimal text; a negative one means none.
    pub(crate) fn number(&mut self) -> Result<Option<u64>> {
        let item = self.item();
        let number: Option<i64> = match &item {
            Value::Int(number) => Some(*number),
            Value::BulkString(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        Ok(u64::try_from(number.ok_or_else(|| self.wrong(&item))?).ok())
    }

    /// A number; none counts as zero.
    pub(crate) fn count(&mut self) -> Result<u64> {
        Ok(self.number()?.unwrap_or(0))
    }

    pub(crate) fn flag(&mut self) -> Result<bool> {
        Ok(self.count()? == 1)
    }

    /// Reads packed bytes with `unpack`.
    pub(crate) fn unpacked<T>(&mut self, unpack: impl FnOnce(&mut Bytes<'_>) -> Option<T>) -> Result<T> {
        let bytes = self.bytes()?;
        unpack(&mut Bytes(&bytes)).ok_or_else(|| self.wrong(&Value::BulkString(bytes)))
    }

    /// Applies `read` to each remaining item. All of them must be bytes.
    pub(crate) fn each<T>(mut self, mut read: impl FnMut(Vec<u8>) -> Result<T>) -> Result<Vec<T>> {
        // Not `collect`: into a `Result` it does not know the count and reallocates while growing.
        let mut all = Vec::with_capacity(self.left());
        while !self.is_over() {
            all.push(read(self.bytes()?)?);
        }
        Ok(all)
    }

    /// All remaining items as texts.
    pub(crate) fn texts(self) -> Result<Vec<Arc<str>>> {
        self.each(|text| Ok(String::from_utf8_lossy(&text).into()))
    }

    /// The error for an item of an unexpected type or format.
    pub(crate) fn wrong(&self, item: &Value) -> Error {
        unexpected(self.operation, item)
    }
}

/// The error for an unexpected answer: from a script of another version, or because of a bug.
pub(crate) fn unexpected(operation: &str, value: &Value) -> Error {
    let text = format!("{operation}: the script's answer is not understood: {value:?}");
    Error::new(ErrorKind::IncompatibleFormat, text)
}
