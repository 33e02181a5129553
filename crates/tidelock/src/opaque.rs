//! Debug output of what stands behind a trait: the name of the trait.
//!
//! With `Debug` as a supertrait, whatever a store holds would have to be shown; and since a table of methods keeps all that is
//! in it, every package for pages would have the code for that, though nothing asks for it.

/// Shows objects of these traits by the names of the traits.
macro_rules! opaque {
    ($name:ident $(<$parameter:ident>)?) => {
        impl$(<$parameter>)? std::fmt::Debug for dyn $name$(<$parameter>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

pub(crate) use opaque;
