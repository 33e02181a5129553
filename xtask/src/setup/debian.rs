//! Programs from Debian packages, unpacked instead of installed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::output;

/// Starts the program with the libraries unpacked next to it, wherever the folder is.
const LAUNCHER: &str = r#"#!/bin/sh
here=${0%/*}
for folder in "$here"/root/usr/lib/*-linux-* "$here"/root/lib/*-linux-*; do
    LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
exec "$here/root/usr/bin/PROGRAM" "$@"
"#;

/// Unpacks the program into `folder`, from these packages and the libraries that the machine lacks for them.
pub(super) fn fetch(cache: &Path, packages: &[&str], program: &str, folder: &Path) -> Result<()> {
    let archive = Archive::open(&cache.join("apt"))?;
    let mut known: BTreeSet<_> = packages.iter().map(|&name| name.to_owned()).collect();
    let mut wanted = known.clone();
    while !wanted.is_empty() {
        let mut next = BTreeSet::new();
        for package in archive.download(&wanted, &folder.join("packages"))? {
            output(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(folder.join("root")))?;
            let depends = output(Command::new("dpkg-deb").arg("--field").arg(&package).arg("Depends"))?;
            next.extend(libraries(&depends).filter(|name| !is_installed(name)).map(str::to_owned));
        }
        wanted = next.difference(&known).cloned().collect();
        known.extend(next);
    }
    let launcher = folder.join(program);
    fs::write(&launcher, LAUNCHER.replace("PROGRAM", program))?;
    Ok(fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755))?)
}

/// Installs a package on the machine, for programs that are too entangled with it to be unpacked. Needs privileges.
pub(super) fn install(package: &str) -> Result<()> {
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        // Wait for another installation, and retry an archive that does not answer.
        let patience = ["--quiet", "-oAcquire::Retries=3", "-oDPkg::Lock::Timeout=120"];
        output(command.env("DEBIAN_FRONTEND", "noninteractive").args(patience).args(arguments)).map(|_| ())
    };
    apt(&["update"])?;
    apt(&["install", "--yes", "--no-install-recommends", package])
}

/// The machine's package archive and its backports, with separate package lists next to the system's. By apt's rules,
/// backports are used only if the release itself has no such package.
struct Archive {
    folder: PathBuf,
}

impl Archive {
    fn open(folder: &Path) -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release").context("not a Debian system")?;
        let codename = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .context("the system's release has no codename")?;
        let archive = Self { folder: folder.to_owned() };
        for part in ["state/lists/partial", "cache/archives/partial", "sources"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let mut sources = 0;
        for (name, text) in system_sources()? {
            if let Some(text) = with_backports(&name, &text, codename) {
                fs::write(folder.join("sources").join(name), text)?;
                sources += 1;
            }
        }
        ensure!(sources > 0, "no package source of this system names {codename}");
        output(archive.apt().arg("update"))?;
        Ok(archive)
    }

    /// Downloads these packages and returns the files.
    fn download(&self, packages: &BTreeSet<String>, folder: &Path) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(folder)?;
        let before = files(folder)?;
        output(self.apt().current_dir(folder).arg("download").args(packages))?;
        Ok(files(folder)?.difference(&before).cloned().collect())
    }

    fn apt(&self) -> Command {
        let mut command = Command::new("apt-get");
        let place = |option: &str, part: &str| format!("{option}={}", self.folder.join(part).display());
        let options = [
            place("Dir::State", "state"),
            place("Dir::Cache", "cache"),
            place("Dir::Etc::SourceParts", "sources"),
            "Dir::Etc::SourceList=-".to_owned(),
            // The unprivileged user that apt would switch to may be unable to write here.
            "APT::Sandbox::User=root".to_owned(),
        ];
        command.arg("--quiet").args(options.iter().flat_map(|option| ["-o", option]));
        command
    }
}

/// Name and text of each file with package sources.
fn system_sources() -> Result<Vec<(String, String)>> {
    let folder = Path::new("/etc/apt");
    let mut paths: Vec<_> = files(&folder.join("sources.list.d")).unwrap_or_default().into_iter().collect();
    paths.push(folder.join("sources.list"));
    paths.retain(|path| path.is_file());
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, fs::read_to_string(&path)?))
    };
    paths.into_iter().map(read).collect()
}

/// The text of a source file, reduced to the main archive of the release, with its backports added.
fn with_backports(name: &str, text: &str, codename: &str) -> Option<String> {
    let entries: Vec<String> = match Path::new(name).extension()?.to_str()? {
        "list" => text.lines().filter_map(|line| line_with_backports(line, codename)).collect(),
        "sources" => text.split("\n\n").filter_map(|stanza| stanza_with_backports(stanza, codename)).collect(),
        _ => return None,
    };
    (!entries.is_empty()).then(|| entries.join("\n"))
}

/// `deb [options] uri codename component…`
fn line_with_backports(line: &str, codename: &str) -> Option<String> {
    let is_main = line.starts_with("deb ") && line.split_whitespace().any(|word| word == codename);
    let spaced = format!(" {codename} ");
    is_main.then(|| format!("{line}\n{}\n", line.replacen(&spaced, &format!(" {codename}-backports "), 1)))
}

/// Lines `Name: value`; only `Suites` is changed.
fn stanza_with_backports(stanza: &str, codename: &str) -> Option<String> {
    let suites =
        |line: &str| line.strip_prefix("Suites:").map(|value| value.split_whitespace().any(|suite| suite == codename));
    let is_binary =
        stanza.lines().any(|line| line.starts_with("Types:") && line.split_whitespace().any(|word| word == "deb"));
    if !is_binary || !stanza.lines().any(|line| suites(line) == Some(true)) {
        return None;
    }
    let lines = stanza.lines().map(|line| match suites(line) {
        Some(_) => format!("Suites: {codename} {codename}-backports\n"),
        None => format!("{line}\n"),
    });
    Some(lines.collect())
}

/// The libraries in a `Depends` field, the first of each list of alternatives.
fn libraries(depends: &str) -> impl Iterator<Item = &str> {
    depends
        .split(',')
        .filter_map(|dependency| dependency.split(['|', '(', ':']).next())
        .map(str::trim)
        .filter(|name| name.starts_with("lib"))
}

fn is_installed(package: &str) -> bool {
    let status = output(Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]));
    status.is_ok_and(|status| status == "installed")
}

fn files(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::{libraries, with_backports};

    #[test]
    fn sources_keep_their_options_and_gain_backports() {
        let list = "# main\ndeb [signed-by=/key.gpg] http://mirror/debian bookworm main\n\
                    deb http://mirror/security bookworm-security main\n";
        assert_eq!(
            with_backports("sources.list", list, "bookworm").expect("one line of it"),
            "deb [signed-by=/key.gpg] http://mirror/debian bookworm main\n\
             deb [signed-by=/key.gpg] http://mirror/debian bookworm-backports main\n",
        );
        let stanzas = "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\nSigned-By: /key.gpg\n\n\
                       Types: deb\nURIs: http://mirror/security\nSuites: bookworm-security\n";
        assert_eq!(
            with_backports("debian.sources", stanzas, "bookworm").expect("one stanza of it"),
            "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-backports\nSigned-By: /key.gpg\n",
        );
        assert_eq!(with_backports("debian.sources.off", stanzas, "bookworm"), None);
        assert_eq!(with_backports("other.list", "deb http://mirror/node nodistro main", "bookworm"), None);
    }

    #[test]
    fn libraries_are_named_without_versions_and_alternatives() {
        let depends = "adduser, libatomic1 (>= 4.8), libc6 (>= 2.34), libsystemd0 | libelogind0, libssl3";
        assert_eq!(libraries(depends).collect::<Vec<_>>(), ["libatomic1", "libc6", "libsystemd0", "libssl3"]);
    }
}
