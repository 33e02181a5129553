//! Server programs: which ones exist, and where to find them.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::environment::is_ci;

/// The servers that Tidelock is tested against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// The oldest supported server.
    Redis62,
    /// The last Redis under its original licence, as shipped by distributions.
    Redis70,
    /// The Valkey fork.
    Valkey8,
}

impl Flavour {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::Redis62, Self::Redis70, Self::Valkey8];

    /// The short name, used in [`shared_servers`](crate::shared_servers) and for folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis62 => "redis62",
            Self::Redis70 => "redis70",
            Self::Valkey8 => "valkey8",
        }
    }

    /// The environment variable that may hold the path of the program.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Redis62 => "TIDELOCK_SERVER_REDIS62",
            Self::Redis70 => "TIDELOCK_SERVER_REDIS70",
            Self::Valkey8 => "TIDELOCK_SERVER_VALKEY8",
        }
    }

    /// The name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Redis62 | Self::Redis70 => "redis-server",
            Self::Valkey8 => "valkey-server",
        }
    }

    /// Where `cargo xtask setup` puts the program if the machine has none.
    pub fn cached_program(self) -> Option<PathBuf> {
        Some(cache_dir()?.join("servers").join(self.name()).join(self.program()))
    }

    /// The prefix of the program's version.
    fn version_prefix(self) -> &'static str {
        match self {
            Self::Redis62 => "6.2.",
            Self::Redis70 => "7.0.",
            Self::Valkey8 => "8.",
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis62 => "Redis 6.2",
            Self::Redis70 => "Redis 7.0",
            Self::Valkey8 => "Valkey 8",
        })
    }
}

/// A server program on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    flavour: Flavour,
    path: PathBuf,
    version: String,
}

impl Binary {
    /// Looks in the flavour's environment variable, then on `PATH`, then in the cache folder.
    ///
    /// The variable is binding: if it is set, nothing else is tried. The error says what was found and where.
    pub fn find(flavour: Flavour) -> Result<Self> {
        if let Some(path) = env::var_os(flavour.variable()) {
            return Self::at(flavour, Path::new(&path)).with_context(|| format!("{} is set", flavour.variable()));
        }
        let mut seen = vec![format!("{} is not set", flavour.variable())];
        let cached = flavour.cached_program().filter(|path| path.exists());
        for path in on_path(flavour.program()).into_iter().chain(cached) {
            match Self::at(flavour, &path) {
                Ok(binary) => return Ok(binary),
                Err(reason) => seen.push(format!("{reason:#}")),
            }
        }
        bail!("no {flavour} here ({}): `cargo xtask setup` fetches it", seen.join("; "))
    }

    /// The program at `path`, if it is of this flavour.
    pub fn at(flavour: Flavour, path: &Path) -> Result<Self> {
        let output =
            Command::new(path).arg("--version").output().with_context(|| format!("cannot run {}", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = parse_version(&text).with_context(|| format!("{} reports no version: {text}", path.display()))?;
        ensure!(version.starts_with(flavour.version_prefix()), "{} is version {version}", path.display());
        Ok(Self { flavour, path: path.to_owned(), version: version.to_owned() })
    }

    /// For tests: the program, or `None` after printing why the test is skipped.
    ///
    /// # Panics
    ///
    /// In CI, where nothing is skipped.
    pub fn or_skip(flavour: Flavour) -> Option<Self> {
        match Self::find(flavour) {
            Ok(binary) => Some(binary),
            Err(reason) if is_ci() => panic!("{reason:#}"),
            Err(reason) => {
                eprintln!("skipped: {reason:#}");
                None
            }
        }
    }

    /// Its flavour.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its full version, such as `7.0.15`.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// The folder for downloads that outlive a checkout: `$TIDELOCK_CACHE`, or `tidelock` in the user's cache.
pub fn cache_dir() -> Option<PathBuf> {
    let folder = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("TIDELOCK_CACHE")
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("tidelock")))
        .or_else(|| Some(folder("HOME")?.join(".cache/tidelock")))
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Picks `7.0.15` out of `Redis server v=7.0.15 sha=…`.
fn parse_version(text: &str) -> Option<&str> {
    text.split_whitespace().find_map(|word| word.strip_prefix("v="))
}

#[cfg(test)]
mod tests {
    use super::{Binary, Flavour, parse_version};
    use std::path::Path;

    #[test]
    fn version_is_read_from_either_server() {
        assert_eq!(parse_version("Redis server v=6.2.14 sha=40305114:0 malloc=libc bits=64"), Some("6.2.14"));
        assert_eq!(parse_version("Valkey server v=8.0.1 sha=00000000:0"), Some("8.0.1"));
        assert_eq!(parse_version("cat (GNU coreutils) 9.1"), None);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Binary::at(Flavour::Redis70, Path::new("/nowhere/redis-server")).expect_err("there is none");
        assert!(error.to_string().contains("/nowhere/redis-server"), "{error}");
    }
}
