//! Metrics of script calls and connections.

use std::time::Duration;

use tidelock::{ErrorKind, Tidelock};
use tidelock_testkit::Proxy;

use super::{Heard, on_one_thread, prefix, server, until};

#[test]
fn calls_and_connections() {
    on_one_thread(async {
        let Some(url) = server("redis70") else { return };
        let heard = Heard::default();
        let _heard = metrics::set_default_local_recorder(&heard);
        let (_, port) = url.rsplit_once(':').expect("the URL names a port");
        let proxy = Proxy::start(port.parse().expect("a port is a number")).await.unwrap();
        let tide = Tidelock::connect(&proxy.url()).prefix(&prefix()).request_timeout(Duration::from_millis(200));
        let tide = tide.await.unwrap();
        let of =
            |name: &str, outcome: &str| format!("tidelock.redis.{name}{{server=127.0.0.1:{}{outcome}}}", proxy.port());
        let (connected, made, failed) =
            (of("connected", ""), of("connects", ",outcome=ok"), of("connects", ",outcome=failed"));
        heard.shows(&[(&connected, 1.0), (&made, 1.0), (&failed, 0.0)]);

        tide.queue::<u32>("orders").build().unwrap().send(&1).await.unwrap();
        let sends = heard.all("tidelock.redis.call.duration{script=queue.trip,outcome=ok}");
        assert!(matches!(sends[..], [seconds] if seconds > 0.0), "{sends:?}");

        proxy.refuse(true);
        proxy.cut();
        until(|| heard.sum(&failed) > 0.0).await;
        heard.shows(&[(&connected, 0.0)]);
        assert_eq!(tide.ping().await.unwrap_err().kind(), ErrorKind::Connection);
        let pings = heard.all("tidelock.redis.call.duration{script=ping,outcome=not_sent}");
        assert!(matches!(pings[..], [seconds] if seconds >= 0.2), "{pings:?}");

        proxy.refuse(false);
        until(|| heard.sum(&connected) > 0.0).await;
        heard.shows(&[(&connected, 1.0), (&made, 2.0)]);
        drop(tide);
        until(|| heard.sum(&connected) < 1.0).await;
    });
}
