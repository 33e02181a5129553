//! Hand-over under leases: waiters, holders and workers.
//!
//! Written once for everything that is handed over: the messages of a queue, and the events of a group (of a topic,
//! or of a job). Here all of them are called *messages*. A primitive implements one small trait, [`Source`], with one
//! instance per process for each queue or group. Jobs use only the receiving half: the line of waiters and the pump
//! that takes for them.

mod background;
pub(crate) mod cursor;
mod dead;
mod ending;
mod held;
pub(crate) mod observe;
mod parking;
mod patience;
mod places;
mod receive;
mod receivers;
mod renewal;
mod settle;
mod signal;
mod site;
pub(crate) mod store;
mod stream;
#[cfg(test)]
mod tests;
mod throttle;
mod worker;

pub use self::held::Receipt;
pub use self::settle::{Ack, AckMany, Bury, GiveBack, Nack, Nacked, Touch};
pub use self::worker::{HandlerError, RunningWorker, WorkerReport, WorkerStats};

pub(crate) use self::background::{Background, Control, Report};
pub(crate) use self::dead::{dead_filters, letters_limit, requeue_delay};
pub(crate) use self::ending::{Ending, Over, StopOrder};
pub(crate) use self::held::Held;
pub(crate) use self::parking::Parking;
pub(crate) use self::patience::{Impatience, patience};
pub(crate) use self::places::{Places, Standing};
pub(crate) use self::receive::{Opening, Wait, Wish, receive, shown, waits, wishes};
pub(crate) use self::receivers::{Receivers, Terms, WaitEnd};
pub(crate) use self::settle::{MAX_ERROR, MAX_REASON, Settlement, cut, cut_or_none};
pub(crate) use self::signal::{Companion, Signal};
pub(crate) use self::site::{Claims, Object, Site, Source};
pub(crate) use self::stream::{Incoming, incoming_options};
pub(crate) use self::throttle::Throttle;
pub(crate) use self::worker::{Crew, crew_options, in_one_line};
