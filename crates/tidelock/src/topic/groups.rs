//! The groups of a topic: inspecting them, and changing one as a whole.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Start;
use super::cursor::Cursor;
use super::site::Site;
use super::store::{Change, Changes, GroupView, Look, View};
use crate::changed::Changed;
use crate::error::{Error, Result};
use crate::handover::{MAX_REASON, cut_or_none};
use crate::name;
use crate::pause::{Paused, pause_time};
use crate::request::awaitable;
use crate::time::Timestamp;

/// The state of a group at one instant: `lag = unread + in_flight + waiting + set_aside`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// Its position in the log.
    pub position: Cursor,
    /// Events that the group has not finished.
    pub lag: u64,
    /// Retained events after its position.
    pub unread: u64,
    /// Held by readers.
    pub in_flight: u64,
    /// Returned, and not yet delivered again.
    pub waiting: u64,
    /// Set aside because an earlier event with their ordering key is unfinished.
    pub set_aside: u64,
    /// In its dead letters.
    pub dead: u64,
    /// Events that were no longer retained when the group came to them, so far.
    pub missed: u64,
    /// When the oldest event that is in flight, waiting or set aside was published.
    pub oldest_open_at: Option<Timestamp>,
    /// The consumer that holds that event, if it is in flight.
    pub oldest_open_holder: Option<String>,
    /// The pause in force.
    pub paused: Option<Paused>,
    /// More was overdue than one request processes: the numbers are those after its last step.
    pub settling: bool,
}

impl GroupInfo {
    fn new(site: &Site, view: GroupView) -> Self {
        let text = |text: Arc<str>| text.as_ref().to_owned();
        let GroupView { unread, in_flight, waiting, set_aside, .. } = view;
        Self {
            position: site.cursor(view.position),
            lag: unread + in_flight + waiting + set_aside,
            unread,
            in_flight,
            waiting,
            set_aside,
            dead: view.dead,
            missed: view.missed,
            oldest_open_at: view.oldest_open_at.map(Timestamp::from_millis),
            oldest_open_holder: view.oldest_open_holder.map(text),
            paused: view.paused.map(Paused::from),
            settling: view.settling,
            name: text(view.name),
        }
    }
}

/// The groups of a topic. A group need not be created: its first reader does that.
#[derive(Clone, Debug)]
pub struct Groups(pub(super) Arc<Site>);

impl Groups {
    /// All groups, by name.
    pub fn list(&self) -> ListGroups {
        ListGroups(Arc::clone(&self.0))
    }

    /// One group.
    pub fn get(&self, group: &str) -> GetGroup {
        GetGroup(self.named(group))
    }

    /// Creates a group that does not exist yet, at `start`.
    pub fn create(&self, group: &str, start: Start) -> Create {
        Create { group: self.named(group), start }
    }

    /// Sets the position of a group.
    pub fn seek(&self, group: &str, start: Start) -> Seek {
        Seek { group: self.named(group), start }
    }

    /// Removes a group with its dead letters.
    pub fn remove(&self, group: &str) -> Remove {
        Remove(self.named(group))
    }

    /// Pauses delivery to a group in all processes.
    pub fn pause(&self, group: &str) -> Pause {
        Pause { group: self.named(group), for_at_most: None, reason: None }
    }

    /// Resumes a paused group.
    pub fn resume(&self, group: &str) -> Resume {
        Resume(self.named(group))
    }

    fn named(&self, group: &str) -> Named {
        Named { site: Arc::clone(&self.0), name: group.into() }
    }
}

/// The group that a request refers to.
#[derive(Debug)]
struct Named {
    site: Arc<Site>,
    name: Arc<str>,
}

impl Named {
    fn check(&self, operation: &str) -> Result<()> {
        let checked = name::check(Error::argument, "group", &self.name, name::MAX_ID);
        checked.map_err(|error| self.site.context(operation, error))
    }

    async fn change(&self, operation: &str, change: impl FnOnce(Arc<str>) -> Result<Change>) -> Result<Changes> {
        self.check(operation)?;
        let change = change(Arc::clone(&self.name)).map_err(|error| self.site.context(operation, error))?;
        self.site.change(operation, change).await
    }

    async fn changed(&self, operation: &str, change: impl FnOnce(Arc<str>) -> Result<Change>) -> Result<Changed> {
        match self.change(operation, change).await? {
            Changes::Did(true) => Ok(Changed::Yes),
            Changes::Did(false) => Ok(Changed::No),
            Changes::NoGroup => Ok(Changed::Absent),
            _ => Err(self.site.misfit(operation)),
        }
    }

    async fn did(&self, operation: &str, change: impl FnOnce(Arc<str>) -> Result<Change>) -> Result<bool> {
        match self.change(operation, change).await? {
            Changes::Did(did) => Ok(did),
            _ => Err(self.site.misfit(operation)),
        }
    }
}

/// All groups, by name. Resolves to `Vec<GroupInfo>`. Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct ListGroups(Arc<Site>);

impl ListGroups {
    async fn run(self) -> Result<Vec<GroupInfo>> {
        match self.0.look("list groups", Look::Groups).await? {
            View::Groups(views) => Ok(views.into_iter().map(|view| GroupInfo::new(&self.0, view)).collect()),
            _ => Err(self.0.misfit("list groups")),
        }
    }
}

/// Reads one group. Resolves to `Option<GroupInfo>`; `None` if there is no such group. Dropping the future does
/// nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct GetGroup(Named);

impl GetGroup {
    async fn run(self) -> Result<Option<GroupInfo>> {
        const OPERATION: &str = "get group";
        let Named { site, name } = &self.0;
        self.0.check(OPERATION)?;
        match site.look(OPERATION, Look::Group { group: Arc::clone(name) }).await? {
            View::Group(view) => Ok(view.map(|view| GroupInfo::new(site, view))),
            _ => Err(site.misfit(OPERATION)),
        }
    }
}

/// Creates a group. Resolves to whether it did; `false` if it exists, in which case it keeps its position.
///
/// A topic has at most 1,000 groups; one more is refused (*capacity reached*). Dropping the future withdraws it unless
/// it was sent.
#[derive(Debug)]
#[must_use = "nothing is created until it is awaited"]
pub struct Create {
    group: Named,
    start: Start,
}

impl Create {
    async fn run(self) -> Result<bool> {
        let begin = self.group.site.begin(self.start);
        self.group.did("create group", |group| Ok(Change::CreateGroup { group, begin: begin? })).await
    }
}

/// Sets the position of a group. Resolves to whether the group existed.
///
/// Everything open in it ends: held deliveries become stale, and attempts start again. Dead letters stay, and so do
/// events that were requeued from them. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is changed until it is awaited"]
pub struct Seek {
    group: Named,
    start: Start,
}

impl Seek {
    async fn run(self) -> Result<bool> {
        let begin = self.group.site.begin(self.start);
        self.group.did("seek group", |group| Ok(Change::Seek { group, begin: begin? })).await
    }
}

/// Removes a group with its dead letters. Resolves to whether it existed.
///
/// A reader that still receives creates it again, at the reader's start. Dropping the future withdraws it unless it was
/// sent.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct Remove(Named);

impl Remove {
    async fn run(self) -> Result<bool> {
        self.0.did("remove group", |group| Ok(Change::RemoveGroup { group })).await
    }
}

/// Pauses delivery to a group in all processes. Resolves to [`Changed`].
///
/// Publishing, leases and retention continue; readers keep waiting. A second pause replaces the end and the reason of
/// the first. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is paused until it is awaited"]
pub struct Pause {
    group: Named,
    for_at_most: Option<Duration>,
    reason: Option<Arc<str>>,
}

impl Pause {
    /// Ends the pause automatically after this time: 1 ms..=10 years. Default: it lasts until resumed.
    pub fn for_at_most(mut self, time: Duration) -> Self {
        self.for_at_most = Some(time);
        self
    }

    /// Shown with the group; cut at 1,024 bytes.
    pub fn reason(mut self, reason: &str) -> Self {
        self.reason = cut_or_none(reason, MAX_REASON);
        self
    }

    async fn run(self) -> Result<Changed> {
        let Self { group, for_at_most, reason } = self;
        let for_at_most = pause_time(for_at_most);
        group.changed("pause group", |group| Ok(Change::Pause { group, for_at_most: for_at_most?, reason })).await
    }
}

/// Ends a pause. Resolves to [`Changed`]. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is resumed until it is awaited"]
pub struct Resume(Named);

impl Resume {
    async fn run(self) -> Result<Changed> {
        self.0.changed("resume group", |group| Ok(Change::Resume { group })).await
    }
}

awaitable! {
    ListGroups => Vec<GroupInfo>;
    GetGroup => Option<GroupInfo>;
    Create => bool;
    Seek => bool;
    Remove => bool;
    Pause => Changed;
    Resume => Changed;
}
