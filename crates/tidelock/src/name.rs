//! Names of objects and their addresses: validated, and injective when they become keys.

use std::borrow::Cow;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Maximum length of ids, tenants and groups, in bytes.
pub(crate) const MAX_ID: usize = 256;
/// Maximum length of keys, resources and identifiers, in bytes.
pub(crate) const MAX_KEY: usize = 512;

/// The address of an object: its tenant and its id.
///
/// `tenant(…)` returns a handle and so cannot reject an invalid tenant: [`Address::check`] does, at the first await.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) tenant: Arc<str>,
    pub(crate) id: Arc<str>,
}

impl Address {
    /// An address whose id the calling builder checks.
    pub(crate) fn new(tenant: &Arc<str>, id: &str) -> Self {
        Self { tenant: Arc::clone(tenant), id: id.into() }
    }

    pub(crate) fn with_tenant(&self, tenant: &str) -> Self {
        Self { tenant: tenant.into(), id: Arc::clone(&self.id) }
    }

    /// The address of something that belongs to this object. It cannot collide with a user's id, which never contains
    /// NUL.
    pub(crate) fn part(&self, name: &str) -> Self {
        Self { tenant: Arc::clone(&self.tenant), id: format!("{}\0{name}", self.id).into() }
    }

    /// Rejects an invalid id or tenant as a builder option.
    pub(crate) fn check_built(&self) -> Result<()> {
        check(Error::configuration, "id", &self.id, MAX_ID)?;
        check(Error::configuration, "tenant", &self.tenant, MAX_ID)
    }

    /// Rejects an invalid tenant or id as an argument of a call. For a [`part`](Self::part), each name is checked
    /// separately; users' ids with NUL have already been rejected by their builders.
    pub(crate) fn check(&self) -> Result<()> {
        check(Error::argument, "tenant", &self.tenant, MAX_ID)?;
        self.id.split('\0').try_for_each(|name| check(Error::argument, "id", name, MAX_ID))
    }
}

/// How an id is shown; that of a [`part`](Address::part) as a path.
pub(crate) fn shown(id: &str) -> String {
    id.replace('\0', "/")
}

/// Rejects names that are empty, too long or contain NUL. `error` is [`Error::argument`] or [`Error::configuration`].
pub(crate) fn check(error: fn(String) -> Error, what: &str, name: &str, max: usize) -> Result<()> {
    if name.is_empty() {
        return Err(error(format!("{what} must be 1..={max} bytes, but is empty")));
    }
    if name.len() > max {
        return Err(error(format!("{what} must be 1..={max} bytes, but has {}", name.len())));
    }
    if name.contains('\0') {
        return Err(error(format!("{what} must not contain NUL, but is {name:?}")));
    }
    Ok(())
}

/// Rejects names that are empty or contain NUL; any length is allowed.
pub(crate) fn check_of_any_length(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::argument(format!("{what} must not be empty")));
    }
    if name.contains('\0') {
        return Err(Error::argument(format!("{what} must not contain NUL, but is {name:?}")));
    }
    Ok(())
}

/// Checks an identifier or resource, which may have any length: if it is longer than [`MAX_KEY`], its digest replaces
/// it.
///
/// A digest begins with `#`, which [`escape`] always encodes, so no literal name can look like one.
pub(crate) fn digest_if_long<'a>(what: &str, name: &'a str) -> Result<Digested<'a>> {
    check_of_any_length(what, name)?;
    if name.len() <= MAX_KEY {
        return Ok(Digested::Literal(name));
    }
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(name.as_bytes()) {
        hex.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        hex.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    Ok(Digested::Digest(hex))
}

/// A name of any length, in the form used in keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Digested<'a> {
    /// The name itself.
    Literal(&'a str),
    /// The SHA-256 of the name, as 64 hexadecimal digits.
    Digest(String),
}

impl Digested<'_> {
    /// The text of the name in keys; injective.
    pub(crate) fn key(&self) -> Cow<'_, str> {
        match self {
            Self::Literal(name) => escape(name),
            Self::Digest(hex) => Cow::Owned(format!("#{hex}")),
        }
    }
}

/// Percent-encodes every byte outside `A-Z a-z 0-9 _ . -`, so that the separators of keys never occur inside a part.
pub(crate) fn escape(name: &str) -> Cow<'_, str> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 16);
    for byte in name.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn escaping_is_injective_on_look_alikes() {
        let names = ["a:b", "a%3Ab", "a%3A", "a/b", "a{b}", "a", "A", "#", "é", "e\u{301}"];
        let keys: std::collections::HashSet<_> = names.iter().map(|name| escape(name).into_owned()).collect();
        assert_eq!(keys.len(), names.len());
        assert!(keys.iter().all(|key| !key.contains(['/', ':', '{', '}', '#'])));
    }

    #[test]
    fn a_literal_never_equals_a_digest() {
        let long = "x".repeat(MAX_KEY + 1);
        let digest = digest_if_long("resource", &long).unwrap();
        let literal = digest.key().into_owned();
        assert!(matches!(digest, Digested::Digest(_)));
        assert_ne!(digest_if_long("resource", &literal).unwrap().key(), literal);
    }

    #[test]
    fn bad_names_are_refused_with_what_came() {
        for bad in ["", "a\0b", &"x".repeat(257)] {
            let error = check(Error::argument, "id", bad, MAX_ID).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
        assert!(check(Error::argument, "id", &"x".repeat(256), MAX_ID).is_ok());
    }
}
