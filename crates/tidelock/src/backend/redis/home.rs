//! Where an object is on a server, and how its scripts are called.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use redis::Value;

use super::{Answer, Arguments, Place, Repeat, Script, Server, Wakeable};
use crate::error::Result;

/// Room for what a common trip has beside its keys: arguments, and bytes of each.
const ROOM: (usize, usize) = (32, 16);

/// The server's side of an object, as this process knows it.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) server: Arc<Server>,
    pub(crate) place: Place,
    /// In the order of the scripts' KEYS.
    pub(crate) keys: Vec<String>,
    /// What its scripts hear behind the keys and the time: which of those it is that share them.
    word: Option<Arc<str>>,
    /// How errors name it.
    name: Arc<str>,
    /// The next deadline that the server told, in ms; 0 for none.
    pub(crate) next: AtomicU64,
}

impl Home {
    /// The home of the object at `place`, whose keys have these parts.
    pub(crate) fn new(server: &Arc<Server>, place: Place, parts: &[&str]) -> Self {
        let keys = parts.iter().map(|part| server.key(&place, part)).collect();
        let (server, name) = (Arc::clone(server), Arc::clone(&place.tag));
        Self { server, place, keys, word: None, name, next: AtomicU64::new(0) }
    }

    /// The home of a part of this object, which has keys of its own behind those of the whole.
    pub(crate) fn part(&self, keys: impl Iterator<Item = String>, word: &Arc<str>, name: Arc<str>) -> Self {
        let keys = self.keys.iter().cloned().chain(keys).collect();
        let (server, place, word) = (Arc::clone(&self.server), self.place.clone(), Some(Arc::clone(word)));
        Self { server, place, keys, word, name, next: AtomicU64::new(0) }
    }

    /// Of objects of several kinds, whose scripts hear `word`.
    pub(crate) fn of_kind(mut self, word: &str) -> Self {
        self.word = Some(word.into());
        self
    }

    /// What scripts tell of the object goes to `waiter`, which holds this home, until it is dropped.
    pub(crate) fn wake(&self, waiter: &Arc<impl Wakeable + 'static>) {
        let waiter = Arc::downgrade(waiter);
        self.server.wakes.register(&self.place.tag, waiter as Weak<dyn Wakeable>);
    }

    /// Keys, pinned time and word, as all its scripts begin. `answers` is the sender's own memory.
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

    /// The key of a new series of requests, under which scripts remember an answer. Each has its own: what one remembers is
    /// never taken for an answer to another, also where a process lets go of an object and comes back to it.
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

    /// Runs a script whose repeat changes nothing, and whose answer is a list.
    pub(crate) async fn show(
        &self,
        what: &'static str,
        script: &'static Script,
        arguments: &Arguments,
    ) -> Result<Answer> {
        Answer::read(what, self.run(script, arguments, Repeat::Safe).await?)
    }

    /// How errors name the object.
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
