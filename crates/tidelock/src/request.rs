//! Requests: what a method returns, run when it is awaited.

/// Makes requests awaitable; awaiting one calls its `run`.
macro_rules! awaitable {
    ($($request:ident $(<$value:ident>)? => $output:ty;)*) => {$(
        impl $(<$value: $crate::Value>)? std::future::IntoFuture for $request $(<$value>)? {
            type Output = $crate::Result<$output>;
            type IntoFuture = $crate::runtime::BoxFuture<'static, $crate::Result<$output>>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(self.run())
            }
        }
    )*};
}

/// `Debug` for types whose value type need not implement it.
macro_rules! opaque {
    ($($type:ident),* $(,)?) => {$(
        impl<T> std::fmt::Debug for $type<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type)).finish_non_exhaustive()
            }
        }
    )*};
}

/// `Clone` for types whose value types need not implement it.
macro_rules! cloned {
    ($($type:ident<$($value:ident),+> { $($field:ident),+ $(,)? })+) => {$(
        impl<$($value),+> Clone for $type<$($value),+> {
            fn clone(&self) -> Self {
                Self { $($field: Clone::clone(&self.$field)),+ }
            }
        }
    )+};
}

pub(crate) use {awaitable, cloned, opaque};
