//! Budgets on the server: their key, and what happens when it is gone.

use tidelock::{DAY, Tidelock};
use tidelock_testkit::{Connection, Proxy};

use super::budget::retried;
use crate::conformance;
use crate::harness::{START, World};

conformance!(a_budget_leaves_one_key_that_expires, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let budget = tide.retry_budget("payments").capacity(2).per_second(0.0).build().unwrap();
    assert_eq!(retried(&tide, &budget, 5).await, 2);
    let Some((url, prefix)) = world.server() else { return };
    let Some(port) = single_server(url) else { return };
    let mut server = Connection::open(port).unwrap();
    let key = format!("{prefix}:{{retry/default/payments}}:budget");
    let (now, end) = (START.as_millis(), (START + DAY).as_millis());
    let stored = server.command(&["GET", &key]).unwrap();
    assert_eq!(stored.text(), Some(&*format!("0:{now}:{end}")), "nothing left, as of now, forgotten in a day");
    let left = server.command(&["PTTL", &key]).unwrap().int().unwrap();
    assert!((3_600_000..=86_400_000).contains(&left), "{left}");

    server.command(&["SET", &key, "somebody else's"]).unwrap();
    assert_eq!(retried(&tide, &budget, 5).await, 2, "what is not a budget is left alone, and the process decides");
    assert_eq!(server.command(&["GET", &key]).unwrap().text(), Some("somebody else's"));
});

conformance!(with_the_backend_gone_each_process_goes_on_by_its_own_bucket, async |world: World| {
    let Some(port) = world.server().and_then(|(url, _)| single_server(url)) else { return };
    for stalled in [true, false] {
        let id = if stalled { "silent" } else { "refusing" };
        let mut sums = Vec::new();
        for _ in 0..2 {
            let proxy = Proxy::start(port).await.unwrap();
            let tide = Tidelock::connect(&proxy.url()).prefix(world.server().unwrap().1).await.unwrap();
            let budget = tide.retry_budget(id).capacity(3).per_second(0.0).build().unwrap();
            if stalled {
                proxy.stall(true);
            } else {
                proxy.refuse(true);
                proxy.cut();
            }
            sums.push(retried(&tide, &budget, 10).await);
        }
        assert_eq!(sums, [3, 3], "{id}");
    }
});

/// The port of `redis://127.0.0.1:port`; a cluster would lead its clients past a proxy.
fn single_server(url: &str) -> Option<u16> {
    url.strip_prefix("redis://")?.rsplit_once(':')?.1.parse().ok()
}
