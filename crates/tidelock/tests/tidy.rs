//! The style rules that a program can check. Each message says what to do instead.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/lua.rs"]
mod lua;
#[path = "tidy/rust.rs"]
mod rust;

/// A text file of the workspace.
#[derive(Debug)]
pub struct Source {
    /// Relative to the workspace, with `/` between folders.
    path: String,
    text: String,
}

impl Source {
    fn is_below(&self, folder: &str) -> bool {
        self.path.starts_with(folder) || self.path.contains(&format!("/{folder}"))
    }

    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Each says what is wrong where, and why it matters.
type Complaints = Vec<String>;

#[test]
fn rust_files_follow_the_rules() {
    let sources = sources("rs");
    assert!(sources.iter().any(|source| source.path == "crates/tidelock/src/lib.rs"), "found no library: {sources:?}");
    report(&sources.iter().flat_map(rust::complaints).collect::<Complaints>());
}

#[test]
fn scripts_follow_the_rules() {
    report(&lua::complaints(&sources("lua"), &sources("rs")));
}

fn report(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

/// All files of the workspace's own code with this extension, ordered by path.
fn sources(extension: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is two below the root");
    let mut files = Vec::new();
    for folder in ["bench-compare", "crates", "xtask"] {
        collect(&root.join(folder), extension, &mut files);
    }
    files.sort();
    let read = |file: PathBuf| {
        let path = file.strip_prefix(root).expect("found below the root").to_string_lossy().replace('\\', "/");
        Source { path, text: fs::read_to_string(&file).expect("a text file") }
    };
    files.into_iter().map(read).collect()
}

fn collect(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace") {
        let path = entry.expect("an entry of a folder").path();
        let is_build = path.ends_with("target") || path.ends_with("node_modules");
        if path.is_dir() && !is_build {
            collect(&path, extension, files);
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
}
