//! Generates about 5,000 orders, always the same: good, slow, flaky, hopeless, repeated and broken ones.

use std::fmt::Write as _;

const ORDERS: u64 = 4_900;
const WAREHOUSES: [&str; 6] = ["antwerp", "bergen", "cadiz", "gdansk", "lisbon", "rotterdam"];
const ITEMS: [&str; 24] = [
    "anchor", "ballast", "beacon", "bell", "buoy", "capstan", "chart", "cleat", "compass", "crate", "fender", "hawser",
    "lantern", "log", "mast", "oar", "plumb", "pulley", "rudder", "sail", "sextant", "shackle", "tiller", "winch",
];

/// The whole file.
pub(crate) fn orders() -> String {
    let mut random = Random(2_718_281_828);
    let mut text = String::new();
    let mut earlier: Vec<String> = Vec::new();
    for number in 1..=ORDERS {
        let line = order(&mut random, number);
        let _ = writeln!(text, "{line}");
        earlier.push(line);
        if random.one_in(70) {
            let again = repeated(&mut random, &earlier);
            let _ = writeln!(text, "{again}");
        }
        if random.one_in(80) {
            let _ = writeln!(text, "{}", broken(&mut random, number));
        }
        if number % 1_000 == 500 {
            text.push('\n');
        }
    }
    text
}

fn order(random: &mut Random, number: u64) -> String {
    let (warehouse, item) = (random.one_of(&WAREHOUSES), random.one_of(&ITEMS));
    let quantity = 1 + random.below(5);
    let amount = quantity * (200 + 10 * random.below(800));
    let mut line = format!(
        r#"{{"id":"o-{number:05}","warehouse":"{warehouse}","item":"{item}","quantity":{quantity},"amount_cents":{amount}"#
    );
    if random.one_in(60) {
        // Slow to pack, with the shelf locked.
        let _ = write!(line, r#","work_ms":{}"#, 100 + 50 * random.below(15));
    } else if random.one_in(8) {
        let _ = write!(line, r#","work_ms":{}"#, 5 + random.below(20));
    }
    if random.one_in(30) {
        let _ = write!(line, r#","fail_attempts":{}"#, 1 + random.below(3));
    } else if random.one_in(300) {
        // Never succeeds: it fails for good after the last attempt.
        line.push_str(r#","fail_attempts":1000"#);
    }
    line.push('}');
    line
}

/// Repeats an earlier order, sometimes with another amount, which has no effect.
fn repeated(random: &mut Random, earlier: &[String]) -> String {
    let recent = &earlier[earlier.len().saturating_sub(400)..];
    let line = random.one_of(recent);
    if random.one_in(5) { line.replace(r#""amount_cents":"#, r#""amount_cents":1"#) } else { line.clone() }
}

fn broken(random: &mut Random, number: u64) -> String {
    let id = format!("b-{number:05}");
    let start = format!(r#"{{"id":"{id}","warehouse":"cadiz","item":"buoy""#);
    match random.below(10) {
        0 => format!("order {number}: two buoys for Cadiz, please"),
        1 => start,
        2 => format!("{start},}}"),
        3 => format!(r#"{start},"quantity":1}}"#),
        4 => format!(r#"{{"warehouse":"cadiz","item":"buoy","quantity":1,"amount_cents":{}}}"#, 100 + number),
        5 => format!(r#"{start},"quantity":"two","amount_cents":1200}}"#),
        6 => format!(r#"{start},"quantity":1,"amount_cents":"12.00"}}"#),
        7 => format!(r#"{start},"quantity":1,"amount_cents":-{}}}"#, 100 + number),
        8 => format!(r#"{start},"quantity":0,"amount_cents":1200}}"#),
        _ => format!(r#"["{id}","cadiz","buoy",1,1200]"#),
    }
}

/// SplitMix64: the same numbers on every machine, for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform enough for a demo.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let index = self.below(choices.len() as u64);
        &choices[usize::try_from(index).expect("an index of a slice")]
    }
}
