//! One line of the input: an order, or the reason why it is not one.

use serde::Deserialize;

/// An order. Unknown fields are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) warehouse: String,
    pub(crate) item: String,
    pub(crate) quantity: u64,
    pub(crate) amount_cents: i64,
    /// How long packing takes, while the item is locked.
    #[serde(default)]
    pub(crate) work_ms: u64,
    /// The number of first attempts to charge the customer that fail.
    #[serde(default)]
    pub(crate) fail_attempts: u64,
}

const MAX_QUANTITY: u64 = 1_000_000;
const MAX_AMOUNT: i64 = 1_000_000_000;
const MAX_WORK_MS: u64 = 60_000;
/// Maximum length of names, so that `warehouse/item` always fits a mutex resource.
const MAX_NAME: usize = 200;
/// Maximum length of a job's dedup key.
const MAX_KEY: usize = 512;

impl Order {
    /// Parses a line. The error explains to people what is wrong with it.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let order = Self::deserialize(value).map_err(|error| format!("not an order: {error}"))?;
        order.check().map_err(|reason| format!("not an order: {reason}"))?;
        Ok(order)
    }

    fn check(&self) -> Result<(), String> {
        if !is_key(&self.id) {
            return Err(format!("id must be 1..={MAX_KEY} bytes without NUL, but is {:?}", self.id));
        }
        for (field, name) in [("warehouse", &self.warehouse), ("item", &self.item)] {
            if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
                return Err(format!("{field} must be 1..={MAX_NAME} bytes without NUL, but is {name:?}"));
            }
        }
        if !(1..=MAX_QUANTITY).contains(&self.quantity) {
            return Err(format!("quantity must be 1..={MAX_QUANTITY}, but is {}", self.quantity));
        }
        if !(1..=MAX_AMOUNT).contains(&self.amount_cents) {
            return Err(format!("amount_cents must be 1..={MAX_AMOUNT}, but is {}", self.amount_cents));
        }
        if self.work_ms > MAX_WORK_MS {
            return Err(format!("work_ms must be 0..={MAX_WORK_MS}, but is {}", self.work_ms));
        }
        Ok(())
    }

    /// The resource to lock while the order is packed: one item on the shelf of one warehouse.
    pub(crate) fn shelf(&self) -> String {
        // The length distinguishes `a/b` + `c` from `a` + `b/c`.
        format!("{}:{}/{}", self.warehouse.len(), self.warehouse, self.item)
    }
}

/// The id of a line's order, if it is readable and valid as a dedup key, even if the line is otherwise wrong.
pub(crate) fn readable_id(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Identified {
        id: String,
    }
    let Identified { id } = serde_json::from_slice(line).ok()?;
    is_key(&id).then_some(id)
}

fn is_key(id: &str) -> bool {
    (1..=MAX_KEY).contains(&id.len()) && !id.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(line: &str) -> String {
        Order::parse(line.as_bytes()).unwrap_err()
    }

    #[test]
    fn an_order_needs_only_what_has_no_default() {
        let line = br#"{"id":"o-1","warehouse":"oslo","item":"lamp","quantity":2,"amount_cents":500,"note":"gift"}"#;
        let order = Order::parse(line).unwrap();
        assert_eq!((order.work_ms, order.fail_attempts, order.amount_cents), (0, 0, 500));
        assert_eq!(order.shelf(), "4:oslo/lamp");
    }

    #[test]
    fn a_bad_line_says_what_is_wrong() {
        let good = r#"{"id":"o-1","warehouse":"oslo","item":"lamp","quantity":2,"amount_cents":500}"#;
        assert!(reason("2 lamps, please").starts_with("not JSON: "));
        assert!(reason(&good[..40]).starts_with("not JSON: "));
        assert!(reason(&good.replace("\"item\"", "\"thing\"")).contains("missing field `item`"));
        assert!(reason(&good.replace("500", "\"500\"")).contains("invalid type: string \"500\""));
        assert!(reason(&good.replace("500", "-500")).contains("amount_cents must be 1..=1000000000, but is -500"));
        assert!(reason(&good.replace("o-1", "")).contains("id must be"));
        assert!(Order::parse(b"\"\xff\"").unwrap_err().starts_with("not UTF-8: "));
    }

    #[test]
    fn an_id_is_read_from_a_line_that_is_no_order() {
        assert_eq!(readable_id(br#"{"id":"o-1","quantity":"many"}"#).as_deref(), Some("o-1"));
        assert_eq!(readable_id(br#"{"id":7}"#), None);
        assert_eq!(readable_id(br#"{"id":""}"#), None);
        assert_eq!(readable_id(b"{\"id\":\"o-1\""), None);
    }
}
