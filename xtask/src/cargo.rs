//! Running programs, mainly Cargo.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// A Cargo command with these arguments, in the workspace root.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    command
}

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Prints the command, runs it, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("cannot run {line}"))?;
    ensure!(status.success(), "{line} ended with {status}");
    Ok(())
}

/// Runs the command silently and returns its stdout; an error contains its stderr.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {line}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{line} ended with {}: {}", output.status, complaint.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Cargo's metadata of the workspace.
fn metadata() -> Result<Value> {
    Ok(serde_json::from_str(&output(&mut cargo(["metadata", "--format-version=1", "--no-deps"]))?)?)
}

/// Cargo's target folder.
pub(crate) fn target_folder() -> Result<PathBuf> {
    Ok(metadata()?["target_directory"].as_str().context("no target folder in the metadata")?.into())
}

/// The features of the library, and what each of them turns on.
#[derive(Debug)]
pub(crate) struct Features {
    table: serde_json::Map<String, Value>,
}

impl Features {
    /// Asks Cargo, so that no list has to be maintained here.
    pub(crate) fn of_library() -> Result<Self> {
        let metadata = metadata()?;
        let packages = metadata["packages"].as_array().context("no packages in the metadata")?;
        let library = packages.iter().find(|package| package["name"] == "tidelock").context("no package tidelock")?;
        let table = library["features"].as_object().context("no features in the metadata")?;
        Ok(Self { table: table.clone() })
    }

    /// All features except `default`.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.table.keys().map(String::as_str).filter(|name| *name != "default")
    }

    /// Features that need no connection to a server, and therefore must work in a browser.
    pub(crate) fn without_server(&self) -> Vec<&str> {
        self.names().filter(|name| !self.enabled_by(name).contains("redis")).collect()
    }

    /// The feature itself and everything that it turns on, directly or indirectly.
    fn enabled_by<'a>(&'a self, name: &'a str) -> BTreeSet<&'a str> {
        let mut enabled = BTreeSet::from([name]);
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            let turned_on = self.table.get(name).and_then(Value::as_array).into_iter().flatten();
            open.extend(turned_on.filter_map(Value::as_str).filter(|name| enabled.insert(name)));
        }
        enabled
    }
}

fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::Features;
    use serde_json::json;

    #[test]
    fn features_are_followed_through() {
        let table = json!({
            "default": ["redis"],
            "redis": ["dep:redis"],
            "tls": ["secure"],
            "secure": ["redis", "dep:rustls"],
            "postcard": ["dep:postcard"],
        });
        let features = Features { table: table.as_object().expect("an object").clone() };
        assert_eq!(features.names().collect::<Vec<_>>(), ["postcard", "redis", "secure", "tls"]);
        assert_eq!(features.without_server(), ["postcard"]);
    }
}
