//! The settles of a trip, as arguments and answers of the scripts for everything that is handed out under leases.
//!
//! Acks share one operation, and so do touches with the same lease; all others go one by one.

use redis::Value;

use super::{Arguments, unexpected};
use crate::error::Result;
use crate::handover::store::{Action, DeadReason, Settle, Settled};

/// Identifies the request, and the item in it, to which an outcome belongs.
pub(crate) type Slot = (usize, usize);

/// One operation of a script, with the items that its outcomes belong to.
#[derive(Debug)]
pub(crate) enum Settles {
    Acks(Vec<Slot>),
    Touches(Vec<Slot>),
    One(Slot),
}

impl Settles {
    /// Appends the operations for these settles to the arguments, in order.
    pub(crate) fn push<'a>(
        settles: impl Iterator<Item = (Slot, &'a Settle)>,
        arguments: &mut Arguments,
        add: &mut impl FnMut(Self),
    ) {
        let mut run: Vec<(Slot, &Settle)> = Vec::new();
        for (slot, settle) in settles {
            let together = matches!(settle.action, Action::Ack | Action::Touch { .. });
            if run.first().is_some_and(|(_, first)| !together || first.action != settle.action) {
                add(Self::push_run(&mut run, arguments));
            }
            run.push((slot, settle));
            if !together {
                add(Self::push_run(&mut run, arguments));
            }
        }
        if !run.is_empty() {
            add(Self::push_run(&mut run, arguments));
        }
    }

    fn push_run(run: &mut Vec<(Slot, &Settle)>, arguments: &mut Arguments) -> Self {
        let receipts: Vec<u8> = run.iter().flat_map(|(_, settle)| receipt(settle)).collect();
        let slots = run.iter().map(|(slot, _)| *slot).collect();
        let (slot, first) = run[0];
        run.clear();
        match &first.action {
            Action::Ack => {
                arguments.push(b"ack");
                arguments.push(&receipts);
                Self::Acks(slots)
            }
            Action::Touch { lease } => {
                arguments.push(b"touch");
                arguments.number(*lease);
                arguments.push(&receipts);
                Self::Touches(slots)
            }
            Action::Nack { delay, note, error } => {
                push_back(b"n", &receipts, *delay, (note.as_deref(), error.as_deref()), arguments);
                Self::One(slot)
            }
            Action::Bury { reason, note, error } => {
                push_back(reason_letter(*reason), &receipts, 0, (note.as_deref(), error.as_deref()), arguments);
                Self::One(slot)
            }
            Action::GiveBack => {
                push_back(b"g", &receipts, 0, (None, None), arguments);
                Self::One(slot)
            }
        }
    }

    /// The outcomes in the script's answer to this operation.
    pub(crate) fn read(&self, answer: &Value) -> Result<Vec<(Slot, Settled)>> {
        let Value::BulkString(results) = answer else { return Err(unexpected("settle", answer)) };
        match self {
            Self::Acks(slots) | Self::Touches(slots) if results.len() == slots.len() => {
                let one = |result: &u8| if *result == b'y' { Settled::Done } else { Settled::Stale };
                Ok(slots.iter().copied().zip(results.iter().map(one)).collect())
            }
            Self::One(slot) if results.len() == 9 => {
                let number = results[1..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
                let settled = match results[0] {
                    b'y' => Settled::Done,
                    b'q' => Settled::Requeued { due: number },
                    b'x' => Settled::DeadLettered,
                    _ => Settled::Stale,
                };
                Ok(vec![(*slot, settled)])
            }
            _ => Err(unexpected("settle", answer)),
        }
    }
}

fn receipt(settle: &Settle) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&settle.id.to_be_bytes());
    bytes[8..].copy_from_slice(&settle.fence.to_be_bytes());
    bytes
}

fn push_back(
    letter: &[u8],
    receipt: &[u8],
    delay: u64,
    (note, error): (Option<&str>, Option<&str>),
    arguments: &mut Arguments,
) {
    arguments.push(b"back");
    arguments.push(receipt);
    arguments.push(letter);
    arguments.number(delay);
    arguments.number(u64::from(note.is_some()) + 2 * u64::from(error.is_some()));
    arguments.push(note.unwrap_or_default().as_bytes());
    arguments.push(error.unwrap_or_default().as_bytes());
}

/// The letter of a reason in stored messages and events.
pub(crate) fn reason_letter(reason: DeadReason) -> &'static [u8] {
    match reason {
        DeadReason::Expired => b"e",
        DeadReason::MaxDeliveriesExceeded => b"m",
        DeadReason::Rejected => b"r",
        DeadReason::Undecodable => b"u",
    }
}

/// The reason of a letter.
pub(crate) fn reason_of(letter: u8) -> Option<DeadReason> {
    match letter {
        b'e' => Some(DeadReason::Expired),
        b'm' => Some(DeadReason::MaxDeliveriesExceeded),
        b'r' => Some(DeadReason::Rejected),
        b'u' => Some(DeadReason::Undecodable),
        _ => None,
    }
}
