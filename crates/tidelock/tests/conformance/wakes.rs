//! Everybody who waits is woken, however sends and waits meet. The time is pinned, so no safety check makes up for a
//! lost wake-up: whoever misses one waits until the test gives up.

use std::future::Future;
use std::sync::Arc;

use futures_util::StreamExt;
use tidelock::mutex::Mutex;
use tidelock::{Job, SECOND, Start, Tidelock};
use tokio::sync::watch;

use crate::conformance;
use crate::harness::{World, scale};

/// What has arrived.
#[derive(Clone, Debug)]
struct Arrivals(Arc<watch::Sender<usize>>);

impl Arrivals {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    fn count(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// Makes `send` with clones of `by` in bursts of different sizes; each begins when everything before it has arrived.
    async fn follow<T: Clone, F>(&self, by: &T, send: impl Fn(T) -> F)
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let (mut arrived, mut sent) = (self.0.subscribe(), 0);
        for burst in 0..scale(3_000) {
            let size = 1 + burst * burst % 11;
            let sends: Vec<_> = (0..size).map(|_| tokio::spawn(send(by.clone()))).collect();
            for one in sends {
                one.await.expect("it is sent");
            }
            sent += size;
            let all = arrived.wait_for(|count| *count == sent);
            let waited = tokio::time::timeout(60 * SECOND, all).await;
            assert!(waited.is_ok(), "of {sent}, {} arrived by burst {burst}", *self.0.borrow());
        }
    }
}

async fn two(world: &mut World) -> (Tidelock, Tidelock, Arrivals) {
    world.pin();
    (world.open().await, world.open().await, Arrivals::new())
}

conformance!(workers_of_a_queue, async |mut world: World| {
    let (here, there, arrivals) = two(&mut world).await;
    let (queue, elsewhere) = (here.queue::<u32>("q").build().unwrap(), there.queue::<u32>("q").build().unwrap());
    let handler = async |arrivals: Arrivals, _| {
        arrivals.count();
        Ok(())
    };
    let worker = elsewhere.process_with(arrivals.clone(), handler).concurrency(4).spawn();
    arrivals.follow(&queue, |queue| async move { queue.send(&1).await.unwrap() }).await;
    worker.shutdown(SECOND).await;
});

conformance!(receivers_of_a_queue, async |mut world: World| {
    let (here, there, arrivals) = two(&mut world).await;
    let queue = here.queue::<u32>("q").build().unwrap();
    for _ in 0..3 {
        let (elsewhere, arrivals) = (there.queue::<u32>("q").build().unwrap(), arrivals.clone());
        tokio::spawn(async move {
            while let Some(delivery) = elsewhere.recv().await.unwrap() {
                arrivals.count();
                assert!(delivery.ack().await.unwrap());
            }
        });
    }
    arrivals.follow(&queue, |queue| async move { queue.send(&1).await.unwrap() }).await;
});

conformance!(workers_of_jobs, async |mut world: World| {
    let (here, there, arrivals) = two(&mut world).await;
    let (job, elsewhere) = (here.job::<u32, ()>("j").build().unwrap(), there.job::<u32, ()>("j").build().unwrap());
    let handler = async |arrivals: Arrivals, _, _| {
        arrivals.count();
        Ok(())
    };
    let worker = elsewhere.process_with(arrivals.clone(), handler).concurrency(2).spawn();
    arrivals.follow(&job, |job| async move { job.submit(&1).await.unwrap() }).await;
    worker.shutdown(SECOND).await;
});

conformance!(joiners_of_jobs, async |mut world: World| {
    let (here, there, arrivals) = two(&mut world).await;
    let (job, elsewhere) = (here.job::<u32, ()>("j").build().unwrap(), there.job::<u32, ()>("j").build().unwrap());
    let worker = elsewhere.process(async |_, _| Ok(())).concurrency(2).spawn();
    let submit_and_join = |(job, arrivals): (Job<u32, ()>, Arrivals)| async move {
        let id = job.submit(&1).await.unwrap().id;
        tokio::spawn(async move {
            job.join(id).forever().await.unwrap();
            arrivals.count();
        });
    };
    arrivals.follow(&(job, arrivals.clone()), submit_and_join).await;
    worker.shutdown(SECOND).await;
});

conformance!(readers_of_a_topic, async |mut world: World| {
    let (here, there, arrivals) = two(&mut world).await;
    let topic = here.topic::<u32>("t").build().unwrap();
    for _ in 0..3 {
        let elsewhere = there.topic::<u32>("t").build().unwrap();
        let (reader, arrivals) = (elsewhere.reader("g").start(Start::Earliest).build().unwrap(), arrivals.clone());
        tokio::spawn(async move {
            while let Some(item) = reader.recv().await.unwrap() {
                arrivals.count();
                assert!(item.event().expect("nothing is missed").commit().await.unwrap());
            }
        });
    }
    arrivals.follow(&topic, |topic| async move { topic.publish(&1).await.unwrap() }).await;
});

conformance!(followers_of_a_topic, async |mut world: World| {
    let (here, there, arrivals) = two(&mut world).await;
    let topic = here.topic::<u32>("t").build().unwrap();
    let mut follower = there.topic::<u32>("t").build().unwrap().follow().await.unwrap();
    let of_follower = arrivals.clone();
    tokio::spawn(async move {
        while let Some(item) = follower.next().await {
            item.unwrap().event().expect("nothing is missed");
            of_follower.count();
        }
    });
    arrivals.follow(&topic, |topic| async move { topic.publish(&1).await.unwrap() }).await;
});

conformance!(waiters_for_a_lock, async |mut world: World| {
    let (here, there, arrivals) = two(&mut world).await;
    let locks = [here, there].map(|tide| tide.mutex("m").fixed_lease().build().unwrap());
    let take_turns = |(locks, arrivals): ([Mutex; 2], Arrivals)| async move {
        let lock = fastrand::choice(&locks).expect("there are two");
        let guard = lock.lock_or_err("r").await.expect("nobody holds it for long");
        arrivals.count();
        guard.release().await.unwrap();
    };
    arrivals.follow(&(locks, arrivals.clone()), take_turns).await;
});
