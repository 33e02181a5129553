//! Numbered changes of one object: each waits for the one before it, so that a repeated one can be answered from
//! memory.

use std::sync::Arc;

use tokio::sync::{Mutex, oneshot};

use super::{Arguments, Failure, Home, Repeat, Script};
use crate::error::Result;

/// The changes that this process makes to one object.
#[derive(Debug)]
pub(crate) struct Series {
    /// The number of the last change.
    last: Arc<Mutex<u64>>,
    /// The key under which the script remembers the last answer.
    answers: String,
}

impl Series {
    pub(crate) fn new(home: &Home) -> Self {
        Self { last: Arc::default(), answers: home.answers_key() }
    }

    pub(crate) fn answers(&self) -> &str {
        &self.answers
    }

    /// Makes a change with the arguments `rest`, which follow those common to all change scripts.
    pub(crate) async fn change(&self, home: &Home, script: &'static Script, rest: Arguments) -> Result<redis::Value> {
        self.run(home, script, home.arguments(Some(&self.answers)), rest).await
    }

    /// Runs a script with the next number, which is placed after `arguments` and before `rest`.
    ///
    /// It runs in a task of its own, because a caller that was polled once and then neglected would block the changes
    /// after it.
    pub(crate) async fn run(
        &self,
        home: &Home,
        script: &'static Script,
        mut arguments: Arguments,
        rest: Arguments,
    ) -> Result<redis::Value> {
        let (tell, told) = oneshot::channel();
        let (last, runs) = (Arc::clone(&self.last), Arc::clone(&home.server));
        let slot = home.place.slot;
        home.server.spawner.spawn(async move {
            let mut last = last.lock().await;
            if tell.is_closed() {
                // Withdrawn before it was sent.
                return;
            }
            *last += 1;
            arguments.number(*last);
            arguments.append(&rest);
            let _ = tell.send(runs.run(script, slot, &arguments, Repeat::Safe, runs.request_timeout).await);
        });
        let answer = told.await.unwrap_or_else(|_| Err(Failure::Unknown("the runtime was shut down".to_owned())));
        answer.map_err(|failure| failure.into_error(home.name()))
    }
}
