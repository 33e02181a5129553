//! The rows of the benchmark table that are about pages: in Chromium, and in Node.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::tests::{bundle, driven, page, take, tests_folder};
use super::{build, install};
use crate::cargo::output;
use crate::setup;

/// The names of the rows.
const ROWS: [&str; 4] = ["ratelimit.check", "queue.send", "queue.recv_ack", "page.import"];

/// Whether there is a row of this name.
pub(crate) fn has(name: &str) -> bool {
    ROWS.contains(&name)
}

/// The rows, in the format of the table. Without a browser, its rows are left out.
pub(crate) fn rows(only: Option<&str>) -> Result<Vec<Value>> {
    let built = build()?;
    let tests = tests_folder();
    install(&tests)?;
    take(&tests, &built)?;
    bundle(&tests, "bench.ts", "dist/bench.mjs", &["--external:tidelock"])?;
    let mut rows = Vec::new();
    match setup::chromium() {
        Ok(browser) => {
            let page = page(&tests, "bench")?;
            let mut driver = driven(&tests, &browser, "bench.mjs", &tests.join("dist"), &[&page]);
            rows.extend(measured(&mut driver, "chromium")?);
        }
        Err(reason) => eprintln!("left out: rows in Chromium: {reason:#}"),
    }
    rows.extend(measured(Command::new("node").current_dir(&tests).arg("dist/bench.mjs"), "node")?);
    rows.retain(|row| only.is_none_or(|only| row["name"] == only));
    Ok(rows)
}

/// The rows that a program prints, completed with the missing fields.
fn measured(program: &mut Command, backend: &str) -> Result<Vec<Value>> {
    let printed: Vec<Value> = serde_json::from_str(&output(program)?).context("a benchmark prints its rows")?;
    let rounded = |number: &Value, digits: f64| number.as_f64().map(|number| (number * digits).round() / digits);
    let row = |row: &Value| {
        json!({
            "name": row["name"],
            "backend": backend,
            "ops_per_s": rounded(&row["ops_per_s"], 1.0),
            "ratio": 0.0,
            "p50_ms": rounded(&row["p50_ms"], 1_000.0),
            "p99_ms": 0.0,
            "target": row["target"],
            "goal": "",
            "note": row["note"],
        })
    };
    Ok(printed.iter().map(row).collect())
}

/// A row in the text form of the table.
pub(crate) fn text(row: &Value) -> String {
    let word = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| match row[name].as_f64() {
        Some(number) if number != 0.0 => number.to_string(),
        _ => String::new(),
    };
    let cells = [
        format!("`{}`", word("name")),
        word("backend"),
        number("ops_per_s"),
        String::new(),
        word("target"),
        String::new(),
        number("p50_ms"),
        String::new(),
        word("note"),
    ];
    format!("| {} |", cells.join(" | "))
}
