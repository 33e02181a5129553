//! What `docs/guarantees.md` promises of the mutex, as far as no server has to die for it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use futures_util::FutureExt;
use tidelock::mutex::{GrantEnd, Guard, Locked, Mutex, Release, Scoped};
use tidelock::{DAY, Error, ErrorKind, SECOND, Tidelock};

use crate::conformance;
use crate::harness::{World, elsewhere, scale};

const MS: Duration = Duration::from_millis(1);
/// The longest that anything here may take in real time; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Repeats a question until the answer is yes. Each question is a round trip to the backend, so this is not a hot loop.
async fn until(what: &str, mut question: impl AsyncFnMut() -> bool) {
    let asked = tokio::time::timeout(PATIENCE, async {
        while !question().await {
            tokio::task::yield_now().await;
        }
    });
    asked.await.unwrap_or_else(|_| panic!("it did not come to pass that {what}"));
}

async fn waiting(mutex: &Mutex, resource: &str, count: u64) {
    until("so many wait", async || mutex.describe(resource).await.unwrap().waiting == count).await;
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens at all")
}

fn fixed(tide: &Tidelock) -> Mutex {
    tide.mutex("m").lease(10 * SECOND).wait(DAY).fixed_lease().build().unwrap()
}

async fn held(mutex: &Mutex, resource: &str) -> Guard {
    mutex.try_lock(resource).await.unwrap().expect("nobody has it")
}

/// A waiter in a task of its own; it is in the queue when this returns.
async fn queued(mutex: &Mutex, resource: &str) -> tokio::task::JoinHandle<Guard> {
    let before = mutex.describe(resource).await.unwrap().waiting;
    let task = tokio::spawn(mutex.lock_or_err(resource).into_future());
    waiting(mutex, resource, before + 1).await;
    tokio::spawn(async move { task.await.unwrap().expect("its turn comes") })
}

conformance!(one_of_ten_that_try_at_once_has_it, async |world: World| {
    let tide = world.open().await;
    let mutex = fixed(&tide);
    for round in 0..20 {
        let resource = format!("r{round}");
        let tries = (0..10).map(|_| mutex.try_lock(&resource).into_future());
        let guards: Vec<_> = futures_util::future::join_all(tries).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(guards.iter().flatten().count(), 1);
    }
});

conformance!(increments_under_the_lock_are_not_lost, async |world: World| {
    let sum = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let mutex = world.open().await.mutex("m").wait(PATIENCE).build().unwrap();
        let sum = Arc::clone(&sum);
        // Spawned, since the future of `with_lock` is `Send`.
        tasks.push(tokio::spawn(async move {
            let scoped = mutex
                .with_lock("sum", async |_| {
                    let read = sum.load(Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    sum.store(read + 1, Ordering::SeqCst);
                })
                .await;
            assert!(matches!(scoped.unwrap(), Scoped::Ran { release: Ok(Release::Released), .. }));
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(sum.load(Ordering::SeqCst), 10);
});

conformance!(the_fence_grows_over_expiry_and_release, async |mut world: World| {
    let clock = world.pin();
    let mutex = fixed(&world.open().await);
    let mut last = 0;
    for round in 0..scale(1_000) {
        let guard = held(&mutex, "r").await;
        assert!(guard.fence() > last && guard.fence() < 1 << 53);
        last = guard.fence();
        if round % 2 == 0 {
            clock.advance(10 * SECOND);
            assert_eq!(guard.release().await.unwrap(), Release::WasLost);
        } else {
            assert_eq!(guard.release().await.unwrap(), Release::Released);
        }
    }
    assert_eq!(mutex.describe("r").await.unwrap().last_fence, Some(last));
});

conformance!(waiters_are_served_in_the_order_in_which_they_came, async |world: World| {
    let processes = [world.open().await, world.open().await, world.open().await];
    let mutexes = processes.each_ref().map(fixed);
    let first = held(&mutexes[0], "r").await;
    let order = Arc::new(StdMutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for number in 0..9 {
        let waiter = queued(&mutexes[number % 3], "r").await;
        let order = Arc::clone(&order);
        tasks.push(tokio::spawn(async move {
            let guard = waiter.await.unwrap();
            order.lock().unwrap().push((number, guard.fence()));
            assert_eq!(guard.release().await.unwrap(), Release::Released);
        }));
    }
    assert!(mutexes[1].try_lock("r").await.unwrap().is_none());
    first.release().await.unwrap();
    for task in tasks {
        within(task).await.unwrap();
    }
    let order = order.lock().unwrap();
    assert!(order.iter().map(|(number, _)| *number).eq(0..9), "{order:?}");
    assert!(order.is_sorted_by(|a, b| a.1 < b.1), "{order:?}");
});

conformance!(who_tries_does_not_overtake_who_waits, async |mut world: World| {
    let clock = world.pin();
    let mutex = fixed(&world.open().await);
    let other = fixed(&world.open().await);
    let gone = held(&mutex, "r").await;
    let waiter = queued(&mutex, "r").await;
    // At the deadline another process asks first, but the waiter comes first all the same.
    clock.advance(10 * SECOND);
    assert!(other.try_lock("r").await.unwrap().is_none());
    let guard = within(waiter).await.unwrap();
    assert!(guard.fence() > gone.fence());
});

conformance!(a_waiter_that_leaves_leaves_no_trace, async |world: World| {
    let tide = world.open().await;
    let (mutex, other) = (fixed(&tide), fixed(&world.open().await));
    let guard = held(&mutex, "r").await;
    let dropped = tokio::spawn(mutex.lock("r").into_future());
    waiting(&mutex, "r", 1).await;
    let next = queued(&other, "r").await;
    dropped.abort();
    waiting(&mutex, "r", 1).await;
    let Locked::NotAcquired(no) = mutex.lock("r").timeout(20 * MS).await.unwrap() else { panic!("it is held") };
    assert_eq!((no.resource.as_str(), no.waiting), ("r", 2));
    assert!(no.waited >= 20 * MS && no.lease_left > SECOND && no.lease_left <= 10 * SECOND, "{no:?}");
    waiting(&mutex, "r", 1).await;
    guard.release().await.unwrap();
    within(next).await.unwrap().release().await.unwrap();
    let seen = mutex.describe("r").await.unwrap();
    assert_eq!((seen.holder, seen.waiting), (None, 0));
});

conformance!(a_grant_on_its_way_to_a_dropped_waiter_reaches_the_next, async |world: World| {
    let (mutex, other) = (fixed(&world.open().await), fixed(&world.open().await));
    for round in 0..20 {
        let guard = held(&mutex, "r").await;
        let mut dropped = Box::pin(other.lock("r").into_future());
        // Joins, and is not polled any more: it cannot take what it is granted.
        until("it waits", async || {
            let _ = (&mut dropped).now_or_never();
            mutex.describe("r").await.unwrap().waiting == 1
        })
        .await;
        let next = queued(&mutex, "r").await;
        guard.release().await.unwrap();
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        drop(dropped);
        within(next).await.unwrap().release().await.unwrap();
    }
});

conformance!(a_guard_dropped_on_any_thread_is_released, async |world: World| {
    let (mutex, other) = (fixed(&world.open().await), fixed(&world.open().await));
    let guard = held(&mutex, "r").await;
    let next = queued(&other, "r").await;
    let lost = guard.lost();
    elsewhere(move || drop(guard));
    assert_eq!(within(lost).await, GrantEnd::Finished);
    drop(within(next).await.unwrap());
});

conformance!(a_dead_holder_is_followed_at_its_deadline, async |mut world: World| {
    let clock = world.pin();
    let (dead, mutex) = (fixed(&world.open().await), fixed(&world.open().await));
    let guard = held(&dead, "r").await;
    let next = queued(&mutex, "r").await;
    clock.advance(9_999 * MS);
    assert_eq!(mutex.describe("r").await.unwrap().holder.unwrap().fence, guard.fence());
    clock.advance(MS);
    let next = within(next).await.unwrap();
    assert_eq!(guard.release().await.unwrap(), Release::WasLost);
    assert_eq!(next.release().await.unwrap(), Release::Released);
});

conformance!(a_renewed_lock_keeps_its_fence, async |mut world: World| {
    let clock = world.pin();
    let mutex = world.open().await.mutex("m").lease(3 * SECOND).build().unwrap();
    let guard = held(&mutex, "r").await;
    let lost = guard.lost();
    for _ in 0..30 {
        clock.advance(SECOND);
        until("it is renewed", async || {
            mutex.describe("r").await.unwrap().holder.is_some_and(|holder| holder.lease_left == 3 * SECOND)
        })
        .await;
        until("the holder knows", async || guard.valid_for() == 2_970 * MS).await;
    }
    assert_eq!(mutex.describe("r").await.unwrap().last_fence, Some(guard.fence()));
    assert!(!guard.is_lost());
    assert_eq!(guard.release().await.unwrap(), Release::Released);
    assert_eq!(within(lost).await, GrantEnd::Finished);
});

conformance!(a_fixed_lease_ends_and_the_next_grant_is_untouched, async |mut world: World| {
    let clock = world.pin();
    let (mutex, other) = (fixed(&world.open().await), fixed(&world.open().await));
    let guard = held(&mutex, "r").await;
    assert_eq!(guard.valid_for(), 9_900 * MS);
    let lost = guard.lost();
    clock.advance(9_899 * MS);
    assert!(!guard.is_lost());
    clock.advance(MS);
    assert_eq!(within(lost).await, GrantEnd::Unproven);
    assert!(guard.is_lost() && guard.valid_for().is_zero());
    clock.advance(100 * MS);
    let next = held(&other, "r").await;
    let before = other.describe("r").await.unwrap();
    assert!(!guard.extend(DAY).await.unwrap());
    assert_eq!(guard.release().await.unwrap(), Release::WasLost);
    assert_eq!(other.describe("r").await.unwrap(), before);
    assert_eq!(next.release().await.unwrap(), Release::Released);
});

conformance!(the_truth_of_a_release_is_the_backends, async |mut world: World| {
    let clock = world.pin();
    let mutex = fixed(&world.open().await);
    let guard = held(&mutex, "r").await;
    clock.advance(9_950 * MS);
    assert!(guard.is_lost());
    assert!(!guard.extend(SECOND).await.unwrap(), "lost is final");
    assert_eq!(guard.release().await.unwrap(), Release::Released);
});

conformance!(an_extension_may_shorten, async |mut world: World| {
    let clock = world.pin();
    let mutex = fixed(&world.open().await);
    let guard = held(&mutex, "r").await;
    let lost = tokio::spawn(guard.lost());
    assert!(guard.extend(SECOND).await.unwrap());
    assert_eq!(guard.valid_for(), 990 * MS);
    assert_eq!(mutex.describe("r").await.unwrap().holder.unwrap().lease_left, SECOND);
    assert!(guard.extend(20 * SECOND).await.unwrap());
    clock.advance(15 * SECOND);
    assert_eq!(guard.valid_for(), 4_800 * MS);
    assert!(!lost.is_finished());
    clock.advance(5 * SECOND);
    assert_eq!(within(lost).await.unwrap(), GrantEnd::Unproven);
});

conformance!(a_deadline_that_comes_nearer_is_the_waiters_too, async |mut world: World| {
    let clock = world.pin();
    let (tide, elsewhere) = (world.open().await, world.open().await);
    for (resource, waiting) in [("here", &tide), ("there", &elsewhere)] {
        let guard = fixed(&tide).try_lock(resource).lease(DAY).await.unwrap().unwrap();
        let next = queued(&fixed(waiting), resource).await;
        assert!(guard.extend(300 * MS).await.unwrap());
        clock.advance(300 * MS);
        assert!(within(next).await.unwrap().fence() > guard.fence());
    }
});

conformance!(a_short_grant_after_a_long_one_is_followed_at_its_deadline, async |mut world: World| {
    let clock = world.pin();
    let processes = [world.open().await, world.open().await, world.open().await];
    for (round, [first, second, third]) in [[0, 1, 2], [0, 0, 1], [0, 1, 1], [0, 1, 0]].into_iter().enumerate() {
        let resource = format!("r{round}");
        let mutex = |process: usize| fixed(&processes[process]);
        let long = mutex(first).try_lock(&resource).lease(DAY).await.unwrap().unwrap();
        let short = tokio::spawn(mutex(second).lock_or_err(&resource).lease(300 * MS).into_future());
        waiting(&mutex(first), &resource, 1).await;
        let next = queued(&mutex(third), &resource).await;
        long.release().await.unwrap();
        let short = within(short).await.unwrap().unwrap();
        clock.advance(300 * MS);
        assert!(within(next).await.unwrap().fence() > short.fence());
    }
});

conformance!(who_is_first_because_others_left_has_it_at_the_deadline, async |mut world: World| {
    let clock = world.pin();
    let (tide, impatient, patient) = (world.open().await, world.open().await, world.open().await);
    let guard = fixed(&tide).try_lock("r").lease(2 * SECOND).await.unwrap().unwrap();
    let in_front: Vec<_> = (0..20).map(|_| tokio::spawn(fixed(&impatient).lock_or_err("r").into_future())).collect();
    waiting(&fixed(&tide), "r", 20).await;
    let next = tokio::spawn(fixed(&patient).lock_or_err("r").timeout(DAY).into_future());
    waiting(&fixed(&tide), "r", 21).await;
    in_front.iter().for_each(tokio::task::JoinHandle::abort);
    waiting(&fixed(&tide), "r", 1).await;
    clock.advance(2 * SECOND);
    assert!(within(next).await.unwrap().unwrap().fence() > guard.fence());
});

conformance!(a_call_that_is_left_alone_for_longer_than_its_lease_asks_again, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let guard = fixed(&tide).try_lock("r").lease(DAY).await.unwrap().unwrap();
    let mut left_alone = fixed(&tide).lock("r").lease(300 * MS).timeout(DAY).into_future();
    while fixed(&tide).describe("r").await.unwrap().waiting == 0 {
        assert!((&mut left_alone).now_or_never().is_none());
    }
    assert_eq!(guard.release().await.unwrap(), Release::Released);
    clock.advance(300 * MS);
    let guard = within(left_alone).await.unwrap().guard().expect("nobody else wants it");
    assert!(!guard.is_lost() && guard.valid_for() > 200 * MS, "{:?}", guard.valid_for());
    assert_eq!(guard.release().await.unwrap(), Release::Released);
});

conformance!(an_extension_that_is_asked_once_and_left_alone_holds_up_no_other, async |mut world: World| {
    let _clock = world.pin();
    let guard = fixed(&world.open().await).try_lock("r").await.unwrap().unwrap();
    let mut left_alone = Box::pin(guard.extend(20 * SECOND));
    let answer = (&mut left_alone).now_or_never();
    assert!(within(guard.extend(30 * SECOND)).await.unwrap());
    // It was sent, and its answer is there when it is polled again.
    let answer = match answer {
        Some(answer) => answer,
        None => within(left_alone).await,
    };
    assert!(answer.unwrap());
    assert_eq!(guard.valid_for(), 29_700 * MS);
});

conformance!(what_is_shown_is_the_truth_and_changes_nothing, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let mutex = tide.mutex("m").owner("Ada <ada@example.org>\n").build().unwrap();
    let seen = mutex.describe("r").await.unwrap();
    assert_eq!((seen.holder, seen.waiting, seen.last_fence), (None, 0, None));
    let guard = mutex.try_lock("r").fixed_lease().lease(SECOND).await.unwrap().unwrap();
    clock.advance(400 * MS);
    let seen = mutex.describe("r").await.unwrap();
    let holder = seen.holder.unwrap();
    assert_eq!((holder.owner.as_str(), holder.fence), ("Ada <ada@example.org>\n", guard.fence()));
    assert_eq!((holder.lease_left, seen.last_fence), (600 * MS, Some(guard.fence())));
    clock.advance(600 * MS);
    let seen = mutex.describe("r").await.unwrap();
    assert_eq!((seen.holder, seen.last_fence), (None, Some(guard.fence())));
});

conformance!(the_closure_and_the_release_do_not_mask_each_other, async |mut world: World| {
    let clock = world.pin();
    let mutex = fixed(&world.open().await);
    let lose = async |guard: &Guard| {
        clock.advance(10 * SECOND);
        assert_eq!(guard.lost().await, GrantEnd::Unproven);
        Err::<(), _>("the closure's own")
    };
    let Scoped::Ran { value, release } = mutex.with_lock("r", lose).await.unwrap() else { panic!("it was free") };
    assert_eq!((value, release.unwrap()), (Err("the closure's own"), Release::WasLost));
    let guard = held(&mutex, "r").await;
    let busy = mutex.lock("r").timeout(Duration::ZERO).with(async |_| ()).await.unwrap();
    assert!(matches!(busy, Scoped::NotAcquired(_)));
    guard.release().await.unwrap();
});

conformance!(
    // A panic would end the page.
    #[cfg(not(target_family = "wasm"))]
    the_lock_is_free_when_the_closure_panicked,
    async |world: World| {
        let mutex = fixed(&world.open().await);
        let panicking = mutex.clone();
        let panics =
            async move { panicking.with_lock("r", async |_| panic!("as meant")).await.map(|_: Scoped<()>| ()) };
        assert!(tokio::spawn(panics).await.unwrap_err().is_panic());
        let guard = within(mutex.lock_or_err("r").into_future()).await.unwrap();
        guard.release().await.unwrap();
    }
);

conformance!(the_lock_is_free_when_the_closure_was_dropped, async |world: World| {
    let mutex = fixed(&world.open().await);
    let (mutex_in, (tell, told)) = (mutex.clone(), tokio::sync::oneshot::channel());
    let task = tokio::spawn(async move {
        let run = async move |_: &Guard| {
            tell.send(()).unwrap();
            std::future::pending::<()>().await;
        };
        mutex_in.with_lock("r", run).await
    });
    told.await.unwrap();
    task.abort();
    drop(within(mutex.lock_or_err("r").into_future()).await.unwrap());
});

conformance!(not_acquired_is_a_value_or_an_error_that_says_all, async |mut world: World| {
    let clock = world.pin();
    let mutex = fixed(&world.open().await);
    let _guard = held(&mutex, "r").await;
    clock.advance(4 * SECOND);
    let Locked::NotAcquired(no) = mutex.lock("r").timeout(Duration::ZERO).await.unwrap() else { panic!("it is held") };
    assert_eq!((no.waited, no.lease_left, no.waiting), (Duration::ZERO, 6 * SECOND, 0));
    let late = tokio::spawn(mutex.lock_or_err("r").timeout(2 * SECOND).into_future());
    waiting(&mutex, "r", 1).await;
    clock.advance(2 * SECOND);
    let error = within(late).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LockNotAcquired);
    assert!(error.is_retryable());
    let no = error.not_acquired().unwrap();
    assert_eq!((no.waited, no.lease_left, no.waiting), (2 * SECOND, 4 * SECOND, 1));
    waiting(&mutex, "r", 0).await;
});

/// Whatever comes first, by the clock that the test moves.
fn refused(error: &Error, kind: ErrorKind, value: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(value), "{error}");
}

conformance!(what_is_out_of_range_is_refused_and_stores_nothing, async |world: World| {
    let tide = world.open().await;
    let too_long = 3_650 * DAY + MS;
    for (lease, shown) in [
        (Duration::ZERO, "0ns"),
        (99 * MS, "99ms"),
        (Duration::from_micros(1_500_500), "1.5005s"),
        (too_long, "315360000.001s"),
    ] {
        refused(&tide.mutex("m").lease(lease).build().unwrap_err(), ErrorKind::InvalidConfiguration, shown);
        let mutex = tide.mutex("m").build().unwrap();
        refused(&mutex.lock("r").lease(lease).await.unwrap_err(), ErrorKind::InvalidArgument, shown);
        refused(&mutex.try_lock("r").lease(lease).await.unwrap_err(), ErrorKind::InvalidArgument, shown);
    }
    refused(&tide.mutex("m").wait(too_long).build().unwrap_err(), ErrorKind::InvalidConfiguration, "wait");
    refused(&tide.mutex("m").owner("").build().unwrap_err(), ErrorKind::InvalidConfiguration, "owner");
    refused(&tide.mutex("m").owner(&"o".repeat(257)).build().unwrap_err(), ErrorKind::InvalidConfiguration, "257");
    refused(&tide.mutex("").build().unwrap_err(), ErrorKind::InvalidConfiguration, "id");
    let mutex = tide.mutex("m").build().unwrap();
    refused(&mutex.lock("r").timeout(too_long).await.unwrap_err(), ErrorKind::InvalidArgument, "timeout");
    refused(&mutex.lock("").await.unwrap_err(), ErrorKind::InvalidArgument, "resource");
    refused(&mutex.describe("a\0").await.unwrap_err(), ErrorKind::InvalidArgument, "NUL");
    refused(&mutex.tenant("").lock("r").await.unwrap_err(), ErrorKind::InvalidArgument, "tenant");
    assert_eq!(mutex.describe("r").await.unwrap().last_fence, None);

    let guard = held(&mutex, "r").await;
    for lease in [Duration::ZERO, 99 * MS, Duration::from_nanos(100_000_001), too_long] {
        assert_eq!(guard.extend(lease).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert!(mutex.describe("r").await.unwrap().holder.unwrap().lease_left > 8 * SECOND);
});

conformance!(long_leases_are_kept, async |mut world: World| {
    let clock = world.pin();
    let mutex = world.open().await.mutex("m").fixed_lease().build().unwrap();
    for lease in [MS, 30 * DAY, 3_650 * DAY] {
        let guard = mutex.try_lock("r").lease(lease).await.unwrap().unwrap();
        clock.advance(lease.saturating_sub(MS));
        assert!(mutex.try_lock("r").await.unwrap().is_none());
        clock.advance(MS);
        let next = mutex.try_lock("r").await.unwrap().unwrap();
        assert!(next.fence() > guard.fence());
        next.release().await.unwrap();
    }
});

conformance!(names_that_look_alike_do_not_exclude_each_other, async |world: World| {
    let tide = world.open().await;
    let build = |id: &str| tide.mutex(id).fixed_lease().build().unwrap();
    let mut guards = Vec::new();
    for (id, resource) in [("a", "b:c"), ("a:b", "c"), ("a/b", "c"), ("a", "b/c"), ("a", "b%2Fc"), ("A", "b:c")] {
        guards.push(held(&build(id), resource).await);
    }
    guards.push(held(&build("a").tenant("other"), "b:c").await);
    let long = |tail: &str| format!("{}{tail}", "é".repeat(1_000));
    guards.push(held(&build("a"), &long("1")).await);
    guards.push(held(&build("a"), &long("2")).await);
    assert_eq!(guards[8].resource(), long("2"));
    assert!(build("a").try_lock(&long("1")).await.unwrap().is_none());
    assert!(build("a:b").try_lock("c").await.unwrap().is_none(), "two handles with one id exclude each other");
});

conformance!(many_resources_are_many_locks, async |world: World| {
    let mutex = fixed(&world.open().await);
    let mut fences = HashSet::new();
    let mut guards = Vec::new();
    for number in 0..scale(2_000) {
        let guard = held(&mutex, &format!("{number}{}", "x".repeat(2_000))).await;
        fences.insert(guard.fence());
        guards.push(guard);
    }
    assert_eq!(guards.len(), scale(2_000));
    for guard in guards {
        assert_eq!(guard.release().await.unwrap(), Release::Released);
    }
});

conformance!(a_shutdown_ends_waiting_and_lets_holders_finish, async |world: World| {
    let tide = world.open().await;
    let mutex = fixed(&tide);
    let guard = held(&mutex, "r").await;
    let waiter = tokio::spawn(mutex.lock("r").into_future());
    waiting(&mutex, "r", 1).await;
    let closing = tokio::spawn(async move { tide.shutdown(PATIENCE).await });
    assert_eq!(within(waiter).await.unwrap().unwrap_err().kind(), ErrorKind::ShuttingDown);
    // A handler that is finishing can take what is free, but does not wait.
    let other = mutex.try_lock("other").await.unwrap().unwrap();
    assert!(mutex.try_lock("r").await.unwrap().is_none());
    assert_eq!(within(mutex.lock("r").into_future()).await.unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert!(mutex.describe("r").await.unwrap().holder.is_some());
    assert!(!closing.is_finished());
    assert_eq!(other.release().await.unwrap(), Release::Released);
    assert_eq!(guard.release().await.unwrap(), Release::Released);
    assert!(within(closing).await.unwrap().is_clean());
    assert_eq!(mutex.try_lock("other").await.unwrap_err().kind(), ErrorKind::ShuttingDown);
});

conformance!(a_shutdown_renews_until_its_deadline_and_tells_what_it_left, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let mutex = tide.mutex("m").lease(3 * SECOND).build().unwrap();
    let guard = held(&mutex, "r").await;
    let lost = tokio::spawn(guard.lost());
    let door = tide.clone();
    let closing = tokio::spawn(async move { door.shutdown(2 * SECOND).await });
    until("it closes", async || tide.ping().await.is_err()).await;
    clock.advance(SECOND);
    until("it is renewed", async || guard.valid_for() == 2_970 * MS).await;
    clock.advance(SECOND);
    let report = within(closing).await.unwrap();
    assert_eq!(report.left.len(), 1);
    assert_eq!((report.left[0].kind, report.left[0].object.as_str(), report.left[0].count), ("lock", "m", 1));
    clock.advance(3 * SECOND);
    assert_eq!(within(lost).await.unwrap(), GrantEnd::Unproven);
});

conformance!(waiters_of_a_live_process_stay_in_the_queue, async |mut world: World| {
    let clock = world.pin();
    let (mutex, other) = (fixed(&world.open().await), fixed(&world.open().await));
    let guard = mutex.try_lock("r").lease(DAY).await.unwrap().unwrap();
    let next = queued(&other, "r").await;
    // Far beyond the lease of a waiter; each refresh is answered before the next is due.
    for _ in 0..12 {
        clock.advance(5 * SECOND);
        until("time has come here", async || mutex.describe("r").await.unwrap().waiting == 1).await;
        settle(&other).await;
    }
    guard.release().await.unwrap();
    drop(within(next).await.unwrap());
});

/// Waits until the process of `mutex` has sent what was due: its connection answers in order.
async fn settle(mutex: &Mutex) {
    for _ in 0..20 {
        mutex.describe("settle").await.unwrap();
        tokio::task::yield_now().await;
    }
}
