//! `Tidelock::connect`: opening a backend on servers.

use std::future::IntoFuture;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

#[cfg(feature = "tls")]
use crate::backend::redis::Identity;
use crate::backend::redis::{Access, Credentials, Redis, Settings};
use crate::error::{Error, Result};
use crate::lifecycle::Lifecycle;
use crate::name;
use crate::runtime::{BoxFuture, Spawner};
use crate::tidelock::{DEFAULT_TENANT, Tidelock, World, process_name};
use crate::time::{Clock, HOUR, ManualClock, check_duration};
use crate::weak_map::WeakMap;

impl Tidelock {
    /// Opens a backend on Redis, Valkey or Dragonfly. Await the result to connect.
    ///
    /// | URL | deployment |
    /// |---|---|
    /// | `redis://[user[:password]@]host[:port][/db]` | one server |
    /// | `redis-cluster://host:port,host:port` | a cluster, of which some nodes are named |
    /// | `redis-sentinel://host:port,host:port[/db]?master=name` | the primary that the sentinels name |
    /// | `redis+unix:///path[?db=0&user=user&pass=password]`, also `unix://` | one server, by its socket on this machine (Unix) |
    ///
    /// `rediss`, `rediss-cluster` and `rediss-sentinel` use TLS (feature `tls`); `valkey` stands for `redis` in each.
    /// User and password are percent-encoded, and so is the path of a socket; what stands before the last `@` is taken for user
    /// and password, but for sockets, where they are parameters.
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

/// How to open a backend on servers; awaited, it connects.
///
/// Connecting checks that the server can be reached, that it is at least Redis 6.2, and that the data under the
/// prefix is of a format that this version reads, for at most `request_timeout`. Of a cluster all named nodes are tried at
/// once, and one of its nodes has to be reached; of sentinels all are asked at once. A server that takes no writes for the
/// moment, because it is full or cannot save, can be connected to unless it holds nothing yet. Dropping the future connects
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
    /// What all keys and channels begin with: 1..=64 of `A-Z a-z 0-9 _ . : -`. Default `tidelock`.
    ///
    /// Fleets with different prefixes share nothing.
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// The tenant of everything made from this `Tidelock`. Default `default`.
    pub fn tenant(mut self, tenant: &str) -> Self {
        tenant.clone_into(&mut self.tenant);
        self
    }

    /// What this process is called where holders and consumers are shown: 1..=64 of `A-Z a-z 0-9 _ . -`. A random
    /// part that is new at each start is appended. Default `process`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// How long a call whose connection breaks is repeated before it is an error: 10 ms..=1 h, default 5 s.
    ///
    /// A call that may have taken effect is sent again for at most 110 s after it was first sent, however long this is: a
    /// server remembers answers for two minutes. Then its outcome stays unknown, which is a *timeout*.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Pins the time for everything that is decided or waited for: for tests.
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Clock::Manual(clock.clone());
        self
    }

    /// Who this process is to the sentinels. Default: they are asked without a password.
    ///
    /// The credentials of the URL are for the servers that the sentinels name, and are never sent to a sentinel. Without a user
    /// name the password is that of `requirepass`; with one, that of a user of the sentinels' own access list, who may call
    /// `SENTINEL MASTER` and subscribe to `+switch-master`. All sentinels of the URL get the same. A URL that names no
    /// sentinels, an empty user name and an empty password are configuration errors.
    pub fn sentinel_credentials(mut self, username: Option<&str>, password: &str) -> Self {
        let username = username.map(str::to_owned);
        self.access.sentinels = Some(Credentials { username, password: password.to_owned() });
        self
    }

    /// Certificates in PEM to trust in place of the built-in roots, for servers with a private authority.
    ///
    /// PEM without a certificate is a configuration error, and so is a URL without TLS.
    #[cfg(feature = "tls")]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.access.certificates.roots = Some(pem.into());
        self
    }

    /// The certificate that shows servers who this process is, with those that vouch for it, and its private key, both in
    /// PEM: for servers that ask their clients for one (`tls-auth-clients yes`). Default: none is shown.
    ///
    /// Sentinels and all nodes of a cluster are shown the same. The key is PKCS #8, PKCS #1 or SEC 1, and not encrypted. PEM
    /// without a certificate or without a key, a key that is not that of the certificate, and a URL without TLS are
    /// configuration errors.
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
        check_duration(Error::configuration, "request_timeout", self.request_timeout, min, HOUR)
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
        // The URL may hold a password.
        f.debug_struct("Connect").field("prefix", &self.prefix).field("tenant", &self.tenant).finish_non_exhaustive()
    }
}
