//! The programs that run the contenders, built and installed from lock files; the system is not changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::cargo::{cargo, output, root, run};
use crate::npm;

use super::contenders::{Contender, LIMIT, Language};

/// The programs that can run, and why the others cannot.
#[derive(Debug)]
pub(super) struct Programs {
    rust: PathBuf,
    node: Option<PathBuf>,
    /// Python environments by library: the libraries cannot be installed side by side.
    python: BTreeMap<&'static str, PathBuf>,
    /// What could not be installed, with the reason.
    pub(super) missing: Vec<String>,
}

/// The libraries from PyPI.
const PYTHON: [&str; 2] = ["arq", "taskiq"];

fn sources() -> PathBuf {
    root().join("bench-compare")
}

impl Programs {
    pub(super) fn prepare(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let rust = rust(&folder.join("build"))?;
        let mut missing = vec!["glide-mq: npm has no package of this name".to_owned()];
        let mut optional = |name: &str, installed: Result<PathBuf>| {
            installed.map_err(|reason| missing.push(format!("{name}: {reason:#}"))).ok()
        };
        let node = optional("the libraries on npm", node(&folder.join("node")));
        let python = PYTHON.into_iter().filter_map(|library| {
            Some((library, optional(library, python(library, &folder.join("python").join(library)))?))
        });
        let python = python.collect();
        Ok(Self { rust, node, python, missing })
    }

    /// Why this contender cannot run here.
    pub(super) fn lacks(&self, contender: &Contender) -> Option<&'static str> {
        match contender.language {
            Language::Node if self.node.is_none() => Some("left out: no Node.js"),
            Language::Python if !self.python.contains_key(contender.package) => Some("left out: not installed"),
            _ => None,
        }
    }

    pub(super) fn command(&self, contender: &Contender) -> Result<Command> {
        Ok(match contender.language {
            Language::Rust => Command::new(&self.rust),
            Language::Node => {
                let mut command = Command::new("node");
                command.arg(self.node.as_ref().context("no Node.js")?.join("contender.mjs"));
                command
            }
            Language::Python => {
                let mut command =
                    Command::new(self.python.get(contender.package).context("not installed")?.join("bin/python"));
                command.arg(sources().join("python/contender.py"));
                command
            }
        })
    }
}

fn rust(build: &Path) -> Result<PathBuf> {
    let manifest = sources().join("Cargo.toml");
    let mut command = cargo(["build", "--release", "--locked", "--quiet", "--manifest-path"]);
    run(command.arg(manifest).arg("--target-dir").arg(build))?;
    Ok(build.join("release").join(format!("bench-compare{}", std::env::consts::EXE_SUFFIX)))
}

/// A separate folder, because Node looks for modules next to the file that imports them.
fn node(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    for name in ["package.json", "package-lock.json", "contender.mjs"] {
        let (text, there) = (fs::read(sources().join("node").join(name))?, folder.join(name));
        // An unchanged file keeps its modification time, which tells whether the installation is up to date.
        if fs::read(&there).ok().as_ref() != Some(&text) {
            fs::write(there, text)?;
        }
    }
    npm::install(folder)?;
    Ok(folder.to_owned())
}

/// The lock file of a Python library.
fn requirements(library: &str) -> PathBuf {
    sources().join("python").join(format!("{library}.txt"))
}

/// A virtual environment with exactly what the list names.
fn python(library: &str, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let list = requirements(library);
    let (wanted, installed) = (fs::read(&list)?, folder.join("installed.txt"));
    if fs::read(&installed).ok().as_ref() != Some(&wanted) {
        output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder)).context("no python3 with venv")?;
        let mut pip = Command::new(folder.join("bin/python"));
        run(pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--requirement"]).arg(list))?;
        fs::write(installed, wanted)?;
    }
    Ok(folder.to_owned())
}

/// The version in the lock file of its language.
pub(super) fn version(contender: &Contender) -> Result<String> {
    let found = match contender.language {
        Language::Rust => {
            let lock = fs::read_to_string(sources().join("Cargo.lock"))?;
            let entry = format!("name = \"{}\"\nversion = \"", contender.package);
            lock.split_once(&entry).and_then(|(_, rest)| rest.split('"').next()).map(str::to_owned)
        }
        Language::Node => {
            let lock: Value = serde_json::from_slice(&fs::read(sources().join("node/package-lock.json"))?)?;
            lock["packages"][format!("node_modules/{}", contender.package)]["version"].as_str().map(str::to_owned)
        }
        Language::Python => {
            let list = fs::read_to_string(requirements(contender.package))?;
            let entry = format!("{}==", contender.package);
            list.lines().find_map(|line| line.strip_prefix(&entry)).map(str::to_owned)
        }
    };
    found.with_context(|| format!("no lock file names {}", contender.package))
}

/// The version for the tables. For the no-op script it is that of the client library, and labelled so.
pub(super) fn shown_version(contender: &Contender) -> Result<String> {
    ensure!(!contender.package.is_empty(), "{} has no package", contender.name);
    Ok(if contender.name == LIMIT { format!("redis-rs {}", version(contender)?) } else { version(contender)? })
}
