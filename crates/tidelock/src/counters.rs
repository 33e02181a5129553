//! What is measured for the crate `metrics`: counters, gauges and distributions, with the name and the labels of each made
//! once: most are of an object that is there for long, in the midst of what is to be quick.
//!
//! Nothing is measured without the feature `metrics`, and no clock is read for it unless somebody listens.

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

/// The name of something that is measured, and its labels.
pub(crate) type Named = (Cow<'static, str>, Vec<(&'static str, Arc<str>)>);

/// What is measured of an object: how many measures there are, which is the length of their [`Counters`], and the name of each,
/// which is its number too.
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
