//! Unix sockets instead of ports.

use std::time::Duration;

use tidelock::{ErrorKind, Queue, Tidelock};
use tidelock_testkit::{Binary, Flavour, Server};

use crate::stage::{open, until, within};

fn queue(tide: &Tidelock) -> Queue<u64> {
    tide.queue("q").build().expect("the defaults are good")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_does_what_a_port_does() {
    for flavour in [Flavour::Redis62, Flavour::Redis70, Flavour::Valkey8] {
        let Some(binary) = Binary::or_skip(flavour) else { continue };
        let server = Server::builder(&binary).password("hunter2").socket().start().unwrap();
        let socket = server.socket();
        let (here, there) = (
            queue(&open(&format!("redis+unix://{socket}?db=1&pass=hunter2")).await),
            queue(&open(&format!("unix://{socket}?user=default&pass=hunter2&db=1")).await),
        );
        let waiting = tokio::spawn(async move { within(there.recv()).await });
        here.send(&1).await.unwrap();
        assert!(waiting.await.unwrap().unwrap().unwrap().ack().await.unwrap());
        // Both listen for wake-ups, and the data is in the requested database.
        let channels = server.command(&["PUBSUB", "CHANNELS", "tidelock:wake:*"]).unwrap();
        assert_eq!(channels.items().len(), 2, "{channels:?}");
        let keyspace = server.command(&["INFO", "keyspace"]).unwrap();
        assert!(keyspace.field("db1").is_some() && keyspace.field("db0").is_none(), "{keyspace:?}");
        server.restart().unwrap();
        until("it is served again", async || here.send(&2).await.is_ok()).await;
    }
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_named() {
    let path = std::env::temp_dir().join(format!("tidelock-none-{:08x}.sock", fastrand::u32(..)));
    let connect = Tidelock::connect(&format!("valkey+unix://{}?pass=hunter2", path.display()));
    let error = within(connect.request_timeout(Duration::from_millis(100))).await.expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains(&format!("{}: ", path.display())) && !text.contains("hunter2"), "{text}");
    assert!(text.contains("No such file"), "{text}");
}
