//! Rules for Lua scripts: the header is the signature, and the body has to match it.
//!
//! An entry script starts with `-- verb: …` and names all its `KEYS` and `ARGV`. A part, of which entries are composed,
//! starts with `-- part: …` and has none of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::{Complaints, Source};

/// Everything that is wrong with the scripts. The Rust files say how they are composed.
pub(super) fn complaints(scripts: &[Source], rust: &[Source]) -> Complaints {
    let compositions: Vec<_> = rust.iter().flat_map(compositions).collect();
    let by_path: BTreeMap<_, _> = scripts.iter().map(|script| (script.path.as_str(), script)).collect();
    let used: BTreeSet<_> = compositions.iter().flatten().map(String::as_str).collect();

    let mut complaints = Vec::new();
    for script in scripts {
        let path = &script.path;
        if !used.contains(path.as_str()) {
            complaints.push(format!("{path}: no Rust file includes it: delete it"));
        }
        complaints.extend(keys_are_given(script));
        match Header::of(&script.text) {
            None => complaints.push(format!("{path}: starts without `-- verb: …` or `-- part: …`: say what it does")),
            Some(header) if header.is_part => {}
            Some(header) => {
                let composed = compositions.iter().find(|paths| paths.contains(path)).cloned().unwrap_or_default();
                let parts = composed.iter().filter(|part| *part != path).filter_map(|part| by_path.get(part.as_str()));
                let bodies: String = parts.chain([&script]).map(|part| body_of(&part.text)).collect();
                complaints.extend(header.disagreements(&bodies).into_iter().map(|what| format!("{path}: {what}")));
            }
        }
    }
    complaints.extend(scripts.iter().filter_map(|script| by_hand(script, &by_path)));
    complaints
}

/// A part that unpacks a record by hand must count as many numbers as there are fields.
fn by_hand(part: &Source, all: &BTreeMap<&str, &Source>) -> Option<String> {
    let folder = part.path.strip_suffix("one/begin.lua")?;
    let keys = all.get(format!("{folder}keys.lua").as_str())?;
    let counts = || -> Result<_, String> {
        let fields = between(&keys.text, "local FIELDS = {", "}")?.matches('\'').count() / 2;
        let numbers = between(&part.text, "'>i8", "'")?.matches("i8").count() + 1;
        let bytes = between(&part.text, "#record == ", " ")?.parse().unwrap_or(0);
        let names = between(&part.text, "-- In the order of FIELDS in keys.lua.\n    local ", "=")?.split(',').count();
        Ok([fields, numbers, bytes / 8, names])
    };
    match counts() {
        Ok(counts) if counts.iter().all(|count| *count == counts[0]) => None,
        Ok(counts) => {
            Some(format!("{}: fields, numbers of the format, of the length and names are {counts:?}", part.path))
        }
        Err(what) => Some(format!("{}: {what}", part.path)),
    }
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Result<&'a str, String> {
    let found = text.split_once(from).and_then(|(_, rest)| rest.split_once(to));
    found.map(|(found, _)| found).ok_or_else(|| format!("it has no {from:?}"))
}

/// Clusters place keys by what the caller declared: a key that a script constructs may be on another node.
fn keys_are_given(script: &Source) -> Complaints {
    let guilty = |line: &str| {
        let code: String = body_of(line).chars().filter(|c| !c.is_whitespace()).collect();
        code.contains("..KEYS[")
            || code
                .match_indices("KEYS[")
                .any(|(at, _)| code[at..].split_once(']').is_some_and(|(_, rest)| rest.starts_with("..")))
    };
    let lines = script.text.lines().enumerate().filter(|(_, line)| guilty(line));
    lines.map(|(index, _)| format!("{}:{}: builds a key: take it as one of KEYS", script.path, index + 1)).collect()
}

/// The arguments that a script declares or uses.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    /// Those with a fixed index.
    numbers: BTreeSet<usize>,
    /// Whether there are others, such as `KEYS[i]` or `ARGV[n..]`.
    variable: bool,
}

impl Arguments {
    /// Finds `NAME[3]`, `NAME[2..4]`, `NAME[n..]`, `NAME[#NAME]` anywhere in the text.
    fn named(name: &str, text: &str) -> Self {
        let mut arguments = Self::default();
        for (at, _) in text.match_indices(name) {
            let rest = &text[at + name.len()..];
            let Some((index, _)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
                // The whole table is used: `unpack(ARGV, 3)`, `#KEYS`.
                arguments.variable = true;
                continue;
            };
            match (index.parse::<usize>(), index.split_once("..")) {
                (Ok(number), _) => {
                    arguments.numbers.insert(number);
                }
                (_, Some((first, last))) => match (first.parse::<usize>(), last.parse::<usize>()) {
                    (Ok(first), Ok(last)) => arguments.numbers.extend(first..=last),
                    _ => arguments.variable = true,
                },
                _ => arguments.variable = true,
            }
        }
        arguments
    }

    /// Differences between these, declared in the header, and those used in the body.
    fn disagreements(&self, used: &Self, name: &str) -> Vec<String> {
        let undeclared = used.numbers.iter().filter(|number| {
            let beyond = self.numbers.last().is_none_or(|last| *number > last);
            !(self.numbers.contains(number) || self.variable && beyond)
        });
        let unused = self.numbers.iter().filter(|number| !used.variable && !used.numbers.contains(number));
        let mut differences: Vec<_> =
            undeclared.map(|number| format!("uses {name}[{number}], which the header does not name")).collect();
        differences.extend(unused.map(|number| format!("names {name}[{number}] in the header and never uses it")));
        if used.variable && !self.variable && self.numbers.is_empty() {
            differences.push(format!("uses {name} by computed index, and the header names none"));
        }
        differences
    }
}

/// The comment at the top of a script.
#[derive(Debug)]
struct Header {
    is_part: bool,
    text: String,
}

impl Header {
    fn of(script: &str) -> Option<Self> {
        let lines: Vec<_> = script.lines().map_while(|line| line.strip_prefix("--")).collect();
        let (verb, purpose) = lines.first()?.trim().split_once(':')?;
        if verb.is_empty() || purpose.trim().is_empty() {
            return None;
        }
        Some(Self { is_part: verb == "part", text: lines.join("\n") })
    }

    fn disagreements(&self, body: &str) -> Vec<String> {
        let mut disagreements = Vec::new();
        for name in ["KEYS", "ARGV"] {
            // In the header, only the start of a line declares an argument; the text after it may mention others.
            let starts = self.text.lines().map(str::trim).filter(|line| line.starts_with(&format!("{name}[")));
            let declared: String = starts.filter_map(|line| Some(format!("{}]\n", line.split_once(']')?.0))).collect();
            let declared = Arguments::named(name, &declared);
            disagreements.extend(declared.disagreements(&Arguments::named(name, body), name));
        }
        if !self.text.contains("Reply:") {
            disagreements.push("the header does not say `Reply:`".to_owned());
        }
        disagreements
    }
}

/// The code without its comments.
fn body_of(script: &str) -> String {
    script.lines().map(|line| line.split("--").next().unwrap_or(line)).flat_map(|line| [line, "\n"]).collect()
}

/// The scripts named together in each statement of a Rust file, as paths relative to the workspace.
fn compositions(rust: &Source) -> Vec<Vec<String>> {
    let folder = Path::new(&rust.path).parent().unwrap_or(Path::new(""));
    let statements = rust.text.split(';');
    let scripts = |statement: &str| {
        let literals = statement
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|literal| Path::new(literal).extension().is_some_and(|extension| extension == "lua"));
        literals.map(|literal| resolved(&folder.join(literal))).collect::<Vec<_>>()
    };
    statements.map(scripts).filter(|scripts| !scripts.is_empty()).collect()
}

/// The path without `..`; it need not exist.
fn resolved(path: &Path) -> String {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                resolved.pop();
            }
            other => resolved.push(other),
        }
    }
    resolved.to_string_lossy().replace('\\', "/")
}

const GOOD: &str = "-- take: takes one message.\n-- KEYS[1]  {q}:ready: the messages, see KEYS[9]\n-- ARGV[1]  lease, ms\n\
                    -- ARGV[n..]  ids\n-- Reply: the message\nreturn redis.call('LPOP', KEYS[1], ARGV[1], ARGV[2])\n";

fn complaints_about(script: &str) -> Complaints {
    let script = Source { path: "crates/tidelock/src/queue/lua/take.lua".into(), text: script.into() };
    let part =
        Source { path: "crates/tidelock/src/lua/now.lua".into(), text: "-- part: time.\nlocal t = KEYS[2]".into() };
    let text = r#"const TAKE: &str = concat!(include_str!("../lua/now.lua"), include_str!("lua/take.lua"));"#;
    let rust = Source { path: "crates/tidelock/src/queue/redis.rs".into(), text: text.into() };
    complaints(&[script, part], &[rust])
}

#[test]
fn header_and_composed_body_are_compared() {
    let complaints = complaints_about(GOOD);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].ends_with("uses KEYS[2], which the header does not name"), "{complaints:?}");
    let named = GOOD.replace("-- ARGV[1]", "-- KEYS[2]  {q}:time\n-- ARGV[1]");
    assert_eq!(complaints_about(&named), Complaints::new());
    assert_eq!(complaints_about(&named.replace("KEYS[2]  ", "KEYS[2..3]  ")).len(), 1, "KEYS[3] is never used");
    assert_eq!(complaints_about(&named.replace("Reply", "Result")).len(), 1);
}

#[test]
fn made_up_keys_and_missing_headers_are_found() {
    let named = GOOD.replace("-- ARGV[1]", "-- KEYS[2]  {q}:time\n-- ARGV[1]");
    for made_up in ["local k = KEYS[1] .. ':x'", "local k = 'x' .. KEYS[1]"] {
        assert_eq!(complaints_about(&format!("{named}{made_up}\n")).len(), 1, "{made_up}");
    }
    assert_eq!(complaints_about("return KEYS[1]\n").len(), 1);
}

#[test]
fn an_unused_script_is_found() {
    let script = Source { path: "crates/tidelock/src/lua/old.lua".into(), text: "-- part: old.".into() };
    assert_eq!(complaints(&[script], &[]).len(), 1);
}

#[test]
fn a_record_taken_apart_by_hand_has_all_its_fields() {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let keys = source("lua/keys.lua", "local FIELDS = { 'id', 'fence' }");
    let text =
        "local N = '>i8i8'\nif #record == 16 then\n    -- In the order of FIELDS in keys.lua.\n    local id, fence =";
    let find = |text: &str| {
        let begin = source("lua/one/begin.lua", text);
        by_hand(&begin, &BTreeMap::from([("lua/keys.lua", &keys), ("lua/one/begin.lua", &begin)]))
    };
    assert_eq!(find(text), None);
    for (good, bad) in [("i8i8", "i8"), ("16", "24"), ("id, fence", "id"), ("#record", "record")] {
        assert!(find(&text.replace(good, bad)).is_some(), "{bad}");
    }
}
