//! The ledger: all effects of the demo on the outside world, in one order that all processes agree on.
//!
//! It stands for a payment provider and a stock database: it takes an idempotency key (the order's id) and a fence
//! (that of the shelf's lock), and it survives killed processes. With several processes it is a file, appended to under
//! an exclusive lock; each process reads what the others wrote before it decides.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::event::Outcome;

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    /// A worker enters a shelf.
    Enter(Hold),
    /// A worker at a shelf charges for an order; `failures` runs before this one failed or crashed.
    Charge { hold: Hold, order: String, amount_cents: i64, quantity: u64, job: u64, run: String, failures: u32 },
    /// A digest was sent: the slot of the schedule, and the number of its run.
    Digest { slot: u64, number: u64 },
}

/// A lock, as its holder sees it when the entry is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hold {
    pub(crate) shelf: String,
    pub(crate) fence: u64,
    /// The holder could prove at this instant that nobody else held the lock.
    pub(crate) proven: bool,
}

/// The effect of an entry, given all entries before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The worker may act; or the customer was charged, once.
    Applied,
    /// An earlier run of the same job had charged the order; nothing happened.
    Replayed,
    /// A newer fence had been seen at this shelf; nothing happened.
    Stale,
    /// Impossible unless a guarantee was broken.
    Violation(String),
}

/// The state that decides about the next entry. The same lines give the same state in every process.
#[derive(Debug, Default)]
pub(crate) struct Book {
    charged: HashMap<String, Charged>,
    fences: HashMap<String, u64>,
    /// Slots of digests, by the number of the run.
    digests: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Charged {
    job: u64,
    runs: Vec<String>,
}

impl Book {
    pub(crate) fn apply(&mut self, entry: &Entry) -> Effect {
        match entry {
            Entry::Enter(hold) => self.enter(hold),
            Entry::Charge { hold, order, job, run, .. } => match self.enter(hold) {
                Effect::Applied => self.charge(order, *job, run),
                refused => refused,
            },
            Entry::Digest { slot, number } => self.digest(*slot, *number),
        }
    }

    fn enter(&mut self, hold: &Hold) -> Effect {
        let newest = self.fences.entry(hold.shelf.clone()).or_insert(hold.fence);
        if hold.fence >= *newest {
            *newest = hold.fence;
            return Effect::Applied;
        }
        if hold.proven {
            let Hold { shelf, fence, .. } = hold;
            return Effect::Violation(format!("two holders of {shelf:?} at once: fences {fence} and {newest}"));
        }
        Effect::Stale
    }

    fn digest(&mut self, slot: u64, number: u64) -> Effect {
        if let Some(first) = self.digests.get(&number) {
            if *first == slot {
                return Effect::Replayed;
            }
            return Effect::Violation(format!("run {number} of the digest is of slots {first} and {slot}"));
        }
        if let Some((other, _)) = self.digests.iter().find(|(_, of)| **of == slot) {
            return Effect::Violation(format!("slot {slot} of the digest was run twice: runs {other} and {number}"));
        }
        self.digests.insert(number, slot);
        Effect::Applied
    }

    fn charge(&mut self, order: &str, job: u64, run: &str) -> Effect {
        let Some(charged) = self.charged.get_mut(order) else {
            let runs = vec![run.to_owned()];
            self.charged.insert(order.to_owned(), Charged { job, runs });
            return Effect::Applied;
        };
        if charged.job != job {
            let first = charged.job;
            return Effect::Violation(format!("order {order:?} was accepted twice: jobs {first} and {job}"));
        }
        if charged.runs.iter().any(|earlier| earlier == run) {
            return Effect::Violation(format!("run {run} of order {order:?} was handled twice"));
        }
        charged.runs.push(run.to_owned());
        Effect::Replayed
    }
}

/// The charges by job, as the topic's events for them.
pub(crate) fn charges(entries: &[Entry]) -> HashMap<u64, Outcome> {
    let mut book = Book::default();
    let mut charges = HashMap::new();
    for entry in entries {
        if let (Effect::Applied, Entry::Charge { hold, order, amount_cents, quantity, job, .. }) =
            (book.apply(entry), entry)
        {
            let (order, shelf) = (order.clone(), hold.shelf.clone());
            let (job, quantity, amount_cents) = (*job, *quantity, *amount_cents);
            charges.insert(job, Outcome::Charged { job, order, shelf, quantity, amount_cents });
        }
    }
    charges
}

/// The ledger of this process's workers, or of all processes of a run.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<State>);

#[derive(Debug)]
struct State {
    book: Book,
    entries: Entries,
}

#[derive(Debug)]
enum Entries {
    Memory(Vec<Entry>),
    Shared { file: File, read: u64 },
}

impl Ledger {
    /// A ledger for the workers of this process.
    pub(crate) fn in_memory() -> Self {
        Self::over(Entries::Memory(Vec::new()))
    }

    /// A ledger that the workers of several processes share.
    pub(crate) fn shared(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        Ok(Self::over(Entries::Shared { file, read: 0 }))
    }

    fn over(entries: Entries) -> Self {
        Self(Mutex::new(State { book: Book::default(), entries }))
    }

    /// Appends an entry and returns its effect.
    ///
    /// `entry` is called once its place is certain: no other entry comes between the call and the write.
    pub(crate) fn write(&self, entry: impl FnOnce() -> Entry) -> io::Result<Effect> {
        let mut state = self.0.lock().expect("no code panics while it holds this lock");
        let State { book, entries } = &mut *state;
        match entries {
            Entries::Memory(entries) => {
                let entry = entry();
                let effect = book.apply(&entry);
                entries.push(entry);
                Ok(effect)
            }
            Entries::Shared { file, read } => {
                file.lock()?;
                let effect = append(file, read, book, entry);
                file.unlock()?;
                effect
            }
        }
    }

    /// All entries, oldest first.
    pub(crate) fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut state = self.0.lock().expect("no code panics while it holds this lock");
        match &mut state.entries {
            Entries::Memory(entries) => Ok(entries.clone()),
            Entries::Shared { file, .. } => {
                let mut bytes = Vec::new();
                file.seek(SeekFrom::Start(0))?;
                file.read_to_end(&mut bytes)?;
                Ok(parse(&bytes).collect())
            }
        }
    }
}

fn append(file: &mut File, read: &mut u64, book: &mut Book, entry: impl FnOnce() -> Entry) -> io::Result<Effect> {
    let mut news = Vec::new();
    file.seek(SeekFrom::Start(*read))?;
    file.read_to_end(&mut news)?;
    for other in parse(&news) {
        book.apply(&other);
    }
    let entry = entry();
    let mut line = Vec::new();
    if news.last().is_some_and(|byte| *byte != b'\n') {
        // Its writer was killed in the middle of the line: it is not an entry, and its effect did not happen.
        line.push(b'\n');
    }
    serde_json::to_writer(&mut line, &entry)?;
    line.push(b'\n');
    file.write_all(&line)?;
    *read += (news.len() + line.len()) as u64;
    Ok(book.apply(&entry))
}

fn parse(bytes: &[u8]) -> impl Iterator<Item = Entry> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line.strip_suffix(b"\n")?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(fence: u64, proven: bool) -> Hold {
        Hold { shelf: "4:oslo/lamp".to_owned(), fence, proven }
    }

    fn charge(hold: Hold, order: &str, job: u64, attempt: u32) -> Entry {
        let run = format!("{job}.{attempt}");
        Entry::Charge { hold, order: order.to_owned(), amount_cents: 100, quantity: 1, job, run, failures: attempt - 1 }
    }

    #[test]
    fn a_redelivery_is_replayed_and_not_charged_again() {
        let mut book = Book::default();
        assert_eq!(book.apply(&charge(hold(1, true), "o-1", 7, 1)), Effect::Applied);
        assert_eq!(book.apply(&charge(hold(2, true), "o-1", 7, 2)), Effect::Replayed);
        assert_eq!(book.apply(&charge(hold(3, true), "o-2", 8, 1)), Effect::Applied);
    }

    #[test]
    fn two_holders_at_once_are_a_violation_and_a_late_holder_is_none() {
        let mut book = Book::default();
        assert_eq!(book.apply(&Entry::Enter(hold(1, true))), Effect::Applied);
        assert_eq!(book.apply(&Entry::Enter(hold(2, true))), Effect::Applied);
        assert_eq!(book.apply(&charge(hold(1, false), "o-1", 7, 1)), Effect::Stale);
        assert!(matches!(book.apply(&charge(hold(1, true), "o-1", 7, 1)), Effect::Violation(_)));
        assert_eq!(book.apply(&charge(hold(2, true), "o-1", 7, 2)), Effect::Applied);
    }

    #[test]
    fn one_delivery_handled_twice_and_one_order_in_two_messages_are_violations() {
        let mut book = Book::default();
        book.apply(&charge(hold(1, true), "o-1", 7, 1));
        assert!(matches!(book.apply(&charge(hold(2, true), "o-1", 7, 1)), Effect::Violation(_)));
        assert!(matches!(book.apply(&charge(hold(3, true), "o-1", 8, 1)), Effect::Violation(_)));
    }

    #[test]
    fn one_slot_of_the_digest_is_one_run() {
        let mut book = Book::default();
        let digest = |slot, number| Entry::Digest { slot, number };
        assert_eq!(book.apply(&digest(1_000, 1)), Effect::Applied);
        assert_eq!(book.apply(&digest(1_000, 1)), Effect::Replayed);
        assert_eq!(book.apply(&digest(2_000, 2)), Effect::Applied);
        assert!(matches!(book.apply(&digest(2_000, 3)), Effect::Violation(_)));
        assert!(matches!(book.apply(&digest(3_000, 2)), Effect::Violation(_)));
    }

    #[test]
    fn processes_that_share_a_file_decide_alike_and_a_torn_line_does_not_count() {
        let path = std::env::temp_dir().join(format!("tidelock-ledger-test-{}", std::process::id()));
        let (one, two) = (Ledger::shared(&path).unwrap(), Ledger::shared(&path).unwrap());
        assert_eq!(one.write(|| charge(hold(1, true), "o-1", 7, 1)).unwrap(), Effect::Applied);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"charge\":{\"hold").unwrap();
        assert_eq!(two.write(|| charge(hold(2, true), "o-1", 7, 2)).unwrap(), Effect::Replayed);
        assert_eq!(one.write(|| Entry::Enter(hold(1, false))).unwrap(), Effect::Stale);
        assert_eq!(one.entries().unwrap().len(), 3);
        assert_eq!(two.entries().unwrap(), one.entries().unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
