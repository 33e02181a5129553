//! Steps whose values are stored.

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};
use tidelock::ErrorKind;
use tidelock::job::FailureCode;

conformance!(a_stored_step_is_not_run_again, async |world: World| {
    let job: Job<String, String> = world.open().await.job("texts").attempts(3).build().unwrap();
    let id = submit(&job, "text").await;
    let bodies = Arc::new(AtomicU32::new(0));
    let worker = job.process_with(Arc::clone(&bodies), async |bodies, ctx, _| {
        let body = async || Ok(bodies.fetch_add(1, Ordering::SeqCst));
        let first = ctx.step("one", body).await?;
        let again = ctx.step("one", async || Ok(99)).await?;
        assert_eq!(first, again, "a second call gives the stored value");
        if ctx.attempt() < 3 {
            return Err("after the step".into());
        }
        Ok(format!("{first}"))
    });
    let worker = worker.spawn();
    assert_eq!(result(&job, &id).await, "0");
    assert_eq!(bodies.load(Ordering::SeqCst), 1);
    assert_eq!(info(&job, &id).await.steps, 0, "they go when the job completes");
    within(worker.shutdown(SECOND)).await;
});

conformance!(an_error_of_a_step_is_not_stored, async |world: World| {
    let job: Job<String, String> = world.open().await.job("texts").attempts(2).build().unwrap();
    let id = submit(&job, "text").await;
    let worker = job.process(async |ctx, _| {
        let attempt = ctx.attempt();
        let value = ctx.step("one", async || if attempt == 1 { Err("no".into()) } else { Ok(attempt) }).await?;
        Ok(value.to_string())
    });
    let worker = worker.spawn();
    assert_eq!(result(&job, &id).await, "2");
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_step_under_way_twice_is_refused, async |world: World| {
    let job = texts(&world.open().await);
    let id = submit(&job, "text").await;
    let worker = job.process(async |ctx, _| {
        let inner = ctx.step("one", async || {
            let error = ctx.step("one", async || Ok(1)).await.unwrap_err();
            Ok(error.to_string())
        });
        inner.await
    });
    let worker = worker.spawn();
    let text = result(&job, &id).await;
    assert!(text.contains("one"), "{text}");
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_memo_of_another_type_fails_the_run, async |world: World| {
    let job: Job<String, String> = world.open().await.job("texts").attempts(2).build().unwrap();
    let id = submit(&job, "text").await;
    let worker = job.process(async |ctx, text| {
        if ctx.attempt() == 1 {
            ctx.step("one", async || Ok("text".to_owned())).await?;
            return Err("again".into());
        }
        ctx.step("one", async || Ok(1_u64)).await?;
        Ok(text)
    });
    let worker = worker.spawn();
    match within(job.join(id)).await.unwrap() {
        Joined::Failed(failure) => assert_eq!(failure.code, FailureCode::Undecodable),
        other => panic!("{other:?}"),
    }
    within(worker.shutdown(SECOND)).await;
});

conformance!(memos_are_bounded, async |world: World| {
    let job: Job<String, String> = world.open().await.job("texts").payload_limit(2 << 20).build().unwrap();
    let id = submit(&job, "text").await;
    let worker = job.process(async |ctx, _| {
        let large = "x".repeat((2 << 20) - 2);
        ctx.step("a", async || Ok(large.clone())).await?;
        let error = ctx.step("b", async || Ok(large.clone())).await.unwrap_err();
        let long = ctx.step(&"i".repeat(257), async || Ok(1)).await.unwrap_err();
        Ok(format!("{error} / {long}"))
    });
    let worker = worker.spawn();
    let text = result(&job, &id).await;
    assert!(text.contains("4194304") && text.contains("256"), "{text}");
    within(worker.shutdown(SECOND)).await;
});

conformance!(a_stale_run_stores_no_step, async |mut world: World| {
    let clock = world.pin();
    let job: Job<String, String> = world.open().await.job("texts").lease(SECOND).build().unwrap();
    let id = submit(&job, "text").await;
    let (gate, seen) = (Gate::default(), Arc::new(Mutex::new(None)));
    let worker = job.process_with((gate.clone(), Arc::clone(&seen)), async |(gate, seen), ctx, text| {
        if ctx.attempt() > 1 {
            return ctx.step("one", async || Ok("second".to_owned())).await;
        }
        gate.pass().await;
        let error = ctx.step("one", async || Ok("first".to_owned())).await.unwrap_err();
        *seen.lock().unwrap() =
            error.error().and_then(|error| error.downcast_ref::<tidelock::Error>()).map(tidelock::Error::kind);
        Ok(text)
    });
    // One run at a time, so that no claim is in flight while the pinned time moves.
    let worker = worker.concurrency(1).spawn();
    within(gate.entered.notified()).await;
    // As if the process had been frozen: no renewal came in time.
    clock.advance(6 * SECOND);
    until(async || info(&job, &id).await.crashes == 1).await;
    gate.open.notify_one();
    assert_eq!(result(&job, &id).await, "second");
    until(async || seen.lock().unwrap().is_some() || worker.stats().running == 0).await;
    assert_eq!(*seen.lock().unwrap(), Some(ErrorKind::LeaseLost));
    within(worker.shutdown(SECOND)).await;
});
