//! Handles by tenant, and the mapping of JavaScript names to names of the library.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use wasm_bindgen::prelude::wasm_bindgen;

/// Maximum length of a name that is used literally, in bytes.
const MAX_LITERAL: usize = 200;

/// Maps a name of any length and any characters to a valid one; injective.
pub(crate) fn name(name: &str) -> Cow<'_, str> {
    let is_literal = name.len() <= MAX_LITERAL && !name.is_empty() && !name.contains('\0') && !name.starts_with('#');
    if is_literal {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("#{}", digest(name)))
}

/// The 64 hex digits of a text's SHA-256.
#[wasm_bindgen]
pub fn digest(text: &str) -> String {
    let mut digits = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// One handle, as seen by its tenants. Only the last tenant's is cached, since any number may be used once.
pub(crate) struct Tenants<H> {
    handle: H,
    of: fn(&H, &str) -> H,
    last: RefCell<Option<(String, H)>>,
}

impl<H: Clone> Tenants<H> {
    pub(crate) fn new(handle: H, of: fn(&H, &str) -> H) -> Self {
        Self { handle, of, last: RefCell::default() }
    }

    pub(crate) fn get(&self, tenant: &str) -> H {
        let mut last = self.last.borrow_mut();
        if let Some((name, handle)) = &*last
            && name == tenant
        {
            return handle.clone();
        }
        let handle = (self.of)(&self.handle, &name(tenant));
        *last = Some((tenant.to_owned(), handle.clone()));
        handle
    }
}

impl<H> fmt::Debug for Tenants<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenants").finish_non_exhaustive()
    }
}
