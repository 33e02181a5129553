//! Changes of a group, or of a topic as a whole, in bounded steps of two scripts.

use std::sync::Arc;

use redis::Value;

use super::Remote;
use super::group::RemoteGroup;
use super::look::{pair, push_filter};
use super::stored::begin_bytes;
use crate::backend::redis::{Answer, Arguments, Script, script, until_settled};
use crate::error::Result;
use crate::topic::store::{Begin, Change, Changes, DeadFilter};

static CHANGE: Script = script!(
    "group.change",
    "../../lua/time.lua",
    "../../lua/rank.lua",
    "../lua/store.lua",
    "../lua/log.lua",
    "../lua/read.lua",
    "../lua/begin.lua",
    "../lua/parked.lua",
    "../../lua/answers.lua",
    "../lua/group.lua",
    "../lua/moves.lua",
    "../lua/whole.lua",
    "../lua/change.lua",
);

static DELETE: Script =
    script!("topic.delete", "../../lua/time.lua", "../lua/store.lua", "../../lua/answers.lua", "../lua/delete.lua");

/// The reply of a step: a word, then numbers.
struct Changed {
    word: Arc<str>,
    numbers: Vec<u64>,
}

impl Changed {
    fn read(answer: Value) -> Result<Self> {
        let mut answer = Answer::read("change", answer)?;
        let word = answer.text()?;
        let mut numbers = Vec::new();
        while !answer.is_over() {
            numbers.push(answer.count()?);
        }
        Ok(Self { word, numbers })
    }
}

impl Remote {
    pub(super) async fn change(&self, change: Change) -> Result<Changes> {
        match change {
            Change::Delete => self.delete().await,
            Change::CreateGroup { group, begin } => self.group(&group).begin_at("create", begin).await,
            Change::Seek { group, begin } => self.group(&group).begin_at("seek", begin).await,
            Change::RemoveGroup { group } => self.group(&group).did("remove", |_| (), Changes::Did(false)).await,
            Change::Pause { group, for_at_most, reason } => {
                let push = |arguments: &mut Arguments| {
                    match for_at_most {
                        Some(time) => arguments.number(time),
                        None => arguments.push(b"-1"),
                    }
                    arguments.push(reason.as_deref().unwrap_or_default().as_bytes());
                };
                self.group(&group).did("pause", push, Changes::NoGroup).await
            }
            Change::Resume { group } => self.group(&group).did("resume", |_| (), Changes::NoGroup).await,
            Change::Requeue { group, at, delay } => {
                let push = |arguments: &mut Arguments| {
                    arguments.push(&at.to_be_bytes());
                    arguments.number(delay);
                };
                self.group(&group).count("requeue", push).await
            }
            Change::RemoveDead { group, at } => {
                self.group(&group).count("remove_dead", |arguments| arguments.push(&at.to_be_bytes())).await
            }
            Change::RequeueAll { group, filter, limit, delay } => {
                self.group(&group).each_letter("requeue_all", filter, limit, delay).await
            }
            Change::PurgeDead { group, filter, limit } => {
                self.group(&group).each_letter("purge_dead", filter, limit, 0).await
            }
        }
    }

    /// Names the groups that it knows, and repeats with the full list if there were others.
    async fn delete(&self) -> Result<Changes> {
        let mut names: Vec<Arc<str>> = Vec::new();
        loop {
            let (mut arguments, mut rest) = (Arguments::default(), Arguments::default());
            let of_groups: Vec<_> = names.iter().flat_map(|name| Self::group_keys(&self.home, name)).collect();
            let keys = self.home.keys.iter().map(String::as_str).chain([self.changes.answers()]);
            keys.chain(of_groups.iter().map(String::as_str)).for_each(|key| arguments.key(key));
            self.home.server.push_now(&mut arguments);
            for name in &names {
                rest.push(name.as_bytes());
            }
            let answer = self.changes.run(&self.home, &DELETE, arguments, rest).await?;
            let mut answer = Answer::read("delete", answer)?;
            match answer.bytes()?.as_slice() {
                b"yes" => return Ok(Changes::Did(true)),
                b"no" => return Ok(Changes::Did(false)),
                _ => names = answer.texts()?,
            }
        }
    }
}

impl RemoteGroup {
    /// Makes one step of a change, once nothing is overdue or after as many attempts as a look makes.
    async fn step(&self, what: &str, push: impl Fn(&mut Arguments)) -> Result<Changed> {
        let push = &push;
        until_settled(|last| async move {
            let mut rest = Arguments::default();
            rest.push(if last { b"1" } else { b"0" });
            rest.push(what.as_bytes());
            push(&mut rest);
            let changed = Changed::read(self.changes.change(&self.home, &CHANGE, rest).await?)?;
            Ok((&*changed.word == "settling", changed))
        })
        .await
    }

    async fn begin_at(&self, what: &str, begin: Begin) -> Result<Changes> {
        self.did(what, |arguments| arguments.push(&begin_bytes(begin)), Changes::Did(false)).await
    }

    async fn did(&self, what: &str, push: impl Fn(&mut Arguments), absent: Changes) -> Result<Changes> {
        Ok(match &*self.step(what, push).await?.word {
            "yes" => Changes::Did(true),
            "full" => Changes::Full,
            "absent" => absent,
            _ => Changes::Did(false),
        })
    }

    async fn count(&self, what: &str, push: impl Fn(&mut Arguments)) -> Result<Changes> {
        Ok(Changes::Count(self.step(what, push).await?.numbers.first().copied().unwrap_or(0)))
    }

    /// Steps over the dead letters, oldest first, up to the last one that existed in the first step.
    async fn each_letter(&self, what: &str, filter: DeadFilter, limit: Option<u64>, delay: u64) -> Result<Changes> {
        let (mut moved, mut from, mut last) = (0, Vec::new(), Vec::new());
        loop {
            let push = |arguments: &mut Arguments| {
                match limit {
                    Some(limit) => arguments.number(limit - moved),
                    None => arguments.push(b"-1"),
                }
                arguments.push(&from);
                arguments.push(&last);
                push_filter(filter, arguments);
                arguments.number(delay);
            };
            let answer = self.step(what, push).await?;
            let [count, done, from_at, from_id, last_at, last_id] = answer.numbers[..] else {
                return Ok(Changes::Count(moved));
            };
            moved += count;
            if done == 1 {
                return Ok(Changes::Count(moved));
            }
            from = if from_id == 0 { Vec::new() } else { pair(from_at, from_id) };
            last = pair(last_at, last_id);
        }
    }
}
