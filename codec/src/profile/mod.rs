//! How a kind of device is read: framing, checksum, routes and mapping, checked and compiled.

mod commands;
mod describe;
mod framing;
mod layer;
mod reading;
mod route;
mod rules;
mod silence;

use std::sync::Arc;
use std::time::Duration;

use lockgate_config::{Document, Problems, Table};
use lockgate_proto::ids::{DeviceName, Tag};

use self::layer::Layer;
use self::reading::Reading;
use self::silence::Silences;
use crate::checksum::Checksum;
use crate::command::{CommandRule, ReplyRule, Writing};
use crate::framing::Framing;
use crate::mapping::{Names, Pattern, Template};
use crate::reader::{Context, MessageReader, StreamReader};
use crate::topic::fewest;

pub(crate) use self::route::{Does, Empty, Route};

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
    pub(crate) framing: Option<Framing>,
    pub(crate) checksum: Option<Checksum>,
    /// The longest pause within a frame.
    pub(crate) silence: Duration,
    /// Names the device where nothing else does.
    pub(crate) device: Option<Template>,
    pub(crate) constants: Vec<(String, String)>,
    pub(crate) units: Vec<(Pattern, Arc<str>)>,
    silences: Silences,
    tags: Vec<Tag>,
    pub(crate) routes: Vec<Route>,
    pub(crate) commands: Vec<CommandRule>,
    pub(crate) replies: Vec<ReplyRule>,
    pub(crate) writing: Writing,
}

impl Profile {
    /// A profile that is a document of its own; `name` is what people know it as. It reads a stream if it
    /// has a `framing`, else messages. `None`: it can't be used, which has been noted.
    pub fn parse(name: &str, text: &str, problems: &Problems) -> Option<Arc<Profile>> {
        let document = Document::parse(name, text, problems);
        let input = if document.root().has("framing") { Input::Stream } else { Input::Messages };
        document.check(|root| Profile::check(input, root, None))
    }

    /// The profile of a source: the keys of the mapping language in its own block, over those of the
    /// profile that it names, whose table is `base`, read here to its last key. The caller finishes `own`.
    pub fn check(input: Input, own: &Table<'_>, base: Option<&Table<'_>>) -> Option<Arc<Profile>> {
        let mut constants = base.map(layer::names).unwrap_or_default();
        let own_constants = layer::names(own);
        constants.retain(|(name, _)| own_constants.iter().all(|(own, _)| own != name));
        constants.extend(own_constants);
        let (mut below, mut defined) = (None, Vec::new());
        if let Some(base) = base {
            let reading = Reading::default();
            below = Some(Layer::read(base, &reading, &constants));
            reading.check_names(&[]);
            base.finish();
            defined = reading.defined();
        }
        let reading = Reading::default();
        let mut layer = Layer::read(own, &reading, &constants);
        reading.check_names(&defined);
        if let Some(below) = below {
            layer = layer.over(below);
        }
        complete(input, own, &layer)?;
        let device = layer.rules.device.take();
        let routes = layer.routes();
        let replies = layer.replies.into_iter().map(|reply| reply.complete(layer.decode.as_ref())).collect();
        let framed = layer.framing.as_ref().map(|(framing, _)| framing);
        let writing = layer.writing.complete(framed, layer.checksum.as_ref());
        let mut commands = layer.commands;
        for command in &mut commands {
            command.description.at_once = writing.at_once;
        }
        let (framing, silence) =
            layer.framing.map_or((None, Duration::ZERO), |(framing, silence)| (Some(framing), silence));
        Some(Arc::new(Profile {
            framing,
            checksum: layer.checksum,
            silence,
            device,
            constants,
            units: layer.units,
            silences: layer.silences,
            tags: layer.tags,
            routes,
            commands,
            replies,
            writing,
        }))
    }

    /// What the profile reads.
    pub fn input(&self) -> Input {
        if self.framing.is_some() { Input::Stream } else { Input::Messages }
    }

    /// The MQTT topic filters to subscribe to; none lets through what another one does.
    pub fn topics(&self) -> Vec<String> {
        let wanted = self.routes.iter().filter(|route| !matches!(route.does, Does::Ignore));
        let topics = wanted.flat_map(|route| &route.topics).chain(self.replies.iter().flat_map(|reply| &reply.topics));
        fewest(topics.map(crate::topic::Topic::filter))
    }

    /// Whether each route names its devices, so that a source needs no `device` of its own.
    pub fn names_devices(&self) -> bool {
        let named = |route: &Route| match &route.does {
            Does::Ignore => true,
            Does::Read(read) => {
                let captured = |topic: &crate::topic::Topic| topic.names().any(|name| name == "device");
                read.rules.device.is_some() || !route.topics.is_empty() && route.topics.iter().all(captured)
            }
        };
        self.device.is_some() || self.routes.iter().all(named)
    }

    /// The device that the document itself names, where that name stands in it as a whole.
    pub fn own_device(&self) -> Option<DeviceName> {
        DeviceName::new(self.device.as_ref()?.fill(&Names::default()).ok()?).ok()
    }

    /// How long a device may be silent before it is taken for gone. `None`: for ever.
    pub fn stale_after(&self, device: &DeviceName) -> Option<Duration> {
        self.silences.of(device)
    }

    /// Whether there is any device that may not be silent for ever.
    pub fn has_stale_after(&self) -> bool {
        !self.silences.is_empty()
    }

    /// A reader of bytes. `None`: the profile reads messages.
    pub fn stream(self: &Arc<Self>, context: Context) -> Option<StreamReader> {
        let framing = self.framing.as_ref()?;
        Some(StreamReader::new(framing, Arc::clone(self), context))
    }

    /// A reader of messages.
    pub fn messages(self: &Arc<Self>, context: Context) -> MessageReader {
        MessageReader::new(Arc::clone(self), context)
    }
}

/// Notes what a source of this kind can't do without.
fn complete(input: Input, own: &Table<'_>, layer: &Layer) -> Option<()> {
    let framed = layer.framing.is_some();
    match input {
        Input::Stream if !framed && !own.has("framing") => {
            own.missing("framing", "say how frames are cut, such as `framing = \"lines\"`, or name a `profile`");
        }
        Input::Messages if framed => {
            own.problem("has a framing, but messages are whole already", "remove `framing`, or take another profile");
        }
        Input::Messages if !layer.all_have_topics() => {
            let fix = "give each [[route]] a `topic`, such as \"plant/{device}/state\", or name a `profile`";
            own.missing("route", fix);
        }
        Input::Stream | Input::Messages if !layer.all_decoded() && !own.has("decode") => {
            own.missing("decode", "say what a frame or message is, such as `decode = \"json\"`, or name a `profile`");
        }
        Input::Stream if layer.has_addressed_commands() => {
            own.problem("has a command or reply with a topic, which a line has not", "remove that `topic`");
        }
        Input::Messages if !layer.all_commands_addressed() => {
            let fix = "give each [[command]] and each [[reply]] a `topic`, such as \"plant/$device/set\"";
            own.problem("has a command or reply without a topic", fix);
        }
        Input::Stream | Input::Messages => return (framed == (input == Input::Stream)).then_some(()),
    }
    None
}

#[cfg(test)]
mod tests;
