//! Browser implementation: the host's time zones, from the parts of a formatted date.
//!
//! The host only tells what its clocks show at an instant, not when they change. So a stretch is searched for in a
//! cell of five days: if both ends have the same offset it is the whole cell, else bisection finds the change. Since
//! 1970 no zone has changed and changed back within so short a time; Boa Vista took seven days in 2000.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use js_sys::{Array, Object, Reflect};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use super::Stretch;
use crate::calendar::Date;
use crate::hash::HashMap;

#[wasm_bindgen]
extern "C" {
    type DateTimeFormat;

    #[wasm_bindgen(constructor, catch, js_namespace = Intl)]
    fn new(locale: &str, options: &Object) -> Result<DateTimeFormat, JsValue>;

    #[wasm_bindgen(method, catch, js_name = formatToParts)]
    fn format_to_parts(this: &DateTimeFormat, millis: f64) -> Result<Array, JsValue>;

    #[wasm_bindgen(method, js_name = resolvedOptions)]
    fn resolved_options(this: &DateTimeFormat) -> Object;
}

const CELL: i64 = 5 * 86_400;
/// The most cells that are remembered per zone: some thirty years. Beyond that, all are dropped.
const CELLS: usize = 2_048;

std::thread_local! {
    /// The results from the host, by zone.
    static ASKED: RefCell<HashMap<Arc<str>, Host>> = RefCell::default();
}

/// The host does not report the version of its database.
pub(in crate::cron) fn database() -> &'static str {
    "host"
}

/// A zone that the host knows.
#[derive(Clone, Debug)]
pub(in crate::cron) struct Named {
    name: Arc<str>,
}

impl Named {
    pub(super) fn find(name: &str) -> Option<Self> {
        let known = ASKED.with_borrow(|asked| asked.get_key_value(name).map(|(name, _)| name.clone()));
        if let Some(name) = known {
            return Some(Self { name });
        }
        let host = Host::open(name)?;
        let name = Reflect::get(&host.format.resolved_options(), &"timeZone".into()).ok()?.as_string()?;
        let name: Arc<str> = name.into();
        ASKED.with_borrow_mut(|asked| {
            asked.entry(name.clone()).or_insert(host);
        });
        Some(Self { name })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn stretch_at(&self, instant: i64) -> Stretch {
        ASKED.with_borrow_mut(|asked| {
            // The zone may be a clone from another thread. Each thread queries the host itself.
            let host = asked.entry(self.name.clone());
            let host = host.or_insert_with_key(|name| Host::open(name).expect("the host named this zone itself"));
            host.stretch_at(instant)
        })
    }
}

struct Host {
    format: DateTimeFormat,
    /// The stretches of each cell, in order.
    cells: BTreeMap<i64, Vec<Stretch>>,
}

impl Host {
    fn open(zone: &str) -> Option<Self> {
        let options = Object::new();
        let numeric = ["year", "month", "day", "hour", "minute", "second"].map(|part| (part, "numeric"));
        let fixed = [("timeZone", zone), ("calendar", "gregory"), ("numberingSystem", "latn"), ("hourCycle", "h23")];
        for (option, value) in numeric.into_iter().chain(fixed) {
            Reflect::set(&options, &option.into(), &value.into()).ok()?;
        }
        let format = DateTimeFormat::new("en-US", &options).ok()?;
        Some(Self { format, cells: BTreeMap::new() })
    }

    fn stretch_at(&mut self, instant: i64) -> Stretch {
        let cell = instant.div_euclid(CELL);
        if !self.cells.contains_key(&cell) {
            if self.cells.len() >= CELLS {
                self.cells.clear();
            }
            let stretches = self.stretches_of(cell * CELL, (cell + 1) * CELL);
            self.cells.insert(cell, stretches);
        }
        let inside = self.cells[&cell].iter().find(|stretch| instant < stretch.end);
        *inside.expect("the stretches cover the cell")
    }

    fn stretches_of(&self, mut start: i64, end: i64) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        let mut offset = self.offset_at(start);
        let last = self.offset_at(end);
        while offset != last {
            // The clocks show `offset` at `same` and another offset at `other`.
            let (mut same, mut other) = (start, end);
            while other - same > 1 {
                let middle = same.midpoint(other);
                if self.offset_at(middle) == offset { same = middle } else { other = middle }
            }
            stretches.push(Stretch { start, end: other, offset });
            (start, offset) = (other, self.offset_at(other));
        }
        if start < end {
            stretches.push(Stretch { start, end, offset });
        }
        stretches
    }

    /// Reading minus instant. If the host cannot tell, UTC is assumed.
    fn offset_at(&self, instant: i64) -> i64 {
        self.reading_at(instant).map_or(0, |reading| reading - instant)
    }

    fn reading_at(&self, instant: i64) -> Option<i64> {
        #[expect(clippy::cast_precision_loss, reason = "instants of ten thousand years fit")]
        let parts = self.format.format_to_parts(instant as f64 * 1_000.0).ok()?;
        let (mut date, mut time) = (Date { year: 1_970, month: 1, day: 1 }, 0);
        for part in parts.iter() {
            let text = |name: &str| Reflect::get(&part, &name.into()).ok()?.as_string();
            let Some(number) = text("value").and_then(|value| value.parse::<i64>().ok()) else { continue };
            match text("type")?.as_str() {
                "year" => date.year = number,
                "month" => date.month = number,
                "day" => date.day = number,
                // Some hosts format midnight as 24, whatever the options say.
                "hour" => time += number % 24 * 3_600,
                "minute" => time += number * 60,
                "second" => time += number,
                _ => {}
            }
        }
        Some(date.number() * 86_400 + time)
    }
}
