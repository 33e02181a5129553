//! What a backend implements for schedulers: requests and outcomes as plain data.
//!
//! A backend knows no cron. The caller computes slots from the backend's *now*, and the steps that store them compare
//! what they were computed from. Times are milliseconds: durations are relative, and instants are those of the
//! backend's clock since the Unix epoch. Revisions, epochs and run numbers are below 2^53.

mod past;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use self::past::{Happened, HistoryView, LetterView};

use crate::bell::Bell;
use crate::error::Result;
use crate::name::Address;
use crate::opaque::opaque;
use crate::runtime::BoxFuture;

/// How long one beat announces its handlers.
pub(crate) const ANNOUNCED: u64 = 15_000;
/// How long a finished schedule is kept.
pub(crate) const FINISHED_KEPT: u64 = 7 * 86_400_000;
/// How long a dead letter is kept.
pub(crate) const LETTER_KEPT: u64 = 7 * 86_400_000;
/// How long an accepted trigger may remain unconfirmed. After that a leader must submit it.
pub(crate) const TRIGGER_PATIENCE: u64 = 1_000;
/// How many dead letters are kept before any leader has set the limit.
pub(crate) const LETTERS_UNTOLD: u64 = 5_000;
/// How many overdue transitions one step carries out.
pub(crate) const STEP: usize = 200;
/// The most bytes of definitions in one answer. A single definition may be as large on its own.
pub(crate) const MAX_BYTES: usize = 4 * 1_024 * 1_024;

/// The operations of an object of schedules. There is one object per tenant and scheduler name.
///
/// Every method is one atomic step on the backend. If a reply is lost, a mutating one is retried until it is answered
/// or the request timeout is over.
pub(crate) trait SchedulerStore: Send + Sync {
    /// The beat of a started instance: it requests or keeps leadership, announces its handlers, and as the leader
    /// gets what is due.
    fn beat(&self, scheduler: &Address, beat: Beat) -> BoxFuture<'static, Result<Beaten>>;
    /// A started instance stops: it gives up leadership and withdraws its handlers. The bells of other instances
    /// ring.
    fn leave(&self, scheduler: &Address, instance: Arc<str>) -> BoxFuture<'static, Result<()>>;
    /// Stores what the leader decided and did, each on its own, in order. With an older epoch nothing changes.
    fn write(&self, scheduler: &Address, write: Write) -> BoxFuture<'static, Result<Written>>;
    /// Changes schedules on behalf of anybody but the leader.
    fn change(&self, scheduler: &Address, change: Change) -> BoxFuture<'static, Result<Changes>>;
    /// Reads, after carrying out what is overdue. Changes no outcome.
    fn look(&self, scheduler: &Address, look: Look) -> BoxFuture<'static, Result<View>>;
    /// Rings when a started instance of this process should beat again: for the leader because something is due
    /// earlier than it knew, for the others because leadership is free. There is one per object and process, alive
    /// while somebody holds it.
    fn bell(&self, scheduler: &Address) -> Arc<Bell>;
}

opaque!(SchedulerStore);

/// A beat of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beat {
    /// The name of the instance, new at each start.
    pub(crate) instance: Arc<str>,
    /// Announced for [`ANNOUNCED`] from now on. Schedules that waited for one of them are due again.
    pub(crate) handlers: Vec<Arc<str>>,
    pub(crate) wish: Wish,
    /// For a leader: the most due schedules in the answer.
    pub(crate) batch: usize,
    /// For a leader: what it is working on, which is left out of the answer.
    pub(crate) busy: Busy,
}

/// Schedules by id, and triggers by birth and run number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Busy {
    pub(crate) schedules: Vec<Arc<str>>,
    pub(crate) triggers: Vec<(u64, u64)>,
}

/// The role that an instance requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wish {
    /// Become leader if there is none. This takes the lease and raises the epoch in one step.
    Lead { lease: u64 },
    /// Remain leader. This never starts a new leadership.
    Renew { epoch: u64, lease: u64 },
    /// Only announce its handlers.
    Announce,
}

/// The answer to a beat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beaten {
    /// The backend's now.
    pub(crate) now: u64,
    pub(crate) role: Role,
}

/// The role of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    Leader {
        epoch: u64,
        /// Active and failing schedules that are due, earliest first, and paused ones whose pause is over. After all
        /// of these come schedules whose open plan begins with a catch-up run.
        due: Vec<DueView>,
        /// Accepted triggers that nobody confirmed in time.
        triggers: Vec<TriggerView>,
        /// When the next schedule or trigger is due, of those neither shown nor in progress.
        next: Option<u64>,
        /// The version of the time zone database that stored slots were computed with; `None` before the first leader
        /// has stored it.
        zones: Option<Arc<str>>,
    },
    /// Another instance leads for this long, unless it renews. If this instance asked to renew, it has lost
    /// leadership.
    Follower { left: u64 },
    /// Nobody leads, and the instance did not ask to. If it asked to renew, it has lost leadership.
    Free,
}

/// A due schedule, and whether a living instance has its handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DueView {
    pub(crate) schedule: ScheduleView,
    /// True for a job target.
    pub(crate) served: bool,
}

/// The definition of a schedule. A backend only compares it, and reads the name of its handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// The parsed expression, zone, period, offset, instant, jitter: in one canonical form.
    pub(crate) timing: Vec<u8>,
    /// Policies, target, input, job options, meta: in one canonical form.
    pub(crate) content: Vec<u8>,
    /// Only for a handler target.
    pub(crate) handler: Option<Arc<str>>,
}

/// The next slot, and its due instant: slot plus jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Next {
    pub(crate) slot: u64,
    pub(crate) due: u64,
}

/// A next slot that was computed from a guess of the backend's now. It is right if `from <= now < until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Guess {
    pub(crate) from: u64,
    pub(crate) until: u64,
    /// `None`: there is no slot left.
    pub(crate) next: Option<Next>,
}

/// A schedule at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScheduleView {
    pub(crate) id: Arc<str>,
    /// The revision with which it was created. It distinguishes schedules that had the same id.
    pub(crate) born: u64,
    /// Raised by each update, pause and resume. Revisions grow across all schedules of the object, and are not reset
    /// by unregistering.
    pub(crate) revision: u64,
    /// The revision of its current timing.
    pub(crate) timing_revision: u64,
    pub(crate) definition: Definition,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    pub(crate) next: Option<Next>,
    /// The last run number that was assigned.
    pub(crate) run: u64,
    pub(crate) state: StateView,
    pub(crate) plan: Option<PlanView>,
    pub(crate) last: Option<LastView>,
}

/// The state of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StateView {
    Active,
    Paused { reason: Option<Arc<str>>, since: u64, until: Option<u64> },
    Unserved { since: u64 },
    Failing { rounds: u32, retry_at: u64, error: Arc<str> },
    Quarantined { error: Arc<str>, since: u64 },
    Finished { at: u64 },
}

/// Slots that were decided and not yet submitted, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanView {
    pub(crate) slots: Vec<PlannedSlot>,
    /// The run number of the first slot; the others follow.
    pub(crate) first_run: u64,
    /// Reported with the first slot of the plan; 0 once that was confirmed.
    pub(crate) missed: u64,
    pub(crate) decided_at: u64,
    /// Content and timing revision as of the decision. An update does not change them.
    pub(crate) content: Vec<u8>,
    pub(crate) handler: Option<Arc<str>>,
    pub(crate) timing_revision: u64,
}

/// A slot to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlannedSlot {
    pub(crate) slot: u64,
    pub(crate) due: u64,
    /// Otherwise it is a catch-up run.
    pub(crate) on_time: bool,
}

/// The last slot that was dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastView {
    pub(crate) slot: u64,
    pub(crate) job: u64,
    pub(crate) lateness: u64,
}

/// An accepted trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TriggerView {
    pub(crate) id: Arc<str>,
    pub(crate) born: u64,
    pub(crate) run: u64,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) accepted_at: u64,
    /// As of the acceptance.
    pub(crate) content: Vec<u8>,
    pub(crate) handler: Option<Arc<str>>,
}

/// A write of a leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Write {
    pub(crate) instance: Arc<str>,
    pub(crate) epoch: u64,
    pub(crate) steps: Vec<Step>,
    /// How many history entries a schedule keeps, and how many dead letters the object keeps: the leader's options.
    pub(crate) history: u64,
    pub(crate) max_letters: u64,
}

/// A decision or action of a leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Moves the next slot and stores the plan. Requires this revision, this next slot, no open plan, and a state of
    /// active, failing or unserved. Assigns run numbers to the slots of the plan.
    Decide {
        id: Arc<str>,
        revision: u64,
        expected: u64,
        /// The instant for which the plan was decided.
        as_of: u64,
        /// `None`: there is no slot left; with an empty plan the schedule is finished.
        next: Option<Next>,
        slots: Vec<PlannedSlot>,
        /// Slots that are not run because they were missed, or because no instance has the handler.
        missed: u64,
        missing_handler: u64,
    },
    /// Takes the first slot off the plan if it has this run number. Success clears failures.
    Confirm { id: Arc<str>, born: u64, run: u64, outcome: Dispatched },
    /// A round of tries for the first slot of the plan failed. The next round begins after `delay`.
    Fail { id: Arc<str>, born: u64, run: u64, error: Arc<str>, delay: u64 },
    /// No instance has its handler. It is not due until one announces the handler.
    Unserve { id: Arc<str>, revision: u64, handler: Arc<str> },
    /// The schedule cannot be read. Applies to a paused one only if its pause is over, and not to a finished one.
    Quarantine { id: Arc<str>, revision: u64, error: Arc<str> },
    /// Its pause is over: it continues with this slot. `passed` slots fell into the pause.
    Resume { id: Arc<str>, revision: u64, next: Option<Next>, passed: u64 },
    /// With a newer time zone database the same timing has another next slot. Also ends a quarantine, and a wait for
    /// a handler.
    Move { id: Arc<str>, revision: u64, next: Option<Next> },
    /// All stored slots are now computed with this version of the time zone database.
    Zones { version: Arc<str> },
    /// A round of tries for an accepted trigger failed. The next round begins after `delay`.
    TriggerFail { id: Arc<str>, born: u64, run: u64, delay: u64 },
    /// An accepted trigger was submitted, or refused in this many rounds.
    TriggerDone { id: Arc<str>, born: u64, run: u64, outcome: Dispatched, rounds: u32 },
}

/// The outcome of a slot or trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Dispatched {
    /// The target accepted it this long after it was due.
    Submitted { job: u64, lateness: u64 },
    /// An earlier run had not ended.
    Overlapped { active: u64 },
    /// A retry cannot help, or there were enough of them: a dead letter is written.
    GivenUp { error: Arc<str> },
}

/// The outcome of a leader's steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Written {
    /// Whether each was applied. A step was not applied if it met another state than it expected.
    Each(Vec<bool>),
    /// Another epoch is in force, or the lease has ended: nothing changed.
    Stale,
}

/// A change by anybody but the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// Creates or updates. `guess` is used if the timing is new.
    Register {
        id: Arc<str>,
        definition: Definition,
        guess: Guess,
        max_schedules: u64,
    },
    /// Continues with this slot, unless earlier slots are being run.
    #[cfg(target_family = "wasm")]
    Begin {
        id: Arc<str>,
        next: Option<Next>,
    },
    /// Targets of a page have appeared: schedules that waited for one of them are due again.
    #[cfg(target_family = "wasm")]
    Appeared {
        targets: Vec<Arc<str>>,
    },
    Unregister {
        id: Arc<str>,
    },
    /// Drops the rest of the plan.
    Pause {
        id: Arc<str>,
        for_at_most: Option<u64>,
        reason: Option<Arc<str>>,
    },
    /// Requires this revision. `passed` slots fell into the pause.
    Resume {
        id: Arc<str>,
        revision: u64,
        guess: Guess,
        passed: u64,
        history: u64,
    },
    /// Accepts a trigger and assigns a run number. Keys are remembered for `memory` after their last use. If the
    /// trigger is not submitted in the end, its key is free again.
    Trigger {
        id: Arc<str>,
        key: Option<Arc<str>>,
        strict: bool,
        memory: u64,
    },
    /// Like the leader's step, but from the caller that submitted the trigger.
    TriggerDone {
        id: Arc<str>,
        born: u64,
        run: u64,
        outcome: Dispatched,
        history: u64,
    },
    RemoveLetter {
        number: u64,
    },
    /// Removes all that were there when it began, in bounded steps.
    PurgeLetters,
    /// Removes the object with everything in it.
    Delete,
}

/// The outcome of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Changes {
    Created,
    Updated,
    /// Register, pause, resume: it was so already. Delete: nothing existed.
    Unchanged,
    /// Done; not used for register.
    Done,
    Count(u64),
    /// There is no such schedule or letter.
    Absent,
    /// The guess was wrong. This is the backend's now.
    Now(u64),
    /// The schedule has another revision now.
    Conflict,
    /// There is no room for another schedule.
    Full {
        limit: u64,
    },
    /// The trigger was accepted, or its key is known but not its job yet.
    Accepted(Box<TriggerView>),
    /// The key of the trigger is known, and so is its job.
    Known {
        job: u64,
    },
    /// No instance has the handler.
    MissingHandler,
    /// The schedule is quarantined.
    Invalid {
        error: Arc<str>,
    },
}

/// A query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Look {
    /// Only the backend's now.
    Now,
    Get {
        id: Arc<str>,
    },
    /// By id, after this one.
    List {
        limit: usize,
        after: Option<Arc<str>>,
    },
    /// Newest first.
    History {
        id: Arc<str>,
    },
    /// Newest first, older than this one.
    Letters {
        limit: usize,
        before: Option<u64>,
    },
    Letter {
        number: u64,
    },
    /// Whether a run must still be submitted: it is in the open plan, or an accepted trigger.
    Awaits {
        id: Arc<str>,
        born: u64,
        run: u64,
    },
    Stats,
}

/// The result of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum View {
    Now(u64),
    Schedule(Option<Box<ScheduleView>>),
    /// Schedules, and whether there are more.
    Schedules(Vec<ScheduleView>, bool),
    History(Vec<HistoryView>),
    Letters(Vec<LetterView>, bool),
    Letter(Option<Box<LetterView>>),
    Awaits(bool),
    Stats(StatsView),
}

/// An object of schedules at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatsView {
    pub(crate) active: u64,
    pub(crate) paused: u64,
    pub(crate) unserved: u64,
    pub(crate) failing: u64,
    pub(crate) quarantined: u64,
    pub(crate) finished: u64,
    pub(crate) due_now: u64,
    /// How long ago the most overdue undecided slot was due, including those of failing and unserved schedules.
    pub(crate) most_overdue: Option<u64>,
    pub(crate) leader: Option<LeaderView>,
    /// The last epoch that was in force.
    pub(crate) epoch: u64,
    pub(crate) next_due: Option<u64>,
    pub(crate) letters: u64,
    /// Dead letters that were dropped because there were too many.
    pub(crate) letters_lost: u64,
    pub(crate) zones: Option<Arc<str>>,
    pub(crate) handlers: Vec<Arc<str>>,
}

/// The current leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaderView {
    pub(crate) instance: Arc<str>,
    pub(crate) epoch: u64,
    pub(crate) left: u64,
}
