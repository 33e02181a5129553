//! What workers report to `tracing`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};

use tidelock::{HandlerError, ManualClock, RunningJobWorker, RunningWorker, Tidelock};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::{Heard, SOON, measured, until, within};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The fields of one span or event, in order.
type Fields = Vec<(&'static str, String)>;

/// Records spans and events, and at each warning checks whether a worker still answers others.
#[derive(Clone, Default)]
struct Listener(Arc<Kept>);

#[derive(Default)]
struct Kept {
    spans: Mutex<Vec<Fields>>,
    warnings: Mutex<Vec<Fields>>,
    last: AtomicU64,
    worker: OnceLock<Worker>,
    unanswered: AtomicU64,
}

enum Worker {
    Queue(Arc<RunningWorker>),
    Job(Arc<RunningJobWorker>),
}

impl Kept {
    fn ask(&self) {
        let (answer, answered) = mpsc::channel();
        let ask: Box<dyn FnOnce() + Send> = match self.worker.get() {
            Some(Worker::Queue(worker)) => {
                let worker = Arc::clone(worker);
                Box::new(move || answer.send(worker.stats().running).unwrap_or_default())
            }
            Some(Worker::Job(worker)) => {
                let worker = Arc::clone(worker);
                Box::new(move || answer.send(worker.stats().running).unwrap_or_default())
            }
            None => return,
        };
        std::thread::spawn(ask);
        if answered.recv_timeout(SOON / 10).is_err() {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Visitor(Fields);

impl Visit for Visitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tidelock")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut visitor = Visitor(Vec::new());
        span.record(&mut visitor);
        self.0.spans.lock().unwrap().push(visitor.0);
        Id::from_u64(self.0.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if *event.metadata().level() <= tracing::Level::WARN {
            let mut visitor = Visitor(Vec::new());
            event.record(&mut visitor);
            self.0.warnings.lock().unwrap().push(visitor.0);
            self.0.ask();
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Listener {
    /// The trace contexts of the spans in which something was handled.
    fn traces(&self) -> Vec<Option<String>> {
        let value =
            |fields: &Fields, name| fields.iter().find(|(known, _)| *known == name).map(|(_, text)| text.clone());
        let spans = self.0.spans.lock().unwrap();
        let handled = spans.iter().filter(|fields| value(fields, "otel.kind").as_deref() == Some("consumer"));
        handled.map(|fields| value(fields, "traceparent")).collect()
    }

    fn warning(&self) -> Vec<&'static str> {
        let warnings = self.0.warnings.lock().unwrap();
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        warning.iter().map(|(name, _)| *name).collect()
    }
}

measured!(a_message_that_dies, async |tide: Tidelock, _: ManualClock, _: Heard| {
    let listener = Listener::default();
    let _told = tracing::subscriber::set_default(listener.clone());
    let queue = tide.queue::<String>("mail").build().unwrap();
    let worker = Arc::new(queue.process(async |_| Err(HandlerError::fatal("never"))).spawn());
    assert!(listener.0.worker.set(Worker::Queue(Arc::clone(&worker))).is_ok());
    queue.send(&"text".into()).traceparent(TRACE).await.unwrap();
    until(|| worker.stats().dead == 1 && !listener.0.warnings.lock().unwrap().is_empty()).await;
    assert_eq!(listener.0.unanswered.load(Ordering::Relaxed), 0, "it is told while a lock is held");
    let once = ["message", "messaging.destination.name", "messaging.message.id", "tidelock.tenant", "error"];
    assert_eq!(listener.warning(), once);
    assert_eq!(listener.traces(), [Some(TRACE.to_owned())]);
});

measured!(a_job_that_fails, async |tide: Tidelock, _: ManualClock, _: Heard| {
    let listener = Listener::default();
    let _told = tracing::subscriber::set_default(listener.clone());
    let job = tide.job::<String, ()>("mail").attempts(1).build().unwrap();
    let worker = Arc::new(job.process(async |_, _| Err("never".into())).spawn());
    assert!(listener.0.worker.set(Worker::Job(Arc::clone(&worker))).is_ok());
    job.submit(&"text".into()).traceparent(TRACE).await.unwrap();
    until(|| worker.stats().failed == 1 && !listener.0.warnings.lock().unwrap().is_empty()).await;
    assert_eq!(listener.0.unanswered.load(Ordering::Relaxed), 0, "it is told while a lock is held");
    let once = ["message", "messaging.destination.name", "messaging.message.id", "tidelock.tenant", "attempt", "error"];
    assert_eq!(listener.warning(), once);
    assert_eq!(listener.traces(), [Some(TRACE.to_owned())]);
});

measured!(an_event_that_is_handled, async |tide: Tidelock, _: ManualClock, _: Heard| {
    let listener = Listener::default();
    let _told = tracing::subscriber::set_default(listener.clone());
    let topic = tide.topic::<String>("orders").build().unwrap();
    let worker = topic.reader("billing").build().unwrap().process(async |_| Ok(())).spawn();
    topic.publish(&"first".into()).traceparent(TRACE).await.unwrap();
    topic.publish(&"second".into()).await.unwrap();
    until(|| worker.stats().acked == 2).await;
    within(worker.shutdown(SOON)).await;
    assert_eq!(listener.traces(), [Some(TRACE.to_owned()), None]);
});
