//! Where an object is on a server, and how its scripts are called.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use redis::Value;

use super::{Answer, Arguments, Place, Repeat, Script, Server, Wakeable};
use crate::error::Result;

/// Space reserved for a typical trip in addition to its keys: arguments, and bytes per argument.
const ROOM: (usize, usize) = (32, 16);

/// The location of an object on a server.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) server: Arc<Server>,
    pub(crate) place: Place,
    /// In the order of the scripts' KEYS.
    pub(crate) keys: Vec<String>,
    /// An argument after the keys and the time. It identifies the object among those that share the scripts.
    word: Option<Arc<str>>,
    /// The object's name in errors.
    name: Arc<str>,
    /// The next deadline that the server reported, in ms; 0 for none.
    pub(crate) next: AtomicU64,
}

impl Home {
    /// The home of the object at `place`, whose keys have these parts.
    pub(crate) fn new(server: &Arc<Server>, place: Place, parts: &[&str]) -> Self {
        let keys = parts.iter().map(|part| server.key(&place, part)).collect();
        let (server, name) = (Arc::clone(server), Arc::clone(&place.tag));
        Self { server, place, keys, word: None, name, next: AtomicU64::new(0) }
    }

    /// The home of a part of this object. Its own keys follow those of the whole object.
    pub(crate) fn part(&self, keys: impl Iterator<Item = String>, word: &Arc<str>, name: Arc<str>) -> Self {
        let keys = self.keys.iter().cloned().chain(keys).collect();
        let (server, place, word) = (Arc::clone(&self.server), self.place.clone(), Some(Arc::clone(word)));
        Self { server, place, keys, word, name, next: AtomicU64::new(0) }
    }

    /// Sets the word that scripts get as an argument, if objects of several kinds share them.
    pub(crate) fn of_kind(mut self, word: &str) -> Self {
        self.word = Some(word.into());
        self
    }

    /// Passes the wake-ups for the object to `waiter`, which owns this home, until `waiter` is dropped.
    pub(crate) fn wake(&self, waiter: &Arc<impl Wakeable + 'static>) {
        let waiter = Arc::downgrade(waiter);
        self.server.wakes.register(&self.place.tag, waiter as Weak<dyn Wakeable>);
    }

    /// Keys, pinned time and word, with which the arguments of all its scripts begin. `answers` is the key under
    /// which the sender's answers are remembered.
    pub(crate) fn arguments(&self, answers: Option<&str>) -> Arguments {
        let (count, bytes) = ROOM;
        let bytes = self.keys.iter().map(String::len).sum::<usize>() + count * bytes;
        let mut arguments = Arguments::with_capacity(self.keys.len() + count, bytes);
        for key in self.keys.iter().map(String::as_str).chain(answers) {
            arguments.key(key);
        }
        self.server.push_now(&mut arguments);
        self.word.iter().for_each(|word| arguments.push(word.as_bytes()));
        arguments
    }

    /// The key of a new series of requests, under which scripts remember an answer. Each series has its own key. So
    /// an answer is never taken for the answer to a request of another series, even if a process drops an object and
    /// uses it again later.
    pub(crate) fn answers_key(&self) -> String {
        static SERIES: AtomicU64 = AtomicU64::new(0);
        let number = SERIES.fetch_add(1, Ordering::Relaxed);
        self.server.key(&self.place, &format!("answers:{}:{number}", self.server.process))
    }

    /// Runs a script.
    pub(crate) async fn run(
        &self,
        script: &'static Script,
        arguments: &Arguments,
        repeat: Repeat<'_>,
    ) -> Result<Value> {
        let within = self.server.request_timeout;
        let answer = self.server.run(script, self.place.slot, arguments, repeat, within).await;
        answer.map_err(|failure| failure.into_error(&self.name))
    }

    /// Runs a script that may be retried safely, and whose answer is a list.
    pub(crate) async fn show(
        &self,
        what: &'static str,
        script: &'static Script,
        arguments: &Arguments,
    ) -> Result<Answer> {
        Answer::read(what, self.run(script, arguments, Repeat::Safe).await?)
    }

    /// The object's name in errors.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn told_next(&self, next: u64) {
        self.next.store(next, Ordering::Relaxed);
    }

    pub(crate) fn next_deadline(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.server.wakes.forget(&self.place.tag);
    }
}
