//! `tidelock demo` in one process, and its end by Ctrl-C.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::run::{TemporaryFile, command, servers, tidelock};

/// Two good orders, one that fails twice, one that always fails; a duplicate, a blank line, and five bad lines.
const ORDERS: &[u8] =
    b"{\"id\":\"o-1\",\"warehouse\":\"oslo\",\"item\":\"lamp\",\"quantity\":1,\"amount_cents\":100}\n\
    {\"id\":\"o-2\",\"warehouse\":\"oslo\",\"item\":\"lamp\",\"quantity\":1,\"amount_cents\":200,\"work_ms\":50}\n\
    \r\n\
    {\"id\":\"o-3\",\"warehouse\":\"oslo\",\"item\":\"lamp\",\"quantity\":1,\"amount_cents\":300,\"fail_attempts\":2}\n\
    {\"id\":\"o-4\",\"warehouse\":\"oslo\",\"item\":\"desk\",\"quantity\":1,\"amount_cents\":400,\"fail_attempts\":9}\n\
    {\"id\":\"o-1\",\"warehouse\":\"oslo\",\"item\":\"lamp\",\"quantity\":1,\"amount_cents\":999}\n\
    one lamp, please\n\
    {\"id\":\"b-1\",\"warehouse\":\"oslo\",\"item\":\"lamp\",\"quantity\":1}\n\
    {\"id\":\"b-2\",\"warehouse\":\"oslo\",\"item\":\"lamp\",\"quantity\":\"one\",\"amount_cents\":100}\n\
    {\"id\":\"b-3\",\"warehouse\":\"oslo\",\"item\":\"lamp\",\"quantity\":1,\"amount_cents\":-100}\n\
    \xff\xfe not even text";

#[test]
fn the_account_of_a_file_adds_up_line_by_line() {
    let file = TemporaryFile::new(ORDERS);
    let account = tidelock(&["demo", file.path(), "--json"]).expect(0).json();
    let expected = [
        ("adds_up", json!(true)),
        ("lines", json!(11)),
        ("blank", json!(1)),
        ("duplicates", json!(1)),
        ("accepted", json!(9)),
        ("settled", json!(3)),
        ("dead", json!(6)),
        ("lost", json!(0)),
        ("double", json!(0)),
        ("retried", json!(2)),
        ("charged_cents", json!(600)),
        ("dead_by_reason", json!({ "FATAL": 5, "ERROR": 1 })),
        ("jobs", json!({ "accepted": 9, "settled": 3, "dead": 6, "unfinished": 0 })),
        ("events", json!(9)),
        ("revenue_cents", json!(600)),
        ("sold", json!(3)),
        ("lag", json!(0)),
        ("members", json!(1)),
        ("expired", json!(0)),
        ("backend", json!("in_process")),
    ];
    for (field, value) in expected {
        assert_eq!(account[field], value, "{field} in {account}");
    }
    // The order that always fails has its event last, so the reader fails with events in hand, which are delivered
    // again.
    assert!(account["reader_fell_holding"].as_u64() > Some(0), "{account}");
    assert!(account["repeated"].as_u64() >= account["reader_fell_holding"].as_u64(), "{account}");
}

#[test]
fn people_see_the_reasons_and_the_sum() {
    let file = TemporaryFile::new(ORDERS);
    let ran = tidelock(&["demo", file.path()]).expect(0);
    for text in [
        "not JSON: ",
        "missing field `amount_cents`",
        "amount_cents must be 1..=1000000000, but is -100",
        "one lamp, please",
        "base64:",
        "9  events        one for each order; a group adds them up to 6.00",
        "3  sold          items, by a second group, whose reader fell with ",
        "1  members       came and went\n",
        "The account adds up: 9 accepted = 3 settled + 6 dead, 0 lost, 0 double.",
    ] {
        assert!(ran.stdout.contains(text), "no {text:?} in {ran:?}");
    }
}

#[test]
fn the_built_in_orders_add_up() {
    let orders = tidelock(&["demo", "--print-orders"]).expect(0).stdout;
    // The same orders, but with a provider that allows more.
    let account = tidelock(&["demo", "--json", "--rate", "100000", "--concurrency", "256"]).expect(0).json();
    assert_eq!(account["lines"], json!(orders.lines().count()));
    let count = |field: &str| account[field].as_u64().unwrap_or_else(|| panic!("{field} in {account}"));
    assert_eq!(count("accepted"), count("settled") + count("dead"));
    assert_eq!(count("lines"), count("blank") + count("duplicates") + count("accepted"));
    assert_eq!((count("lost"), count("double"), count("unfinished")), (0, 0, 0));
    assert_eq!((count("events"), count("lag")), (count("accepted"), 0));
    assert_eq!(account["revenue_cents"], account["charged_cents"]);
    assert!(count("sold") >= count("settled"), "{account}");
    assert!(count("retried") > 100 && count("duplicates") > 50 && count("dead") > 50, "{account}");
    assert_eq!(account["dead_by_reason"].as_object().map(serde_json::Map::len), Some(2));
}

#[test]
fn an_empty_file_adds_up() {
    let file = TemporaryFile::new(b"");
    let account = tidelock(&["demo", file.path(), "--json"]).expect(0).json();
    assert_eq!((&account["lines"], &account["accepted"], &account["adds_up"]), (&json!(0), &json!(0), &json!(true)));
}

/// Ctrl-C in the middle of the work: started orders are finished, and the rest is counted as unfinished.
#[cfg(unix)]
#[test]
fn an_interrupted_run_adds_up_with_what_is_unfinished() {
    let order = |number: u32| {
        let (id, item) = (format!("o-{number}"), format!("item-{number}"));
        json!({ "id": id, "warehouse": "oslo", "item": item, "quantity": 1, "amount_cents": 100 }).to_string()
    };
    let orders: Vec<_> = (0..2_000).map(order).collect();
    let file = TemporaryFile::new(orders.join("\n").as_bytes());
    let mut local = vec![vec![]];
    local.extend(servers().into_iter().map(|(_, url)| vec!["--redis".to_owned(), url, "--processes=2".to_owned()]));
    for fleet in local {
        let mut command = command(&["demo", file.path(), "--json", "--rate", "50"]);
        let mut child = command.args(&fleet).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        // All have been sent; at this rate the run takes 40 s in total.
        assert!(lines.any(|line| line.contains(" of 2,000 orders")));
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{fleet:?} {:?}", lines.collect::<Vec<_>>());
        let account: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&account["adds_up"], &account["interrupted"]), (&json!(true), &json!(true)), "{account}");
        let count = |field: &str| account[field].as_u64().unwrap_or_else(|| panic!("{field} in {account}"));
        assert_eq!(count("accepted"), count("settled") + count("dead") + count("unfinished"), "{account}");
        assert!(count("unfinished") > 1_000 && count("lost") == 0, "{account}");
        assert!(count("events") >= count("settled") + count("dead") && count("lag") == 0, "{account}");
    }
}
