//! Running a script: routing, redirects, and retries if a retry is safe.

use std::time::Duration;

use redis::{Pipeline, Value, cmd};
use tokio::time::Instant;

use super::failure::Failure;
use super::gate::Turn;
use super::node::{NO_REPLY, Node, Up};
use super::script::{Arguments, Script};
use super::slots::redirected;
use super::topology::Topology;
use crate::backoff::Pauses;
use crate::time::{Clock, SECOND, Tick, Timestamp};

/// What to do if it is unknown whether a call took effect.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Repeat<'a> {
    /// The call only reads, or carries an id under which the script remembers its answer. Retry until there is an
    /// answer, or until the script may have forgotten it.
    Safe,
    /// Like `Safe`, but in the order in which the trips left.
    InTurn(&'a Turn),
    /// Call once, and only if there is a connection now.
    Never,
}

impl Repeat<'_> {
    pub(crate) fn is_allowed(self) -> bool {
        !matches!(self, Self::Never)
    }

    /// Waits until a call may be sent that could not be sent at once, or that must be sent again.
    pub(crate) async fn turn(self) {
        if let Self::InTurn(turn) = self {
            turn.come().await;
        }
    }
}

/// One run of a script.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) script: &'static Script,
    pub(crate) slot: u16,
    pub(crate) arguments: &'a Arguments,
    pub(crate) repeat: Repeat<'a>,
    pub(crate) deadline: Instant,
}

/// How many redirects one attempt follows before the slot map counts as changing.
const REDIRECTS: usize = 5;
/// How long after its first attempt a call may be retried: slightly less than scripts remember an answer
/// (`lua/answers.lua`), because the call needs time to reach the server.
pub(crate) const REPEATABLE: Duration = Duration::from_secs(110);

impl Topology {
    /// Runs the call until it is answered or its deadline has passed.
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<Value, Failure> {
        let mut progress = Progress::default();
        let run = self.run_to_the_end(call, &mut progress);
        match tokio::time::timeout_at(call.deadline, run).await {
            Ok(answer) => answer,
            Err(_) => Err(progress.give_up(call)),
        }
    }

    async fn run_to_the_end(&self, call: &Call<'_>, progress: &mut Progress) -> Result<Value, Failure> {
        let mut pauses = Pauses::new(Duration::from_millis(10), Duration::from_millis(200));
        // Longer pauses after a refusal that may pass, because every object that uses this server retries.
        let mut refused = Pauses::new(Duration::from_millis(20), SECOND);
        loop {
            let failure = match self.attempt(call, progress).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            if failure.is_final() || !call.repeat.is_allowed() {
                return Err(progress.honestly(failure));
            }
            // A slot that is being moved is available again in a moment.
            let is_refused = matches!(&failure, Failure::Refused { code, .. } if code != "TRYAGAIN");
            progress.failed(failure);
            progress.check_remembered()?;
            call.repeat.turn().await;
            if self.is_cluster() {
                // The owner may have changed. If no node can be asked, the next attempt shows it.
                let _ = self.refresh().await;
            }
            tokio::time::sleep(if is_refused { refused.next() } else { pauses.next() }).await;
        }
    }

    async fn attempt(&self, call: &Call<'_>, progress: &mut Progress) -> Result<Value, Failure> {
        let mut node = self.owner(call.slot);
        let (mut asking, mut whole) = (false, false);
        for hop in 0..REDIRECTS {
            let at_once = if hop == 0 { node.up(None).await.ok() } else { None };
            let up = if let Some(up) = at_once {
                up
            } else {
                call.repeat.turn().await;
                // A call that may be retried waits briefly for a connection before it looks for another owner.
                let soon = || call.deadline.min(Instant::now() + Duration::from_millis(250));
                node.up(call.repeat.is_allowed().then(soon)).await?
            };
            let answer = progress.ask(&node, &up, call, asking, whole).await;
            let failure = match answer {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let Failure::Refused { code, text } = &failure else { return Err(failure) };
            match code.as_str() {
                "NOSCRIPT" if !whole => whole = true,
                "MOVED" => {
                    call.repeat.turn().await;
                    // If the refresh fails, this only costs another redirect later.
                    let _ = self.refresh().await;
                    (node, asking) = (self.redirected(redirected(text, &node.host()).ok_or(failure)?), false);
                }
                "ASK" => (node, asking) = (self.redirected(redirected(text, &node.host()).ok_or(failure)?), true),
                _ => return Err(failure),
            }
        }
        Err(Failure::Refused { code: "TRYAGAIN".to_owned(), text: "the slot is in motion".to_owned() })
    }
}

async fn send(up: &Up, call: &Call<'_>, asking: bool, whole: bool) -> Result<Value, Failure> {
    let command = call.script.command(call.arguments, whole);
    if !asking {
        return up.send(&command).await;
    }
    let mut together = Pipeline::with_capacity(2);
    together.add_command(cmd("ASKING")).add_command(command);
    up.send_together(&together, 2).await
}

/// The history of a call, for the answer at its deadline.
#[derive(Default)]
struct Progress {
    in_flight: Option<InFlight>,
    /// Since when the call may have taken effect, and why that is unknown.
    unknown: Option<(Sent, Failure)>,
    last: Option<Failure>,
}

/// A call that was sent and is not answered yet.
struct InFlight {
    node: std::sync::Arc<Node>,
    up: Up,
    since: Instant,
}

/// When a call was sent, on both local clocks, because the monotonic one stops while the machine sleeps.
#[derive(Clone, Copy, Debug)]
struct Sent {
    tick: Tick,
    wall: Timestamp,
}

impl Sent {
    fn now() -> Self {
        Self { tick: Clock::System.tick(), wall: Clock::System.now() }
    }

    /// Whether the server may have forgotten its answer at `now`.
    fn is_forgotten(self, now: Self) -> bool {
        now.tick.since(self.tick).max(now.wall.since(self.wall)) >= REPEATABLE
    }
}

impl Progress {
    async fn ask(
        &mut self,
        node: &std::sync::Arc<Node>,
        up: &Up,
        call: &Call<'_>,
        asking: bool,
        whole: bool,
    ) -> Result<Value, Failure> {
        // The wait for the connection may have taken long.
        self.check_remembered()?;
        let sent = Sent::now();
        let since = Instant::now();
        self.in_flight = Some(InFlight { node: std::sync::Arc::clone(node), up: up.clone(), since });
        let in_turn = matches!(call.repeat, Repeat::InTurn(_));
        let answer = tokio::select! {
            biased;
            answer = send(up, call, asking, whole) => answer,
            // Later trips on the next connection must not overtake it, and need not wait for it.
            () = node.replaced(up), if in_turn => Err(Failure::Unknown("the connection was given up".to_owned())),
            // It is retried on another connection or server. A call without retries waits for its answer.
            () = up.silence(since), if call.repeat.is_allowed() => Err(Failure::Unknown(NO_REPLY.to_owned())),
        };
        self.in_flight = None;
        match &answer {
            Err(failure @ Failure::Unknown(cause)) => {
                self.unknown = Some((self.unknown.take().map_or(sent, |(first, _)| first), failure.clone()));
                node.report_broken(up, Failure::NotSent(cause.clone()));
            }
            // The server is a demoted primary. Dropping the connection makes the node ask the sentinels again.
            Err(failure @ Failure::Refused { code, .. }) if code == "READONLY" => {
                node.report_broken(up, failure.clone());
            }
            _ => {}
        }
        answer
    }

    fn failed(&mut self, failure: Failure) {
        self.last = Some(failure);
    }

    /// The failure to report. If the call may have taken effect earlier, a refusal now proves nothing.
    fn honestly(&self, failure: Failure) -> Failure {
        match (&self.unknown, failure) {
            // This refusal is about the stored data, whatever the call did.
            (_, Failure::Refused { code, text }) if code == "TIDELOCK" => Failure::Refused { code, text },
            (Some((_, Failure::Unknown(cause))), Failure::Refused { code, text }) => {
                Failure::Unknown(format!("{cause}; asked again, the server refused: {code} {text}"))
            }
            (Some((_, Failure::Unknown(cause))), Failure::Closed) => {
                Failure::Unknown(format!("{cause}; and there is no asking again after a shutdown"))
            }
            (_, failure) => failure,
        }
    }

    /// Fails if the call may have taken effect so long ago that a retry could make it take effect twice.
    fn check_remembered(&self) -> Result<(), Failure> {
        match &self.unknown {
            Some((first, failure)) if first.is_forgotten(Sent::now()) => Err(failure.clone()),
            _ => Ok(()),
        }
    }

    fn give_up(self, call: &Call<'_>) -> Failure {
        if let Some(InFlight { node, up, since }) = self.in_flight {
            node.unanswered(&up, since);
            return Failure::Unknown(format!("{} was sent and not answered in time", call.script.name));
        }
        let nothing = || Failure::NotSent("no connection in time".to_owned());
        self.unknown.map(|(_, failure)| failure).or(self.last).unwrap_or_else(nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_forgotten_by_either_clock() {
        let first = Sent::now();
        let later = |monotonic, wall| {
            let at = Sent {
                tick: first.tick.plus(Duration::from_millis(monotonic)),
                wall: first.wall + Duration::from_millis(wall),
            };
            first.is_forgotten(at)
        };
        assert!(!later(109_999, 109_999));
        assert!(later(110_000, 0) && later(0, 110_000));
    }

    #[test]
    fn what_may_be_forgotten_is_not_sent_again() {
        let mut progress = Progress::default();
        assert!(progress.check_remembered().is_ok());
        let long_ago = Sent { wall: Timestamp::from_millis(0), ..Sent::now() };
        progress.unknown = Some((Sent::now(), Failure::Unknown("cut".to_owned())));
        assert!(progress.check_remembered().is_ok());
        progress.unknown = Some((long_ago, Failure::Unknown("cut".to_owned())));
        assert!(matches!(progress.check_remembered(), Err(Failure::Unknown(cause)) if cause == "cut"));
    }
}
