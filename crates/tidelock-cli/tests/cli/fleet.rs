//! `tidelock demo` over servers.

use serde_json::{Value, json};

use crate::run::{TemporaryFile, servers, tidelock};

/// Orders that keep several processes busy for about two seconds.
fn orders() -> TemporaryFile {
    let order = |number: u32| {
        let (id, item) = (format!("o-{number}"), format!("item-{}", number % 40));
        json!({
            "id": id, "warehouse": "oslo", "item": item, "quantity": 1, "amount_cents": 100,
            "work_ms": 60, "fail_attempts": u8::from(number.is_multiple_of(20)),
        })
    };
    let lines = (1..=400_u32).flat_map(|number| {
        let order = order(number).to_string();
        let extra = [order.clone(), format!("order {number} is no JSON")];
        std::iter::once(order).chain(extra.into_iter().filter(move |_| number.is_multiple_of(50)))
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    TemporaryFile::new(text.as_bytes())
}

/// On an overloaded machine leases expire and an order may use up its attempts. That is no error: it is in the account.
fn check(account: &Value) {
    for (field, value) in [("adds_up", json!(true)), ("accepted", json!(408)), ("duplicates", json!(8))] {
        assert_eq!(account[field], value, "{field} in {account}");
    }
    for (field, value) in [("lost", json!(0)), ("double", json!(0)), ("unfinished", json!(0)), ("lag", json!(0))] {
        assert_eq!(account[field], value, "{field} in {account}");
    }
    let count = |field: &str| account[field].as_u64().unwrap_or_else(|| panic!("{field} in {account}"));
    assert_eq!(count("settled") + count("dead"), 408, "{account}");
    assert_eq!(account["dead_by_reason"]["FATAL"], json!(8), "{account}");
    assert_eq!((count("events"), count("sold") * 100), (408, count("revenue_cents")), "{account}");
    assert_eq!(account["revenue_cents"], account["charged_cents"], "{account}");
    assert_eq!(account["members"], account["processes"], "{account}");
}

/// Runs the demo over each server, all at once.
fn on_each_server(arguments: &[&str], check: impl Fn(Value) + Sync) {
    let file = orders();
    std::thread::scope(|scope| {
        for (name, url) in servers() {
            let (file, check) = (&file, &check);
            scope.spawn(move || {
                eprintln!("{name}");
                check(
                    tidelock(&[&["demo", file.path(), "--json", "--redis", &url], arguments].concat()).expect(0).json(),
                );
            });
        }
    });
}

#[test]
fn a_process_killed_midway_loses_nothing() {
    on_each_server(&["--processes", "3", "--concurrency", "8", "--chaos"], |account| {
        check(&account);
        assert_eq!((&account["killed"], &account["processes"]), (&json!(1), &json!(3)), "{account}");
        assert!(account["killed_holding"].as_u64() > Some(0), "it was killed in the midst of its work: {account}");
        assert!(account["expired"].as_u64() > Some(0), "nobody said goodbye for it: {account}");
    });
}

#[test]
fn one_process_over_a_server_does_the_same_as_alone() {
    on_each_server(&[], |account| check(&account));
}
