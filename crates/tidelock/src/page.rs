//! Paged listings.

use serde::{Deserialize, Serialize};

use crate::check;
use crate::error::{Error, Result};
use crate::handover::store::MAX_BATCH;

/// The position of the next page of a listing. Opaque; may be stored and passed around as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageToken(pub(crate) String);

impl std::fmt::Display for PageToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for PageToken {
    type Err = std::convert::Infallible;

    /// Never fails: an invalid token is rejected by the listing that it is passed to.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Page<T> {
    /// The items, in the order of the listing.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<PageToken>,
}

/// Checks the maximum number of items of a page, a peek or a receive.
pub(crate) fn page_limit(what: &str, limit: usize) -> Result<usize> {
    check::range(Error::argument, what, limit, 1, MAX_BATCH).map(|()| limit)
}
