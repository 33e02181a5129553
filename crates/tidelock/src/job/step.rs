//! Steps: parts of a run whose results are kept, so that later runs of the job do not repeat them.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

use super::failure::JobError;
use super::held::Held;
use super::store::{Action, Look, MAX_MEMO_BYTES, MAX_MEMOS, Settled, View};
use crate::backoff::Pauses;
use crate::codec::{Border, Value, decode};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::{HashMap, HashSet};
use crate::name;
use crate::runtime;

const OPERATION: &str = "step";
/// Longest step id, in bytes.
const MAX_STEP_ID: usize = 256;

/// The memos of a job, as far as this run knows them.
#[derive(Debug)]
pub(super) struct Memos {
    known: Mutex<Known>,
    /// Held while the memos of earlier runs are read.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Known {
    /// Whether there are memos of earlier runs that were not read yet.
    unread: bool,
    values: HashMap<Arc<str>, Arc<[u8]>>,
    /// Steps in progress.
    busy: HashSet<Arc<str>>,
}

impl Memos {
    /// The memos of a job that has `stored` of them.
    pub(super) fn new(stored: u64) -> Self {
        let known = Known { unread: stored > 0, values: HashMap::default(), busy: HashSet::default() };
        Self { known: Mutex::new(known), reading: tokio::sync::Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no code panics while it holds this lock")
    }

    /// Locks a step while it is in progress.
    fn enter(&self, id: &Arc<str>) -> Result<Busy<'_>> {
        if self.lock().busy.insert(Arc::clone(id)) {
            return Ok(Busy { memos: self, id: Arc::clone(id) });
        }
        Err(Error::argument(format!("step {id:?} is under way: the same step cannot run twice at the same time")))
    }

    fn value(&self, id: &str) -> Option<Arc<[u8]>> {
        self.lock().values.get(id).map(Arc::clone)
    }

    fn keep(&self, id: Arc<str>, value: Vec<u8>) {
        self.lock().values.insert(id, value.into());
    }
}

/// A step in progress.
struct Busy<'a> {
    memos: &'a Memos,
    id: Arc<str>,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.memos.lock().busy.remove(&self.id);
    }
}

/// The memo of a step, or the result of `body`, which is then stored.
pub(super) async fn step<T, F, Fut>(held: &Arc<Held>, id: &str, body: F) -> Result<T, JobError>
where
    T: Value,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, JobError>>,
{
    let id: Arc<str> = id.into();
    let context = |error: Error| held.site.context(OPERATION, error);
    name::check(Error::argument, "step id", &id, MAX_STEP_ID).map_err(context)?;
    let _busy = held.memos.enter(&id).map_err(context)?;
    held.check(OPERATION)?;
    read(held).await?;
    if let Some(value) = held.memos.value(&id) {
        return decode(held.codec, &value).map_err(|error| {
            let error = error.in_context(format_args!("the kept value of {id:?}")).with_raw(value.to_vec());
            JobError::undecodable(context(error))
        });
    }
    let value = body().await?;
    let bytes = encode(held, &value).map_err(|error| context(error.in_context(format_args!("step {id:?}"))))?;
    held.check(OPERATION)?;
    let action = Action::Step { id: Arc::clone(&id), value: bytes.clone() };
    if let Settled::Full { memos, bytes: stored } = held.act_through_outages(OPERATION, action).await? {
        return Err(context(full(&id, id.len() + bytes.len(), memos, stored)).into());
    }
    held.memos.keep(id, bytes);
    Ok(value)
}

fn encode<T: Value>(held: &Held, value: &T) -> Result<Vec<u8>> {
    let mut border = Border::<T>::new(held.limit);
    border.codec = held.codec;
    let bytes = border.encode(value)?;
    border.check_size(bytes.len())?;
    Ok(bytes)
}

fn full(id: &str, size: usize, memos: u64, bytes: u64) -> Error {
    let text = format!(
        "payload exceeds limit: step {id:?} has {size} bytes with its id, and {memos} steps with {bytes} bytes are kept of \
         the job, limits {MAX_MEMOS} and {MAX_MEMO_BYTES} bytes"
    );
    Error::new(ErrorKind::PayloadTooLarge, text)
}

/// Reads the memos of earlier runs, once.
async fn read(held: &Arc<Held>) -> Result<()> {
    if !held.memos.lock().unread {
        return Ok(());
    }
    let _reading = held.memos.reading.lock().await;
    if !held.memos.lock().unread {
        return Ok(());
    }
    let Some(stored) = ask(held).await? else {
        held.fire(super::stop::StopReason::LeaseLost);
        return Err(held.lost(OPERATION));
    };
    let mut known = held.memos.lock();
    known.unread = false;
    known.values.extend(stored.into_iter().map(|(id, value)| (id, value.into())));
    Ok(())
}

type Stored = Vec<(Arc<str>, Vec<u8>)>;

/// Reads from the store. Retries while the error may pass and the lease can be proven.
async fn ask(held: &Arc<Held>) -> Result<Option<Stored>> {
    let (site, run) = (&held.site, &held.run);
    let mut pauses = Pauses::OUTAGE;
    loop {
        let looked = held.store.look(&site.address, Look::Memos { id: run.id, fence: run.fence }).await;
        match looked.map_err(|error| site.context(OPERATION, error)) {
            Ok(View::Memos(memos)) => return Ok(memos),
            Ok(_) => return Err(site.misfit(OPERATION)),
            Err(error) if error.may_pass() && !held.lease_left().is_zero() => {
                runtime::sleep(pauses.next()).await;
            }
            Err(error) => return Err(error),
        }
    }
}
