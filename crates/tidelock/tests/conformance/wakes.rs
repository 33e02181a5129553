//! Everybody who waits is woken, however sends and waits meet. The time is pinned, so no safety check makes up for a
//! lost wake-up: whoever misses one waits until the test gives up.

use std::future::Future;
use std::sync::Arc;

use futures_util::StreamExt;
use tidelock::{SECOND, Start, Tidelock};
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

    /// Sends bursts of different sizes; each begins when everything before it has arrived.
    async fn follow<F>(&self, send: impl Fn() -> F)
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let (mut arrived, mut sent) = (self.0.subscribe(), 0);
        for burst in 0..scale(3_000) {
            let size = 1 + burst * burst % 11;
            let sends: Vec<_> = (0..size).map(|_| tokio::spawn(send())).collect();
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
    let send = || {
        let queue = queue.clone();
        async move { queue.send(&1).await.unwrap() }
    };
    arrivals.follow(send).await;
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
    let send = || {
        let queue = queue.clone();
        async move { queue.send(&1).await.unwrap() }
    };
    arrivals.follow(send).await;
});

conformance!(workers_of_jobs, async |mut world: World| {
    let (here, there, arrivals) = two(&mut world).await;
    let (job, elsewhere) = (here.job::<u32, ()>("j").build().unwrap(), there.job::<u32, ()>("j").build().unwrap());
    let handler = async |arrivals: Arrivals, _, _| {
        arrivals.count();
        Ok(())
    };
    let worker = elsewhere.process_with(arrivals.clone(), handler).concurrency(2).spawn();
    let send = || {
        let job = job.clone();
        async move { job.submit(&1).await.unwrap() }
    };
    arrivals.follow(send).await;
    worker.shutdown(SECOND).await;
});

conformance!(joiners_of_jobs, async |mut world: World| {
    let (here, there, arrivals) = two(&mut world).await;
    let (job, elsewhere) = (here.job::<u32, ()>("j").build().unwrap(), there.job::<u32, ()>("j").build().unwrap());
    let worker = elsewhere.process(async |_, _| Ok(())).concurrency(2).spawn();
    let send = || {
        let (job, arrivals) = (job.clone(), arrivals.clone());
        async move {
            let id = job.submit(&1).await.unwrap().id;
            tokio::spawn(async move {
                job.join(id).forever().await.unwrap();
                arrivals.count();
            });
        }
    };
    arrivals.follow(send).await;
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
    let send = || {
        let topic = topic.clone();
        async move { topic.publish(&1).await.unwrap() }
    };
    arrivals.follow(send).await;
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
    let send = || {
        let topic = topic.clone();
        async move { topic.publish(&1).await.unwrap() }
    };
    arrivals.follow(send).await;
});

conformance!(waiters_for_a_lock, async |mut world: World| {
    let (here, there, arrivals) = two(&mut world).await;
    let locks = [here, there].map(|tide| tide.mutex("m").fixed_lease().build().unwrap());
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let send = || {
        let lock = locks[turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2].clone();
        let arrivals = arrivals.clone();
        async move {
            let guard = lock.lock_or_err("r").await.expect("nobody holds it for long");
            arrivals.count();
            guard.release().await.unwrap();
        }
    };
    arrivals.follow(send).await;
});
