//! What the suites of Tidelock need to run in a page.
//!
//! The sources of a suite are the same everywhere. In a page, where tokio has neither tasks nor timers, this crate takes its
//! name there: it is the parts of tokio that the suites use, with tokio's names, on the page's own tasks and timers.
//! `cases` is the list of what runs.
#![cfg(target_family = "wasm")]

pub mod cases;
pub mod task;
pub mod time;

pub use tokio::{join, select, sync};

pub use self::task::spawn;
