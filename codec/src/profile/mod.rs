//! How a kind of device is read: framing, checksum, routes and mapping, checked and compiled.

use std::sync::Arc;

use lockgate_config::{Document, Problems, Table};

use crate::reader::{Context, MessageReader, StreamReader};

/// What a source delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Bytes, to be cut into frames.
    Stream,
    /// Messages with topics.
    Messages,
}

/// How a kind of device is read.
#[derive(Debug)]
pub struct Profile {
    input: Input,
}

impl Profile {
    /// A profile that is a document of its own; `name` is what people know it as.
    pub fn parse(name: &str, text: &str, problems: &Problems) -> Option<Arc<Profile>> {
        let document = Document::parse(name, text, problems);
        let root = document.root();
        let input = if root.has("framing") { Input::Stream } else { Input::Messages };
        document.check(|root| Profile::check(input, root, None))
    }

    /// The profile of a source: the keys in its own block, over those of the shipped or user's profile that
    /// it names. Reads only keys of the mapping language from `own`; the caller finishes that table.
    pub fn check(input: Input, own: &Table<'_>, base: Option<&Table<'_>>) -> Option<Arc<Profile>> {
        own.has("framing");
        if let Some(base) = base {
            base.finish();
        }
        Some(Arc::new(Profile { input }))
    }

    /// What the profile reads.
    pub fn input(&self) -> Input {
        self.input
    }

    /// The MQTT topic filters to subscribe to; none covers another.
    pub fn topics(&self) -> Vec<String> {
        Vec::new()
    }

    /// A reader of bytes. `None`: the profile reads messages.
    pub fn stream(self: &Arc<Self>, context: Context) -> Option<StreamReader> {
        (self.input == Input::Stream).then(|| StreamReader::new(Arc::clone(self), context))
    }

    /// A reader of messages.
    pub fn messages(self: &Arc<Self>, context: Context) -> MessageReader {
        MessageReader::new(Arc::clone(self), context)
    }
}
