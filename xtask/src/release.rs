//! `cargo xtask release-check`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::{cargo, output, root, run};
use crate::report::Report;

/// Checks licences and sources of all dependencies, then the public API against the last release.
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
    let Some(tag) = last_release(root())? else {
        report.leave_out("semver: no release to compare with, there is no tag v*".to_owned());
        return Ok(());
    };
    if output(&mut cargo(["semver-checks", "--version"])).is_err() {
        return report.skip("semver: cargo-semver-checks is not installed".to_owned());
    }
    run(&mut cargo(["semver-checks", "--package=tidelock", "--baseline-rev", &tag]))
}

/// The tag of the previous release, if there is one. Only a complete clone can tell that there is none.
fn last_release(clone: &Path) -> Result<Option<String>> {
    let git = |args: &[&str]| output(Command::new("git").current_dir(clone).args(args));
    if git(&["tag", "--list", "v*"])?.is_empty() {
        let is_shallow = git(&["rev-parse", "--is-shallow-repository"])?;
        ensure!(
            is_shallow.trim() == "false",
            "a clone without all commits may lack the tags: `git fetch --unshallow --tags`"
        );
        return Ok(None);
    }
    let tag = git(&["describe", "--tags", "--abbrev=0", "--match=v*"])
        .context("there are releases, but none among the commits that this clone has before this one")?;
    Ok(Some(tag.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use super::last_release;
    use crate::cargo::output;

    fn git(folder: &Path, args: &[&str]) {
        let who = ["-c", "user.name=Ada", "-c", "user.email=ada@localhost"];
        output(Command::new("git").current_dir(folder).args(who).args(args)).unwrap();
    }

    #[test]
    fn no_release_is_told_from_no_knowledge() {
        let folder = env::temp_dir().join(format!("tidelock-release-{}", std::process::id()));
        let (whole, shallow) = (folder.join("whole"), folder.join("shallow"));
        fs::create_dir_all(&whole).unwrap();
        assert!(last_release(&whole).is_err(), "no clone at all");
        git(&whole, &["init", "--quiet"]);
        for message in ["one", "two"] {
            git(&whole, &["commit", "--quiet", "--allow-empty", "--message", message]);
        }
        assert_eq!(last_release(&whole).unwrap(), None);
        git(&whole, &["tag", "v0.1.0", "HEAD~1"]);
        assert_eq!(last_release(&whole).unwrap().as_deref(), Some("v0.1.0"));
        let url = format!("file://{}", whole.display());
        git(&folder, &["clone", "--quiet", "--depth=1", &url, "shallow"]);
        assert!(last_release(&shallow).is_err(), "the tag was not cloned");
        git(&shallow, &["fetch", "--quiet", "--depth=1", "origin", "tag", "v0.1.0"]);
        assert!(last_release(&shallow).is_err(), "the tag leads to no commit of it");
        fs::remove_dir_all(folder).unwrap();
    }
}
