//! Server URLs: a single server, Sentinel and Cluster, with and without TLS, and local sockets.

use std::fmt;

use crate::error::{Error, Result};

/// Where and how to connect. Its `Debug` output and its errors never contain the password, even if the URL is
/// malformed: parts that may contain a password are not quoted.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) deployment: Deployment,
    pub(crate) tls: bool,
    pub(crate) hosts: Vec<Host>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) db: i64,
}

/// One server's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Host {
    Port {
        name: String,
        port: u16,
    },
    /// The path of a local socket.
    Socket(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { name, port } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Port { name, port } => write!(f, "{name}:{port}"),
            Self::Socket(path) => f.write_str(path),
        }
    }
}

/// How the servers are organised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deployment {
    Standalone,
    /// The hosts are sentinels that watch the primary of this name.
    Sentinel {
        primary: String,
    },
    /// The hosts are some of the nodes.
    Cluster,
}

const EXPECTED: &str = "redis://[user[:password]@]host[:port][/db], also rediss:// (TLS), \
     redis-cluster://host:port,host:port, redis-sentinel://host:port,host:port[/db]?master=name \
     and redis+unix:///path[?db=0&user=user&pass=password] (a socket, also unix://); valkey stands for redis in each";

fn refuse(why: impl fmt::Display) -> Error {
    // The URL itself may contain a password, so it is never part of the message.
    Error::configuration(format!("the URL {why}; expected {EXPECTED}"))
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| refuse("has no scheme"))?;
        if matches!(scheme, "redis+unix" | "valkey+unix" | "unix") {
            return Self::parse_socket(rest);
        }
        let (cluster, sentinel, tls) = scheme_parts(scheme)?;
        // Split off first, because a password that was not encoded may contain any character.
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials), rest),
            None => (None, rest),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let default_port = if sentinel { 26_379 } else { 6_379 };
        let hosts = hosts.split(',').map(|host| parse_host(host, default_port)).collect::<Result<Vec<_>>>()?;
        let primary = parse_query(query, sentinel)?;
        let deployment = match (cluster, primary) {
            (true, _) => Deployment::Cluster,
            (false, Some(primary)) => Deployment::Sentinel { primary },
            (false, None) => Deployment::Standalone,
        };
        if deployment == Deployment::Standalone && hosts.len() != 1 {
            return Err(refuse(format_args!("names {} hosts but one server", hosts.len())));
        }
        let db = match path {
            "" => 0,
            text => parse_db(text)?,
        };
        if cluster && db != 0 {
            return Err(refuse(format_args!("asks for database {db}, but a cluster has only 0")));
        }
        let (username, password) = match credentials {
            None => (None, None),
            Some(text) => parse_credentials(text)?,
        };
        Ok(Self { deployment, tls, hosts, username, password, db })
    }

    /// Parses what follows `redis+unix://`. A path leaves no room for a user and a database, so these are parameters.
    fn parse_socket(text: &str) -> Result<Self> {
        if !cfg!(unix) {
            return Err(refuse("names a socket of this machine, which only Unix has"));
        }
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        if !path.starts_with('/') {
            return Err(refuse("names a socket whose path does not begin with /"));
        }
        let hosts = vec![Host::Socket(decode(path)?)];
        let mut url =
            Self { deployment: Deployment::Standalone, tls: false, hosts, username: None, password: None, db: 0 };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("db", db)) => url.db = parse_db(db)?,
                Some(("user", name)) if !name.is_empty() => url.username = Some(decode(name)?),
                Some(("pass", password)) if !password.is_empty() => url.password = Some(decode(password)?),
                _ => return Err(refuse("has a parameter beside db, user and pass, or an empty one")),
            }
        }
        Ok(url)
    }
}

fn parse_db(text: &str) -> Result<i64> {
    let db = text.parse().ok().filter(|db| (0..=1_000_000).contains(db));
    db.ok_or_else(|| refuse("has a database that is no number in 0..=1000000"))
}

fn scheme_parts(scheme: &str) -> Result<(bool, bool, bool)> {
    let base = scheme.strip_suffix("-cluster").or_else(|| scheme.strip_suffix("-sentinel")).unwrap_or(scheme);
    let tls = match base {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ if scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') => {
            return Err(refuse(format_args!("has the unknown scheme {scheme:?}")));
        }
        _ => return Err(refuse("has an unknown scheme")),
    };
    Ok((scheme.ends_with("-cluster"), scheme.ends_with("-sentinel"), tls))
}

fn parse_host(text: &str, default_port: u16) -> Result<Host> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']').ok_or_else(|| refuse("has an unclosed ["))?;
            (name, rest.strip_prefix(':'))
        }
        None => match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    if name.is_empty() {
        return Err(refuse("has an empty host"));
    }
    let port = match port {
        None => default_port,
        Some(port) => {
            port.parse().ok().filter(|port| *port != 0).ok_or_else(|| refuse("has a port that is not 1..=65535"))?
        }
    };
    Ok(Host::Port { name: name.to_owned(), port })
}

fn parse_query(query: &str, sentinel: bool) -> Result<Option<String>> {
    let mut primary = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("master", name)) if sentinel && !name.is_empty() => primary = Some(decode(name)?),
            _ if sentinel => return Err(refuse("has a parameter beside master, or an empty one")),
            _ => return Err(refuse("has a parameter, but sentinels alone have one")),
        }
    }
    if sentinel && primary.is_none() {
        return Err(refuse("names sentinels but no master"));
    }
    Ok(primary)
}

fn parse_credentials(text: &str) -> Result<(Option<String>, Option<String>)> {
    let (username, password) = match text.split_once(':') {
        Some((username, password)) => (username, Some(password)),
        None => (text, None),
    };
    let username = decode(username)?;
    let password = password.map(decode).transpose()?;
    Ok(((!username.is_empty()).then_some(username), password))
}

fn decode(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
        match digits {
            [Some(high), Some(low)] => bytes.push((high * 16 + low).to_le_bytes()[0]),
            _ => return Err(refuse("has a % that two hexadecimal digits do not follow")),
        }
    }
    String::from_utf8(bytes).map_err(|_| refuse("has a part that is no UTF-8"))
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Url")
            .field("deployment", &self.deployment)
            .field("tls", &self.tls)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let url = Url::parse("redis://user:p%40ss@example:7000/3").unwrap();
        assert_eq!((url.username.as_deref(), url.password.as_deref(), url.db), (Some("user"), Some("p@ss"), 3));
        assert_eq!(url.hosts, [Host::Port { name: "example".into(), port: 7000 }]);
        assert!(Url::parse("valkeys://:secret@[::1]:1").unwrap().tls);
        let url = Url::parse("redis-cluster://a:1,b:2,c").unwrap();
        assert_eq!((url.deployment, url.hosts.len()), (Deployment::Cluster, 3));
        let url = Url::parse("rediss-sentinel://a,b:2/1?master=main").unwrap();
        assert_eq!((url.deployment, url.db), (Deployment::Sentinel { primary: "main".into() }, 1));
        assert_eq!(url.hosts[0], Host::Port { name: "a".into(), port: 26_379 });
    }

    #[cfg(unix)]
    #[test]
    fn sockets_are_read_with_what_follows_their_path() {
        for scheme in ["redis+unix", "valkey+unix", "unix"] {
            let url = Url::parse(&format!("{scheme}:///run/a%20b/redis@1.sock?user=fleet&db=3&pass=p%26?@ss")).unwrap();
            assert_eq!(url.hosts, [Host::Socket("/run/a b/redis@1.sock".into())]);
            assert_eq!((url.username.as_deref(), url.password.as_deref(), url.db), (Some("fleet"), Some("p&?@ss"), 3));
            assert_eq!((url.deployment, url.tls), (Deployment::Standalone, false));
            assert_eq!(url.hosts[0].to_string(), "/run/a b/redis@1.sock");
        }
        let url = Url::parse("redis+unix:///redis.sock").unwrap();
        assert_eq!((url.username, url.password, url.db), (None, None, 0));
    }

    #[test]
    fn a_password_that_is_not_encoded_is_read_up_to_the_last_at() {
        for password in ["hun?ter2", "hun/ter2", "hun@ter2", "hun?t=e&r2", "hun:ter2", "hun/t?e@r2"] {
            let url = Url::parse(&format!("redis://user:{password}@example:7000/3")).unwrap();
            assert_eq!((url.username.as_deref(), url.password.as_deref(), url.db), (Some("user"), Some(password), 3));
            assert_eq!(url.hosts, [Host::Port { name: "example".into(), port: 7000 }]);
        }
    }

    #[test]
    fn a_wrong_url_is_refused_without_showing_the_password() {
        let wrong = [
            "example:6379",
            "http://:hunter2@example",
            "redis://:hunter2@",
            "redis://:hunter2@example:0",
            "redis://:hunter2@example:x",
            "redis://:hunter2@example/x",
            "redis://:hunter2@a,b",
            "redis://:hunter2%@a",
            "redis://:hunter2@a?x=y",
            "redis-cluster://:hunter2@a/1",
            "redis-sentinel://:hunter2@a",
            "redis-sentinel://:hunter2@a?hunter2",
            "redis-sentinel://a?hunter2=b",
            "redis://user:hunter2",
            "redis://example/hunter2",
            "redis://example?hunter2",
            "user:hunter2@redis://example",
            "hunter2://example",
            "redis+unix://:hunter2@/run/redis.sock",
            "redis+unix://run/redis.sock?pass=hunter2",
            "redis+unix:///run/redis.sock?password=hunter2",
            "redis+unix:///run/redis.sock?pass=hunter2&db=x",
            "redis+unix:///run/redis.sock?pass=hunter2&user=",
            "redis+unix:///run/redis.sock?pass=hunter2%",
            "unix:///run/redis.sock?hunter2",
            "rediss+unix:///run/redis.sock?pass=hunter2",
        ];
        for text in wrong {
            let error = Url::parse(text).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(error.to_string().contains("expected redis://"), "{error}");
        }
        assert!(!format!("{:?}", Url::parse("redis://:hunter2@a").unwrap()).contains("hunter2"));
    }
}
