//! `Tidelock::connect`: connecting to servers.

use std::future::IntoFuture;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

#[cfg(feature = "tls")]
use crate::backend::redis::Identity;
use crate::backend::redis::{Access, Credentials, Redis, Settings};
use crate::check;
use crate::error::{Error, Result};
use crate::lifecycle::Lifecycle;
use crate::name;
use crate::runtime::{BoxFuture, Spawner};
use crate::tidelock::{DEFAULT_TENANT, Tidelock, World, process_name};
use crate::time::{Clock, HOUR, ManualClock};
use crate::weak_map::WeakMap;

impl Tidelock {
    /// Opens a backend on Redis or Valkey (Dragonfly should work, but is not tested). Await the result to connect.
    ///
    /// | URL | deployment |
    /// |---|---|
    /// | `redis://[user[:password]@]host[:port][/db]` | one server |
    /// | `redis-cluster://host:port,host:port` | a cluster; name some of its nodes |
    /// | `redis-sentinel://host:port,host:port[/db]?master=name` | the primary that the sentinels report |
    /// | `redis+unix:///path[?db=0&user=user&pass=password]`, also `unix://` | one server on this machine, by its socket (Unix) |
    ///
    /// `rediss`, `rediss-cluster` and `rediss-sentinel` use TLS (feature `tls`); `valkey` can replace `redis` in each.
    /// User and password are percent-encoded, and so is the path of a socket. Everything before the last `@` is taken
    /// as user and password, except for sockets, where they are parameters.
    pub fn connect(url: &str) -> Connect {
        Connect {
            url: url.to_owned(),
            prefix: "tidelock".to_owned(),
            tenant: DEFAULT_TENANT.to_owned(),
            name: None,
            request_timeout: Duration::from_secs(5),
            clock: Clock::System,
            access: Access::default(),
        }
    }
}

/// How to open a backend on servers. Await it to connect.
///
/// Connecting checks that the server can be reached, that it is at least Redis 6.2, and that the data under the prefix
/// has a format this version can read, for at most `request_timeout`. All named nodes of a cluster are tried at once,
/// and one of them has to answer; all sentinels are asked at once. A server that accepts no writes for the moment,
/// because it is full or cannot save, can be connected to unless it is still empty. Dropping the future connects
/// nothing.
#[derive(Clone)]
#[must_use = "nothing is connected until it is awaited"]
pub struct Connect {
    url: String,
    prefix: String,
    tenant: String,
    name: Option<String>,
    request_timeout: Duration,
    clock: Clock,
    access: Access,
}

impl Connect {
    /// The prefix of all keys and channels: 1..=64 of `A-Z a-z 0-9 _ . : -`. Default `tidelock`.
    ///
    /// Fleets with different prefixes share nothing.
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// The tenant of everything created from this `Tidelock`. Default `default`.
    pub fn tenant(mut self, tenant: &str) -> Self {
        tenant.clone_into(&mut self.tenant);
        self
    }

    /// The name of this process where holders and consumers are shown: 1..=64 of `A-Z a-z 0-9 _ . -`. A random suffix,
    /// new at each start, is appended. Default `process`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// How long a call whose connection breaks is repeated before it fails: 10 ms..=1 h, default 5 s.
    ///
    /// A call that may have taken effect is repeated for at most 110 s after it was first sent, even if this is longer,
    /// because servers remember answers for two minutes. After that its outcome stays unknown, which is a *timeout*.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Pins the time for all decisions and waits: for tests.
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Clock::Manual(clock.clone());
        self
    }

    /// The credentials for the sentinels. Default: they are asked without a password.
    ///
    /// The credentials in the URL belong to the data servers, and are never sent to a sentinel. Without a user name the
    /// password is that of `requirepass`; with one, that of a user in the sentinels' own access list, who may call
    /// `SENTINEL MASTER` and subscribe to `+switch-master`. All sentinels of the URL get the same. A URL without
    /// sentinels, an empty user name and an empty password are configuration errors.
    pub fn sentinel_credentials(mut self, username: Option<&str>, password: &str) -> Self {
        let username = username.map(str::to_owned);
        self.access.sentinels = Some(Credentials { username, password: password.to_owned() });
        self
    }

    /// PEM certificates to trust instead of the built-in roots, for servers with a private authority.
    ///
    /// PEM without a certificate is a configuration error, and so is a URL without TLS.
    #[cfg(feature = "tls")]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.access.certificates.roots = Some(pem.into());
        self
    }

    /// The client certificate, with its chain, and its private key, both in PEM: for servers that require one
    /// (`tls-auth-clients yes`). Default: none is shown.
    ///
    /// Sentinels and all nodes of a cluster are shown the same one. The key is PKCS #8, PKCS #1 or SEC 1, and not
    /// encrypted. PEM without a certificate or without a key, a key that does not belong to the certificate, and a URL
    /// without TLS are configuration errors.
    #[cfg(feature = "tls")]
    pub fn client_certificate(mut self, certificate_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        let (certificate, key) = (certificate_pem.into(), key_pem.into());
        self.access.certificates.client = Some(Identity { certificate, key });
        self
    }

    fn check(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let check = |what: &str, text: &str, test: &dyn Fn(char) -> bool| {
            name::check(Error::configuration, what, text, 64)?;
            match text.chars().find(|c| !test(*c)) {
                Some(found) => Err(Error::configuration(format!("{what} must not contain {found:?}, but is {text:?}"))),
                None => Ok(()),
            }
        };
        check("prefix", &self.prefix, &|c| plain(c) || c == ':')?;
        check("name", self.name.as_deref().unwrap_or("process"), &plain)?;
        name::check(Error::configuration, "tenant", &self.tenant, name::MAX_ID)?;
        let min = Duration::from_millis(10);
        check::range(Error::configuration, "request_timeout", self.request_timeout, min, HOUR)
    }

    async fn open(self) -> Result<Tidelock> {
        self.check()?;
        let process = process_name(self.name.as_deref().unwrap_or("process"));
        let lifecycle = Lifecycle::new(self.clock.clone());
        let spawner = Arc::new(Spawner::default());
        spawner.remember();
        let settings = Settings {
            url: self.url,
            prefix: self.prefix,
            request_timeout: self.request_timeout,
            access: self.access,
            process: Arc::clone(&process),
        };
        let backend = Arc::new(Redis::connect(settings, &self.clock, &lifecycle, &spawner).await?);
        Ok(Tidelock::over(
            World {
                backend,
                local: OnceLock::new(),
                clock: self.clock,
                lifecycle,
                spawner,
                process,
                topics: WeakMap::default(),
                receivers: WeakMap::default(),
                keyed: WeakMap::default(),
                schedulers: WeakMap::default(),
                job_logs: WeakMap::default(),
            },
            &self.tenant,
        ))
    }
}

impl IntoFuture for Connect {
    type Output = Result<Tidelock>;
    type IntoFuture = BoxFuture<'static, Result<Tidelock>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the URL, which may contain a password.
        f.debug_struct("Connect").field("prefix", &self.prefix).field("tenant", &self.tenant).finish_non_exhaustive()
    }
}
