//! What the suites of Tidelock need to run in a page.
//!
//! The sources of a suite are the same everywhere. In a page, tokio has neither tasks nor timers, so the suites import
//! this crate under its name: the parts of tokio that they use, with tokio's names, on the page's own tasks and timers.
//! `cases` lists the cases to run.
#![cfg(target_family = "wasm")]

pub mod cases;
pub mod task;
pub mod time;

pub use tokio::{join, select, sync};

pub use self::task::spawn;
