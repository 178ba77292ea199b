//! One way that frames or messages go.

use crate::decode::Decoder;
use crate::mapping::{Condition, Pattern, Rules};
use crate::topic::Topic;

/// A route. The first that takes an input decides what becomes of it.
#[derive(Debug)]
pub(crate) struct Route {
    /// Takes messages of these topics; frames have none.
    pub(crate) topics: Vec<Topic>,
    /// Takes what begins with one of these; empty: anything.
    pub(crate) starts: Vec<Vec<u8>>,
    /// Takes what, decoded, fulfils all of these.
    pub(crate) when: Vec<Condition>,
    /// What a payload without a byte is.
    pub(crate) empty: Empty,
    pub(crate) decode: Decoder,
    pub(crate) does: Does,
}

/// What a route does.
#[derive(Debug)]
pub(crate) enum Does {
    /// Nothing, on purpose.
    Ignore,
    /// Makes readings.
    Read(Box<Read>),
}

/// How a route makes readings.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) rules: Rules,
    /// One refused value takes all others with it.
    pub(crate) whole: bool,
    /// What the text must look like, else it is a dead letter.
    pub(crate) shape: Option<Pattern>,
}

/// What a payload without a byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Empty {
    /// Nothing: MQTT removes a retained message by an empty one.
    Ignore,
    /// The device is gone.
    Offline,
    /// A payload like any other.
    Decode,
}
