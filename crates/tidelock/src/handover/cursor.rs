//! Where a listing continues: the position of its last item.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The position of the last item of a page, written into page tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// Deliverable: priority rank (0 is highest), standing time, order among those with the same time.
    Ready(u8, u64, u64),
    /// Blocked: the order in which it joined its line, its ordering key.
    Blocked(u64, String),
    /// Delayed, leased, ended: the instant that the listing is sorted by, id.
    At(u64, u64),
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(rank, standing, order) => write!(f, "r.{rank}.{standing}.{order}"),
            Self::Blocked(join, key) => write!(f, "b.{join}.{key}"),
            Self::At(at, id) => write!(f, "t.{at}.{id}"),
        }
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let (kind, rest) = text.split_once('.').ok_or(())?;
        let (first, rest) = rest.split_once('.').ok_or(())?;
        let number = |text: &str| text.parse().map_err(|_| ());
        match kind {
            "r" => {
                let (standing, order) = rest.split_once('.').ok_or(())?;
                Ok(Self::Ready(first.parse().map_err(|_| ())?, number(standing)?, number(order)?))
            }
            "b" => Ok(Self::Blocked(number(first)?, rest.to_owned())),
            "t" => Ok(Self::At(number(first)?, number(rest)?)),
            _ => Err(()),
        }
    }
}

/// Reads the cursor in a page token.
pub(crate) fn read_cursor(token: &str) -> Result<Cursor> {
    token.parse().map_err(|()| Error::argument(format!("the page token {token:?} is not one that a listing gave")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for cursor in [Cursor::Ready(9, 17, 4), Cursor::Blocked(3, "a.b".into()), Cursor::At(0, u64::MAX)] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for wrong in ["", "r", "r.1", "r.1.2", "x.1.2", "t.a.2", "r.300.1.1"] {
            assert_eq!(wrong.parse::<Cursor>(), Err(()), "{wrong}");
        }
    }
}
