//! Credentials and certificates for connections that are not in the URL.

use std::fmt;

use super::tls::Certificates;
use super::url::{Deployment, Url};
use crate::error::{Error, Result};

/// Access settings that are not in the URL. Its `Debug` output shows nothing of them.
#[derive(Clone, Default)]
pub(crate) struct Access {
    /// For sentinels. The credentials in the URL are for the servers that the sentinels name.
    pub(crate) sentinels: Option<Credentials>,
    pub(crate) certificates: Certificates,
}

/// Credentials for a server.
#[derive(Clone)]
pub(crate) struct Credentials {
    /// Without one, the user that servers call `default`.
    pub(crate) username: Option<String>,
    pub(crate) password: String,
}

impl Access {
    /// Refuses settings that have no effect with this URL, and invalid ones.
    pub(crate) fn check(&self, url: &Url) -> Result<()> {
        if let Some(credentials) = &self.sentinels {
            credentials.check()?;
            if !matches!(url.deployment, Deployment::Sentinel { .. }) {
                let text = "sentinel_credentials have no effect: the URL names no sentinels";
                return Err(Error::configuration(text));
            }
        }
        self.certificates.check(url.tls)
    }
}

impl Credentials {
    fn check(&self) -> Result<()> {
        if self.username.as_ref().is_some_and(String::is_empty) {
            return Err(Error::configuration("sentinel_credentials: the user name is empty"));
        }
        if self.password.is_empty() {
            return Err(Error::configuration("sentinel_credentials: the password is empty"));
        }
        Ok(())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn refused(url: &str, username: Option<&str>, password: &str) -> Option<Error> {
        let credentials = Credentials { username: username.map(str::to_owned), password: password.to_owned() };
        let access = Access { sentinels: Some(credentials), certificates: Certificates::default() };
        assert!(!format!("{access:?}").contains("hunter2"));
        access.check(&Url::parse(url).unwrap()).err()
    }

    #[test]
    fn credentials_for_sentinels_need_sentinels() {
        for (url, username, password) in [
            ("redis://a", None, "hunter2"),
            ("redis-cluster://a", Some("watcher"), "hunter2"),
            ("redis-sentinel://a?master=m", Some(""), "hunter2"),
            ("redis-sentinel://a?master=m", None, ""),
        ] {
            let error = refused(url, username, password).expect("it has no effect");
            assert_eq!(error.kind(), ErrorKind::InvalidConfiguration, "{error}");
            let text = error.to_string();
            assert!(text.contains("sentinel_credentials") && !text.contains("hunter2"), "{text}");
        }
        for username in [None, Some("watcher")] {
            assert!(refused("redis-sentinel://a?master=m", username, "hunter2").is_none());
        }
    }
}
