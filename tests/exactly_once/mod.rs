//! A reading that the agent accepted reaches the room's log exactly once.

mod kills;
mod large;
mod rolled_back;
