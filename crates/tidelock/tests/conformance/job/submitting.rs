//! Submitting, and how a waiting job is shown.

use super::*;
use tidelock::{ErrorKind, HOUR};

conformance!(a_submitted_job_is_shown_as_it_was_given, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    let text = "input".to_owned();
    let request = job.submit(&text).delay(5 * SECOND).priority(7).ordering_key("line").dedup_key("key");
    let id = request.meta("source", &"test").await.unwrap().id;
    let info = info(&job, &id).await;
    assert_eq!((info.state, info.attempt, info.failures, info.priority), (JobState::Submitted, 0, 0, 7));
    assert_eq!((info.submitted_at, info.due), (clock.now(), clock.now() + 5 * SECOND));
    assert_eq!((info.dedup_key.as_deref(), info.ordering_key.as_deref()), (Some("key"), Some("line")));
    assert_eq!(info.meta.get("source").unwrap(), "test");
    assert_eq!(info.input.decode::<String>().unwrap(), text);
    assert_eq!(info.expires_at, Some(clock.now() + 5 * SECOND + 7 * tidelock::DAY));
    assert!(info.result.is_none() && info.started_at.is_none() && info.finished_at.is_none());
});

conformance!(a_batch_is_accepted_whole_or_not_at_all, async |world: World| {
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").max_depth(3).build().unwrap();
    let texts: Vec<String> = (0..5).map(|number| number.to_string()).collect();
    let error = job.submit_many(texts.iter().map(|text| job.submit(text))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CapacityReached);
    assert!(error.is_retryable(), "a depth falls by itself");
    assert_eq!(stats(&job).await.ready, 0);
    let sent = job.submit_many(texts[..3].iter().map(|text| job.submit(text))).await.unwrap();
    assert!(sent.windows(2).all(|two| two[0].id < two[1].id), "{sent:?}");
    assert_eq!(job.submit(&texts[0]).await.unwrap_err().kind(), ErrorKind::CapacityReached);
    let listed = job.list(JobFilter::Ready).await.unwrap().items;
    assert_eq!(
        listed.iter().map(|item| item.id).collect::<Vec<_>>(),
        sent.iter().map(|one| one.id).collect::<Vec<_>>()
    );
});

conformance!(what_has_expired_takes_no_room_however_much_it_is, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").max_wait(SECOND).build().unwrap();
    let limited: Job<String, String> = tide.job("texts").max_depth(1).build().unwrap();
    // More than one step carries out.
    let text = "expired".to_owned();
    job.submit_many((0..450).map(|_| job.submit(&text))).await.unwrap();
    clock.advance(SECOND);
    limited.submit(&text).await.unwrap();
    assert_eq!(limited.submit(&text).await.unwrap_err().kind(), ErrorKind::CapacityReached);
});

conformance!(the_payload_limit_counts_input_and_meta, async |world: World| {
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").payload_limit(20).build().unwrap();
    job.submit(&"x".repeat(18)).await.unwrap();
    let error = job.submit(&"x".repeat(19)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    assert!(error.to_string().contains("21") && error.to_string().contains("20"), "{error}");
    let error =
        job.submit(&"x".repeat(10)).meta("a", &1).await.map(drop).and(job.submit(&"x".repeat(12)).meta("a", &1).await);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::PayloadTooLarge);
    assert_eq!(stats(&job).await.ready, 2);
});

conformance!(a_check_refuses_before_anything_is_sent, async |world: World| {
    let tide = world.open().await;
    let check = |text: &String| if text.is_empty() { Err("empty") } else { Ok(()) };
    let job: Job<String, String> = tide.job("texts").check(check).build().unwrap();
    let error = job.submit(&String::new()).dedup_key("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert!(!job.submit(&"good".to_owned()).dedup_key("k").await.unwrap().duplicate, "no key was used");
    let (good, bad) = ("good".to_owned(), String::new());
    let error = job.submit_many([job.submit(&good), job.submit(&bad)]).await.unwrap_err();
    assert!(error.to_string().contains('1'), "names the item: {error}");
    assert_eq!(stats(&job).await.totals.submitted, 1);
});

conformance!(tenants_share_nothing, async |world: World| {
    let job = texts(&world.open().await);
    let other = job.tenant("other");
    let id = submit(&job, "text").await;
    assert!(other.get(id).await.unwrap().is_none());
    assert_eq!(stats(&other).await.ready, 0);
});

conformance!(a_delayed_job_starts_when_it_is_due, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    let seen = Seen::default();
    let worker = job.process_with(seen.clone(), async |seen, _, text| {
        seen.add(&text);
        Ok(text)
    });
    let worker = worker.spawn();
    let soon = job.submit(&"soon".to_owned()).delay(MS).await.unwrap().id;
    let at = job.submit(&"at".to_owned()).at(clock.now() + HOUR).await.unwrap().id;
    let far = job.submit(&"far".to_owned()).delay(3_650 * tidelock::DAY).max_wait(None).await.unwrap().id;
    assert_eq!(stats(&job).await.delayed, 3);
    clock.advance(MS);
    assert_eq!(result(&job, &soon).await, "soon");
    clock.advance(HOUR.checked_sub(2 * MS).unwrap());
    assert_eq!(stats(&job).await.delayed, 2);
    clock.advance(MS);
    assert_eq!(result(&job, &at).await, "at");
    clock.advance((3_650 * tidelock::DAY).checked_sub(HOUR).unwrap());
    assert_eq!(result(&job, &far).await, "far");
    assert_eq!(seen.all(), ["soon", "at", "far"]);
    within(worker.shutdown(SECOND)).await;
});

conformance!(an_instant_in_the_past_is_now, async |mut world: World| {
    let clock = world.pin();
    let job = texts(&world.open().await);
    let past = tidelock::Timestamp::from_millis(5);
    let id = job.submit(&"text".to_owned()).at(past).await.unwrap().id;
    assert_eq!(info(&job, &id).await.due, clock.now());
});

conformance!(what_is_not_started_in_time_ends_expired, async |mut world: World| {
    let clock = world.pin();
    let job: Job<String, String> = world.open().await.job("texts").max_wait(10 * SECOND).build().unwrap();
    let late = submit(&job, "late").await;
    let delayed = job.submit(&"delayed".to_owned()).delay(60 * SECOND).await.unwrap().id;
    clock.advance(10 * SECOND);
    match job.join(late).await.unwrap() {
        Joined::Failed(failure) => assert_eq!(failure.code, tidelock::job::FailureCode::Expired),
        other => panic!("{other:?}"),
    }
    assert_eq!(info(&job, &late).await.input.decode::<String>().unwrap(), "late");
    clock.advance(50 * SECOND);
    let worker = job.process(echo).spawn();
    assert_eq!(result(&job, &delayed).await, "delayed", "a delay beyond max_wait expires nothing");
    within(worker.shutdown(SECOND)).await;
});

conformance!(nothing_is_left_after_retention, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let job: Job<String, String> = tide.job("texts").retention(60 * SECOND).dedup_for(SECOND).build().unwrap();
    let id = job.submit(&"text".to_owned()).dedup_key("k").await.unwrap().id;
    let worker = job.process(async |ctx, text| {
        ctx.step("step", async || Ok(1)).await?;
        ctx.progress(&50)?;
        Ok(text)
    });
    let worker = worker.spawn();
    result(&job, &id).await;
    within(worker.shutdown(SECOND)).await;
    let kept_until = info(&job, &id).await.kept_until.unwrap();
    assert_eq!(kept_until, clock.now() + 60 * SECOND);
    clock.advance(60 * SECOND);
    assert!(job.get(id).await.unwrap().is_none());
    assert!(matches!(job.join(id).await.unwrap(), Joined::NotFound));
    assert_eq!(stats(&job).await.completed, 0);
    let again = job.submit(&"text".to_owned()).dedup_key("k").await.unwrap();
    assert!(!again.duplicate && again.id > id);
});

conformance!(bytes_come_back_unchanged, async |world: World| {
    let tide = world.open().await;
    let job: Job<serde_json::Value, serde_json::Value> = tide.job("values").attempts(2).build().unwrap();
    let value = serde_json::json!({
        "list": [], "map": {}, "big": 9_007_199_254_740_993_u64, "part": 0.1, "text": "nul \u{0} and \u{1F980}",
    });
    let id = job.submit(&value).meta("m", &value).await.unwrap().id;
    let worker = job.process(async |ctx, value: serde_json::Value| {
        let memo = ctx.step("memo", async || Ok(value.clone())).await?;
        assert_eq!(memo, value);
        assert_eq!(ctx.meta().get("m"), Some(&value));
        if ctx.attempt() == 1 { Err("once more".into()) } else { Ok(value) }
    });
    let worker = worker.spawn();
    match within(job.join(id)).await.unwrap() {
        Joined::Completed(found) => assert_eq!(found, value),
        other => panic!("{other:?}"),
    }
    let info = job.get(id).await.unwrap().unwrap();
    assert_eq!(info.input.as_bytes(), value.to_string().as_bytes());
    assert_eq!(info.result.as_ref().unwrap().as_bytes(), value.to_string().as_bytes());
    within(worker.shutdown(SECOND)).await;
});

conformance!(names_never_meet, async |world: World| {
    let tide = world.open().await;
    let names = ["a:b", "a%3Ab", "a/b", "a{b}", "a", "A", "{a}", "é", "e\u{301}", "a b"];
    for name in names {
        let job: Job<String, String> = tide.job(name).build().unwrap();
        job.submit(&name.to_owned()).await.unwrap();
    }
    for name in names {
        let job: Job<String, String> = tide.job(name).build().unwrap();
        let page = job.list(JobFilter::Ready).await.unwrap().items;
        assert_eq!(page.len(), 1, "{name}");
        assert_eq!(info(&job, &page[0].id).await.input.decode::<String>().unwrap(), name);
    }
});

conformance!(a_deletion_takes_everything, async |world: World| {
    let job: Job<String, String> = world.open().await.job("texts").lease(SECOND).build().unwrap();
    let gate = Gate::default();
    let running = submit(&job, "running").await;
    let worker = job.process_with(gate.clone(), async |gate, ctx, text| {
        gate.entered.notify_one();
        ctx.cancelled().await;
        Ok(text)
    });
    let worker = worker.spawn();
    within(gate.entered.notified()).await;
    submit(&job, "waiting").await;
    assert!(job.delete().await.unwrap());
    assert!(!job.delete().await.unwrap());
    assert!(job.get(running).await.unwrap().is_none());
    let next = submit(&job, "next").await;
    assert!(next > running, "numbers go on");
    drop(worker);
});
