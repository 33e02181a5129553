//! `cargo xtask npm`: the npm package, from a clean clone.

pub(crate) mod bench;
pub(crate) mod conformance;
mod documents;
mod tests;

use std::cmp::Reverse;
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::cargo::{self, cargo, output, root, target_folder};
use crate::report::Report;
use crate::setup::WASM;

/// What all JavaScript of the package may take at most, minified and compressed by gzip.
const BUDGET: u64 = 512 * 1024;
/// The same for the stores alone, which do without the WebAssembly.
const STORE_BUDGET: u64 = 3 * 1024;

/// What wasm-opt may use: what every runtime that the package is for has had for years.
const WASM_FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// What wasm-opt does. What has one caller is smaller where it is, once compressed, and as fast. Functions of like names are made
/// from the same generic code, and compress better beside each other.
const WASM_PASSES: [&str; 6] = [
    "-Oz",
    "--one-caller-inline-max-function-size",
    "0",
    "--reorder-functions-by-name",
    "--strip-debug",
    "--strip-producers",
];

/// How often the tests of what must not grow repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repetitions {
    /// A leak shows.
    Few,
    /// As many as are promised.
    All,
}

/// The package that was built.
#[derive(Debug)]
struct Built {
    /// Where Cargo puts what it builds, and this its packages and projects.
    target: PathBuf,
    tarball: PathBuf,
    /// Files of JavaScript, with their sizes as they are and compressed.
    files: Vec<(String, u64, u64)>,
}

impl Built {
    fn gzip_bytes(&self) -> u64 {
        self.files.iter().map(|(.., gzip)| gzip).sum()
    }

    /// Shows the sizes, and fails if they are above the budget.
    fn check(&self) -> Result<()> {
        for (name, bytes, gzip) in &self.files {
            eprintln!("{name:<32}{bytes:>9} bytes{gzip:>9} gzip");
        }
        let all = self.gzip_bytes();
        eprintln!("{:<32}{all:>24} gzip, budget {BUDGET}", "all");
        ensure!(all <= BUDGET, "the package is {all} bytes, which is more than {BUDGET}");
        let store = self.files.iter().find(|(name, ..)| name == "store.js").map_or(0, |(.., gzip)| *gzip);
        ensure!(store <= STORE_BUDGET, "the stores alone are {store} bytes, which is more than {STORE_BUDGET}");
        Ok(())
    }
}

/// The section of `cargo xtask test`: goes on without what cannot be installed.
pub(crate) fn section(report: &mut Report) -> Result<()> {
    match tests::installed() {
        Ok(()) => npm(report, false, Some(Repetitions::Few)),
        Err(reason) => report.skip(format!("npm package: {reason:#}")),
    }
}

/// Where the package is made.
fn folder() -> PathBuf {
    root().join("packages/tidelock")
}

/// Builds and packs it, and tests it if that is asked for; with `json`, one object goes to stdout.
pub(crate) fn npm(report: &mut Report, json: bool, test: Option<Repetitions>) -> Result<()> {
    let built = build()?;
    if let Some(repetitions) = test {
        tests::run_all(report, &built, repetitions)?;
    }
    if json {
        println!("{}", json!({ "tarball": built.tarball, "gzip_bytes": built.gzip_bytes() }));
    }
    built.check()
}

/// Builds and packs it.
fn build() -> Result<Built> {
    let package = folder();
    install(&package)?;
    let target = target_folder()?;
    webassembly(&package, &target)?;
    let entries = entries(&package)?;
    javascript(&package, &entries)?;
    declarations(&package, &entries)?;
    for file in ["LICENSE-APACHE", "LICENSE-MIT", "CHANGELOG.md"] {
        fs::copy(root().join(file), package.join(file))?;
    }
    let (tarball, files) = (pack(&package, &target)?, sizes(&package.join("dist"))?);
    Ok(Built { target, tarball, files })
}

/// Installs what a folder's lock file names, unless that is there.
pub(crate) fn install(folder: &Path) -> Result<()> {
    output(Command::new("node").arg("--version")).context("Node.js 20 or newer is needed")?;
    let changed = |file: &str| fs::metadata(folder.join(file)).and_then(|file| file.modified());
    let installed = changed("node_modules/.package-lock.json");
    if installed.is_ok_and(|installed| changed("package-lock.json").is_ok_and(|locked| installed >= locked)) {
        return Ok(());
    }
    run(npm_command(folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]))
}

/// Runs a command whose words go to stderr: stdout belongs to what is asked for.
fn run(command: &mut Command) -> Result<()> {
    cargo::run(command.stdout(io::stderr()))
}

fn npm_command(folder: &Path) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(folder);
    command
}

/// A program that a package installed.
fn tool(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(folder.join("node_modules/.bin").join(name));
    command.current_dir(folder);
    command
}

/// The library for pages, with the JavaScript around it: in `wasm/`.
fn webassembly(package: &Path, target: &Path) -> Result<()> {
    let triple = format!("--target={WASM}");
    run(&mut cargo(["build", "--package=tidelock-wasm", "--profile=page", &triple]))?;
    let wasm = package.join("wasm");
    fs::create_dir_all(&wasm)?;
    let built = target.join(WASM).join("page/tidelock_wasm.wasm");
    let small = wasm.join("small.wasm");
    once_for(&built, &wasm, || {
        bindgen(&built, "tidelock", &wasm)?;
        let whole = wasm.join("tidelock_bg.wasm");
        run(tool(package, "wasm-opt").args(WASM_PASSES).args(WASM_FEATURES).args([
            whole.as_os_str(),
            "-o".as_ref(),
            small.as_os_str(),
        ]))
    })?;
    fs::write(wasm.join("bytes.js"), bytes_module(&fs::read(small)?))?;
    fs::write(wasm.join("bytes.d.ts"), "export declare function wasm(): Uint8Array<ArrayBuffer>;\n")?;
    Ok(())
}

/// Makes a module of JavaScript around what was built.
fn bindgen(built: &Path, name: &str, folder: &Path) -> Result<()> {
    run(cargo(["run", "--quiet", "--package=bindgen", "--"]).arg(built).arg(name).arg(folder))
}

/// Makes in a folder what comes of a file, unless that was made of the same bytes. Dates would not tell: what Cargo has built
/// before, it puts back with its old date.
fn once_for(file: &Path, folder: &Path, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(file)?);
    let (hash, made) = (format!("{:016x}", hasher.finish()), folder.join("made-of"));
    if fs::read_to_string(&made).is_ok_and(|known| known == hash) {
        return Ok(());
    }
    // What is half made belongs to neither.
    fs::write(&made, "")?;
    make()?;
    Ok(fs::write(made, hash)?)
}

/// Printable ASCII that needs no escape in any literal, and no care in a page.
fn characters() -> String {
    (' '..=LAST_CHARACTER).filter(|character| !matches!(character, '"' | '\'' | '`' | '\\' | '$' | '<')).collect()
}

/// The characters behind it stand before those of less frequent bytes.
const LAST_CHARACTER: char = '|';

/// All bytes, the frequent ones first.
fn by_frequency(bytes: &[u8]) -> Vec<u8> {
    let mut count = [0_usize; 256];
    for &byte in bytes {
        count[usize::from(byte)] += 1;
    }
    let mut all: Vec<_> = (0..=u8::MAX).collect();
    all.sort_by_key(|&byte| Reverse(count[usize::from(byte)]));
    all
}

/// A module that gives the bytes: one character for each frequent byte, two for the others. The way to a page compresses them
/// nearly as well as the bytes themselves, and they are read in a few milliseconds; base64 of what is compressed already is as
/// long on the way, longer where that compresses better than gzip, and took ten times as long to unpack. Plain ASCII, which
/// comes through every bundler into pages of any encoding. A loop, since a function for each byte takes longer than the
/// compiler.
fn bytes_module(bytes: &[u8]) -> String {
    let (order, characters) = (by_frequency(bytes), characters());
    let mut codes = vec![String::new(); order.len()];
    let pages = [None, Some('}'), Some('~')];
    let all = pages.iter().flat_map(|page| characters.chars().map(move |character| (page, character)));
    for (&byte, (page, character)) in order.iter().zip(all) {
        codes[usize::from(byte)] = page.iter().copied().chain([character]).collect();
    }
    let text: String = bytes.iter().map(|&byte| codes[usize::from(byte)].as_str()).collect();
    let (length, size, last) = (bytes.len(), characters.len(), u32::from(LAST_CHARACTER));
    format!(
        "const characters = \"{characters}\";\n\
         const order = {order:?};\n\
         const text = \"{text}\";\n\
         export const wasm = () => {{\n\
         const byte = new Uint8Array(384);\n\
         for (let at = 0; at < 256; at += 1) {{\n\
         const page = Math.floor(at / {size});\n\
         byte[128 * page + characters.charCodeAt(at - {size} * page)] = order[at];\n\
         }}\n\
         const bytes = new Uint8Array({length});\n\
         for (let at = 0, to = 0, page = 0; to < {length}; at += 1) {{\n\
         const code = text.charCodeAt(at);\n\
         if (code > {last}) page = 128 * (code - {last});\n\
         else {{\n\
         bytes[to] = byte[page + code];\n\
         to += 1;\n\
         page = 0;\n\
         }}\n\
         }}\n\
         return bytes;\n\
         }};\n"
    )
}

/// The names of the entries: what `exports` leads to.
fn entries(package: &Path) -> Result<Vec<String>> {
    let manifest: Value = serde_json::from_slice(&fs::read(package.join("package.json"))?)?;
    let exports = manifest["exports"].as_object().context("package.json has no exports")?;
    let files = exports.values().filter_map(|entry| entry["default"].as_str());
    let name = |file: &str| Some(file.strip_prefix("./dist/")?.strip_suffix(".js")?.to_owned());
    files.map(|file| name(file).with_context(|| format!("{file} is no ./dist/<name>.js"))).collect()
}

/// One file for each entry, and what they share.
fn javascript(package: &Path, entries: &[String]) -> Result<()> {
    let dist = package.join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    let sources = entries.iter().map(|entry| format!("src/{entry}.ts"));
    let options = ["--bundle", "--splitting", "--format=esm", "--minify", "--target=es2022", "--outdir=dist"];
    run(tool(package, "esbuild").args(sources).args(options).args(["--chunk-names=core-[hash]", "--log-level=warning"]))
}

/// The declarations of the entries, and of what they name.
fn declarations(package: &Path, entries: &[String]) -> Result<()> {
    run(tool(package, "tsc").args(["--project", "."]))?;
    let dist = package.join("dist");
    let mut reachable = entries.to_vec();
    let mut next = 0;
    while let Some(name) = reachable.get(next) {
        let text = fs::read_to_string(dist.join(format!("{name}.d.ts")))?;
        let imported = text.split("from \"./").skip(1).filter_map(|rest| rest.split_once(".js\""));
        let imported: Vec<_> = imported.map(|(name, _)| name.to_owned()).collect();
        reachable.extend(imported.into_iter().filter(|name| !reachable.contains(name)).collect::<Vec<_>>());
        next += 1;
    }
    for file in fs::read_dir(&dist)? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.strip_suffix(".d.ts").is_some_and(|name| !reachable.iter().any(|known| known == name)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn pack(package: &Path, target: &Path) -> Result<PathBuf> {
    let folder = target.join("npm");
    fs::create_dir_all(&folder)?;
    let printed =
        output(npm_command(package).args(["pack", "--json", "--ignore-scripts", "--pack-destination"]).arg(&folder))?;
    let packed: Value = serde_json::from_str(&printed)?;
    let name = packed[0]["filename"].as_str().context("npm pack names no file")?;
    Ok(folder.join(name))
}

fn sizes(dist: &Path) -> Result<Vec<(String, u64, u64)>> {
    let mut files = Vec::new();
    for file in fs::read_dir(dist)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "js") {
            let bytes = fs::read(&path)?;
            let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
            gzip.write_all(&bytes)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push((name, bytes.len() as u64, gzip.finish()?.len() as u64));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod glue {
    use std::env;

    use super::{fs, once_for};

    #[test]
    fn what_is_made_follows_the_bytes() {
        let folder = env::temp_dir().join(format!("tidelock-glue-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let built = folder.join("built");
        let makes = |bytes: &str| {
            fs::write(&built, bytes).unwrap();
            let mut is_made = false;
            once_for(&built, &folder, || {
                is_made = true;
                Ok(())
            })
            .unwrap();
            is_made
        };
        assert_eq!(["one", "one", "two", "one", "one"].map(makes), [true, false, true, true, false]);
        fs::write(&built, "three").unwrap();
        once_for(&built, &folder, || anyhow::bail!("half made")).unwrap_err();
        assert!(makes("one"), "what was made before may be half gone");
        fs::remove_dir_all(folder).unwrap();
    }
}
