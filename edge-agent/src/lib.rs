//! Skeleton.

pub mod dead_letters;
pub mod queue;
