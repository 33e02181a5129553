//! What a script answered, read item by item.

use std::sync::Arc;

use redis::Value;

use super::Bytes;
use crate::error::{Error, ErrorKind, Result};

/// The items of an answer that were not read yet.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What was asked, for errors.
    operation: &'static str,
    items: std::vec::IntoIter<Value>,
}

impl Answer {
    /// An answer that is a list.
    pub(crate) fn read(operation: &'static str, answer: Value) -> Result<Self> {
        match answer {
            Value::Array(items) => Ok(Self { operation, items: items.into_iter() }),
            other => Err(unexpected(operation, &other)),
        }
    }

    /// Items that are left.
    pub(crate) fn left(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left() == 0
    }

    /// The next item, whatever it is.
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

    /// A number, as one or in decimal; a negative one stands for none.
    pub(crate) fn number(&mut self) -> Result<Option<u64>> {
        let item = self.item();
        let number: Option<i64> = match &item {
            Value::Int(number) => Some(*number),
            Value::BulkString(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        Ok(u64::try_from(number.ok_or_else(|| self.wrong(&item))?).ok())
    }

    /// A number that is zero if there is none.
    pub(crate) fn count(&mut self) -> Result<u64> {
        Ok(self.number()?.unwrap_or(0))
    }

    pub(crate) fn flag(&mut self) -> Result<bool> {
        Ok(self.count()? == 1)
    }

    /// Packed bytes, unpacked.
    pub(crate) fn unpacked<T>(&mut self, unpack: impl FnOnce(&mut Bytes<'_>) -> Option<T>) -> Result<T> {
        let bytes = self.bytes()?;
        unpack(&mut Bytes(&bytes)).ok_or_else(|| self.wrong(&Value::BulkString(bytes)))
    }

    /// What `read` makes of each item that is left, which are bytes.
    pub(crate) fn each<T>(mut self, mut read: impl FnMut(Vec<u8>) -> Result<T>) -> Result<Vec<T>> {
        // Collecting results would not know how many there are, and grow step by step.
        let mut all = Vec::with_capacity(self.left());
        while !self.is_over() {
            all.push(read(self.bytes()?)?);
        }
        Ok(all)
    }

    /// All items that are left as texts.
    pub(crate) fn texts(self) -> Result<Vec<Arc<str>>> {
        self.each(|text| Ok(String::from_utf8_lossy(&text).into()))
    }

    /// The error of an item that is not what it should be.
    pub(crate) fn wrong(&self, item: &Value) -> Error {
        unexpected(self.operation, item)
    }
}

/// The answer of a script is not what this version writes: another version's script, or a bug.
pub(crate) fn unexpected(operation: &str, value: &Value) -> Error {
    let text = format!("{operation}: the script's answer is not understood: {value:?}");
    Error::new(ErrorKind::IncompatibleFormat, text)
}
