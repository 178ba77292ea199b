//! Where readings come from: one task for each port and each broker, supervised, its state visible.
//!
//! A source that loses its device goes on trying and says so; it never ends by itself.

pub mod mqtt;
pub mod mqtt_logic;
mod orders_logic;
mod presence_logic;
mod rest_logic;
pub mod serial;
pub mod status;
