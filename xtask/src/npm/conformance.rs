//! The conformance suite of the library, compiled for pages, in Node and in a browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::tests::{bundle, driven, page, tests_folder};
use super::{bindgen, folder, install, once_for, run};
use crate::cargo::{cargo, output};
use crate::report::Report;
use crate::setup::{self, WASM};

/// The section of `cargo xtask test`: runs the cases whose names contain a text, or all. Skips what cannot be
/// installed.
pub(crate) fn conformance(report: &mut Report, filter: &str) -> Result<()> {
    let tests = tests_folder();
    match install(&folder()).and_then(|()| install(&tests)) {
        Ok(()) => run_cases(report, &tests, filter),
        Err(reason) => report.skip(format!("conformance in a page: {reason:#}")),
    }
}

fn run_cases(report: &mut Report, tests: &Path, filter: &str) -> Result<()> {
    let dist = tests.join("dist");
    compile(&dist.join("conformance"))?;
    let page = page(tests, "conformance")?;
    bundle(tests, "conformance.ts", "dist/conformance.mjs", &[])?;
    run(Command::new("node").current_dir(tests).arg("dist/conformance.mjs").arg(filter))?;
    match setup::chromium() {
        Ok(browser) => run(&mut driven(tests, &browser, "chromium.mjs", &dist, &[&format!("{page}?only={filter}")])),
        Err(reason) => report.skip(format!("chromium: {reason:#}")),
    }
}

/// Compiles the suite to a JavaScript module in a folder.
fn compile(folder: &Path) -> Result<()> {
    let triple = format!("--target={WASM}");
    let suite = ["build", "--package=tidelock", "--no-default-features", "--test=conformance", &triple];
    // Diagnostics go to stderr; the list of artifacts comes to us.
    let messages = ["--message-format=json-render-diagnostics"];
    let built = executable(&output(cargo(suite.into_iter().chain(messages)).stderr(Stdio::inherit()))?)?;
    fs::create_dir_all(folder)?;
    once_for(&built, folder, || bindgen(&built, "conformance", folder))
}

/// The executable among Cargo's messages.
fn executable(messages: &str) -> Result<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    programs.next().context("Cargo built no program")
}
