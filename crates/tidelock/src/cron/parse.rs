//! Parsing text into fields. Anything not allowed is refused, with its position.

use super::error::{CronError, CronField};
use super::fields::{DayField, Fields};

/// Longest text, in bytes.
const LONGEST: usize = 256;

const MACROS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// The fields of a text, and its normalised text: macros expanded, upper case, one space between fields.
pub(super) fn parse(text: &str) -> Result<(Fields, String), CronError> {
    if text.len() > LONGEST {
        let message = format!("cron must have at most {LONGEST} bytes, but has {}", text.len());
        return Err(CronError::new(None, text.floor_char_boundary(LONGEST), message));
    }
    let words = words(text);
    if let [word] = words[..]
        && let Some((_, written_out)) = MACROS.iter().find(|(name, _)| word.text.eq_ignore_ascii_case(name))
    {
        return parse(written_out);
    }
    let (seconds, rest) = match &words[..] {
        rest @ [_, _, _, _, _] => (None, rest),
        [seconds, rest @ ..] if rest.len() == 5 => (Some(*seconds), rest),
        _ => return Err(wrong_number(text, &words)),
    };
    let seconds = seconds.map(|word| parse_field(CronField::Second, word)).transpose()?;
    let second = seconds.unwrap_or(Field { set: 1, free: false, each: false });
    let minute = parse_field(CronField::Minute, rest[0])?;
    let hour = parse_field(CronField::Hour, rest[1])?;
    let day = parse_field(CronField::DayOfMonth, rest[2])?;
    let month = parse_field(CronField::Month, rest[3])?;
    let weekday = parse_field(CronField::DayOfWeek, rest[4])?;
    let days = (DayField { set: day.set, free: day.free }, DayField { set: weekday.set, free: weekday.free });
    let each = second.each || minute.each || hour.each;
    let fields = Fields::new([second.set, minute.set, hour.set], month.set, days, each);
    if !fields.name_a_date() {
        let message = format!("{} never matches: no month in it has such a day", text.trim_matches(SEPARATORS));
        return Err(CronError::new(Some(CronField::DayOfMonth), rest[2].at, message));
    }
    let canonical: Vec<_> = words.iter().map(|word| word.text.to_ascii_uppercase()).collect();
    Ok((fields, canonical.join(" ")))
}

fn wrong_number(text: &str, words: &[Token<'_>]) -> CronError {
    let position = match words {
        [only] => only.at,
        [.., last] if words.len() < 6 => last.end(),
        [_, _, _, _, _, _, beyond, ..] => beyond.at,
        _ => text.len(),
    };
    let found = match words {
        [only] if only.text.starts_with('@') => format!("{} is no macro", only.text),
        _ => format!("it has {}", words.len()),
    };
    CronError::new(None, position, format!("cron must have 5 fields, or 6 with seconds first: {found}"))
}

const SEPARATORS: [char; 4] = [' ', '\t', '\n', '\r'];

fn words(text: &str) -> Vec<Token<'_>> {
    Token { at: 0, text }.split(|c| SEPARATORS.contains(&c)).filter(|word| !word.text.is_empty()).collect()
}

/// A part of the text, and its position.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    at: usize,
    text: &'a str,
}

impl<'a> Token<'a> {
    fn end(self) -> usize {
        self.at + self.text.len()
    }

    fn split(self, separator: impl Fn(char) -> bool) -> impl Iterator<Item = Token<'a>> {
        let mut at = self.at;
        self.text.split(separator).map(move |text| {
            let token = Token { at, text };
            // Each separator is one byte.
            at = token.end() + 1;
            token
        })
    }

    fn split_once(self, separator: char) -> Option<(Self, Self)> {
        let (before, after) = self.text.split_once(separator)?;
        Some((Self { at: self.at, text: before }, Self { at: self.at + before.len() + 1, text: after }))
    }
}

/// The values of a field.
#[derive(Clone, Copy, Debug)]
struct Field {
    set: u64,
    /// Written `*` or `*/1`.
    free: bool,
    /// Says *each*, or *each from*: it contains a `*` or an open step.
    each: bool,
}

/// The state while one field is parsed.
#[derive(Clone, Copy, Debug)]
struct FieldReader {
    field: CronField,
    min: u32,
    /// The last value of the full range; Sunday as 7 is beyond it.
    top: u32,
}

fn parse_field(field: CronField, word: Token<'_>) -> Result<Field, CronError> {
    let (min, top) = match field {
        CronField::Second | CronField::Minute => (0, 59),
        CronField::Hour => (0, 23),
        CronField::DayOfMonth => (1, 31),
        CronField::Month => (1, 12),
        CronField::DayOfWeek => (0, 6),
    };
    let reader = FieldReader { field, min, top };
    let mut result = Field { set: 0, free: false, each: false };
    for segment in word.split(|c| c == ',') {
        if segment.text.is_empty() {
            return Err(reader.error(segment, format!("invalid {field} field: \"{}\"", word.text)));
        }
        let values = reader.segment(segment)?;
        result.set |= values.set;
        result.each |= values.each;
        // A list never counts as free, whatever it contains.
        result.free = values.free && segment.text.len() == word.text.len();
    }
    Ok(result)
}

impl FieldReader {
    fn error(&self, at: Token<'_>, message: String) -> CronError {
        CronError::new(Some(self.field), at.at, message)
    }

    fn segment(&self, segment: Token<'_>) -> Result<Field, CronError> {
        let (base, step) = match segment.split_once('/') {
            Some((base, step)) => (base, Some(step)),
            None => (segment, None),
        };
        let is_star = base.text == "*";
        let (first, last) = self.base(segment, base, step.is_some())?;
        let step_size = step.map_or(Ok(1), |step| self.step(segment, step))?;
        let is_open = step.is_some() && !base.text.contains('-');
        let cycle = self.top - self.min + 1;
        let mut set = 0;
        let mut value = first;
        while value <= last {
            set |= 1 << (self.min + (value - self.min) % cycle);
            value = value.saturating_add(step_size);
        }
        Ok(Field { set, free: is_star && step_size == 1, each: is_star || is_open })
    }

    /// First and last value. A range that wraps around ends beyond the full range, and so does one to Sunday as 7.
    fn base(&self, segment: Token<'_>, base: Token<'_>, has_step: bool) -> Result<(u32, u32), CronError> {
        if base.text == "*" {
            return Ok((self.min, self.top));
        }
        let Some((from, to)) = base.split_once('-').filter(|(from, to)| !from.text.is_empty() && !to.text.is_empty())
        else {
            let value = self.sunday(self.value(segment, base)?);
            return Ok((value, if has_step { self.top } else { value }));
        };
        let (from, to) = (self.value(segment, from)?, self.value(segment, to)?);
        let first = self.sunday(from);
        let last = if from < to { to } else { self.sunday(to) };
        if first <= last {
            return Ok((first, last));
        }
        if self.field == CronField::DayOfMonth {
            return Err(self.out_of_range(base, segment));
        }
        Ok((first, last + self.top - self.min + 1))
    }

    fn sunday(&self, value: u32) -> u32 {
        if self.field == CronField::DayOfWeek && value == 7 { 0 } else { value }
    }

    fn value(&self, segment: Token<'_>, token: Token<'_>) -> Result<u32, CronError> {
        let names: &[&str] = match self.field {
            CronField::Month => &MONTHS,
            CronField::DayOfWeek => &WEEKDAYS,
            _ => &[],
        };
        if let Some(index) = names.iter().position(|name| token.text.eq_ignore_ascii_case(name)) {
            return Ok(self.min + u32::try_from(index).expect("at most 11"));
        }
        let is_number = (1..=4).contains(&token.text.len()) && is_digits(token.text);
        let Some(value) = token.text.parse::<u32>().ok().filter(|_| is_number) else {
            let shown = if token.text.is_empty() { segment.text } else { token.text };
            return Err(self.error(token, format!("invalid {} value: {shown}", self.field)));
        };
        let max = if self.field == CronField::DayOfWeek { 7 } else { self.top };
        if value < self.min || value > max {
            return Err(self.out_of_range(token, segment));
        }
        Ok(value)
    }

    fn out_of_range(&self, at: Token<'_>, segment: Token<'_>) -> CronError {
        self.error(at, format!("out-of-range {}: {}", self.field, segment.text))
    }

    /// A step beyond the range yields only the first value, so its size does not matter.
    fn step(&self, segment: Token<'_>, step: Token<'_>) -> Result<u32, CronError> {
        if !is_digits(step.text) {
            return Err(self.error(step, format!("invalid {} step value: {}", self.field, step.text)));
        }
        if step.text.bytes().all(|digit| digit == b'0') {
            return Err(self.error(step, format!("invalid {} step: {}", self.field, segment.text)));
        }
        Ok(step.text.parse().unwrap_or(u32::MAX))
    }
}

/// Whether it contains nothing but digits; true for an empty text.
fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
