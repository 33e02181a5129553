//! Real servers and a fault-injecting proxy for the tests and benchmarks of Tidelock.

/// The servers that `cargo xtask test` started, by name and URL: `TIDELOCK_TEST_SERVERS="name=url name=url"`.
pub fn shared_servers() -> Vec<(String, String)> {
    let text = std::env::var("TIDELOCK_TEST_SERVERS").unwrap_or_default();
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, url)| (name.to_owned(), url.to_owned())).collect()
}

/// Whether nothing may be skipped.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// `count` in a soak, a tenth of it otherwise.
pub fn scale(count: usize) -> usize {
    if std::env::var_os("TIDELOCK_SOAK").is_some() { count } else { (count / 10).max(1) }
}
