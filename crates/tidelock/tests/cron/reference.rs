//! Compares the slots of many expressions with those of an independent implementation, and lists where they differ.
//!
//! `reference.tsv` has its answers; `differences.tsv` has ours where they differ, with the reason above each group.

use std::collections::BTreeMap;

use tidelock::Cron;

use crate::instants::{at, shown};

/// Expression, zone and instant.
type Question<'a> = (&'a str, &'a str, &'a str);

/// The questions and answers of a table; lines beginning with `#` are comments.
fn table(text: &str) -> impl Iterator<Item = (Question<'_>, &str)> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let cells: Vec<_> = line.split('\t').collect();
        let [expression, zone, start, answer] = cells[..] else { panic!("four cells, but {line:?}") };
        ((expression, zone, start), answer)
    })
}

fn ours((expression, zone, start): Question<'_>) -> String {
    let Ok(cron) = Cron::parse(expression) else { return "refused".to_owned() };
    let cron = cron.tz(zone).expect("a zone of the database");
    cron.upcoming(at(start)).take(5).map(shown).collect::<Vec<_>>().join(" ")
}

#[test]
fn slots_are_those_of_another_implementation_but_for_the_listed_differences() {
    let mut differences: BTreeMap<_, _> = table(include_str!("differences.tsv")).collect();
    let (mut asked, mut wrong) = (0, Vec::new());
    for (question, theirs) in table(include_str!("reference.tsv")) {
        asked += 1;
        let ours = ours(question);
        let expected = differences.remove(&question);
        if ours == theirs && expected.is_none() || ours != theirs && expected == Some(&ours) {
            continue;
        }
        let (expression, zone, start) = question;
        wrong.push(format!("{expression}\t{zone}\t{start}\t{ours}\n  theirs {theirs}\n  listed {expected:?}"));
    }
    assert!(wrong.is_empty(), "{} of {asked} are neither equal nor listed:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(differences, BTreeMap::new(), "listed, but never asked");
    assert!(asked > 600, "{asked}");
}
