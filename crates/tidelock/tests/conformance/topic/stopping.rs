//! Shutdown.

use super::*;
use tidelock::ErrorKind;

conformance!(a_shutdown_ends_waits_and_gives_back_what_is_held, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let topic = texts(&tide);
    let group = reader(&topic, "group");
    // In process there is only one process; on a server, a second one can watch.
    let watcher = texts(&world.open().await);
    publish_all(&topic, 0..2).await;
    let (settled, left) = (take(&group).await, take(&group).await);
    let mut follower = topic.follow().await.unwrap();
    let waiting = tokio::spawn(group.recv().forever().into_future());
    let followed = tokio::spawn(async move { (follower.next().await.unwrap(), follower.next().await.is_none()) });
    tokio::task::yield_now().await;
    let shutdown = tokio::spawn(async move { tide.shutdown(10 * SECOND).await });
    assert_eq!(within(waiting).await.unwrap().unwrap_err().kind(), ErrorKind::ShuttingDown);
    let (item, ended) = within(followed).await.unwrap();
    assert_eq!((item.unwrap_err().kind(), ended), (ErrorKind::ShuttingDown, true));
    assert_eq!(group.try_recv().await.unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert_eq!(topic.follow().await.unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert!(settled.commit().await.unwrap(), "what is held may be finished");
    publish(&topic, "2").await;
    assert!(!shutdown.is_finished());
    clock.advance(10 * SECOND);
    let report = within(shutdown).await.unwrap();
    assert!(report.left.iter().any(|left| (left.kind, left.count) == ("delivery", 1)), "{report:?}");
    assert_eq!(left.commit().await.unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert_eq!(topic.stats().await.unwrap_err().kind(), ErrorKind::ShuttingDown);
    assert_eq!(topic.publish(&"late".to_owned()).await.unwrap_err().kind(), ErrorKind::ShuttingDown);
    if world.has_processes() {
        let again = take(&reader(&watcher, "group")).await;
        assert_eq!((again.data().as_str(), again.attempt()), ("1", 1), "no attempt is used");
    }
});
