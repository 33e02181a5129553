//! Debug output for trait objects: the name of the trait.
//!
//! With `Debug` as a supertrait, everything that a store holds would need it. And since a vtable keeps all its methods,
//! every package for pages would contain that code without ever using it.

/// Implements `Debug` for these trait objects by the names of the traits.
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
