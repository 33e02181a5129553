//! Tests of the packed package: in each runtime, in a browser, in new projects of two bundlers, in the example.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::documents::write_blocks;
use super::{Built, Repetitions, bindgen, folder, install, npm_command, run, tool};
use crate::cargo::{cargo, root, target_folder};
use crate::report::Report;
use crate::setup::{self, WASM};

/// Test projects: one without a bundler, and two with one, each with the folder that it serves to a page.
const PROJECTS: [(&str, &str); 3] = [("plain", "."), ("vite", "dist"), ("webpack", ".")];
/// Module resolution of bundlers, and of Node.
const RESOLUTIONS: [(&str, &str); 2] = [("ESNext", "bundler"), ("Node16", "node16")];

/// The folder of the tests.
pub(super) fn tests_folder() -> PathBuf {
    folder().join("test")
}

/// Installs everything that the tests need.
pub(super) fn installed() -> Result<()> {
    let target = target_folder()?;
    install(&folder())?;
    install(&tests_folder())?;
    for (from, name) in projects() {
        new_project(&from, &target.join("npm/projects").join(name))?;
    }
    Ok(())
}

/// The projects to build, and their names.
fn projects() -> impl Iterator<Item = (PathBuf, &'static str)> {
    let own = PROJECTS.iter().map(|&(name, _)| (tests_folder().join("projects").join(name), name));
    own.chain([(root().join("examples/browser"), "board")])
}

pub(super) fn run_all(report: &mut Report, built: &Built, repetitions: Repetitions) -> Result<()> {
    installed()?;
    let tests = tests_folder();
    take(&tests, built)?;
    types(&tests)?;
    bundle(&tests, "main.ts", "dist/main.mjs", &["--external:tidelock"])?;
    bundle(&tests, "memory.ts", "dist/memory.mjs", &["--external:tidelock"])?;
    for runtime in runtimes(report, &tests)? {
        for program in ["dist/main.mjs", "projects/run.mjs"] {
            run(runtime.command(&tests).arg(program))?;
        }
    }
    let count = match repetitions {
        Repetitions::Few => "few",
        Repetitions::All => "all",
    };
    run(Command::new("node").current_dir(&tests).args(["--expose-gc", "--no-warnings", "dist/memory.mjs", count]))?;
    match setup::chromium() {
        Ok(browser) => in_browser(&tests, &browser, built, count),
        Err(reason) => report.skip(format!("chromium: {reason:#}")),
    }
}

/// Checks the types of the tests, of every declaration as a project sees it, and of the code in documents, with the
/// oldest supported compiler and with ours.
fn types(tests: &Path) -> Result<()> {
    let ours = folder();
    write_blocks(&tests.join("types/documents"))?;
    run(tool(&ours, "tsc").args(["--project", "test"]))?;
    for compiler in [&ours, tests] {
        for (module, resolution) in RESOLUTIONS {
            for project in ["tsconfig.json", "schemas.json", "documents.json"] {
                let project = tests.join("types").join(project);
                let options = ["--module", module, "--moduleResolution", resolution];
                run(tool(compiler, "tsc").arg("--project").arg(project).args(options))?;
            }
        }
    }
    Ok(())
}

fn in_browser(tests: &Path, browser: &Path, built: &Built, count: &str) -> Result<()> {
    let dist = tests.join("dist");
    open(tests, browser, "chromium.mjs", &dist, &[&page(tests, "page")?])?;
    let memory = format!("{}?count={count}", page(tests, "memory")?);
    open(tests, browser, "chromium.mjs", &dist, &[&memory])?;
    for (name, given) in PROJECTS {
        let project = build_project(name, built)?;
        open(tests, browser, "chromium.mjs", &project.join(given), &["index.html"])?;
    }
    let board = build_project("board", built)?;
    let screenshot = board.join("board.png");
    open(tests, browser, "board.mjs", &board.join("dist"), &[&screenshot.to_string_lossy()])?;
    let screenshot = built.target.join("npm/rust-page.png");
    open(tests, browser, "rust-page.mjs", &rust_page(&built.target)?, &[&screenshot.to_string_lossy()])
}

/// Builds the Rust example in debug mode, which is faster to build, and returns its folder.
fn rust_page(target: &Path) -> Result<PathBuf> {
    let page = root().join("examples/rust-page");
    run(&mut cargo(["build", "--package=rust-page", &format!("--target={WASM}")]))?;
    bindgen(&target.join(WASM).join("debug/rust_page.wasm"), "rust_page", &page.join("dist"))?;
    Ok(page)
}

/// Installs the tarball, as a user would.
pub(super) fn take(folder: &Path, built: &Built) -> Result<()> {
    let there = folder.join("node_modules/tidelock");
    if there.exists() {
        fs::remove_dir_all(there)?;
    }
    run(npm_command(folder)
        .args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"])
        .arg(&built.tarball))
}

pub(super) fn bundle(folder: &Path, from: &str, to: &str, options: &[&str]) -> Result<()> {
    // The library for pinned timers has a Node part that imports a module which pages do not have.
    let common = ["--bundle", "--format=esm", "--target=es2022", "--alias:util=./no-util.cjs", "--log-level=warning"];
    run(tool(&folder.join(".."), "esbuild")
        .current_dir(folder)
        .arg(from)
        .args(common)
        .args(options)
        .arg(format!("--outfile={to}")))
}

/// Creates a page in `dist/` that runs a module, and returns its name.
pub(super) fn page(tests: &Path, module: &str) -> Result<String> {
    bundle(tests, &format!("{module}.ts"), &format!("dist/{module}.js"), &[])?;
    let page = format!("{module}.html");
    let text = format!("<!doctype html>\n<script type=\"module\" src=\"./{module}.js\"></script>\n");
    fs::write(tests.join("dist").join(&page), text)?;
    Ok(page)
}

/// A runtime other than browsers, and its arguments to run a file.
struct Runtime {
    program: PathBuf,
    arguments: &'static [&'static str],
}

impl Runtime {
    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(folder).args(self.arguments);
        command
    }
}

/// The runtimes on this machine.
fn runtimes(report: &mut Report, tests: &Path) -> Result<Vec<Runtime>> {
    let mut runtimes = vec![Runtime { program: "node".into(), arguments: &[] }];
    let deno: &[&str] = &["run", "--quiet", "--allow-read", "--allow-env", "--node-modules-dir=manual"];
    for (name, scope, path, arguments) in [("bun", "@oven", "bin/bun", &[] as &[_]), ("deno", "@deno", "deno", deno)] {
        match platform_program(&tests.join("node_modules").join(scope), path) {
            Ok(program) => runtimes.push(Runtime { program, arguments }),
            Err(reason) => report.skip(format!("{name}: {reason:#}"))?,
        }
    }
    Ok(runtimes)
}

/// The program from the package of a scope that is built for this platform. Normally an install script of the main
/// package would link it, but install scripts do not run here.
fn platform_program(scope: &Path, path: &str) -> Result<PathBuf> {
    let packages = fs::read_dir(scope).with_context(|| format!("there is no {}", scope.display()))?;
    let mut programs = packages.flatten().map(|package| package.path().join(path));
    programs.find(|program| program.is_file()).context("there is none for this platform")
}

/// Opens a folder in the browser with one of the drivers.
fn open(tests: &Path, browser: &Path, driver: &str, folder: &Path, arguments: &[&str]) -> Result<()> {
    run(&mut driven(tests, browser, driver, folder, arguments))
}

/// The command of a browser driver.
pub(super) fn driven(tests: &Path, browser: &Path, driver: &str, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.current_dir(tests).env("TIDELOCK_CHROMIUM", browser).arg(driver).arg(folder).args(arguments);
    command
}

/// A new project with all its dependencies except the package.
fn new_project(from: &Path, folder: &Path) -> Result<()> {
    copy(from, folder)?;
    if folder.join("package-lock.json").exists() { install(folder) } else { Ok(()) }
}

/// Installs the package from the tarball into a project, and builds it with its bundler.
fn build_project(name: &str, built: &Built) -> Result<PathBuf> {
    let folder = built.target.join("npm/projects").join(name);
    fs::copy(tests_folder().join("projects/smoke.js"), folder.join("smoke.js"))?;
    take(&folder, built)?;
    if folder.join("package-lock.json").exists() {
        run(npm_command(&folder).args(["run", "build"]))?;
    }
    Ok(folder)
}

/// Copies files that are newer than in the other folder, except what is installed or built there.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            if entry.file_name() != "node_modules" && entry.file_name() != "dist" {
                copy(&path, &target)?;
            }
        } else if fs::read(&path)? != fs::read(&target).unwrap_or_default() {
            fs::copy(path, target)?;
        }
    }
    Ok(())
}
