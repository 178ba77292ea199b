//! What checking a profile promises.
