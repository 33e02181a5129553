//! What the test run passes to a test in environment variables.

use std::env;

/// The variable with the servers of this run as `name=url` words, set by `cargo xtask test`.
pub const SHARED_SERVERS: &str = "TIDELOCK_TEST_SERVERS";

/// Name and URL of each server that was started for the whole run; empty if there are none.
///
/// All tests of all processes share these servers at the same time, so each test must use a namespace of its own.
pub fn shared_servers() -> Vec<(String, String)> {
    parse_servers(&env::var(SHARED_SERVERS).unwrap_or_default())
}

/// Whether a missing server is a failure in this run, and not a reason to skip.
pub fn is_ci() -> bool {
    is_set("CI")
}

/// Whether this is a soak run, set by `cargo xtask soak`.
pub fn soak() -> bool {
    is_set("TIDELOCK_SOAK")
}

/// How many of `full` repetitions to run: all in a soak run, otherwise a tenth, but at least one.
pub fn scale(full: usize) -> usize {
    if soak() { full } else { (full / 10).max(1) }
}

fn is_set(variable: &str) -> bool {
    env::var(variable).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

fn parse_servers(words: &str) -> Vec<(String, String)> {
    words
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .map(|(name, url)| (name.to_owned(), url.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse_servers;

    #[test]
    fn servers_are_words_of_name_and_url() {
        let parsed = parse_servers("redis62=redis://127.0.0.1:1 sentinel=redis-sentinel://127.0.0.1:2/?master=m");
        assert_eq!(
            parsed,
            [
                ("redis62".to_owned(), "redis://127.0.0.1:1".to_owned()),
                ("sentinel".to_owned(), "redis-sentinel://127.0.0.1:2/?master=m".to_owned()),
            ]
        );
        assert!(parse_servers("").is_empty());
    }
}
