//! Metrics for the `metrics` crate: counters, gauges and distributions. The name and labels of each are created only
//! once, since most belong to long-lived objects and are updated on hot paths.
//!
//! Without the feature `metrics` nothing is measured; no clock is read for a metric unless a recorder is installed.

#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(feature = "metrics")]
mod on;

use std::borrow::Cow;
use std::sync::Arc;

#[cfg(not(feature = "metrics"))]
pub(crate) use self::off::{Counters, Going, MEASURES};
#[cfg(feature = "metrics")]
pub(crate) use self::on::{Counters, Going, MEASURES};

/// The name of a metric, and its labels.
pub(crate) type Named = (Cow<'static, str>, Vec<(&'static str, Arc<str>)>);

/// The metrics of an object: an enum with a variant for each. Its discriminant is the metric's index in the
/// [`Counters`], whose length is `COUNT`.
macro_rules! measures {
    (
        $(#[$of_all:meta])*
        $vis:vis enum $type:ident: $name:ty {
            $($(#[$of:meta])* $measure:ident = $called:expr,)+
        }
    ) => {
        $(#[$of_all])*
        #[derive(Clone, Copy, Debug)]
        $vis enum $type {
            $($(#[$of])* $measure,)+
        }

        impl $type {
            $vis const COUNT: usize = [$(Self::$measure),+].len();

            fn name(self) -> $name {
                match self {
                    $(Self::$measure => $called,)+
                }
            }
        }
    };
}

pub(crate) use measures;
