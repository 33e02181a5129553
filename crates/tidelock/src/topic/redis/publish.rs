//! Publishing: one script call carries all publishes that were waiting when a lane became free.

use std::sync::Arc;

use redis::Value;
use tokio::sync::oneshot;

use super::Remote;
use super::stored::{PLACE, place};
use crate::backend::SETTLING_STEPS;
use crate::backend::redis::{
    Answer, Arguments, Bytes, Carrier, Lane, Lanes, MANY_ITEMS, Request, Script, push_content, refuse, script,
};
use crate::error::{Error, Result};
use crate::topic::store::{Appended, NewEvent, Position, Settings};

static PUBLISH: Script = script!(
    "topic.publish",
    "../../lua/time.lua",
    "../lua/store.lua",
    "../lua/log.lua",
    "../lua/parked.lua",
    "../../lua/answers.lua",
    "../lua/publish.lua",
);

/// The deadline value that means *now*: more is overdue.
const NOW: u64 = 1;
/// Size of a run's report on replaced settings.
const REPLACED: usize = 17;

/// The events of one caller.
#[derive(Debug)]
pub(super) struct Publish {
    pub(super) settings: Settings,
    pub(super) batch: Vec<NewEvent>,
    pub(super) reply: oneshot::Sender<Result<Appended>>,
}

impl Request for Publish {
    fn bytes(&self) -> usize {
        self.batch.iter().map(|event| event.content.size() + 64).sum()
    }

    fn gains_from_a_second_trip(&self) -> bool {
        self.batch.len() >= MANY_ITEMS
    }

    fn is_withdrawn(&self) -> bool {
        self.reply.is_closed()
    }

    fn fail(&mut self, error: &Error) {
        refuse(&mut self.reply, error);
    }
}

impl Carrier for Remote {
    type Request = Publish;

    fn lanes(&self) -> &Lanes<Publish> {
        &self.lanes
    }

    async fn carry(self: &Arc<Self>, lane: &mut Lane, load: Vec<Publish>) {
        let mut arguments = self.home.arguments(Some(&lane.answers));
        arguments.number(lane.number);
        arguments.push(b"");
        let runs = push_runs(&load, &mut arguments);
        let answer = self.home.run(&PUBLISH, &arguments, lane.repeat()).await;
        match answer.and_then(|answer| self.read_published(answer, &runs, &load)) {
            Ok(appended) => load.into_iter().zip(appended).for_each(|(publish, appended)| {
                let _ = publish.reply.send(Ok(appended));
            }),
            Err(error) => load.into_iter().for_each(|mut publish| publish.fail(&error)),
        }
    }
}

/// Consecutive events with equal settings, either all with or all without dedup keys.
struct Run {
    deduped: bool,
    /// The index of each publish, and its number of events.
    parts: Vec<(usize, usize)>,
}

fn push_runs(load: &[Publish], arguments: &mut Arguments) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut run: Vec<(usize, &NewEvent)> = Vec::new();
    for (index, publish) in load.iter().enumerate() {
        for event in &publish.batch {
            let fits = |(first, other): &(usize, &NewEvent)| {
                load[*first].settings == publish.settings && other.dedup.is_some() == event.dedup.is_some()
            };
            if !run.first().is_none_or(fits) {
                runs.push(push_run(load, &mut run, arguments));
            }
            run.push((index, event));
        }
    }
    if !run.is_empty() {
        runs.push(push_run(load, &mut run, arguments));
    }
    runs
}

fn push_run(load: &[Publish], run: &mut Vec<(usize, &NewEvent)>, arguments: &mut Arguments) -> Run {
    let (first, event) = run[0];
    let (settings, deduped) = (load[first].settings, event.dedup.is_some());
    match settings.retention {
        Some(retention) => arguments.number(retention),
        None => arguments.push(b"-1"),
    }
    arguments.number(settings.max_len.unwrap_or(0));
    arguments.push(if deduped { b"d" } else { b"p" });
    arguments.number(run.len() as u64);
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for (index, event) in run.drain(..) {
        if let Some(dedup) = &event.dedup {
            arguments.push(&dedup.window.to_be_bytes());
            arguments.push(dedup.key.as_bytes());
        }
        arguments.written(|bytes| push_content(&event.content, bytes));
        match parts.last_mut() {
            Some((same, count)) if *same == index => *count += 1,
            _ => parts.push((index, 1)),
        }
    }
    Run { deduped, parts }
}

impl Remote {
    fn read_published(&self, answer: Value, runs: &[Run], load: &[Publish]) -> Result<Vec<Appended>> {
        let mut answer = Answer::read("publish", answer)?;
        self.home.told_next(answer.count()?);
        let mut appended: Vec<_> = load
            .iter()
            .map(|publish| Appended { events: Vec::with_capacity(publish.batch.len()), replaced: None })
            .collect();
        for run in runs {
            let bytes = answer.bytes()?;
            let read = read_run(&bytes, run, &mut appended);
            read.ok_or_else(|| answer.wrong(&Value::BulkString(bytes)))?;
        }
        Ok(appended)
    }

    /// Frees events that are no longer retained: empty trips, at most as many as a look makes.
    pub(super) async fn sweep_log(&self) -> Result<()> {
        for _ in 0..SETTLING_STEPS {
            let mut arguments = self.home.arguments(Some(&self.home.keys[0]));
            arguments.number(0);
            arguments.push(b"sweep");
            let next = self.home.show("publish", &PUBLISH, &arguments).await?.count()?;
            self.home.told_next(next);
            if next != NOW {
                break;
            }
        }
        Ok(())
    }
}

fn read_run(bytes: &[u8], run: &Run, appended: &mut [Appended]) -> Option<()> {
    let mut bytes = Bytes(bytes);
    let mut settings = Bytes(bytes.take(REPLACED)?);
    let (is_replaced, retention, max_len) = (settings.byte()? == 1, settings.number(8)?, settings.number(8)?);
    let first = run.parts.first()?.0;
    if is_replaced {
        let max_len = (max_len != 0).then_some(max_len);
        appended[first].replaced = Some(Settings { retention: retention.checked_sub(1), max_len });
    }
    if run.deduped {
        for (index, count) in &run.parts {
            for _ in 0..*count {
                let duplicate = bytes.byte()? == b'D';
                appended[*index].events.push((place(&mut bytes)?, duplicate));
            }
        }
        return Some(());
    }
    // Positions and ordinals within a run are consecutive.
    let mut next: Position = place(&mut Bytes(bytes.take(PLACE)?))?;
    for (index, count) in &run.parts {
        for _ in 0..*count {
            appended[*index].events.push((next, false));
            next = Position { at: next.at + 1, ordinal: next.ordinal + 1, ..next };
        }
    }
    Some(())
}
