//! `cargo xtask release-check`.

use std::process::Command;

use anyhow::Result;

use crate::cargo::{cargo, output, root, run};
use crate::report::Report;

/// Licences and sources of all dependencies, then the public API against the last release.
pub(crate) fn check(report: &mut Report) -> Result<()> {
    report.section("deny", |_| {
        if output(&mut cargo(["deny", "--version"])).is_err() {
            run(&mut cargo(["install", "cargo-deny", "--locked"]))?;
        }
        run(&mut cargo(["deny", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))
    })?;
    report.section("semver", semver)
}

fn semver(report: &mut Report) -> Result<()> {
    let Ok(tag) =
        output(Command::new("git").current_dir(root()).args(["describe", "--tags", "--abbrev=0", "--match=v*"]))
    else {
        report.leave_out("semver: no release to compare with, there is no tag v*".to_owned());
        return Ok(());
    };
    if output(&mut cargo(["semver-checks", "--version"])).is_err() {
        return report.skip("semver: cargo-semver-checks is not installed".to_owned());
    }
    run(&mut cargo(["semver-checks", "--package=tidelock", "--baseline-rev", tag.trim()]))
}
