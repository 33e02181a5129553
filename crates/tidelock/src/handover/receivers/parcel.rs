//! Claims on their way from the pump to a receiver.

use std::sync::{Arc, Mutex};

use super::super::site::Claims;
use crate::lifecycle::{GiveBack, Hold};
use crate::runtime::{BoxFuture, ready};

/// Claims that their receiver has not seen yet. It may not see them for a long time if its future is not polled. A
/// shutdown waits for it, and gives the claims back when the grace is over. Dropping a parcel gives them back too.
#[derive(Debug)]
pub(super) struct Parcel {
    unopened: Arc<Unopened>,
    /// `None` if there are no claims.
    hold: Option<Hold>,
}

#[derive(Debug)]
struct Unopened(Mutex<Option<Claims>>);

impl Parcel {
    pub(super) fn of(claims: Claims) -> Self {
        let (site, is_empty) = (Arc::clone(claims.site()), claims.is_empty());
        let unopened = Arc::new(Unopened(Mutex::new(Some(claims))));
        let held = || Arc::clone(&unopened) as Arc<dyn GiveBack>;
        let hold = (!is_empty).then(|| site.world.lifecycle.hold_until_closed("delivery", &site.address.id, held()));
        Self { unopened, hold }
    }

    /// Its claims, unless a shutdown is over.
    pub(super) fn open(self) -> Option<Claims> {
        self.unopened.take().filter(|claims| self.hold.is_none() || !claims.site().world.lifecycle.is_closed())
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        drop(self.unopened.take());
    }
}

impl Unopened {
    fn take(&self) -> Option<Claims> {
        self.0.lock().expect("no code panics while it holds this lock").take()
    }
}

impl GiveBack for Unopened {
    fn give_back(self: Arc<Self>) -> BoxFuture<'static, ()> {
        match self.take() {
            Some(claims) => claims.give_back(),
            None => ready(()),
        }
    }
}
