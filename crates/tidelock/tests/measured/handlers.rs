//! Metrics of the workers of queues, topics and jobs.

use std::future::pending;
use std::time::Duration;

use tidelock::{Backoff, JobError, ManualClock, SECOND, Tidelock};
use tokio::sync::mpsc;

use super::{Heard, measured, until, within};

measured!(a_worker_of_a_queue, async |tide: Tidelock, clock: ManualClock, heard: Heard| {
    let queue = tide.queue::<String>("mail").max_deliveries(2).build().unwrap();
    let (begun, mut begins) = mpsc::unbounded_channel();
    let state = (clock.clone(), begun, heard.clone());
    let worker = queue.process_with(state, async |(clock, begun, heard), message| {
        begun.send(heard.sum("tidelock.queue.running{queue=mail}")).unwrap();
        match message.as_str() {
            "good" => clock.advance(3 * SECOND),
            "bad" => return Err("no".into()),
            "worse" => panic!("cannot bear it"),
            _ => pending().await,
        }
        Ok(())
    });
    let worker = worker.timeout(5 * SECOND).backoff(Backoff::exponential(SECOND).jitter(0.0));
    queue.send(&"good".into()).await.unwrap();
    clock.advance(2 * SECOND);
    let worker = worker.spawn();
    until(|| worker.stats().acked == 1).await;
    assert_eq!(begins.recv().await, Some(1.0));
    heard.shows(&[
        ("tidelock.queue.wait.duration{queue=mail}", 2.0),
        ("tidelock.queue.process.duration{queue=mail,outcome=ok}", 3.0),
        ("tidelock.queue.running{queue=mail}", 0.0),
    ]);
    for (text, nacked) in [("bad", 1), ("worse", 2)] {
        queue.send(&text.into()).await.unwrap();
        until(|| worker.stats().nacked == nacked).await;
        clock.advance(SECOND);
        until(|| worker.stats().dead == nacked).await;
    }
    while begins.try_recv().is_ok() {}
    queue.send(&"slow".into()).await.unwrap();
    within(begins.recv()).await;
    clock.advance(5 * SECOND);
    until(|| worker.stats().nacked == 3).await;
    clock.advance(SECOND);
    within(begins.recv()).await;
    clock.advance(SECOND);
    let report = within(worker.shutdown(Duration::ZERO)).await;
    assert_eq!((report.acked, report.nacked, report.dead, report.given_back), (1, 3, 2, 1));
    let process = |outcome| heard.all(&format!("tidelock.queue.process.duration{{queue=mail,outcome={outcome}}}"));
    assert_eq!(process("ok"), [3.0]);
    assert_eq!([process("error"), process("panic")], [[0.0, 0.0], [0.0, 0.0]]);
    assert_eq!([process("timeout"), process("dropped")], [[5.0], [1.0]]);
    // Only for first deliveries.
    assert_eq!(heard.all("tidelock.queue.wait.duration{queue=mail}"), [2.0, 0.0, 0.0, 0.0]);
    heard.shows(&[
        ("tidelock.queue.running{queue=mail}", 0.0),
        ("tidelock.queue.acked{queue=mail}", 1.0),
        ("tidelock.queue.nacked{queue=mail}", 3.0),
        ("tidelock.queue.dead_lettered{queue=mail}", 2.0),
        ("tidelock.queue.given_back{queue=mail}", 1.0),
    ]);
});

measured!(a_worker_of_a_group, async |tide: Tidelock, clock: ManualClock, heard: Heard| {
    let topic = tide.topic::<String>("orders").build().unwrap();
    topic.publish(&"first".into()).await.unwrap();
    clock.advance(2 * SECOND);
    let state = clock.clone();
    let worker = topic.reader("billing").build().unwrap().process_with(state, async |clock, _| {
        clock.advance(3 * SECOND);
        Ok(())
    });
    let worker = worker.spawn();
    until(|| worker.stats().acked == 1).await;
    within(worker.shutdown(SECOND)).await;
    heard.shows(&[
        ("tidelock.topic.wait.duration{topic=orders,group=billing}", 2.0),
        ("tidelock.topic.process.duration{topic=orders,group=billing,outcome=ok}", 3.0),
        ("tidelock.topic.running{topic=orders,group=billing}", 0.0),
        ("tidelock.topic.committed{topic=orders,group=billing}", 1.0),
    ]);
    assert_eq!(heard.all("tidelock.topic.running{topic=orders,group=billing}"), [1.0, -1.0]);
});

measured!(a_worker_of_jobs, async |tide: Tidelock, clock: ManualClock, heard: Heard| {
    let job = tide.job::<String, ()>("mail.send").timeout(5 * SECOND).stop_grace(Duration::ZERO);
    let job = job.attempts(1).build().unwrap();
    let (begun, mut begins) = mpsc::unbounded_channel();
    let state = (clock.clone(), begun, heard.clone());
    let worker = job.process_with(state, async |(clock, begun, heard), run, text: String| {
        begun.send(heard.sum("tidelock.job.running{job=mail.send}")).unwrap();
        match text.as_str() {
            "good" => clock.advance(3 * SECOND),
            "bad" => return Err("no".into()),
            "worse" => panic!("cannot bear it"),
            "later" if run.attempt() == 1 => return Err(JobError::reschedule(SECOND)),
            "later" => {}
            _ => pending().await,
        }
        Ok(())
    });
    job.submit(&"good".into()).await.unwrap();
    clock.advance(2 * SECOND);
    let worker = worker.spawn();
    until(|| worker.stats().completed == 1).await;
    assert_eq!(begins.recv().await, Some(1.0));
    for (text, failed) in [("bad", 1), ("worse", 2)] {
        job.submit(&text.into()).await.unwrap();
        until(|| worker.stats().failed == failed).await;
    }
    job.submit(&"later".into()).await.unwrap();
    until(|| worker.stats().retried == 1).await;
    clock.advance(SECOND);
    until(|| worker.stats().completed == 2).await;
    while begins.try_recv().is_ok() {}
    job.submit(&"slow".into()).await.unwrap();
    within(begins.recv()).await;
    clock.advance(5 * SECOND);
    until(|| worker.stats().failed == 3).await;
    let cancelled = job.submit(&"slow".into()).await.unwrap().id;
    within(begins.recv()).await;
    job.cancel(cancelled).await.unwrap();
    until(|| worker.stats().stale == 1).await;
    job.submit(&"slow".into()).await.unwrap();
    within(begins.recv()).await;
    clock.advance(SECOND);
    within(worker.shutdown(Duration::ZERO)).await;
    let process = |outcome| heard.all(&format!("tidelock.job.process.duration{{job=mail.send,outcome={outcome}}}"));
    assert_eq!(process("ok"), [3.0, 0.0]);
    assert_eq!([process("error"), process("panic"), process("rescheduled")], [[0.0]; 3]);
    assert_eq!([process("timeout"), process("cancelled"), process("dropped")], [[5.0], [0.0], [1.0]]);
    assert_eq!(heard.all("tidelock.job.wait.duration{job=mail.send}")[..1], [2.0]);
    heard.shows(&[
        ("tidelock.job.running{job=mail.send}", 0.0),
        ("tidelock.job.completed{job=mail.send}", 2.0),
        ("tidelock.job.failed{job=mail.send}", 3.0),
        ("tidelock.job.retried{job=mail.send}", 1.0),
        ("tidelock.job.stale{job=mail.send}", 1.0),
        ("tidelock.job.given_back{job=mail.send}", 1.0),
    ]);
});
