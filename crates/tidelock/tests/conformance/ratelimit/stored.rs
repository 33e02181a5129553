//! The data on the server: unchanged bytes, and keys that expire.

use tidelock::ratelimit::{Limit, OnUnavailable};
use tidelock::{DAY, ErrorKind};
use tidelock_testkit::{Connection, Reply};

use super::{MILLISECOND, check, define, limiter, peek};
use crate::conformance;
use crate::harness::World;

/// The test's keys on all nodes, each with a connection to its node.
fn keys(world: &World) -> Vec<(Connection, String)> {
    let Some((url, prefix)) = world.server() else { return Vec::new() };
    let hosts = url.split_once("://").map_or(url, |(_, hosts)| hosts);
    let ports = hosts.split(',').map(|host| host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()));
    let mut found = Vec::new();
    for port in ports {
        let port = port.expect("test servers are named with their port");
        let pattern = format!("{prefix}:{{ratelimit*");
        let keys = Connection::open(port).unwrap().command(&["KEYS", &pattern]).unwrap();
        let named = keys.items().iter().filter_map(Reply::text);
        found.extend(named.map(|key| (Connection::open(port).unwrap(), key.to_owned())));
    }
    found
}

fn digest((connection, key): &mut (Connection, String)) -> String {
    let script = "return redis.sha1hex(redis.call('GET', KEYS[1]))";
    connection.command(&["EVAL", script, "1", key]).unwrap().text().expect("a digest").to_owned()
}

fn ttl((connection, key): &mut (Connection, String)) -> i64 {
    connection.command(&["PTTL", key]).unwrap().int().expect("a number")
}

conformance!(what_does_not_count_does_not_write, async |mut world: World| {
    world.pin();
    let api = limiter(&world, [Limit::new(5), Limit::per_minute(50).token_bucket()]).await;
    let _ = check(&api, 5).await;
    let mut key = keys(&world).pop();
    // An expiry that the library would never set.
    let before = key.as_mut().map(|key| {
        assert_eq!(key.0.command(&["PEXPIRE", &key.1, "999000"]).unwrap(), Reply::Int(1));
        digest(key)
    });
    let seen = peek(&api, 1).await;
    for _ in 0..1_000 {
        assert_eq!(peek(&api, 1).await, seen);
    }
    assert!(check(&api, 1).await.limited);
    assert!(api.check("user:42").cost(6).await.is_err());
    assert!(api.check_or_err("user:42").await.is_err());
    if let Some(key) = &mut key {
        assert_eq!(Some(digest(key)), before);
        assert!(ttl(key) <= 999_000);
    }
    assert_eq!(peek(&api, 1).await, seen);
    let _ = api.peek("nobody").await.unwrap();
    assert!(keys(&world).len() <= 1, "a look at an unknown identifier makes no key");
});

conformance!(every_key_expires_when_its_counts_lapse, async |world: World| {
    let windows = [MILLISECOND, 300 * MILLISECOND, 30 * DAY, 3_650 * DAY];
    for window in windows {
        for limit in [Limit::new(5), Limit::new(5).fixed(), Limit::new(5).token_bucket()] {
            let api = limiter(&world, [limit.window(window)]).await;
            let _ = api.reset("user:42").await.unwrap();
            let _ = check(&api, 5).await;
            let longest = i64::try_from(2 * window.as_millis()).unwrap();
            for mut key in keys(&world) {
                let ttl = ttl(&mut key);
                assert!(ttl != -1 && ttl <= longest, "{ttl} ms for {window:?}");
            }
        }
    }
    let many = limiter(&world, [Limit::new(5)]).await;
    for identifier in 0..200 {
        let _ = many.check(&identifier.to_string()).await.unwrap();
    }
    for mut key in keys(&world).into_iter().filter(|(_, key)| !key.contains("user")) {
        let ttl = ttl(&mut key);
        assert!(ttl != -1 && ttl <= 2_000, "{ttl} ms");
    }
});

conformance!(pinned_keys_live_for_an_hour_at_least, async |mut world: World| {
    world.pin();
    let api = limiter(&world, [Limit::new(5).window(MILLISECOND)]).await;
    let _ = check(&api, 5).await;
    for mut key in keys(&world) {
        assert!(ttl(&mut key) > 3_590_000);
    }
});

conformance!(a_count_that_cannot_be_read_is_an_error_under_each_policy, async |mut world: World| {
    world.pin();
    let tide = world.open().await;
    let policies =
        [OnUnavailable::Error, OnUnavailable::Allow, OnUnavailable::Deny, OnUnavailable::Local { share: 1.0 }];
    for policy in policies {
        let api = define(&tide, "api").limit(Limit::new(5)).on_unavailable(policy).build().unwrap();
        for damage in ["SET", "LPUSH", "SETRANGE"] {
            let _ = check(&api, 1).await;
            let Some((mut connection, key)) = keys(&world).pop() else { return };
            match damage {
                // One byte of a number, which is then no longer whole.
                "SETRANGE" => connection.command(&["SETRANGE", &key, "3", "\u{1}"]).unwrap(),
                command => {
                    let _ = connection.command(&["DEL", &key]).unwrap();
                    connection.command(&[command, &key, "garbage"]).unwrap()
                }
            };
            for error in [api.check("user:42").await, api.peek("user:42").await, api.acquire("user:42").await] {
                let error = error.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::IncompatibleFormat, "{damage} under {policy:?}: {error}");
                assert!(!error.is_retryable());
            }
            assert!(api.reset("user:42").await.unwrap(), "it can be reset");
            assert_eq!(check(&api, 1).await.remaining, 4);
            assert!(api.reset("user:42").await.unwrap());
        }
    }
});

conformance!(a_count_that_cannot_be_read_spoils_no_other_check, async |mut world: World| {
    world.pin();
    let api = limiter(&world, [Limit::new(500), Limit::per_day(500).token_bucket()]).await;
    let _ = check(&api, 1).await;
    let Some((mut connection, key)) = keys(&world).pop() else { return };
    connection.command(&["SET", &key, "garbage"]).unwrap();
    let checks = (0..400).map(|n| {
        let api = api.clone();
        tokio::spawn(async move { api.check(if n % 4 == 0 { "user:42" } else { "other" }).await })
    });
    let mut passed = Vec::new();
    for (n, answer) in futures_util::future::join_all(checks).await.into_iter().enumerate() {
        match answer.unwrap() {
            Ok(verdict) => passed.push(verdict.remaining),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::IncompatibleFormat);
                assert_eq!(n % 4, 0);
            }
        }
    }
    passed.sort_unstable();
    assert_eq!(passed, (200..500).collect::<Vec<_>>(), "each was counted once");
});
