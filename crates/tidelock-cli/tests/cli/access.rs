//! Servers that need more than a URL.

use tidelock_testkit::{Binary, Flavour, Sentinel, Server, free_port};

use crate::run::{TemporaryFile, tidelock_at, tidelock_with};

const SECRET: &str = "correct-horse";

#[test]
fn sentinels_get_their_password_from_the_environment() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let sentinel = Sentinel::start_with_passwords(&binary, "battery-staple", SECRET).unwrap();
    let url = sentinel.url();
    let ran = tidelock_at(&url, &["ping"], b"").expect(3);
    assert!(ran.stderr.contains("(sentinel 127.0.0.1:") && !ran.all().contains("battery"), "{ran:?}");
    let password = ("TIDELOCK_SENTINEL_PASSWORD", SECRET);
    tidelock_with(&[("TIDELOCK_URL", &url), password], &["ping"], b"").expect(0);
    let user = ("TIDELOCK_SENTINEL_USER", "default");
    tidelock_with(&[("TIDELOCK_URL", &url), user, password], &["ping"], b"").expect(0);
    tidelock_at(&url, &["ping", "--sentinel-password", SECRET, "--sentinel-user", "default"], b"").expect(0);
    // Useless without sentinels, and a user name alone is not enough.
    let server = sentinel.primary().url();
    let ran = tidelock_with(&[("TIDELOCK_URL", &server), password], &["ping"], b"").expect(2);
    assert!(ran.stderr.contains("sentinel_credentials") && !ran.all().contains(SECRET), "{ran:?}");
    tidelock_with(&[("TIDELOCK_URL", &url), user], &["ping"], b"").expect(2);
    let ran = tidelock_with(&[password], &["ping", "--help"], b"").expect(0);
    assert!(ran.stdout.contains("TIDELOCK_SENTINEL_PASSWORD") && !ran.all().contains(SECRET), "{ran:?}");
}

#[test]
fn certificates_are_read_from_files() {
    let url = format!("rediss://me:{SECRET}@127.0.0.1:{}", free_port().unwrap());
    let none = TemporaryFile::new(b"none");
    for (arguments, why) in [
        (&["--root-certificate", none.path()] as &[_], "root_certificate holds no certificate"),
        (
            &["--client-certificate", none.path(), "--client-key", none.path()],
            "client_certificate holds no certificate",
        ),
        (&["--client-certificate", none.path()], "--client-key"),
        (&["--client-key", none.path()], "--client-certificate"),
        (&["--root-certificate", "/no/such.pem"], "/no/such.pem"),
    ] {
        let ran = tidelock_at(&url, &[&["ping"], arguments].concat(), b"").expect(2);
        assert!(ran.stderr.contains(why) && !ran.all().contains(SECRET), "{why}: {ran:?}");
    }
    let files = [("TIDELOCK_CLIENT_CERTIFICATE", none.path()), ("TIDELOCK_CLIENT_KEY", none.path())];
    let ran = tidelock_with(&[&[("TIDELOCK_URL", url.as_str())], &files[..]].concat(), &["ping"], b"").expect(2);
    assert!(ran.stderr.contains("client_certificate holds no certificate"), "{ran:?}");
    let ran = tidelock_with(&[("TIDELOCK_URL", &url), ("TIDELOCK_ROOT_CERTIFICATE", none.path())], &["ping"], b"");
    assert!(ran.expect(2).stderr.contains("root_certificate holds no certificate"));
}

#[cfg(unix)]
#[test]
fn a_socket_is_a_server() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let server = Server::builder(&binary).password(SECRET).socket().start().unwrap();
    let url = format!("redis+unix://{}?pass={SECRET}", server.socket());
    let verbs = [&["ping"] as &[_], &["queue", "send", "mail", "{}"], &["queue", "peek", "mail"]];
    for ran in verbs.map(|verb| tidelock_at(&url, verb, b"")) {
        assert!(!ran.expect(0).all().contains(SECRET));
    }
    let ran = tidelock_at(&format!("redis+unix://{}?pass=wrong", server.socket()), &["ping"], b"").expect(3);
    assert!(ran.stderr.contains("NOAUTH") && !ran.all().contains(SECRET), "{ran:?}");
}
