//! The part of a message or event that never changes, as it stands on a server.
//!
//! Lengths of ordering key and trace (2 bytes each), of the metadata (4), then key, trace, metadata, payload. Scripts
//! look at the lengths and at the key, and pass on the rest.

use super::Bytes;
use crate::handover::store::Content;

/// Appends the bytes of a content.
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

/// Reads a content to the end of the bytes; `None` for what is none.
pub(crate) fn read_content(mut bytes: Bytes<'_>) -> Option<Content> {
    let content = without_payload(&mut bytes)?;
    Some(Content { payload: bytes.0.to_vec(), ..content })
}

/// The same of a value that ends with `rest` bytes that hold a content. The payload stays in the buffer that it came in.
pub(crate) fn into_content(mut value: Vec<u8>, rest: usize) -> Option<Content> {
    let before = value.len().checked_sub(rest)?;
    let mut bytes = Bytes(&value[before..]);
    let content = without_payload(&mut bytes)?;
    let payload = bytes.0.len();
    value.drain(..value.len() - payload);
    Some(Content { payload: value, ..content })
}

fn without_payload(bytes: &mut Bytes<'_>) -> Option<Content> {
    let (key, trace, meta) = (bytes.length(2)?, bytes.length(2)?, bytes.length(4)?);
    Some(Content {
        ordering_key: bytes.text_or_none(key)?.0,
        trace: bytes.take(trace)?.to_vec(),
        meta: bytes.take(meta)?.to_vec(),
        payload: Vec::new(),
    })
}
