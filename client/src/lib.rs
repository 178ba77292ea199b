//! The Rust client of Lockgate: what a site's devices say, live and from the log, and what they are told to do.
//!
//! [`Client`] is one connection to a gateway, for questions: devices, shadows, presence, losses. [`Client::subscribe`]
//! turns it into a [`Subscription`], whose [`Event`]s come in the log's order. A subscription reconnects by
//! itself, where several gateways are known to the next one, and goes on where it stood: it misses nothing and
//! sees nothing twice, and where that can't be, it says so. [`Client::send`] turns it into an order that was [`Sent`],
//! which does the same until nobody need wait any longer. Nothing runs behind the caller's back: a subscription
//! works while its `next` is awaited, and a reader that is slow is slow towards the gateway, which bounds what it
//! keeps for it.

mod client;
mod connection;
mod convert;
mod error;
mod event;
mod order;
mod sent;
mod subscription;
mod token_source;

pub use client::{Client, ClientOptions};
pub use error::{ClientError, ErrorCode, Refusal};
pub use event::{
    AgentLoss, DeviceShadow, DeviceSummary, Event, NotRecovered, ShadowMetric, Snapshot, Start, SubscribeOptions,
};
pub use lockgate_runtime::dial::{GatewayUrl, GatewayUrlError};
pub use lockgate_runtime::tls::Trust;
pub use order::{CommandStatus, CommandsWanted, GroupStatus, Order, OrderEvent, OrderStatus, Target, Until};
pub use sent::Sent;
pub use subscription::Subscription;
pub use token_source::{TokenError, TokenSource};
