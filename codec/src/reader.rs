//! Turns the input of one source into outputs. Holds what must be remembered between two pieces of it.

use std::sync::Arc;

use lockgate_proto::ids::DeviceName;
use lockgate_proto::time::MonoTime;

use crate::output::{Counters, Output};
use crate::profile::Profile;
use crate::time::Zone;

/// What the source's own configuration and its site say.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The device, where the source's block names one. Stands before the profile's own default.
    pub device: Option<DeviceName>,
    /// The site's time zone, for times that are written without one.
    pub zone: Zone,
}

/// Reads a stream of bytes. The outputs don't depend on how the stream is cut into pieces.
#[derive(Debug)]
pub struct StreamReader {
    profile: Arc<Profile>,
    context: Context,
    counters: Counters,
}

impl StreamReader {
    pub(crate) fn new(profile: Arc<Profile>, context: Context) -> StreamReader {
        StreamReader { profile, context, counters: Counters::default() }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8], now: MonoTime, out: &mut Vec<Output>) {
        let _ = (&self.profile, &self.context, bytes, now, out);
    }

    /// There will be no more for long, or ever: what is unfinished ends here.
    pub fn silence(&mut self, now: MonoTime, out: &mut Vec<Output>) {
        let _ = (now, out);
    }

    /// When to call [`StreamReader::silence`] if nothing comes before.
    pub fn deadline(&self) -> Option<MonoTime> {
        None
    }

    /// What gave nothing, on purpose.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

/// Reads messages with topics.
#[derive(Debug)]
pub struct MessageReader {
    profile: Arc<Profile>,
    context: Context,
    counters: Counters,
}

impl MessageReader {
    pub(crate) fn new(profile: Arc<Profile>, context: Context) -> MessageReader {
        MessageReader { profile, context, counters: Counters::default() }
    }

    /// Takes one message.
    pub fn message(&mut self, topic: &str, payload: &[u8], retained: bool, out: &mut Vec<Output>) {
        let _ = (&self.profile, &self.context, topic, payload, retained, out);
    }

    /// What gave nothing, on purpose.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}
