//! What a backend must do for schedulers: requests and outcomes as plain data.
//!
//! A backend knows no cron: slots are computed by whoever asks, from the backend's *now*, and stored by steps that compare
//! what they were computed from. Times are milliseconds: durations as they were asked for, instants of the backend's clock
//! since the Unix epoch. Revisions, epochs and run numbers are below 2^53.

mod past;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use self::past::{Happened, HistoryView, LetterView};

use crate::bell::Bell;
use crate::error::Result;
use crate::name::Address;
use crate::opaque::opaque;
use crate::runtime::BoxFuture;

/// How long handlers are announced by one beat.
pub(crate) const ANNOUNCED: u64 = 15_000;
/// How long a finished schedule is kept.
pub(crate) const FINISHED_KEPT: u64 = 7 * 86_400_000;
/// How long a dead letter is kept.
pub(crate) const LETTER_KEPT: u64 = 7 * 86_400_000;
/// An accepted trigger that was not confirmed for so long is a leader's to submit.
pub(crate) const TRIGGER_PATIENCE: u64 = 1_000;
/// Dead letters that are kept before a leader has said how many.
pub(crate) const LETTERS_UNTOLD: u64 = 5_000;
/// Overdue transitions that one step carries out.
pub(crate) const STEP: usize = 200;
/// The most bytes of definitions that one answer carries (one may be as large on its own).
pub(crate) const MAX_BYTES: usize = 4 * 1_024 * 1_024;

/// What an object of schedules does for its handles. One object per tenant and scheduler name.
///
/// Every method is one atomic step on the backend; a mutating one is repeated after a lost reply until it is answered or
/// the request timeout is over.
pub(crate) trait SchedulerStore: Send + Sync {
    /// A sign of life of a started instance: leads, announces its handlers, and as the leader takes what is due.
    fn beat(&self, scheduler: &Address, beat: Beat) -> BoxFuture<'static, Result<Beaten>>;
    /// A started instance stops: gives up what it leads, and withdraws its handlers. Other instances are rung for.
    fn leave(&self, scheduler: &Address, instance: Arc<str>) -> BoxFuture<'static, Result<()>>;
    /// What the leader decided and did, each on its own, in order. With an older epoch nothing changes.
    fn write(&self, scheduler: &Address, write: Write) -> BoxFuture<'static, Result<Written>>;
    /// Changes schedules from outside of the leader.
    fn change(&self, scheduler: &Address, change: Change) -> BoxFuture<'static, Result<Changes>>;
    /// Looks, after carrying out what is overdue; changes no outcome.
    fn look(&self, scheduler: &Address, look: Look) -> BoxFuture<'static, Result<View>>;
    /// What rings when a started instance of this process should beat again: for the leader because something is due
    /// earlier than it knew, for the others because leadership is free. One per object and process, alive while somebody
    /// holds it.
    fn bell(&self, scheduler: &Address) -> Arc<Bell>;
}

opaque!(SchedulerStore);

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beat {
    /// Names the instance: new at each start.
    pub(crate) instance: Arc<str>,
    /// Announced for [`ANNOUNCED`] from now. Schedules that waited for one of them are due again.
    pub(crate) handlers: Vec<Arc<str>>,
    pub(crate) wish: Wish,
    /// Of a leader: at most so many schedules that are due.
    pub(crate) batch: usize,
    /// Of a leader: what it has under way, which is not shown.
    pub(crate) busy: Busy,
}

/// Schedules by id, and triggers by birth and run number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Busy {
    pub(crate) schedules: Vec<Arc<str>>,
    pub(crate) triggers: Vec<(u64, u64)>,
}

/// What an instance wishes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wish {
    /// The leader if there is none. Taking the lease and raising the epoch is one.
    Lead { lease: u64 },
    /// The leader that it is. Does not take leadership anew.
    Renew { epoch: u64, lease: u64 },
    /// Nothing but heard.
    Announce,
}

/// The answer to a beat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beaten {
    /// The backend's now.
    pub(crate) now: u64,
    pub(crate) role: Role,
}

/// What an instance is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    Leader {
        epoch: u64,
        /// Active and failing ones that are due, earliest first, and paused ones whose pause is over; behind all of them those
        /// whose open plan begins with a catch-up run.
        due: Vec<DueView>,
        /// Accepted triggers that nobody confirmed in time.
        triggers: Vec<TriggerView>,
        /// When the next schedule or trigger is due, of those that are neither shown nor under way.
        next: Option<u64>,
        /// The zone database that stored slots were computed with; `None` before the first leader said so.
        zones: Option<Arc<str>>,
    },
    /// Another one leads for so long, unless it renews. With a wish to renew: leadership is lost.
    Follower { left: u64 },
    /// Nobody leads, and it did not wish to. With a wish to renew: leadership is lost.
    Free,
}

/// A schedule that is due, and whether somebody alive has its handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DueView {
    pub(crate) schedule: ScheduleView,
    /// True for a job target.
    pub(crate) served: bool,
}

/// What a schedule is, as its definition says: opaque to every backend but for equality and the name of its handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// The parsed expression, zone, period, offset, instant, jitter: in one canonical form.
    pub(crate) timing: Vec<u8>,
    /// Policies, target, input, job options, meta: in one canonical form.
    pub(crate) content: Vec<u8>,
    /// Of a handler target.
    pub(crate) handler: Option<Arc<str>>,
}

/// The next slot, and when it is due: the slot and its jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Next {
    pub(crate) slot: u64,
    pub(crate) due: u64,
}

/// A next slot that was computed from a guess of the backend's now: right if `from <= now < until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Guess {
    pub(crate) from: u64,
    pub(crate) until: u64,
    /// `None`: there is no slot left.
    pub(crate) next: Option<Next>,
}

/// A schedule as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScheduleView {
    pub(crate) id: Arc<str>,
    /// The revision with which it was created: tells it from others of that id.
    pub(crate) born: u64,
    /// Raised by each update, pause and resume. Revisions grow over all schedules of the object, and over unregistering.
    pub(crate) revision: u64,
    /// The revision of its present timing.
    pub(crate) timing_revision: u64,
    pub(crate) definition: Definition,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    pub(crate) next: Option<Next>,
    /// The last run number that was given.
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
    /// The first of them has this number, the others follow.
    pub(crate) first_run: u64,
    /// Told with the first slot of the plan; 0 once that was confirmed.
    pub(crate) missed: u64,
    pub(crate) decided_at: u64,
    /// As at the decision: content and timing revision. An update does not change them.
    pub(crate) content: Vec<u8>,
    pub(crate) handler: Option<Arc<str>>,
    pub(crate) timing_revision: u64,
}

/// A slot to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlannedSlot {
    pub(crate) slot: u64,
    pub(crate) due: u64,
    /// Otherwise it is caught up.
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
    /// As at the acceptance.
    pub(crate) content: Vec<u8>,
    pub(crate) handler: Option<Arc<str>>,
}

/// What a leader writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Write {
    pub(crate) instance: Arc<str>,
    pub(crate) epoch: u64,
    pub(crate) steps: Vec<Step>,
    /// Entries of history that a schedule keeps, and dead letters that the object keeps: the leader's options.
    pub(crate) history: u64,
    pub(crate) max_letters: u64,
}

/// One thing that a leader decided or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Moves the next slot and stores the plan. Only at this revision, with this next slot, without an open plan, active
    /// or failing or unserved. Gives each slot of the plan the next run number.
    Decide {
        id: Arc<str>,
        revision: u64,
        expected: u64,
        /// The instant of which it was judged: when the plan was decided.
        as_of: u64,
        /// `None`: there is no slot left; with an empty plan the schedule is finished.
        next: Option<Next>,
        slots: Vec<PlannedSlot>,
        /// Slots that are not run because they were missed, or for which nobody has the handler.
        missed: u64,
        missing_handler: u64,
    },
    /// Takes the first slot off the plan, if it is the one with this number; success clears failures.
    Confirm { id: Arc<str>, born: u64, run: u64, outcome: Dispatched },
    /// A round of tries for the first slot of the plan failed: again so long after now.
    Fail { id: Arc<str>, born: u64, run: u64, error: Arc<str>, delay: u64 },
    /// Nobody has its handler: not due until somebody announces it.
    Unserve { id: Arc<str>, revision: u64, handler: Arc<str> },
    /// It cannot be read. A paused one only when its pause is over; not a finished one.
    Quarantine { id: Arc<str>, revision: u64, error: Arc<str> },
    /// Its pause is over: goes on with this slot. `passed` slots were in the pause.
    Resume { id: Arc<str>, revision: u64, next: Option<Next>, passed: u64 },
    /// The same timing has another next slot by a newer zone database. Also ends a quarantine, and a wait for a handler.
    Move { id: Arc<str>, revision: u64, next: Option<Next> },
    /// All stored slots are computed with this zone database.
    Zones { version: Arc<str> },
    /// A round of tries for an accepted trigger failed: again so long after now.
    TriggerFail { id: Arc<str>, born: u64, run: u64, delay: u64 },
    /// An accepted trigger was submitted, or refused in so many rounds.
    TriggerDone { id: Arc<str>, born: u64, run: u64, outcome: Dispatched, rounds: u32 },
}

/// What became of a slot or trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Dispatched {
    /// The target accepted it so long after it was due.
    Submitted { job: u64, lateness: u64 },
    /// An earlier run was not over.
    Overlapped { active: u64 },
    /// Repeating cannot cure it, or was tried often enough: a dead letter is written.
    GivenUp { error: Arc<str> },
}

/// What became of a leader's steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Written {
    /// Whether each was carried out; one that was not met something else than it expected.
    Each(Vec<bool>),
    /// Another epoch is in force, or the lease is over: nothing changed.
    Stale,
}

/// A change from outside of the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// Creates or updates. `guess` is used where the timing is new.
    Register {
        id: Arc<str>,
        definition: Definition,
        guess: Guess,
        max_schedules: u64,
    },
    /// Goes on with this slot, unless slots before it are being run.
    #[cfg(target_family = "wasm")]
    Begin {
        id: Arc<str>,
        next: Option<Next>,
    },
    /// Targets came that a page knows of: schedules that waited for one of them are due again.
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
    /// Only at this revision. `passed` slots were in the pause.
    Resume {
        id: Arc<str>,
        revision: u64,
        guess: Guess,
        passed: u64,
        history: u64,
    },
    /// Accepts a trigger and gives it a run number. Keys are remembered for `memory` from their last use; one whose trigger
    /// was not submitted in the end is free again.
    Trigger {
        id: Arc<str>,
        key: Option<Arc<str>>,
        strict: bool,
        memory: u64,
    },
    /// As the leader's step, by whoever submitted the trigger.
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
    /// Removes the object and all about it.
    Delete,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Changes {
    Created,
    Updated,
    /// Of a register, a pause or a resume: it was so already; of a delete: nothing was there.
    Unchanged,
    /// Of everything but a register: it is done.
    Done,
    Count(u64),
    /// There is no such schedule or letter.
    Absent,
    /// The guess was wrong: this is the backend's now.
    Now(u64),
    /// The schedule has another revision by now.
    Conflict,
    /// It would be one schedule too many.
    Full {
        limit: u64,
    },
    /// A trigger was accepted, or its key was known and its job not yet.
    Accepted(Box<TriggerView>),
    /// The key of a trigger was known, and so is its job.
    Known {
        job: u64,
    },
    /// Nobody has the handler.
    MissingHandler,
    /// The schedule is quarantined.
    Invalid {
        error: Arc<str>,
    },
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Look {
    /// Nothing but the backend's now.
    Now,
    Get {
        id: Arc<str>,
    },
    /// By id, behind this one.
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
    /// Whether a run is still to be submitted: in the open plan, or as an accepted trigger.
    Awaits {
        id: Arc<str>,
        born: u64,
        run: u64,
    },
    Stats,
}

/// An answer.
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
    /// How long the most overdue undecided slot is due, failing and unserved ones included.
    pub(crate) most_overdue: Option<u64>,
    pub(crate) leader: Option<LeaderView>,
    /// The last epoch that was held.
    pub(crate) epoch: u64,
    pub(crate) next_due: Option<u64>,
    pub(crate) letters: u64,
    /// Dead letters that went because there were too many.
    pub(crate) letters_lost: u64,
    pub(crate) zones: Option<Arc<str>>,
    pub(crate) handlers: Vec<Arc<str>>,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaderView {
    pub(crate) instance: Arc<str>,
    pub(crate) epoch: u64,
    pub(crate) left: u64,
}
