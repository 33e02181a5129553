//! Rate limits without their backend.

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tidelock::ratelimit::{DecidedBy, Limit, OnUnavailable, RateLimiter, Verdict};
use tidelock::{ErrorKind, MINUTE, Result, SECOND, Tidelock};
use tidelock_testkit::{Binary, Flavour, Proxy, Server};

/// Far longer than a loaded machine needs, but not for ever.
const PATIENCE: Duration = Duration::from_secs(30);

fn server() -> Option<Server> {
    let binary = Binary::or_skip(Flavour::Redis70)?;
    Some(Server::start(&binary).expect("the server starts"))
}

async fn limiter(url: &str, policy: OnUnavailable) -> RateLimiter {
    let tide = Tidelock::connect(url).await.expect("the server answers");
    let limiter = tide.ratelimit("api").limit(Limit::per_day(4).fixed()).on_unavailable(policy);
    limiter.answer_within(PATIENCE).build().expect("the limiter is good")
}

/// The answer to a request, if it is there without waiting.
fn at_once(request: impl IntoFuture<Output = Result<Verdict>>) -> Option<Result<Verdict>> {
    match pin!(request.into_future()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// Repeats a request until the loss of the connection is known: from then on answers come at once.
async fn loss_is_known(limiter: &RateLimiter) {
    let known =
        async { while limiter.reset("nobody").await.err().map(|error| error.kind()) != Some(ErrorKind::Connection) {} };
    tokio::time::timeout(PATIENCE, known).await.expect("the loss is noticed");
}

/// Repeats a check until the backend decides again.
async fn backend_decides(limiter: &RateLimiter) -> Verdict {
    let decides = async {
        loop {
            match limiter.peek("x").await {
                Ok(verdict) if verdict.decided_by == DecidedBy::Backend => return verdict,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, decides).await.expect("the connection comes back")
}

#[tokio::test]
async fn each_policy_answers_at_once_while_the_server_is_known_to_be_away() {
    let policies =
        [OnUnavailable::Error, OnUnavailable::Allow, OnUnavailable::Deny, OnUnavailable::Local { share: 1.0 }];
    for policy in policies {
        let Some(server) = server() else { return };
        let api = limiter(&server.url(), policy).await;
        assert_eq!(api.check("x").cost(2).await.unwrap().decided_by, DecidedBy::Backend);
        server.kill();
        loss_is_known(&api).await;
        let (check, peek, waits) =
            (at_once(api.check("x")), at_once(api.peek("x")), at_once(api.acquire("x").timeout(SECOND / 2)));
        let [check, peek, waits] = [check, peek, waits].map(|answer| answer.expect("it needs no waiting"));
        let shown = |answer: Result<Verdict>| match answer {
            Ok(verdict) => Ok((verdict.limited, verdict.remaining, verdict.retry_after, verdict.decided_by)),
            Err(error) => Err((error.kind(), error.is_retryable())),
        };
        let [check, peek, waits] = [check, peek, waits].map(shown);
        match policy {
            OnUnavailable::Error => {
                let error = Err((ErrorKind::Connection, true));
                assert_eq!([check, peek, waits], [error; 3]);
            }
            OnUnavailable::Allow => {
                let allowed = Ok((false, 0, Duration::ZERO, DecidedBy::Assumed));
                assert_eq!([check, peek, waits], [allowed; 3]);
            }
            OnUnavailable::Deny => {
                let refused = Ok((true, 0, SECOND, DecidedBy::Assumed));
                assert_eq!([check, peek, waits], [refused; 3]);
            }
            OnUnavailable::Local { .. } => {
                // The backend allowed two; the first check and the acquire used the other two.
                let local = |limited, remaining| Ok((limited, remaining, Duration::ZERO, DecidedBy::Local));
                assert_eq!([check, peek, waits], [local(false, 1), local(false, 1), local(false, 0)]);
                assert!(at_once(api.check("x")).unwrap().unwrap().limited);
            }
        }
        assert_eq!(api.reset("x").await.unwrap_err().kind(), ErrorKind::Connection);
        server.restart().unwrap();
        assert_eq!(backend_decides(&api).await.remaining, 4, "by its own counts, which this server lost");
    }
}

#[tokio::test]
async fn all_handles_of_a_process_count_in_one_local_limiter() {
    let Some(server) = server() else { return };
    let tide = Tidelock::connect(&server.url()).await.unwrap();
    let policy = OnUnavailable::Local { share: 1.0 };
    let limiter = || {
        let limiter = tide.ratelimit("api").limit(Limit::per_hour(4).fixed()).on_unavailable(policy);
        limiter.answer_within(PATIENCE).build().unwrap()
    };
    let api = limiter();
    // Each handle is dropped before the next one is created.
    for _ in 0..2 {
        assert!(!api.tenant("acme").check("x").await.unwrap().limited);
        assert!(!limiter().check("x").await.unwrap().limited);
    }
    let budget = || tide.retry_budget("budget").capacity(2).per_second(0.0).per_success(0.0).build().unwrap();
    server.kill();
    loss_is_known(&api).await;
    for remaining in [1, 0] {
        let verdict = api.tenant("acme").check("x").await.unwrap();
        assert_eq!((verdict.decided_by, verdict.remaining), (DecidedBy::Local, remaining));
        assert_eq!(limiter().check("x").await.unwrap().remaining, remaining);
    }
    assert!(api.tenant("acme").check("x").await.unwrap().limited);
    assert!(limiter().check("x").await.unwrap().limited);
    let attempts = AtomicUsize::new(0);
    for _ in 0..3 {
        let failing = tidelock::retry(async |_| {
            attempts.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
        });
        failing.budget(&budget()).await.unwrap_err();
    }
    assert_eq!(attempts.into_inner(), 3 + 2, "two retries in all, whoever asks");
}

#[tokio::test]
async fn the_local_limiter_has_its_share_of_each_limit() {
    let Some(server) = server() else { return };
    let tide = Tidelock::connect(&server.url()).await.unwrap();
    let limits = [Limit::per_day(10).fixed(), Limit::per_minute(5).token_bucket().burst(9)];
    let [day, minute] = limits;
    let api = tide.ratelimit("api").limit(day).limit(minute).on_unavailable(OnUnavailable::Local { share: 0.25 });
    let api = api.answer_within(PATIENCE).build().unwrap();
    server.kill();
    loss_is_known(&api).await;
    let verdict = api.peek("x").await.unwrap();
    assert_eq!(verdict.parts().iter().map(tidelock::ratelimit::Part::limit).collect::<Vec<_>>(), [3, 3]);
    let never = api.check("x").cost(4).await.unwrap();
    assert!(never.limited, "above the share it cannot pass here");
    assert_eq!(never.parts()[1].retry_after(), MINUTE);
    assert_eq!(api.check("x").cost(3).await.unwrap().remaining, 0);
}

#[tokio::test]
async fn a_server_that_hangs_is_unavailable_after_answer_within() {
    let Some(server) = server() else { return };
    let tide = Tidelock::connect(&server.url()).await.unwrap();
    let build = |policy| tide.ratelimit("api").limit(Limit::new(5)).on_unavailable(policy);
    let within = Duration::from_millis(20);
    let strict = build(OnUnavailable::Error).answer_within(within).build().unwrap();
    let open = build(OnUnavailable::Allow).answer_within(within).build().unwrap();
    server.freeze().unwrap();
    let error = strict.check("x").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Connection), "{error}");
    assert!(error.is_retryable());
    let verdict = open.check("x").await.unwrap();
    assert_eq!((verdict.limited, verdict.decided_by), (false, DecidedBy::Assumed));
    // A waiting one ends at its timeout, even if an answer might take longer.
    let patient = build(OnUnavailable::Deny).answer_within(PATIENCE).build().unwrap();
    let verdict = tokio::time::timeout(PATIENCE / 2, patient.acquire("x").timeout(within)).await.expect("in time");
    assert_eq!(verdict.unwrap().decided_by, DecidedBy::Assumed);
    server.thaw().unwrap();
    let _ = backend_decides(&strict).await;
}

#[tokio::test]
async fn a_check_whose_reply_is_lost_is_counted_once() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let api = limiter(&proxy.url(), OnUnavailable::Error).await;
    assert_eq!(api.check("x").await.unwrap().remaining, 3);
    proxy.drop_reply_after(1);
    assert_eq!(api.check("x").await.unwrap_err().kind(), ErrorKind::Timeout, "the outcome is unknown");
    assert_eq!(backend_decides(&api).await.remaining, 2);
}

#[tokio::test]
async fn scripts_that_were_flushed_are_sent_again() {
    let Some(server) = server() else { return };
    let api = limiter(&server.url(), OnUnavailable::Error).await;
    assert_eq!(api.check("x").await.unwrap().remaining, 3);
    server.command(&["SCRIPT", "FLUSH"]).unwrap();
    assert_eq!(api.check("x").await.unwrap().remaining, 2);
}

#[tokio::test]
async fn a_server_that_cannot_write_just_now_is_unavailable() {
    for binary in Flavour::ALL.into_iter().filter_map(Binary::or_skip) {
        let server = Server::start(&binary).unwrap();
        let (strict, open) =
            (limiter(&server.url(), OnUnavailable::Error).await, limiter(&server.url(), OnUnavailable::Allow).await);
        server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).unwrap();
        assert_eq!(strict.check("x").await.unwrap_err().kind(), ErrorKind::Server);
        assert_eq!(open.check("x").await.unwrap().decided_by, DecidedBy::Assumed);
        server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).unwrap();
        assert_eq!(strict.check("x").await.unwrap().remaining, 3);
    }
}

#[tokio::test]
async fn acquires_that_come_together_share_trips() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.expect("the proxy starts");
    let tide = Tidelock::connect(&proxy.url()).await.expect("the server answers");
    let api = tide.ratelimit("api").limit(Limit::per_day(64).fixed()).answer_within(PATIENCE);
    let api = api.build().expect("the limiter is good");
    let _ = api.peek("x").await.expect("the script is there");
    let before = proxy.replies();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let api = api.clone();
        calls.spawn(async move { api.acquire("x").await.expect("the server answers").limited });
    }
    assert!(!calls.join_all().await.contains(&true));
    assert!(proxy.replies() - before < 16, "one after the other they take 64 trips");
    assert_eq!(api.peek("x").await.expect("the server answers").remaining, 0);
}

/// A primary that becomes a replica keeps its clients: a client that only checks limits has to notice it by the
/// answers.
#[tokio::test]
async fn who_only_checks_leaves_a_server_that_is_no_primary_any_more() {
    let (Some(old), Some(new)) = (server(), server()) else { return };
    let proxy = Proxy::start(old.port()).await.unwrap();
    let limiter = limiter(&proxy.url(), OnUnavailable::Error).await;
    assert!(!limiter.check("x").await.unwrap().limited);
    let before = proxy.connections();
    old.command(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]).unwrap();
    let refused = async {
        while proxy.connections() == before {
            let _ = limiter.check("x").await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("the connection is given up, and the server asked for anew");
    old.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    assert_eq!(backend_decides(&limiter).await.decided_by, DecidedBy::Backend);
}
