//! Whether something that could be changed was changed.

use serde::{Deserialize, Serialize};

use crate::word::words;

/// What became of a change that may find nothing to do, as of pause and resume.
// Exhaustive: yes, no, or nothing there; every caller takes it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// It was different before. Another end or reason of a pause is a difference.
    Yes,
    /// It was so already.
    No,
    /// There is no such object.
    Absent,
}

words!(Changed: Self::Yes => "yes", Self::No => "no", Self::Absent => "absent");
