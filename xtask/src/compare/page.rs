//! The tables, on stdout and in `docs/benchmarks.md`.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};

use crate::cargo::root;

use super::rows::{Figures, Row};
use super::works::Kind;

/// The command generates everything between these two lines of the page.
const BEGIN: &str = "<!-- tables: made by `cargo xtask compare --write` -->";
const END: &str = "<!-- end of the tables -->";

/// One table per title of a workload.
pub(super) fn tables(rows: &[Row], limit: &str, missing: &[String]) -> String {
    let mut text = format!("### The server alone\n\n{limit}\n");
    for table in rows.chunk_by(|one, next| one.work.title == next.work.title) {
        let work = table[0].work;
        let mut names: Vec<_> = table.iter().map(|row| format!("`{}`", row.work.name)).collect();
        names.dedup();
        let _ = write!(text, "### {}\n\n{}\n\n", work.title, names.join(", "));
        text += &match work.kind {
            Kind::Rate => rates(table),
            Kind::LocalRate => local_rates(table),
            Kind::Held => held(table),
            Kind::Latency => latencies(table),
            Kind::Memory(_) => memory(table),
        };
        text += "\n";
    }
    if !missing.is_empty() {
        text += "### Not measured\n\n";
        for reason in missing {
            let _ = writeln!(text, "- {reason}");
        }
    }
    text
}

fn rates(rows: &[Row]) -> String {
    let head = ["contender", "version", "per second", "min to max", "ratio", "of N", "server µs", "client µs"];
    table(rows, &head, |row| {
        let figures = &row.figures;
        vec![
            figures.ops_per_s.map(thousands).unwrap_or_default(),
            range(figures),
            number(figures.ratio, 2),
            number(figures.ratio_to_n, 2),
            number(figures.server_us_per_item, 1),
            number(figures.client_us_per_item, 1),
        ]
    })
}

fn local_rates(rows: &[Row]) -> String {
    table(rows, &["contender", "version", "per second", "min to max", "ratio", "ns each"], |row| {
        let figures = &row.figures;
        vec![
            figures.ops_per_s.map(thousands).unwrap_or_default(),
            range(figures),
            number(figures.ratio, 2),
            number(figures.ops_per_s.map(|rate| 1e9 / rate), 0),
        ]
    })
}

fn held(rows: &[Row]) -> String {
    table(rows, &["contender", "version", "per second", "min to max", "of the limit"], |row| {
        let figures = &row.figures;
        vec![figures.ops_per_s.map(thousands).unwrap_or_default(), range(figures), number(figures.share_of_limit, 3)]
    })
}

fn range(figures: &Figures) -> String {
    let range = figures.range.map(|(least, most)| format!("{} to {}", thousands(least), thousands(most)));
    range.unwrap_or_default()
}

fn latencies(rows: &[Row]) -> String {
    table(
        rows,
        &["contender", "version", "p50 ms", "p99 ms", "ratio of p50", "items per second", "start-up ms"],
        |row| {
            let figures = &row.figures;
            vec![
                number(figures.p50_ms, 2),
                number(figures.p99_ms, 2),
                number(figures.ratio, 2),
                figures.ops_per_s.map(thousands).unwrap_or_default(),
                number(figures.startup_ms, 0),
            ]
        },
    )
}

fn memory(rows: &[Row]) -> String {
    table(rows, &["contender", "version", "items", "bytes per item", "ratio", "created per second"], |row| {
        let figures = &row.figures;
        vec![
            row.items.to_string(),
            number(figures.server_bytes_per_item, 0),
            number(figures.ratio, 2),
            figures.ops_per_s.map(thousands).unwrap_or_default(),
        ]
    })
}

fn table(rows: &[Row], head: &[&str], cells: impl Fn(&Row) -> Vec<String>) -> String {
    let mut text = format!("| {} | what it does not do |\n", head.join(" | "));
    let numbers = "--:|".repeat(head.len() - 2);
    let _ = writeln!(text, "|---|---|{numbers}---|");
    for row in rows {
        let cells = match &row.failure {
            Some(reason) => format!("{reason}{}", " |".repeat(head.len() - 3)),
            None => cells(row).join(" | "),
        };
        let (contender, version) = (row.contender, &row.version);
        let _ = writeln!(text, "| {} | {version} | {cells} | {} |", contender.label, contender.lacks);
    }
    text
}

fn number(figure: Option<f64>, digits: usize) -> String {
    figure.map(|figure| format!("{figure:.digits$}")).unwrap_or_default()
}

/// 12345.6 as `12,346`.
fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes the tables between the two lines of the page, and leaves its prose as it is.
pub(super) fn write(tables: &str) -> Result<()> {
    let path = root().join("docs/benchmarks.md");
    let page = fs::read_to_string(&path)?;
    Ok(fs::write(&path, replaced(&page, tables)?)?)
}

fn replaced(page: &str, tables: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).context("the page has no line where the tables begin")?;
    let (_, after) = rest.split_once(END).context("the page has no line where the tables end")?;
    Ok(format!("{before}{BEGIN}\n\n{tables}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, replaced, thousands};

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(7.4), "7");
        assert_eq!(thousands(123.0), "123");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
    }

    #[test]
    fn only_the_tables_are_written_anew() {
        let page = format!("words\n{BEGIN}\nold\n{END}\nmore words\n");
        assert_eq!(replaced(&page, "new").unwrap(), format!("words\n{BEGIN}\n\nnew\n{END}\nmore words\n"));
        assert!(replaced("words", "new").is_err());
    }
}
