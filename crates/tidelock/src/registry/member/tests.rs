//! Members whose requests are answered late or not at all.

use std::sync::atomic::AtomicBool;

use futures_util::FutureExt;

use super::*;
use crate::Tidelock;
use crate::bell::Bell;
use crate::keyed::handle::Handle;
use crate::keyed::store::{Changed, Get, KeyedStore, List, Listing, Object, Places, Position, Read, Span, StatsView};
use crate::registry::Registry;
use crate::registry::membership::{Membership, Register};
use crate::runtime;
use crate::time::{HOUR, MINUTE, ManualClock, Timestamp};

/// What happens to the next upsert or swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It takes effect, but its answer is lost.
    LosesTheAnswer,
    /// It has no effect, and there is no answer.
    LosesTheRequest,
    /// Its answer is held back until released.
    Hangs,
}

/// Holds back an answer.
#[derive(Debug, Default)]
struct Gate {
    reached: AtomicBool,
    opened: Notify,
}

impl Gate {
    fn hold(self: &Arc<Self>, changed: BoxFuture<'static, Result<Changed>>) -> BoxFuture<'static, Result<Changed>> {
        let gate = Arc::clone(self);
        Box::pin(async move {
            let answer = changed.await;
            gate.reached.store(true, Ordering::Release);
            gate.opened.notified().await;
            answer
        })
    }

    async fn is_reached(&self) {
        until(|| self.reached.load(Ordering::Acquire)).await;
    }
}

/// A store that fails in one of these ways, once.
#[derive(Debug)]
struct Faulty {
    store: Arc<dyn KeyedStore>,
    fault: Mutex<Fault>,
    stored: Arc<Gate>,
    /// Whether the answers to removals are held back.
    hangs_to_remove: AtomicBool,
    removed: Arc<Gate>,
}

impl Faulty {
    fn fails_next(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn has_failed(&self) -> bool {
        *self.fault.lock().unwrap() == Fault::None
    }
}

impl KeyedStore for Faulty {
    fn change(&self, object: &Object, change: Change) -> BoxFuture<'static, Result<Changed>> {
        let stores = matches!(change.action, Action::Upsert { .. } | Action::Cas { .. });
        let fault = if stores { std::mem::replace(&mut *self.fault.lock().unwrap(), Fault::None) } else { Fault::None };
        let unknown = || runtime::ready(Err(Error::new(ErrorKind::Timeout, "nobody knows")));
        if fault == Fault::LosesTheRequest {
            return unknown();
        }
        let changed = self.store.change(object, change);
        match fault {
            Fault::LosesTheAnswer => Box::pin(async move {
                changed.await?;
                unknown().await
            }),
            Fault::Hangs => self.stored.hold(changed),
            _ if !stores && self.hangs_to_remove.load(Ordering::Acquire) => self.removed.hold(changed),
            _ => changed,
        }
    }

    fn get(&self, object: &Object, get: Get) -> BoxFuture<'static, Result<Option<RecordView>>> {
        self.store.get(object, get)
    }

    fn list(&self, object: &Object, list: List) -> BoxFuture<'static, Result<Listing>> {
        self.store.list(object, list)
    }

    fn stats(&self, object: &Object) -> BoxFuture<'static, Result<StatsView>> {
        self.store.stats(object)
    }

    fn places(&self, object: &Object) -> BoxFuture<'static, Result<Places>> {
        self.store.places(object)
    }

    fn read(&self, object: &Object, read: Read) -> BoxFuture<'static, Result<Span>> {
        self.store.read(object, read)
    }

    fn holds(&self, object: &Object, place: Position) -> bool {
        self.store.holds(object, place)
    }

    fn delete(&self, object: &Object) -> BoxFuture<'static, Result<bool>> {
        self.store.delete(object)
    }

    fn bell(&self, object: &Object) -> Arc<Bell> {
        self.store.bell(object)
    }
}

struct Stage {
    clock: ManualClock,
    tide: Tidelock,
    registry: Registry<String>,
    store: Arc<Faulty>,
    /// The registry as seen by a member whose requests fail.
    handle: Handle<String>,
}

impl Stage {
    fn new() -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
        let tide = Tidelock::in_process_with(&clock);
        let registry = tide.registry::<String>("r").build().unwrap();
        let store = Arc::new(Faulty {
            store: tide.world.backend.keyed(),
            fault: Mutex::new(Fault::None),
            stored: Arc::default(),
            hangs_to_remove: AtomicBool::new(false),
            removed: Arc::default(),
        });
        let site = Site::on(&tide.world, &registry.handle.site.object, Arc::clone(&store) as _);
        let handle = Handle { site, options: Arc::clone(&registry.handle.options) };
        Self { clock, tide, registry, store, handle }
    }

    fn register(&self) -> Register<String> {
        Register::new(&self.handle, "a", &"me".to_owned())
    }

    /// A member whose record has expired, and whose next registration fails in this way.
    async fn member_that_stood_still(&self, fault: Fault) -> Membership<String> {
        let me = self.register().await.unwrap();
        self.store.fails_next(fault);
        self.clock.advance(MINUTE);
        me
    }

    /// A member whose update to "new" fails in this way, and the result of that update.
    async fn member_in_doubt_of_an_update(&self, fault: Fault) -> (Membership<String>, Result<bool>) {
        let me = self.register().await.unwrap();
        self.store.fails_next(fault);
        let update = me.update(&"new".to_owned()).await;
        (me, update)
    }

    /// The current record.
    async fn holder(&self) -> Option<(String, u64)> {
        self.registry.get("a").await.unwrap().map(|entry| (entry.value, entry.version.0))
    }

    async fn put(&self, value: &str) {
        self.registry.upsert("a", &value.to_owned()).await.unwrap();
    }
}

/// Awaited things happen soon; the timeout only ends a test that would hang.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), what).await.expect("it comes")
}

async fn until(test: impl Fn() -> bool) {
    soon(async {
        while !test() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_registration_anew_whose_answer_is_lost_is_found_again() {
    for fault in [Fault::LosesTheAnswer, Fault::LosesTheRequest] {
        let stage = Stage::new();
        let me = stage.member_that_stood_still(fault).await;
        until(|| me.rejoins() == 1).await;
        assert_eq!(stage.holder().await, Some(("me".to_owned(), me.version().0)), "{fault:?}");
        assert_eq!(me.leave().await.unwrap(), Left::Left);
        assert_eq!(stage.holder().await, None);
    }
}

#[tokio::test]
async fn an_update_whose_answer_is_lost_is_its_own() {
    for (fault, stored) in [(Fault::LosesTheAnswer, "new"), (Fault::LosesTheRequest, "me")] {
        let stage = Stage::new();
        let (me, update) = stage.member_in_doubt_of_an_update(fault).await;
        assert_eq!(update.unwrap_err().kind(), ErrorKind::Timeout);
        let before = stage.holder().await;
        assert_eq!(before.as_ref().map(|(value, _)| value.as_str()), Some(stored));
        // The next renewal finds out.
        stage.clock.advance(6 * SECOND);
        until(|| me.valid_for() > 14 * SECOND).await;
        assert_eq!(stage.holder().await, Some((stored.to_owned(), me.version().0)), "{fault:?}");
        assert_eq!((me.rejoins(), me.lost().now_or_never()), (0, None), "{fault:?}");
        assert!(me.update(&"newer".to_owned()).await.unwrap());
        assert_eq!(me.leave().await.unwrap(), Left::Left);
    }
    // So does the next update, or leaving.
    let stage = Stage::new();
    let (me, _) = stage.member_in_doubt_of_an_update(Fault::LosesTheAnswer).await;
    assert!(me.update(&"newer".to_owned()).await.unwrap());
    assert_eq!(stage.holder().await, Some(("newer".to_owned(), me.version().0)));
    assert_eq!(me.leave().await.unwrap(), Left::Left);
    let (me, _) = stage.member_in_doubt_of_an_update(Fault::LosesTheAnswer).await;
    assert_eq!(me.leave().await.unwrap(), Left::Left);
    assert_eq!(stage.holder().await, None);
    // Somebody else's record is left alone.
    let (me, _) = stage.member_in_doubt_of_an_update(Fault::LosesTheAnswer).await;
    stage.put("other").await;
    assert!(!me.update(&"newer".to_owned()).await.unwrap());
    let (me, _) = stage.member_in_doubt_of_an_update(Fault::LosesTheAnswer).await;
    stage.put("other").await;
    assert_eq!(me.leave().await.unwrap(), Left::WasLost);
    assert_eq!(stage.holder().await.unwrap().0, "other");
}

#[tokio::test]
async fn who_was_quicker_than_a_registration_anew_in_doubt_keeps_the_key() {
    let stage = Stage::new();
    let me = stage.member_that_stood_still(Fault::LosesTheRequest).await;
    until(|| stage.store.has_failed()).await;
    stage.put("other").await;
    soon(me.lost()).await;
    assert_eq!(stage.holder().await.unwrap().0, "other");
    assert_eq!(me.leave().await.unwrap(), Left::WasLost);

    // The same value, but renewed by somebody else.
    let stage = Stage::new();
    let me = stage.member_that_stood_still(Fault::LosesTheRequest).await;
    until(|| stage.store.has_failed()).await;
    let other = stage.registry.register("a", &"me".to_owned()).await.unwrap();
    stage.clock.advance(5 * SECOND);
    stage.registry.touch("a").await.unwrap();
    soon(me.lost()).await;
    assert_eq!(stage.holder().await.unwrap().1, other.version().0);
}

#[tokio::test]
async fn a_registration_that_is_answered_while_a_shutdown_begins_is_removed() {
    let stage = Stage::new();
    let first = Register::new(&stage.handle, "b", &"me".to_owned()).await.unwrap();
    stage.store.fails_next(Fault::Hangs);
    let register = tokio::spawn(stage.register().into_future());
    stage.store.stored.is_reached().await;
    stage.store.hangs_to_remove.store(true, Ordering::Release);
    let tide = stage.tide.clone();
    let shutdown = tokio::spawn(async move { tide.shutdown(HOUR).await });
    // The memberships that the shutdown has found are leaving.
    stage.store.removed.is_reached().await;
    stage.store.hangs_to_remove.store(false, Ordering::Release);
    stage.store.stored.opened.notify_one();
    let me = soon(register).await.unwrap().unwrap();
    stage.store.removed.opened.notify_one();
    soon(first.lost()).await;
    soon(me.lost()).await;
    assert!(soon(shutdown).await.unwrap().is_clean());
}

#[tokio::test]
async fn a_shutdown_removes_what_is_being_registered_anew() {
    let stage = Stage::new();
    let me = stage.member_that_stood_still(Fault::Hangs).await;
    stage.store.stored.is_reached().await;
    assert!(stage.holder().await.is_some());
    let tide = stage.tide.clone();
    let shutdown = tokio::spawn(async move { tide.shutdown(HOUR).await });
    until(|| stage.tide.world.lifecycle.is_closing()).await;
    stage.store.stored.opened.notify_one();
    assert!(soon(shutdown).await.unwrap().is_clean());
    soon(me.lost()).await;
    let get = Get { key: "a".into(), include_expired: false };
    assert_eq!(stage.store.get(&stage.handle.site.object, get).await.unwrap(), None);
}
