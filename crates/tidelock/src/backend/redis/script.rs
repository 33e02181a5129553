//! Scripts, and the arguments that one call of a script carries.

use std::sync::OnceLock;

use redis::Cmd;

use super::observe::Calls;
use crate::handover::cursor::Cursor;

/// A script: composed at compile time, called by hash, and sent in full to a server that does not know the hash.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    body: &'static str,
    hash: OnceLock<String>,
    /// Measurements of its calls.
    pub(super) calls: Calls,
}

/// Composes a [`Script`] from files: shared parts first, the operation last.
macro_rules! script {
    ($name:literal, $($file:literal),+ $(,)?) => {
        $crate::backend::redis::Script::new($name, concat!($(include_str!($file), "\n"),+))
    };
}
pub(crate) use script;

impl Script {
    pub(crate) const fn new(name: &'static str, body: &'static str) -> Self {
        Self { name, body, hash: OnceLock::new(), calls: Calls::new() }
    }

    fn hash(&self) -> &str {
        self.hash.get_or_init(|| redis::Script::new(self.body).get_hash().to_owned())
    }

    /// `EVALSHA`, or `EVAL` with the body for a server that answered `NOSCRIPT`.
    pub(crate) fn command(&self, arguments: &Arguments, whole: bool) -> Cmd {
        let mut command = Cmd::with_capacity(arguments.ends.len() + 3, arguments.data.len() + 64);
        if whole {
            command.arg("EVAL").arg(self.body);
        } else {
            command.arg("EVALSHA").arg(self.hash());
        }
        command.arg(arguments.keys);
        for argument in arguments.iter() {
            command.arg(argument);
        }
        command
    }
}

/// Keys and arguments of one call, in one buffer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    data: Vec<u8>,
    ends: Vec<usize>,
    keys: usize,
}

impl Arguments {
    /// Reserves space for `count` arguments with `bytes` bytes in total.
    pub(crate) fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { data: Vec::with_capacity(bytes), ends: Vec::with_capacity(count), keys: 0 }
    }

    /// Adds a key. Keys come before arguments.
    pub(crate) fn key(&mut self, key: &str) {
        debug_assert_eq!(self.keys, self.ends.len(), "keys come before arguments");
        self.keys += 1;
        self.push(key.as_bytes());
    }

    /// Adds an argument of arbitrary bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
        self.ends.push(self.data.len());
    }

    /// Adds a whole number in decimal.
    pub(crate) fn number(&mut self, number: u64) {
        use std::io::Write;
        write!(self.data, "{number}").expect("writing to memory does not fail");
        self.ends.push(self.data.len());
    }

    /// Adds the instant and the id after which a list by time continues; without a cursor, the markers for its
    /// beginning.
    pub(crate) fn behind_instant(&mut self, after: Option<&Cursor>) {
        if let Some(Cursor::At(at, id)) = after {
            self.number(*at);
            self.number(*id);
        } else {
            self.push(b"-1");
            self.number(0);
        }
    }

    /// Adds the rank, standing time and order after which a list in hand-out order continues; without a cursor, the
    /// markers for its beginning.
    pub(crate) fn behind_place(&mut self, after: Option<&Cursor>) {
        if let Some(Cursor::Ready(rank, standing, order)) = after {
            self.number(u64::from(*rank));
            self.number(*standing);
            self.number(*order);
        } else {
            self.push(b"-1");
            self.number(0);
            self.number(0);
        }
    }

    /// Adds the arguments of `more`. Its keys would become arguments, too.
    pub(crate) fn append(&mut self, more: &Self) {
        more.iter().for_each(|argument| self.push(argument));
    }

    /// Adds an argument made of several pieces, without joining them first.
    pub(crate) fn pieces(&mut self, pieces: &[&[u8]]) {
        for piece in pieces {
            self.data.extend_from_slice(piece);
        }
        self.ends.push(self.data.len());
    }

    /// Adds an argument that `write` appends to the buffer.
    pub(crate) fn written(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.data);
        self.ends.push(self.data.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.data[start..*end])
    }
}
