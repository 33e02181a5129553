//! `cargo xtask test` and `cargo xtask soak`.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::cargo::{Features, cargo, run, target_folder};
use crate::counts::counts;
use crate::fleet::Fleet;
use crate::lane::Lane;
use crate::npm;
use crate::report::Report;
use crate::setup;

/// The sections of `cargo xtask test`, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// The code is formatted.
    Fmt,
    /// No lint fires, in any target.
    Clippy,
    /// The library compiles for browsers.
    Wasm,
    /// The library compiles with each feature alone, and with none.
    Features,
    /// The documentation has no broken link.
    Docs,
    /// No primitive takes more instructions than before.
    Counts,
    /// The npm package passes its tests in every runtime, and fits into new projects.
    Npm,
    /// The conformance cases of the library pass in a page.
    Page,
    /// All tests pass, against all servers.
    Test,
}

impl Section {
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Wasm => "wasm",
            Self::Features => "features",
            Self::Docs => "docs",
            Self::Counts => "counts",
            Self::Npm => "npm",
            Self::Page => "page",
            Self::Test => "test",
        }
    }

    fn run(self, report: &mut Report, args: &[String]) -> Result<()> {
        match self {
            Self::Fmt => {
                run(&mut cargo(["fmt", "--all", "--check"]))?;
                // A separate workspace, with dependencies that no other check should have to build.
                run(&mut cargo(["fmt", "--manifest-path=bench-compare/Cargo.toml", "--check"]))
            }
            Self::Clippy => {
                run(&mut cargo(["clippy", "--workspace", "--all-targets", "--all-features", "--", "-Dwarnings"]))
            }
            Self::Wasm => wasm(),
            Self::Features => features(),
            Self::Docs => docs(),
            Self::Counts => counts(report, false),
            Self::Npm => npm::section(report),
            Self::Page => npm::conformance::conformance(report, args.first().map_or("", String::as_str)),
            Self::Test => tests(report, &[], args),
        }
    }
}

/// Sections that run in parallel with the others. Only the tests have the machine to themselves.
const BESIDE: &str = "npm,page";

/// Runs some or all sections; stops at the first failure.
pub(crate) fn test(report: &mut Report, only: &[Section], args: &[String]) -> Result<()> {
    if only.is_empty() {
        return all(report, args);
    }
    for &section in only {
        report.section(section.name(), |report| section.run(report, given(section, only, args)))?;
    }
    Ok(())
}

fn all(report: &mut Report, args: &[String]) -> Result<()> {
    report.section("rust", setup::rust)?;
    // Two lanes must not install at the same time. If something is unavailable, the section that needs it reports that.
    let _ = (setup::valgrind(), setup::chromium());
    eprintln!("\nin parallel with the next sections: {BESIDE}");
    let mut lane = Lane::start(BESIDE)?;
    for section in [Section::Fmt, Section::Clippy, Section::Wasm, Section::Features, Section::Docs, Section::Counts] {
        report.section(section.name(), |report| section.run(report, &[]))?;
        lane.check().context(BESIDE)?;
    }
    report.section(BESIDE, |report| lane.join(report))?;
    report.section(Section::Test.name(), |report| Section::Test.run(report, args))
}

/// The arguments for a section. With several sections they are for `cargo test` only: a page would take the first of
/// them for a part of the names of its cases.
fn given<'a>(section: Section, only: &[Section], args: &'a [String]) -> &'a [String] {
    if section == Section::Test || only == [section] { args } else { &[] }
}

/// Runs only the tests, with all their repetitions.
pub(crate) fn soak(report: &mut Report, args: &[String]) -> Result<()> {
    report.section("soak", |report| tests(report, &["--release"], args))
}

/// Lints the library alone; the lints find code that a set of features leaves unused.
fn check_library(choice: &[&str], target: Option<&Path>) -> Result<()> {
    let options = ["clippy", "--package=tidelock", "--lib", "--no-default-features"];
    let mut command = cargo(options.iter().chain(choice).chain(&["--", "-Dwarnings"]).copied());
    if let Some(target) = target {
        command.env("CARGO_TARGET_DIR", target);
    }
    run(&mut command)
}

fn wasm() -> Result<()> {
    let target = format!("--target={}", setup::WASM);
    let features = Features::of_library()?;
    for package in ["--package=tidelock-wasm", "--package=rust-page"] {
        run(&mut cargo(["clippy", package, &target, "--", "-Dwarnings"]))?;
    }
    let suite = ["--package=tidelock-testpage", "--package=tidelock", "--no-default-features", "--test=conformance"];
    run(&mut cargo(["clippy"].iter().chain(&suite).copied().chain([target.as_str(), "--", "-Dwarnings"])))?;
    check_library(&[&target], None)?;
    check_library(&[&target, &format!("--features={}", features.without_server().join(","))], None)
}

/// Each check uses one thread, so two run at a time, the second in its own target folder. After a failure, no other
/// check starts.
fn features() -> Result<()> {
    let beside = target_folder()?.join("features");
    let features = Features::of_library()?;
    let sets: Vec<_> = features.names().map(|feature| format!("--features={feature}")).chain([String::new()]).collect();
    let (first, second) = sets.split_at(sets.len() / 2);
    let has_failed = AtomicBool::new(false);
    let check = |set: &String, target: Option<&Path>| {
        if has_failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let choice: &[&str] = if set.is_empty() { &[] } else { &[set] };
        check_library(choice, target).inspect_err(|_| has_failed.store(true, Ordering::Relaxed))
    };
    std::thread::scope(|scope| {
        let second = scope.spawn(|| second.iter().try_for_each(|set| check(set, Some(&beside))));
        let first = first.iter().try_for_each(|set| check(set, None));
        first.and(second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn docs() -> Result<()> {
    // Only libraries: the command line tool has the same name as the library, and they would overwrite each other.
    let mut command = cargo(["doc", "--no-deps", "--workspace", "--lib", "--all-features"]);
    run(command.env("RUSTDOCFLAGS", "-Dwarnings"))
}

fn tests(report: &mut Report, profile: &[&str], args: &[String]) -> Result<()> {
    let fleet = Fleet::start(report)?;
    let chosen = args.iter().any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    let packages: &[&str] = if chosen { &[] } else { &["--workspace"] };
    let mut command = cargo(["test", "--all-features"]);
    command.args(packages).args(profile).args(args).envs(fleet.variables());
    if profile.contains(&"--release") {
        command.env("TIDELOCK_SOAK", "1");
    }
    run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::{Section, given};

    #[test]
    fn a_page_is_given_only_what_is_meant_for_it() {
        let args = ["-p".to_owned(), "tidelock".to_owned()];
        let nothing: &[String] = &[];
        let both = [Section::Page, Section::Test];
        assert_eq!(given(Section::Test, &both, &args), args);
        assert_eq!(given(Section::Page, &both, &args), nothing);
        assert_eq!(given(Section::Page, &[Section::Page], &args), args);
    }
}
