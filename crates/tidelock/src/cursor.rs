//! Positions in a log as text: of fixed length, so that truncated text is never valid, and bound to their object.

use sha2::{Digest, Sha256};

use crate::check::LARGEST;
use crate::name::Address;

/// Numbers in a cursor are below 2^53: eleven digits of five bits.
const LENGTH: usize = 11;
/// The digits, without letters that look like them.
pub(crate) const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Distinguishes the cursors of one object from those of all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner(u64);

impl Owner {
    /// The owner of the cursors of one object of a primitive.
    pub(crate) fn of(primitive: &str, address: &Address) -> Self {
        let mut digest = Sha256::new();
        // No name contains NUL, so different names never produce the same digest input.
        for part in [primitive, &address.tenant, &address.id] {
            digest.update(part.as_bytes());
            digest.update([0]);
        }
        let mut first = [0; 8];
        first.copy_from_slice(&digest.finalize()[..8]);
        Self(u64::from_be_bytes(first) >> 11)
    }
}

/// The text of a position: the owner, then the position's numbers, all below 2^53.
pub(crate) fn encode(owner: Owner, numbers: &[u64]) -> String {
    let mut text = String::with_capacity((LENGTH + 1) * (numbers.len() + 1));
    for number in std::iter::once(&owner.0).chain(numbers) {
        if !text.is_empty() {
            text.push('.');
        }
        for digit in (0..LENGTH).rev() {
            text.push(char::from(DIGITS[usize::try_from(number >> (5 * digit) & 31).unwrap_or(0)]));
        }
    }
    text
}

/// Parses text from [`encode`]; `None` for any other.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<(Owner, [u64; N])> {
    let mut parts = text.split('.').map(number);
    let owner = parts.next()??;
    let mut numbers = [0; N];
    for place in &mut numbers {
        *place = parts.next()??;
    }
    parts.next().is_none().then_some((Owner(owner), numbers))
}

fn number(text: &str) -> Option<u64> {
    if text.len() != LENGTH {
        return None;
    }
    let digit = |byte: u8| DIGITS.iter().position(|known| *known == byte);
    let number = text.bytes().try_fold(0, |number, byte| Some(number << 5 | digit(byte)? as u64))?;
    (number <= LARGEST).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        let owner = Owner::of("topic", &Address::new(&"default".into(), "orders"));
        let text = encode(owner, &[0, 17, LARGEST]);
        assert_eq!(decode(&text), Some((owner, [0, 17, LARGEST])));
        assert!(text.len() <= 80 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.'));
        for end in 0..text.len() {
            assert_eq!(decode::<3>(&text[..end]), None, "{}", &text[..end]);
        }
        assert_eq!(decode::<2>(&text), None);
        assert_eq!(decode::<3>(&text.replace('0', "u")), None);
        assert_eq!(decode::<3>(&text.to_uppercase()), None);
        assert_eq!(decode::<3>(&format!("{text}.{}", "z".repeat(11))), None);
        assert_eq!(decode::<1>(&format!("{0}.{0}", "z".repeat(11))), None, "beyond 2^53");
    }

    #[test]
    fn the_cursors_of_every_owner_are_read() {
        for id in 0..1_000 {
            let owner = Owner::of("topic", &Address::new(&"default".into(), &format!("orders-{id}")));
            assert_eq!(decode(&encode(owner, &[id])), Some((owner, [id])), "{id}");
        }
    }

    #[test]
    fn owners_differ_by_primitive_tenant_and_id() {
        let of = |primitive: &str, tenant: &str, id: &str| Owner::of(primitive, &Address::new(&tenant.into(), id));
        let owners = [of("topic", "a", "b"), of("registry", "a", "b"), of("topic", "ab", ""), of("topic", "", "ab")];
        assert!((1..4).all(|at| !owners[..at].contains(&owners[at])));
    }
}
