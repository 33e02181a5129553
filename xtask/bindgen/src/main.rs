//! `bindgen INPUT NAME FOLDER`: writes `NAME.js` and `NAME_bg.wasm` into the folder, for every runtime with
//! WebAssembly.
//!
//! A separate program, so that `cargo xtask` does not have to build its dependencies.
#![forbid(unsafe_code)]

use std::env;

use anyhow::{Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [input, name, folder] = &arguments[..] else { bail!("bindgen INPUT NAME FOLDER, but came {arguments:?}") };
    Bindgen::new().input_path(input).out_name(name).web(true)?.typescript(true).generate(folder)
}
