//! What breaks under a running program: servers killed and emptied, replies lost, connections cut and stalled.

mod mutex;
