//! `cargo xtask counts`: the instructions of the primitives in process, counted by Valgrind.
//!
//! Times mean little on a shared machine, but the same program executes the same instructions everywhere. So CI finds a
//! code path that became longer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::{cargo, output, root, run, target_folder};
use crate::report::Report;
use crate::setup;

/// Compilers and C libraries make a smaller difference than this.
const TOLERANCE: f64 = 0.10;
/// How often each workload runs. Both counts include start and end of the program, which cancel out.
const TIMES: [u64; 2] = [1_000, 3_000];

/// Instructions per operation, by name of the workload.
type Counts = BTreeMap<String, u64>;

/// Counts, and fails if a count exceeds the recorded one; with `update`, records the counts.
pub(crate) fn counts(report: &mut Report, update: bool) -> Result<()> {
    if let Err(reason) = setup::valgrind() {
        return report.skip(format!("counts: valgrind: {reason:#}"));
    }
    run(&mut cargo(["build", "--package=tidelock-counts", "--profile=counts"]))?;
    let program = target_folder()?.join("counts/tidelock-counts");
    let works = output(&mut Command::new(&program))?;
    let counted =
        works.lines().map(|work| Ok((work.to_owned(), count(&program, work)?))).collect::<Result<Counts>>()?;
    check(&counted)?;
    if update {
        let text = serde_json::to_string_pretty(&counted)?;
        return fs::write(written_down(), text + "\n").context("cannot write the counts");
    }
    compare(&counted, &serde_json::from_str(&fs::read_to_string(written_down())?)?)
}

fn written_down() -> PathBuf {
    root().join("crates/tidelock-counts/counts.json")
}

/// Instructions of one operation.
fn count(program: &Path, work: &str) -> Result<u64> {
    let [few, many] = TIMES;
    let more = all(program, work, many)?.saturating_sub(all(program, work, few)?);
    Ok(more / (many - few))
}

/// Instructions of a whole run.
fn all(program: &Path, work: &str, times: u64) -> Result<u64> {
    let out = program.with_extension("counted");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", out.display()));
    output(command.arg(program).arg(work).arg(times.to_string()))?;
    let counted = fs::read_to_string(out)?;
    let total = counted.lines().find_map(|line| line.strip_prefix("totals: ")).context("valgrind reported no total")?;
    Ok(total.trim().parse()?)
}

/// Fails if the count cannot be right.
fn check(counted: &Counts) -> Result<()> {
    ensure!(!counted.is_empty(), "the program lists no workload");
    for (work, instructions) in counted {
        ensure!(*instructions > 0, "{work} took no instruction");
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn compare(counted: &Counts, before: &Counts) -> Result<()> {
    for work in before.keys() {
        ensure!(counted.contains_key(work), "{work} is recorded but was not counted; `--update` removes it");
    }
    let mut longer = Vec::new();
    eprintln!("{:<12}{:>10}{:>10}", "", "before", "now");
    for (work, now) in counted {
        let known = before.get(work).with_context(|| format!("{work} has no recorded count; `--update` adds it"))?;
        let change = *now as f64 / *known as f64 - 1.0;
        eprintln!("{work:<12}{known:>10}{now:>10} {:>+6.1} %", change * 100.0);
        if change > TOLERANCE {
            longer.push(work.as_str());
        }
    }
    ensure!(
        longer.is_empty(),
        "{} took over {:.0} % more instructions; if that is intended, record it with `cargo xtask counts --update`",
        longer.join(", "),
        TOLERANCE * 100.0
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Counts, check, compare};

    fn counts(counts: &[(&str, u64)]) -> Counts {
        counts.iter().map(|&(work, instructions)| (work.to_owned(), instructions)).collect()
    }

    #[test]
    fn what_was_not_counted_does_not_pass() {
        assert!(check(&counts(&[("queue", 1)])).is_ok());
        assert!(check(&counts(&[])).is_err());
        assert!(check(&counts(&[("mutex", 1), ("queue", 0)])).is_err());
    }

    #[test]
    fn each_work_is_compared_with_its_own_count() {
        let before = counts(&[("mutex", 1_000), ("queue", 1_000)]);
        assert!(compare(&counts(&[("mutex", 1_099), ("queue", 900)]), &before).is_ok());
        for (work, counted) in [
            ("queue", counts(&[("mutex", 1_000), ("queue", 1_101)])),
            ("queue", counts(&[("mutex", 1_000)])),
            ("topic", counts(&[("mutex", 1_000), ("queue", 1_000), ("topic", 1)])),
        ] {
            let error = compare(&counted, &before).unwrap_err().to_string();
            assert!(error.starts_with(work), "{error}");
        }
    }
}
