//! The format of a job in the server's keys. The other half is `lua/store.lua`; both follow docs/wire/job.md.

use std::sync::Arc;

use crate::backend::redis::{Bytes, foreign, read_content};
use crate::error::Result;
use crate::handover::cursor::Cursor;
use crate::job::store::{
    Content, EventView, FailureCode, FailureView, Happened, JobFilter, JobState, JobView, Key, KeyKind, KeyLife,
    LeaseView, NewJob, Origin, Overlapping, RetryReason, Rules, Run,
};

/// Means no text, where an empty text is valid.
const NO_TEXT: u64 = 0xffff;

/// Names in indexes end with a NUL. In names of schedules, a NUL is therefore written as two other bytes that keep
/// the order.
pub(super) fn without_nul(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for byte in name.bytes() {
        match byte {
            0 => bytes.extend([1, 1]),
            1 => bytes.extend([1, 2]),
            other => bytes.push(other),
        }
    }
    bytes
}

fn with_nul(bytes: &[u8]) -> String {
    let mut name = Vec::with_capacity(bytes.len());
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        name.push(if *byte == 1 { bytes.next().map_or(1, |second| second - 1) } else { *byte });
    }
    String::from_utf8_lossy(&name).into_owned()
}

/// The line of a cursor, as in the index. The line of a schedule begins with a NUL.
pub(super) fn line_bytes(line: &str) -> Vec<u8> {
    line.strip_prefix('\0').map_or_else(|| line.as_bytes().to_vec(), |series| [vec![0], without_nul(series)].concat())
}

/// The line that index bytes stand for.
pub(super) fn line_text(bytes: &[u8]) -> String {
    match bytes.split_first() {
        Some((0, series)) => format!("\0{}", with_nul(series)),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The letter of a code in stored failures and events.
pub(super) fn code_letter(code: FailureCode) -> u8 {
    match code {
        FailureCode::Error => b'r',
        FailureCode::Fatal => b'f',
        FailureCode::Timeout => b't',
        FailureCode::Crashed => b'c',
        FailureCode::Expired => b'e',
        FailureCode::Undecodable => b'u',
        FailureCode::Unencodable => b'n',
    }
}

fn code_of(letter: u8) -> Option<FailureCode> {
    match letter {
        b'r' => Some(FailureCode::Error),
        b'f' => Some(FailureCode::Fatal),
        b't' => Some(FailureCode::Timeout),
        b'c' => Some(FailureCode::Crashed),
        b'e' => Some(FailureCode::Expired),
        b'u' => Some(FailureCode::Undecodable),
        b'n' => Some(FailureCode::Unencodable),
        _ => None,
    }
}

/// The job state for a kind of stored job.
pub(super) fn state_of(kind: u8) -> Option<JobState> {
    match kind {
        b'p' | b'r' | b'b' | b'd' => Some(JobState::Submitted),
        b'g' => Some(JobState::Running),
        b'C' => Some(JobState::Completed),
        b'F' => Some(JobState::Failed),
        b'X' => Some(JobState::Cancelled),
        b'T' => Some(JobState::TimedOut),
        _ => None,
    }
}

/// The immutable part of a job, as the scripts store it: rules, line, key, schedule.
pub(super) fn rules_bytes(job: &NewJob) -> Vec<u8> {
    let NewJob { content, key, rules, origin, .. } = job;
    let queued = origin.as_ref().filter(|origin| matches!(origin.overlap, Overlapping::Queue { .. }));
    let series = origin.as_ref().map(|origin| without_nul(&origin.series)).unwrap_or_default();
    let line = match queued {
        Some(_) => [&[0], &*series].concat(),
        None => content.ordering_key.as_deref().unwrap_or_default().as_bytes().to_vec(),
    };
    let (kind, text, life) = match key {
        None => (b'-', "", 0),
        Some(Key { kind, text, life }) => {
            let kind = if *kind == KeyKind::Caller { b'c' } else { b't' };
            // 0 means `WhileActive`, so a life of 0 is stored as 1: the key is over anyway by the time that anybody
            // looks for it.
            (kind, &**text, if let KeyLife::For(life) = life { (*life).max(1) } else { 0 })
        }
    };
    let told = origin.as_ref().map(|origin| origin.told.as_slice()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(64 + rules.policy.len() + line.len() + text.len() + series.len() + told.len());
    let mut number = |number: u64, size: usize| bytes.extend(&number.to_be_bytes()[8 - size..]);
    number(rules.attempts.into(), 4);
    number(rules.max_crashes.into(), 4);
    number(rules.lease, 6);
    number(rules.timeout.unwrap_or(0), 6);
    number(rules.stop_grace, 6);
    number(rules.max_wait.unwrap_or(0), 6);
    number(rules.retention, 6);
    number(kind.into(), 1);
    number(life, 6);
    number(rules.policy.len() as u64, 1);
    for part in [line.len(), text.len(), series.len(), told.len()] {
        number(part as u64, 2);
    }
    for part in [&*rules.policy, &line, text.as_bytes(), &series, told] {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// The origin of a run, for the step that accepts it.
pub(super) fn origin_bytes(origin: Option<&Origin>) -> Vec<u8> {
    let Some(Origin { slot, overlap, memory, .. }) = origin else { return Vec::new() };
    let (overlap, most) = match overlap {
        Overlapping::Allow => (b'a', 0),
        Overlapping::Skip => (b's', 0),
        Overlapping::Queue { max } => (b'q', *max),
    };
    let (revision, number) = slot.map_or((0, 0), |slot| (slot.revision, slot.slot));
    let mut bytes = vec![u8::from(slot.is_some())];
    bytes.extend(revision.to_be_bytes());
    bytes.extend(number.to_be_bytes());
    bytes.push(overlap);
    bytes.extend(most.to_be_bytes());
    bytes.extend(&memory.to_be_bytes()[2..]);
    bytes
}

/// A stored job, parsed.
#[derive(Debug)]
pub(super) struct Stored {
    id: u64,
    kind: u8,
    priority: u8,
    has_reason: bool,
    standing: u64,
    due: u64,
    submitted_at: u64,
    fence: u64,
    started_at: u64,
    number: u64,
    attempt: u64,
    failures: u32,
    crashes: u32,
    reschedules: u32,
    join: u64,
    memos: u64,
    rules: Rules,
    line: Vec<u8>,
    key: Option<Arc<str>>,
    told: Option<Vec<u8>>,
    worker: Arc<str>,
    note: Arc<str>,
}

struct Fixed {
    rules: Rules,
    line: Vec<u8>,
    key: Option<Arc<str>>,
    told: Option<Vec<u8>>,
}

fn some(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}

fn small(bytes: &mut Bytes<'_>) -> Option<u32> {
    u32::try_from(bytes.number(4)?).ok()
}

fn fixed(bytes: &[u8]) -> Option<Fixed> {
    let mut bytes = Bytes(bytes);
    let mut rules = Rules {
        attempts: small(&mut bytes)?,
        max_crashes: small(&mut bytes)?,
        lease: bytes.number(6)?,
        timeout: some(bytes.number(6)?),
        stop_grace: bytes.number(6)?,
        max_wait: some(bytes.number(6)?),
        retention: bytes.number(6)?,
        policy: Vec::new(),
    };
    let kind = bytes.byte()?;
    bytes.number(6)?;
    let policy = bytes.length(1)?;
    let (line, key, series, told) = (bytes.length(2)?, bytes.length(2)?, bytes.length(2)?, bytes.length(2)?);
    rules.policy = bytes.take(policy)?.to_vec();
    let line = bytes.take(line)?.to_vec();
    let key = bytes.text(key)?;
    bytes.take(series)?;
    let told = bytes.take(told)?.to_vec();
    Some(Fixed { rules, line, key: (kind != b'-').then_some(key), told: (series > 0).then_some(told) })
}

impl Stored {
    /// Parses id and state. Another format is an error and changes nothing.
    pub(super) fn read(id: &[u8], value: &[u8]) -> Result<Self> {
        Self::parse(id, value).ok_or_else(|| foreign("job", value.len()))
    }

    fn parse(id: &[u8], value: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(value);
        let id = Bytes(id).number(8)?;
        let (kind, priority, flags) = (bytes.byte()?, bytes.byte()?, bytes.byte()?);
        let (standing, due, submitted_at) = (bytes.number(6)?, bytes.number(6)?, bytes.number(6)?);
        let (fence, started_at, number) = (bytes.number(8)?, bytes.number(6)?, bytes.number(6)?);
        let attempt = bytes.number(4)?;
        let (failures, crashes) = (small(&mut bytes)?, small(&mut bytes)?);
        let reschedules = small(&mut bytes)?;
        let (join, memos) = (bytes.number(6)?, bytes.number(2)?);
        // The size of the memos and numbers of events: only the scripts use them.
        bytes.take(12)?;
        let (rules, worker, note) = (bytes.length(4)?, bytes.length(2)?, bytes.length(2)?);
        let Fixed { rules, line, key, told } = fixed(bytes.take(rules)?)?;
        let (worker, note) = (bytes.text(worker)?, bytes.text(note)?);
        let has_reason = flags & 4 != 0;
        Some(Self {
            id,
            kind,
            priority,
            has_reason,
            standing,
            due,
            submitted_at,
            fence,
            started_at,
            number,
            attempt,
            failures,
            crashes,
            reschedules,
            join,
            memos,
            rules,
            line,
            key,
            told,
            worker,
            note,
        })
    }

    /// As a run that was just started.
    pub(super) fn into_run(self, content: Content) -> Run {
        Run {
            id: self.id,
            fence: self.fence,
            attempt: self.attempt,
            failures: self.failures,
            crashes: self.crashes,
            priority: self.priority,
            submitted_at: self.submitted_at,
            rules: self.rules,
            content,
            memos: self.memos,
            told: self.told,
        }
    }
}

/// A job with everything that a query shows of it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) stored: Stored,
    pub(super) lease_end: u64,
    pub(super) progress: Option<Vec<u8>>,
    pub(super) last_failures: Vec<FailureView>,
    pub(super) content: Content,
    pub(super) result: Option<Vec<u8>>,
}

impl Shown {
    /// The cursor with which a listing continues after this job.
    pub(super) fn cursor(&self, filter: JobFilter) -> Cursor {
        let Stored { id, kind, priority, standing, due, started_at, number, join, line, .. } = &self.stored;
        match filter {
            JobFilter::Ready if *kind == b'b' => Cursor::Blocked(*join, line_text(line)),
            JobFilter::Ready => Cursor::Ready(9 - (*priority).min(9), *standing, *id),
            JobFilter::Delayed => Cursor::At(*due, *id),
            JobFilter::Running => Cursor::At(*started_at, *id),
            JobFilter::Completed | JobFilter::Failed | JobFilter::Cancelled | JobFilter::TimedOut => {
                Cursor::At(*number, *id)
            }
        }
    }

    pub(super) fn into_view(self) -> Result<JobView> {
        let Self { stored, lease_end, progress, last_failures, content, result } = self;
        let state = state_of(stored.kind).ok_or_else(|| foreign("kind of job", 1))?;
        let finished_at = state.is_terminal().then_some(stored.number);
        let expires_at = stored.rules.max_wait.map(|wait| stored.due + wait);
        let lease = LeaseView { worker: stored.worker, end: lease_end };
        Ok(JobView {
            id: stored.id,
            state,
            blocked: stored.kind == b'b',
            priority: stored.priority,
            attempt: stored.attempt,
            failures: stored.failures,
            crashes: stored.crashes,
            reschedules: stored.reschedules,
            submitted_at: stored.submitted_at,
            due: stored.due,
            started_at: (stored.fence != 0).then_some(stored.started_at),
            finished_at,
            expires_at: expires_at.filter(|_| state == JobState::Submitted),
            kept_until: finished_at.map(|at| at + stored.rules.retention),
            key: stored.key,
            lease: (state == JobState::Running).then_some(lease),
            fence: stored.fence,
            rules: stored.rules,
            memos: stored.memos,
            progress,
            last_failures,
            reason: stored.has_reason.then_some(stored.note),
            content,
            result,
        })
    }
}

/// The content of a job.
pub(super) fn content_of(bytes: Vec<u8>) -> Result<Content> {
    let size = bytes.len();
    read_content(size, bytes).ok_or_else(|| foreign("input", size))
}

fn text(bytes: &mut Bytes<'_>) -> Option<Arc<str>> {
    let length = bytes.length(2)?;
    bytes.text(length)
}

/// Stored failures, oldest first. They are stored newest first.
pub(super) fn failures_of(list: &[u8]) -> Result<Vec<FailureView>> {
    let mut bytes = Bytes(list);
    let mut failures = Vec::new();
    while !bytes.0.is_empty() {
        failures.push(failure(&mut bytes).ok_or_else(|| foreign("failure", list.len()))?);
    }
    failures.reverse();
    Ok(failures)
}

fn failure(bytes: &mut Bytes<'_>) -> Option<FailureView> {
    let (code, attempt, at) = (code_of(bytes.byte()?)?, bytes.number(4)?, bytes.number(6)?);
    Some(FailureView { code, attempt, at, message: text(bytes)? })
}

/// The events of a chunk.
pub(super) fn events_of(chunk: &[u8]) -> Result<Vec<EventView>> {
    let mut bytes = Bytes(chunk);
    let mut events = Vec::new();
    while !bytes.0.is_empty() {
        events.push(event(&mut bytes).ok_or_else(|| foreign("chunk of events", chunk.len()))?);
    }
    Ok(events)
}

fn event(bytes: &mut Bytes<'_>) -> Option<EventView> {
    let (letter, at) = (bytes.byte()?, bytes.number(6)?);
    let happened = match letter {
        b's' => Happened::Submitted,
        b'r' => Happened::Started { attempt: bytes.number(4)?, fence: bytes.number(8)?, worker: text(bytes)? },
        b'h' => Happened::Heartbeat { attempt: bytes.number(4)? },
        b'p' => {
            let length = bytes.length(4)?;
            Happened::Progress { value: bytes.take(length)?.to_vec() }
        }
        b'm' => Happened::Step { id: text(bytes)? },
        b'a' => {
            let (attempt, reason, next_at) = (bytes.number(4)?, retry_reason(bytes.byte()?)?, bytes.number(6)?);
            Happened::Retry { attempt, reason, next_at, message: text(bytes)? }
        }
        b'c' => Happened::Completed,
        b'f' => {
            let (code, attempt) = (code_of(bytes.byte()?)?, bytes.number(4)?);
            Happened::Failed { code, attempt, message: text(bytes)? }
        }
        b'x' => {
            let length = bytes.number(2)?;
            let reason = if length == NO_TEXT { None } else { Some(bytes.text(usize::try_from(length).ok()?)?) };
            Happened::Cancelled { reason }
        }
        _ => return None,
    };
    Some(EventView { at, happened })
}

fn retry_reason(letter: u8) -> Option<RetryReason> {
    match letter {
        b'r' => Some(RetryReason::Error),
        b't' => Some(RetryReason::TimedOut),
        b'c' => Some(RetryReason::Crashed),
        b's' => Some(RetryReason::Rescheduled),
        b'b' => Some(RetryReason::Released),
        _ => None,
    }
}
