//! The border between users' values and stored bytes: codec, check and size limit.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

use crate::backend::most;
use crate::error::{BoxError, Error, ErrorKind, Result, panic_text};
use crate::handover::store::MAX_BYTES;

/// A type that can be the value of a queue, topic, job or record.
///
/// Implemented for every type that serde can serialize and deserialize; there is nothing to implement by hand.
pub trait Value: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Value for T {}

/// Bytes as a value: no codec touches them, whatever the handle's codec is.
///
/// For programs that pass values on without looking into them: a shell, a bridge, a reader of undecodable dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Raw(pub Vec<u8>);

/// How a handle turns values into bytes. The default is JSON.
// Not exhaustive although callers give it: features add variants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// `serde_json`: readable everywhere, and tolerant of added and removed fields.
    #[default]
    Json,
    /// MessagePack with named fields: as flexible as JSON, smaller and faster.
    #[cfg(feature = "msgpack")]
    MessagePack,
    /// Postcard: the smallest, for closed systems. Positional: every change of the type is a new format.
    #[cfg(feature = "postcard")]
    Postcard,
}

impl Codec {
    /// Encodes `value`.
    pub(crate) fn encode<T: Serialize + 'static>(self, value: &T) -> Result<Vec<u8>, BoxError> {
        if let Some(raw) = (value as &dyn Any).downcast_ref::<Raw>() {
            return Ok(raw.0.clone());
        }
        self.encode_plain(value)
    }

    /// Encodes a value of any serializable type. A [`Raw`] is not treated specially.
    pub(crate) fn encode_plain<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, BoxError> {
        match self {
            Self::Json => Ok(serde_json::to_vec(value)?),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => Ok(rmp_serde::to_vec_named(value)?),
            #[cfg(feature = "postcard")]
            Self::Postcard => Ok(postcard::to_stdvec(value)?),
        }
    }

    /// Decodes `bytes`.
    pub(crate) fn decode<T: Value>(self, bytes: &[u8]) -> Result<T, BoxError> {
        let mut slot: Option<T> = None;
        if let Some(raw) = (&mut slot as &mut dyn Any).downcast_mut::<Option<Raw>>() {
            *raw = Some(Raw(bytes.to_vec()));
        }
        if let Some(value) = slot {
            return Ok(value);
        }
        match self {
            Self::Json => Ok(serde_json::from_slice(bytes)?),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => Ok(rmp_serde::from_slice(bytes)?),
            #[cfg(feature = "postcard")]
            Self::Postcard => Ok(postcard::from_bytes(bytes)?),
        }
    }
}

/// A check that the user set on a handle.
type Check<T> = Arc<dyn Fn(&T) -> Result<(), BoxError> + Send + Sync>;

/// What every value passes through on its way into storage and back.
pub(crate) struct Border<T> {
    pub(crate) codec: Codec,
    pub(crate) limit: usize,
    check: Option<Check<T>>,
}

impl<T> Border<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { codec: Codec::default(), limit, check: None }
    }

    /// Sets the user's check. Its error becomes the source of a validation error.
    pub(crate) fn set_check<E: Into<BoxError>>(&mut self, check: impl Fn(&T) -> Result<(), E> + Send + Sync + 'static) {
        self.check = Some(Arc::new(move |value| check(value).map_err(Into::into)));
    }

    /// Checks and encodes a value. Its size is checked by [`Border::check_size`] once the metadata is known.
    pub(crate) fn encode(&self, value: &T) -> Result<Vec<u8>>
    where
        T: Value,
    {
        if let Some(check) = &self.check {
            check(value).map_err(|source| {
                Error::new(ErrorKind::Validation, format!("the value was refused by the check: {source}"))
                    .with_source(source)
            })?;
        }
        self.codec.encode(value).map_err(|source| {
            let value = std::any::type_name::<T>();
            Error::new(ErrorKind::Encode, format!("{value} cannot be encoded as {:?}: {source}", self.codec))
                .with_source(source)
        })
    }

    /// Decodes stored bytes.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<T>
    where
        T: Value,
    {
        decode(self.codec, bytes)
    }

    /// Rejects a limit outside the range of queues, topics and jobs.
    pub(crate) fn check_limit(&self) -> Result<()> {
        const MAX: u64 = most(MAX_BYTES as u64);
        if (1..=MAX).contains(&(self.limit as u64)) {
            return Ok(());
        }
        Err(Error::configuration(format!("payload_limit must be 1..={MAX} bytes, but is {}", self.limit)))
    }

    /// Rejects values whose size, with metadata, exceeds the limit.
    pub(crate) fn check_size(&self, size: usize) -> Result<()> {
        if size <= self.limit {
            return Ok(());
        }
        let message = format!("payload exceeds limit: {size} bytes of value and metadata, limit {}", self.limit);
        Err(Error::new(ErrorKind::PayloadTooLarge, message))
    }
}

/// Decodes `bytes`; an error names the type, the codec and the size.
pub(crate) fn decode<T: Value>(codec: Codec, bytes: &[u8]) -> Result<T> {
    // Caught, because a panic would recur with every delivery.
    let decoded = catch_unwind(AssertUnwindSafe(|| codec.decode(bytes)))
        .unwrap_or_else(|panic| Err(format!("decoding panicked: {}", panic_text(&*panic)).into()));
    decoded.map_err(|source| {
        let value = std::any::type_name::<T>();
        let message = format!("{} stored bytes are no {value} in {codec:?}: {source}", bytes.len());
        Error::new(ErrorKind::Decode, message).with_source(source)
    })
}

/// Serializes bytes as text if they are UTF-8, else as a list of numbers.
pub(crate) fn readable<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => serializer.collect_seq(bytes),
    }
}

impl<T> Clone for Border<T> {
    fn clone(&self) -> Self {
        Self { codec: self.codec, limit: self.limit, check: self.check.clone() }
    }
}

impl<T> fmt::Debug for Border<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Border")
            .field("codec", &self.codec)
            .field("limit", &self.limit)
            .field("check", &self.check.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_bytes_pass_every_codec_untouched() {
        let raw = Raw(vec![0, 255, b'"', 7]);
        let bytes = Codec::Json.encode(&raw).unwrap();
        assert_eq!(bytes, raw.0);
        assert_eq!(Codec::Json.decode::<Raw>(&bytes).unwrap(), raw);
    }

    #[test]
    fn the_limit_passes_and_one_more_is_refused_with_both_numbers() {
        let border = Border::<String>::new(10);
        assert!(border.check_size(10).is_ok());
        let error = border.check_size(11).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
        assert!(error.to_string().contains("payload exceeds limit: 11") && error.to_string().contains("limit 10"));
    }
}
