//! One measured quantity at one instant.

use std::sync::Arc;

use bytes::Bytes;

use crate::ids::MetricName;
use crate::time::UnixMicros;

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A finite number.
    Number(f64),
    /// A whole number, kept exactly.
    Integer(i64),
    /// Yes or no.
    Flag(bool),
    /// Text, which stays text even where it looks like a number.
    Text(Arc<str>),
    /// Bytes that mean something to someone else.
    Raw(Bytes),
}

/// How far a reading can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Quality {
    /// As far as anything that the device says.
    #[default]
    Good,
    /// Perhaps: the reason says what is doubtful, such as [`Quality::CLOCK`].
    Uncertain(Arc<str>),
    /// The device itself says that the value is none.
    Bad(Arc<str>),
}

impl Quality {
    /// Reason of uncertainty: the time is known only within bounds.
    pub const CLOCK: &'static str = "clock";
    /// Reason of uncertainty: a retained message, true at some time before.
    pub const RETAINED: &'static str = "retained";
}

/// One metric's value at one instant. Whose it is, the record says.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What was measured.
    pub metric: MetricName,
    /// UCUM symbol where there is one.
    pub unit: Option<Arc<str>>,
    /// The value.
    pub value: Value,
    /// When, by the device's clock where it tells the time, else by the agent's.
    pub sampled_at: UnixMicros,
    /// How far to trust it.
    pub quality: Quality,
}
