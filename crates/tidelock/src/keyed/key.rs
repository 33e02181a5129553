//! Validation of keys and prefixes.

use super::store::Kind;
use crate::error::{Error, Result};
use crate::name::{self, MAX_KEY};

/// Maximum number of segments in a registry's key.
const MAX_SEGMENTS: usize = 8;

/// Rejects invalid keys. `what` names the argument.
pub(crate) fn check_key(kind: Kind, what: &str, key: &str) -> Result<()> {
    name::check(Error::argument, what, key, MAX_KEY)?;
    match kind {
        Kind::Registry => check_path(what, key),
        Kind::Ephemeral => Ok(()),
    }
}

fn check_path(what: &str, key: &str) -> Result<()> {
    if key.split('/').any(str::is_empty) {
        return Err(Error::argument(format!(
            "{what} must have no empty segment (no `/` in front, at the end or doubled), but is {key:?}"
        )));
    }
    let segments = key.split('/').count();
    if segments > MAX_SEGMENTS {
        return Err(Error::argument(format!(
            "{what} must have 1..={MAX_SEGMENTS} segments between `/`, but has {segments}: {key:?}"
        )));
    }
    Ok(())
}

/// Rejects a prefix that no valid key can begin with. An empty prefix matches everything.
pub(crate) fn check_prefix(kind: Kind, prefix: &str) -> Result<()> {
    if prefix.is_empty() {
        return Ok(());
    }
    name::check(Error::argument, "prefix", prefix, MAX_KEY)?;
    if kind == Kind::Ephemeral {
        return Ok(());
    }
    let Some(path) = prefix.strip_suffix('/') else {
        return Err(Error::argument(format!("prefix must end in `/`, so that it ends a segment, but is {prefix:?}")));
    };
    check_path("prefix", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_has_paths_of_one_to_eight_segments() {
        let key = |key: &str| check_key(Kind::Registry, "key", key);
        for good in ["a", "a/b", "1/2/3/4/5/6/7/8", "é/ /:{}%*", &"x".repeat(512)] {
            assert!(key(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "/a", "a/", "a//b", "a\0b", "1/2/3/4/5/6/7/8/9", &"x".repeat(513)] {
            assert!(key(bad).is_err(), "{bad}");
        }
        let text = key("a//b").unwrap_err().to_string();
        assert!(text.contains("\"a//b\""), "{text}");
    }

    #[test]
    fn a_registry_has_prefixes_of_whole_segments() {
        let prefix = |prefix: &str| check_prefix(Kind::Registry, prefix);
        for good in ["", "a/", "a/b/", "1/2/3/4/5/6/7/8/"] {
            assert!(prefix(good).is_ok(), "{good}");
        }
        for bad in ["a", "/", "a//", "/a/", "a\0/"] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_ephemeral_store_takes_any_text() {
        for any in ["/", "a//", "1/2/3/4/5/6/7/8/9/10"] {
            assert!(check_key(Kind::Ephemeral, "key", any).is_ok() && check_prefix(Kind::Ephemeral, any).is_ok());
        }
        assert!(check_key(Kind::Ephemeral, "key", "").is_err() && check_prefix(Kind::Ephemeral, "").is_ok());
        assert!(check_key(Kind::Ephemeral, "key", &"x".repeat(513)).is_err());
    }
}
