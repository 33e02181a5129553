//! Metadata that a sender attaches to a message or event.

use std::fmt;
use std::sync::OnceLock;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// Metadata: names with JSON values, delivered unchanged.
#[derive(Clone, Default)]
pub struct Meta {
    json: Vec<u8>,
    parsed: OnceLock<Map<String, Value>>,
}

impl Meta {
    pub(crate) fn new(json: Vec<u8>) -> Self {
        Self { json, parsed: OnceLock::new() }
    }

    /// Encodes `values` as JSON; no bytes if there are none.
    pub(crate) fn encode(values: &Map<String, Value>) -> Vec<u8> {
        if values.is_empty() { Vec::new() } else { Value::from(values.clone()).to_string().into_bytes() }
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values().get(name)
    }

    /// All names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values().iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.values().is_empty()
    }

    /// As one JSON object.
    pub fn as_json(&self) -> &str {
        std::str::from_utf8(&self.json).ok().filter(|text| !text.is_empty()).unwrap_or("{}")
    }

    /// The size that counts towards the payload limit, in bytes.
    pub fn size(&self) -> usize {
        self.json.len()
    }

    /// Anything else than a JSON object, written by another program, reads as empty.
    fn values(&self) -> &Map<String, Value> {
        self.parsed.get_or_init(|| serde_json::from_slice(&self.json).unwrap_or_default())
    }
}

impl PartialEq for Meta {
    fn eq(&self, other: &Self) -> bool {
        self.values() == other.values()
    }
}

impl Eq for Meta {}

impl Serialize for Meta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.values().serialize(serializer)
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}
