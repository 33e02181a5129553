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

/// Size limit of all JavaScript of the package, minified and compressed by gzip.
const BUDGET: u64 = 484 * 1024;
/// The same for the stores alone, which do not need the WebAssembly.
const STORE_BUDGET: u64 = 3 * 1024;

/// Features that wasm-opt may use: every supported runtime has had them for years.
const WASM_FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// Passes of wasm-opt. A function with a single caller is not inlined: once compressed, it is smaller that way, and as
/// fast. Functions with similar names come from the same generic code, and compress better next to each other.
const WASM_PASSES: [&str; 6] = [
    "-Oz",
    "--one-caller-inline-max-function-size",
    "0",
    "--reorder-functions-by-name",
    "--strip-debug",
    "--strip-producers",
];

/// Number of repetitions of the memory growth tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repetitions {
    /// Enough to show a leak.
    Few,
    /// As many as are guaranteed.
    All,
}

/// A built package.
#[derive(Debug)]
struct Built {
    /// Cargo's target folder, which also holds the packages and test projects.
    target: PathBuf,
    tarball: PathBuf,
    /// JavaScript files, with their plain and compressed sizes.
    files: Vec<(String, u64, u64)>,
}

impl Built {
    fn gzip_bytes(&self) -> u64 {
        self.files.iter().map(|(.., gzip)| gzip).sum()
    }

    /// Prints the sizes, and fails if they exceed the budget.
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

/// The section of `cargo xtask test`. Skips what cannot be installed.
pub(crate) fn section(report: &mut Report) -> Result<()> {
    match tests::installed() {
        Ok(()) => npm(report, false, Some(Repetitions::Few)),
        Err(reason) => report.skip(format!("npm package: {reason:#}")),
    }
}

/// The source folder of the package.
fn folder() -> PathBuf {
    root().join("packages/tidelock")
}

/// Builds and packs it, and tests it if requested; with `json`, prints one object to stdout.
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

/// Installs the packages in a folder's lock file, unless they are installed.
pub(crate) fn install(folder: &Path) -> Result<()> {
    output(Command::new("node").arg("--version")).context("Node.js 20 or newer is needed")?;
    let changed = |file: &str| fs::metadata(folder.join(file)).and_then(|file| file.modified());
    let installed = changed("node_modules/.package-lock.json");
    if installed.is_ok_and(|installed| changed("package-lock.json").is_ok_and(|locked| installed >= locked)) {
        return Ok(());
    }
    run(npm_command(folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]))
}

/// Runs a command with its output on stderr, because stdout is reserved for results.
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

/// Builds the library for pages, and its JavaScript glue, in `wasm/`.
fn webassembly(package: &Path, target: &Path) -> Result<()> {
    let triple = format!("--target={WASM}");
    let paths = format!("--config=target.{WASM}.rustflags={:?}", without_folders()?);
    run(&mut cargo(["build", "--package=tidelock-wasm", "--profile=page", &triple, &paths]))?;
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

/// Compiler flags that leave the folders of this machine out of the paths in panic messages: they are nobody else's
/// business, and would make the package depend on where it was built.
fn without_folders() -> Result<Vec<String>> {
    let home = std::env::home_dir().map(|home| home.join(".cargo"));
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home).context("there is no home folder")?;
    let registries = fs::read_dir(cargo_home.join("registry/src")).into_iter().flatten();
    let mut folders = vec![root().to_owned()];
    for registry in registries {
        folders.push(registry?.path());
    }
    Ok(folders.iter().map(|folder| format!("--remap-path-prefix={}/=", folder.display())).collect())
}

/// Generates the JavaScript module around the built WebAssembly.
fn bindgen(built: &Path, name: &str, folder: &Path) -> Result<()> {
    run(cargo(["run", "--quiet", "--package=bindgen", "--"]).arg(built).arg(name).arg(folder))
}

/// Generates output in a folder from a file, unless it was generated from the same bytes. Dates do not tell: Cargo
/// restores earlier builds with their old date.
fn once_for(file: &Path, folder: &Path, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(file)?);
    let (hash, made) = (format!("{:016x}", hasher.finish()), folder.join("made-of"));
    if fs::read_to_string(&made).is_ok_and(|known| known == hash) {
        return Ok(());
    }
    // Half-finished output belongs to neither version.
    fs::write(&made, "")?;
    make()?;
    Ok(fs::write(made, hash)?)
}

/// Printable ASCII that needs no escape in any literal, nor in a page.
fn characters() -> String {
    (' '..=LAST_CHARACTER).filter(|character| !matches!(character, '"' | '\'' | '`' | '\\' | '$' | '<')).collect()
}

/// The characters after this one are prefixes of less frequent bytes.
const LAST_CHARACTER: char = '|';

/// All bytes, the most frequent first.
fn by_frequency(bytes: &[u8]) -> Vec<u8> {
    let mut count = [0_usize; 256];
    for &byte in bytes {
        count[usize::from(byte)] += 1;
    }
    let mut all: Vec<_> = (0..=u8::MAX).collect();
    all.sort_by_key(|&byte| Reverse(count[usize::from(byte)]));
    all
}

/// A module that returns the bytes, encoded as one character for each frequent byte and two for the others. Transport
/// compression handles this nearly as well as the bytes themselves, and decoding takes a few milliseconds. Base64 of
/// compressed bytes is as long with gzip, longer with better compression, and took ten times as long to unpack. Plain
/// ASCII passes every bundler into pages of any encoding. The decoder is a loop, because a function call per byte takes
/// longer than compiling the module.
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

/// The names of the entry points, from `exports`.
fn entries(package: &Path) -> Result<Vec<String>> {
    let manifest: Value = serde_json::from_slice(&fs::read(package.join("package.json"))?)?;
    let exports = manifest["exports"].as_object().context("package.json has no exports")?;
    let files = exports.values().filter_map(|entry| entry["default"].as_str());
    let name = |file: &str| Some(file.strip_prefix("./dist/")?.strip_suffix(".js")?.to_owned());
    files.map(|file| name(file).with_context(|| format!("{file} is no ./dist/<name>.js"))).collect()
}

/// Bundles one file per entry point, and the chunks that they share.
fn javascript(package: &Path, entries: &[String]) -> Result<()> {
    let dist = package.join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    let sources = entries.iter().map(|entry| format!("src/{entry}.ts"));
    let options = ["--bundle", "--splitting", "--format=esm", "--minify", "--target=es2022", "--outdir=dist"];
    run(tool(package, "esbuild").args(sources).args(options).args(["--chunk-names=core-[hash]", "--log-level=warning"]))
}

/// Emits the declarations of the entry points, and of everything that they refer to.
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
