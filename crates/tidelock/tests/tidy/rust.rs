//! Rules for Rust files.

use super::{Complaints, Source};

const FILE_LINES: usize = 500;
const TEST_FILE_LINES: usize = 700;
const FUNCTION_LINES: usize = 70;

/// The tests of these rules have to spell out what they forbid.
const RULES: &str = "crates/tidelock/tests/tidy/";

/// What no file may contain.
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];

/// What a model must not know: it gets time, ids and random numbers with the request, and touches only its own state.
const FOREIGN_TO_MODELS: [&str; 6] = ["Instant", "SystemTime", "fastrand", "tokio", "spawn", "Mutex<"];

/// Names that say nothing about the content.
const EMPTY_NAMES: [&str; 4] = ["util", "helper", "common", "manager"];

/// Everything that is wrong with one file.
pub(super) fn complaints(source: &Source) -> Complaints {
    if source.path.starts_with(RULES) {
        return Vec::new();
    }
    let rules = [shape, functions, names, words, redis_stays_in_its_place, models_are_pure, tests_are_honest];
    rules.iter().flat_map(|rule| rule(source)).collect()
}

fn shape(source: &Source) -> Complaints {
    let mut complaints = Vec::new();
    let (lines, limit) = (source.text.lines().count(), if is_test(source) { TEST_FILE_LINES } else { FILE_LINES });
    if lines > limit {
        complaints.push(format!("{}: {lines} lines, more than {limit}: split it by responsibility", source.path));
    }
    if !source.text.starts_with("//!") {
        complaints.push(format!("{}: begins without `//!`: say in one sentence what the file is for", source.path));
    }
    complaints
}

fn functions(source: &Source) -> Complaints {
    let too_long = function_lengths(&source.text).into_iter().filter(|(_, length)| *length > FUNCTION_LINES);
    let complaint = |(line, length)| {
        format!("{}:{line}: a function of {length} lines: name its parts until it has {FUNCTION_LINES}", source.path)
    };
    too_long.map(complaint).collect()
}

fn names(source: &Source) -> Complaints {
    let parts = source.path.split('/').map(|part| part.trim_end_matches(".rs").trim_end_matches('s'));
    let empty = parts.filter(|part| EMPTY_NAMES.contains(part));
    empty.map(|name| format!("{}: `{name}` says nothing: name the file for what it holds", source.path)).collect()
}

fn words(source: &Source) -> Complaints {
    forbid(source, &UNFINISHED, "finish it, or leave it out")
}

fn redis_stays_in_its_place(source: &Source) -> Complaints {
    let is_library = source.path.starts_with("crates/tidelock/src/");
    if !is_library || source.name() == "redis.rs" || source.is_below("redis/") {
        return Vec::new();
    }
    // After another module's name it means one of our modules: `backend::redis::…`.
    let foreign = |line: &str| {
        line.match_indices("redis::").any(|(at, _)| {
            let before = &line[..at];
            !ends_in_name(before.strip_suffix("::").unwrap_or(before))
        })
    };
    let why = "the Redis client belongs into `redis.rs` or `redis/`: speak through the store trait \
               (a module of our own is `self::redis`)";
    complain(source, foreign, why)
}

fn models_are_pure(source: &Source) -> Complaints {
    if source.name() != "model.rs" && !source.is_below("model/") {
        return Vec::new();
    }
    forbid(source, &FOREIGN_TO_MODELS, "a model is pure: time, ids and chance come in with the request")
}

fn tests_are_honest(source: &Source) -> Complaints {
    let mut complaints = forbid(source, &["#[ignore"], "make the test run, or delete it");
    if source.path.starts_with("crates/tidelock/tests/") {
        complaints.extend(forbid(source, &["sleep("], "wait for the event, or move the pinned clock"));
        if !source.path.starts_with("crates/tidelock/tests/faults") {
            let why = "other tests use this server too: keep to a namespace of your own";
            complaints.extend(forbid(source, &["FLUSHALL", "FLUSHDB", "flushall", "flushdb"], why));
        }
    }
    complaints
}

fn is_test(source: &Source) -> bool {
    source.is_below("tests/")
}

fn forbid(source: &Source, words: &[&str], why: &str) -> Complaints {
    words.iter().flat_map(|word| complain(source, |line| has_word(line, word), &format!("`{word}`: {why}"))).collect()
}

/// A complaint for each guilty line of code; comments may say anything.
fn complain(source: &Source, guilty: impl Fn(&str) -> bool, why: &str) -> Complaints {
    let lines = source.text.lines().enumerate().filter(|(_, line)| guilty(code_of(line)));
    lines.map(|(index, _)| format!("{}:{}: {why}", source.path, index + 1)).collect()
}

/// The line without its comment. A `//` in a string counts as one, which only makes the rules milder.
fn code_of(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

/// Whether the word occurs in the line, but not as the end of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !ends_in_name(&line[..at]))
}

fn ends_in_name(text: &str) -> bool {
    text.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The first line and the number of lines of each function: from `fn` to the closing brace in the same column.
fn function_lengths(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let starts = lines.iter().enumerate().filter(|(_, line)| has_word(signature_of(line), "fn "));
    let length = |(index, line): (usize, &&str)| {
        let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
        let body = lines[index..].iter().position(|line| *line == end)?;
        // A declaration without a body ends before any brace opens.
        let is_declaration =
            lines[index..=index + body].iter().find_map(|line| line.find(['{', ';']).map(|at| line.as_bytes()[at]));
        (is_declaration == Some(b'{')).then_some((index + 1, body + 1))
    };
    starts.filter_map(length).collect()
}

/// The part of a line in which a function can begin.
fn signature_of(line: &str) -> &str {
    let code = code_of(line);
    code.find(['"', '{', '|']).map_or(code, |end| &code[..end])
}

#[test]
fn functions_are_measured_to_their_own_brace() {
    let text = "impl A {\n    pub async fn one() {\n        if x {\n        }\n    }\n\n    fn two();\n\n    fn three(\n    ) -> u8 {\n        3\n    }\n}\n";
    assert_eq!(function_lengths(text), [(2, 4), (9, 4)]);
}

#[test]
fn the_client_is_told_from_our_own_module() {
    let complaints = |line: &str| {
        let source = Source { path: "crates/tidelock/src/queue.rs".into(), text: format!("//! Q.\n{line}\n") };
        redis_stays_in_its_place(&source).len()
    };
    for line in ["use redis::Value;", "fn f(c: &redis::Client) {}", "use ::redis::Cmd;", "a(::redis::cmd(x))"] {
        assert_eq!(complaints(line), 1, "{line}");
    }
    for line in ["use crate::backend::redis::Link;", "use self::redis::Store;", "// redis::Value", "mod redis;"] {
        assert_eq!(complaints(line), 0, "{line}");
    }
}

#[test]
fn words_are_found_only_where_they_begin() {
    assert!(has_word("    dbg!(x)", "dbg!"));
    assert!(!has_word("    no_sleep(x)", "sleep("));
    assert!(has_word("    time::sleep(x)", "sleep("));
}

#[test]
fn each_rule_fires() {
    let guilty = [
        ("crates/tidelock/src/a.rs", "fn f() {}"),
        ("crates/tidelock/src/utils.rs", "//! Things."),
        ("crates/tidelock/src/a.rs", "//! A.\nfn f() { todo!() }"),
        ("crates/tidelock/src/queue/model.rs", "//! A.\nuse std::time::Instant;"),
        ("crates/tidelock/tests/conformance/queue.rs", "//! A.\nasync fn f() { sleep(x).await }"),
        ("crates/tidelock/tests/conformance/queue.rs", "//! A.\nconst A: &str = \"FLUSHALL\";"),
        ("crates/tidelock-cli/tests/a.rs", "//! A.\n#[ignore]"),
    ];
    for (path, text) in guilty {
        let source = Source { path: path.into(), text: text.into() };
        assert_eq!(complaints(&source).len(), 1, "{source:?}");
    }
    let innocent = Source { path: "crates/tidelock/tests/faults/a.rs".into(), text: "//! A.\n// FLUSHALL".into() };
    assert_eq!(complaints(&innocent), Complaints::new());
}
