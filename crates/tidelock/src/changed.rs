//! Whether something that could be changed was changed.

use serde::{Deserialize, Serialize};

use crate::word::words;

/// The effect of a change that may have nothing to do, such as pause and resume.
// Exhaustive: yes, no, or nothing there; every caller takes it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// The state changed. Another end or reason of a pause is a change.
    Yes,
    /// Nothing changed: it was already so.
    No,
    /// The object does not exist.
    Absent,
}

words!(Changed: Self::Yes => "yes", Self::No => "no", Self::Absent => "absent");
