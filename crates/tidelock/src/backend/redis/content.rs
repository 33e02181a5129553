//! The immutable part of a message or event, as stored on a server.
//!
//! Lengths of ordering key and trace (2 bytes each), of the metadata (4), then key, trace, metadata, payload. Scripts
//! read the lengths and the key, and pass on the rest.

use super::Bytes;
use crate::handover::store::Content;

/// Appends an encoded content.
pub(crate) fn push_content(content: &Content, bytes: &mut Vec<u8>) {
    let key = content.ordering_key.as_deref().unwrap_or_default().as_bytes();
    let Content { payload, meta, trace, .. } = content;
    bytes.reserve(8 + key.len() + trace.len() + meta.len() + payload.len());
    let length = |length: usize| u32::try_from(length).expect("payload limits are far below 4 GiB").to_be_bytes();
    bytes.extend(&length(key.len())[2..]);
    bytes.extend(&length(trace.len())[2..]);
    bytes.extend(length(meta.len()));
    for part in [key, trace, meta, payload] {
        bytes.extend_from_slice(part);
    }
}

/// Reads the content in the last `rest` bytes of a value; `None` if it is invalid. The payload keeps the buffer in
/// which it arrived.
pub(crate) fn read_content(rest: usize, mut value: Vec<u8>) -> Option<Content> {
    let before = value.len().checked_sub(rest)?;
    let mut bytes = Bytes(&value[before..]);
    let (key, trace, meta) = (bytes.length(2)?, bytes.length(2)?, bytes.length(4)?);
    let ordering_key = bytes.text_or_none(key)?.0;
    let (trace, meta) = (bytes.take(trace)?.to_vec(), bytes.take(meta)?.to_vec());
    let payload = bytes.0.len();
    value.drain(..value.len() - payload);
    Some(Content { payload: value, meta, trace, ordering_key })
}
