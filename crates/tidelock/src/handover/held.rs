//! A holder's side of a hand-over: how long its lease can be proven, and its receipt.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::site::{Object, Site};
use super::store::{Action, Handed, Settle};
use crate::lifecycle::{self, Hold};
use crate::proof::{Moment, Proof};
use crate::queue::MessageId;
use crate::runtime::BoxFuture;
use crate::time::{SECOND, Tick};

/// Everything needed to settle a delivery from anywhere: it can be stored, and sent to another process.
///
/// It is valid until the lease of the delivery ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Receipt {
    pub(crate) tenant: Arc<str>,
    /// The queue, or the topic.
    #[serde(alias = "queue", alias = "topic")]
    pub(crate) object: Arc<str>,
    /// Only for groups of a topic.
    #[serde(default)]
    pub(crate) group: Option<Arc<str>>,
    pub(crate) id: MessageId,
    pub(crate) fence: u64,
    /// The lease with which it was taken, in milliseconds.
    pub(crate) lease: u64,
}

impl Receipt {
    /// The message's id; for an event, the number that identifies it within its topic.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// The fencing token of the delivery.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// The length of its lease.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease)
    }
}

/// One hand-over in this process: its fence, and how long its lease can be proven.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) site: Arc<Site>,
    pub(crate) id: u64,
    pub(crate) fence: u64,
    /// The lease with which it was taken, in milliseconds.
    pub(crate) lease: u64,
    /// From the handle that took it.
    pub(crate) max_nack_delay: Duration,
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Debug)]
struct State {
    /// `None` once it was seen to be over.
    right: Option<Right>,
    /// The holder has finished or given it back. From the moment that this is sent, somebody else may hold it.
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Right {
    proof: Proof,
    /// When the last request to set its lease was sent.
    asked: Tick,
}

impl Held {
    pub(crate) fn new(site: &Arc<Site>, handed: &Handed, asked: Moment, lease: u64, max_nack_delay: Duration) -> Self {
        Self {
            site: Arc::clone(site),
            id: handed.id,
            fence: handed.fence,
            lease,
            max_nack_delay,
            state: Mutex::new(State {
                right: Some(Right { proof: proof(asked, lease), asked: asked.tick }),
                ended: false,
            }),
            moved: Notify::new(),
        }
    }

    /// Message and hand-over as one text.
    pub(crate) fn delivery_id(&self) -> String {
        format!("{}.{}", self.id, self.fence)
    }

    pub(crate) fn receipt(&self) -> Receipt {
        let Site { address, object, .. } = &*self.site;
        let group = if let Object::Group(group) = object { Some(Arc::clone(group)) } else { None };
        Receipt {
            tenant: Arc::clone(&address.tenant),
            object: Arc::clone(&address.id),
            group,
            id: MessageId(self.id),
            fence: self.fence,
            lease: self.lease,
        }
    }

    /// Makes a shutdown wait for this hand-over, and give it back at the end of the grace.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        let at_close = Arc::clone(self) as Arc<dyn lifecycle::GiveBack>;
        self.site.world.lifecycle.hold_until_closed("delivery", &self.site.address.id, at_close)
    }

    pub(crate) fn settle(&self, action: Action) -> Settle {
        Settle { id: self.id, fence: self.fence, action }
    }

    /// A touch is about to be sent. Until its answer, only the shorter of the two leases is certain.
    pub(crate) fn touching(&self, asked: Moment, lease: u64) {
        if let Some(right) = &mut self.lock().right {
            right.proof.shorten(asked, Duration::from_millis(lease));
            right.asked = asked.tick;
        }
        self.moved.notify_waiters();
    }

    /// Records the answer of a touch that was sent at `asked`.
    pub(crate) fn touched(&self, asked: Moment, lease: u64, held: bool) {
        let mut state = self.lock();
        // A right that was seen to be over never comes back.
        let Some(right) = &mut state.right else { return };
        if !held {
            state.right = None;
        } else if asked.tick < right.asked {
            // Another touch was sent since, and the order in which both were carried out is unknown.
            right.proof.shorten(asked, Duration::from_millis(lease));
        } else {
            right.proof = proof(asked, lease);
        }
        drop(state);
        self.moved.notify_waiters();
    }

    pub(crate) fn lost(&self) {
        self.lock().right = None;
        self.moved.notify_waiters();
    }

    /// The holder has finished, or is treated as finished: the settle that ends the hand-over is about to be sent.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.moved.notify_waiters();
    }

    /// How much longer the holder may act.
    pub(crate) fn lease_left(&self) -> Duration {
        if self.lock().ended { Duration::ZERO } else { self.proven_left() }
    }

    /// How long it is certain that nobody else holds it, unless the settle that ends it is carried out earlier.
    pub(crate) fn proven_left(&self) -> Duration {
        let now = Moment::of(self.site.clock());
        self.lock().right.map_or(Duration::ZERO, |right| right.proof.left(now))
    }

    pub(crate) async fn until_lost(&self) {
        loop {
            let moved = self.moved.notified();
            let now = Moment::of(self.site.clock());
            let right = {
                let state = self.lock();
                state.right.filter(|right| !state.ended && !right.proof.left(now).is_zero())
            };
            let Some(Right { proof, .. }) = right else { return };
            // Checks once a second, because timers stop while a machine sleeps.
            let next = proof.until().min(now.tick.plus(SECOND));
            tokio::select! {
                () = self.site.clock().sleep_until(next) => {}
                () = moved => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

fn proof(asked: Moment, lease: u64) -> Proof {
    Proof::new(asked, Duration::from_millis(lease))
}

impl lifecycle::GiveBack for Held {
    fn give_back(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.end();
            // The process is ending. If this fails, the lease ends the hand-over.
            let _ = self.site.settle(vec![self.settle(Action::GiveBack)]).await;
        })
    }
}
