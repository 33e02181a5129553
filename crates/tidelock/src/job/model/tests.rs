//! The states and their transitions, on the model alone.
