//! The edge link: what an agent and a gateway say to each other, and the machine at either end.

pub mod agent;
pub mod close;
pub mod frame;
pub mod gateway;
mod load;
