//! Turns the input of one source into outputs. Holds what must be remembered between two pieces of it.

use std::sync::Arc;

use lockgate_proto::ids::DeviceName;
use lockgate_proto::time::MonoTime;

use crate::decode::Decoder;
use crate::framing::{Cut, Framer, Framing, Kind};
use crate::mapping::{Around, Names, Rules, Run, Tree};
use crate::message::Message;
use crate::output::{Counters, DeadLetter, DeadLetterReason, Output};
use crate::profile::{Does, Empty, Profile, Route};
use crate::time::Zone;
use crate::topic::Topic;
use crate::tree::{BadPart, Node};

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
    framer: Framer,
    /// Nothing was cut yet, and the framing can't tell a whole first frame from the tail of one.
    may_be_tail: bool,
    last_byte: MonoTime,
    desk: Desk,
}

impl StreamReader {
    pub(crate) fn new(framing: &Framing, profile: Arc<Profile>, context: Context) -> StreamReader {
        let has_start = match &framing.kind {
            Kind::Lines { start, .. } => !start.is_empty(),
            Kind::Telegram { .. } => true,
            Kind::Cobs { .. } => false,
        };
        let desk = Desk { profile, context, counters: Counters::default() };
        StreamReader { framer: Framer::new(framing), may_be_tail: !has_start, last_byte: MonoTime::default(), desk }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8], now: MonoTime, out: &mut Vec<Output>) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.silence(out);
        }
        self.last_byte = now;
        let StreamReader { framer, may_be_tail, desk, .. } = self;
        framer.push(bytes, &mut |cut| desk.cut(&cut, may_be_tail, out));
    }

    /// There will be no more for long, or ever: what is unfinished ends here.
    pub fn silence(&mut self, out: &mut Vec<Output>) {
        let StreamReader { framer, may_be_tail, desk, .. } = self;
        framer.silence(&mut |cut| desk.cut(&cut, may_be_tail, out));
    }

    /// When to call [`StreamReader::silence`] if nothing comes before. `None`: nothing is unfinished.
    pub fn deadline(&self) -> Option<MonoTime> {
        self.framer.is_waiting().then(|| self.last_byte + self.desk.profile.silence)
    }

    /// What gave nothing, on purpose.
    pub fn counters(&self) -> Counters {
        self.desk.counters
    }
}

/// Reads messages with topics.
#[derive(Debug)]
pub struct MessageReader {
    desk: Desk,
}

impl MessageReader {
    pub(crate) fn new(profile: Arc<Profile>, context: Context) -> MessageReader {
        MessageReader { desk: Desk { profile, context, counters: Counters::default() } }
    }

    /// Takes one message.
    pub fn message(&mut self, topic: &str, payload: &[u8], retained: bool, out: &mut Vec<Output>) {
        self.desk.read(&Message { topic: Some(topic), bytes: payload, retained }, out);
    }

    /// Refuses a message of `bytes` bytes, longer than its source takes, of which only a head may be there. What
    /// no route would have read gives nothing.
    pub fn too_large(&mut self, topic: &str, head: &[u8], bytes: usize, bytes_max: usize, out: &mut Vec<Output>) {
        self.desk.counters.inputs += 1;
        let message = Message { topic: Some(topic), bytes: head, retained: false };
        let profile = Arc::clone(&self.desk.profile);
        let first =
            profile.routes.iter().find(|route| takes((&route.topics, &route.starts), &message, &mut Names::default()));
        if first.is_none_or(|route| matches!(route.does, Does::Ignore) && route.when.is_empty()) {
            self.desk.counters.ignored += 1;
            return;
        }
        let detail = format!("{bytes} bytes, at most {bytes_max} are taken (message_max): topic {topic:?}");
        out.push(Output::DeadLetter(DeadLetter::new(DeadLetterReason::TooLarge, detail, head)));
    }

    /// What gave nothing, on purpose.
    pub fn counters(&self) -> Counters {
        self.desk.counters
    }
}

/// Where whole inputs are sorted by route and read.
#[derive(Debug)]
struct Desk {
    profile: Arc<Profile>,
    context: Context,
    counters: Counters,
}

impl Desk {
    fn cut(&mut self, cut: &Cut<'_>, may_be_tail: &mut bool, out: &mut Vec<Output>) {
        let (reason, detail, bytes) = match *cut {
            Cut::Joined(bytes) => return self.joined(bytes),
            Cut::Refused { reason, detail, bytes } => (reason, detail.to_owned(), bytes),
            Cut::Frame(frame) => {
                let proven = match &self.profile.checksum {
                    Some(checksum) => checksum.prove(frame),
                    None => Ok(frame),
                };
                match proven {
                    Ok(body) => {
                        *may_be_tail = false;
                        return self.read(&Message { topic: None, bytes: body, retained: false }, out);
                    }
                    Err(error) => (DeadLetterReason::Checksum, error.to_string(), frame),
                }
            }
        };
        if std::mem::take(may_be_tail) {
            return self.joined(bytes.len());
        }
        out.push(Output::DeadLetter(DeadLetter::new(reason, detail, bytes)));
    }

    fn joined(&mut self, bytes: usize) {
        self.counters.joined_bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    fn read(&mut self, message: &Message<'_>, out: &mut Vec<Output>) {
        self.counters.inputs += 1;
        let profile = Arc::clone(&self.profile);
        let mut decoded: Option<(&Decoder, Result<Node<'_>, BadPart>)> = None;
        if !message.retained && self.reply(&profile, message, out) {
            return;
        }
        for route in &profile.routes {
            let mut names = Names::default();
            names.extend(profile.constants.iter().map(|(name, text)| (name.as_str(), text.into())));
            names.extend(message.topic.map(|topic| ("topic", topic.into())));
            if !takes((&route.topics, &route.starts), message, &mut names) {
                continue;
            }
            let ignores = matches!(route.does, Does::Ignore) && route.when.is_empty();
            if ignores || message.bytes.is_empty() && route.empty == Empty::Ignore {
                break;
            }
            // Routes that differ only in their conditions share what was decoded.
            if decoded.as_ref().is_none_or(|(decoder, _)| **decoder != route.decode) {
                decoded = Some((&route.decode, route.decode.decode(message.bytes)));
            }
            let Some((_, tree)) = &decoded else { break };
            let is_empty = message.bytes.is_empty() && route.empty == Empty::Offline;
            let fate = match tree {
                _ if is_empty => self.offline(route, message, &names, out),
                Ok(node) => self.follow(route, node, message, &mut names, out),
                Err(part) => {
                    out.push(Output::DeadLetter(DeadLetter::new(part.reason, part.detail.clone(), message.bytes)));
                    Fate::Read
                }
            };
            match fate {
                Fate::Read => return,
                Fate::Ignored => break,
                Fate::NotMine => {}
            }
        }
        self.counters.ignored += 1;
    }

    /// Tells what a device says to a command; whether that is all there is to it.
    fn reply(&self, profile: &Profile, message: &Message<'_>, out: &mut Vec<Output>) -> bool {
        let mut decoded: Option<(&Decoder, Result<Node<'_>, BadPart>)> = None;
        for rule in &profile.replies {
            let mut names = Names::default();
            names.extend(profile.constants.iter().map(|(name, text)| (name.as_str(), text.into())));
            names.extend(message.topic.map(|topic| ("topic", topic.into())));
            if !rule.takes(message, &mut names) {
                continue;
            }
            if decoded.as_ref().is_none_or(|(decoder, _)| **decoder != rule.decode) {
                decoded = Some((&rule.decode, rule.decode.decode(message.bytes)));
            }
            let Some((_, Ok(node))) = &decoded else { continue };
            let Some(mut reply) = rule.look(&Tree::new(node), &mut names) else { continue };
            if reply.device.is_none() {
                reply.device = self.context.device.clone().or_else(|| profile.own_device());
            }
            out.push(Output::Reply(reply));
            return !rule.read;
        }
        false
    }

    /// Applies a route to what was decoded.
    fn follow<'n>(
        &mut self,
        route: &'n Route,
        node: &'n Node<'n>,
        message: &Message<'_>,
        names: &mut Names<'n>,
        out: &mut Vec<Output>,
    ) -> Fate {
        let tree = Tree::new(node);
        if !route.when.iter().all(|condition| condition.holds(&tree, names)) {
            return Fate::NotMine;
        }
        let Does::Read(read) = &route.does else { return Fate::Ignored };
        let is_shaped = read
            .shape
            .as_ref()
            .is_none_or(|shape| std::str::from_utf8(message.bytes).is_ok_and(|text| shape.matches(text)));
        if !is_shaped {
            let detail = "not of the shape that its route asks for";
            out.push(Output::DeadLetter(DeadLetter::new(DeadLetterReason::Shape, detail, message.bytes)));
            return Fate::Read;
        }
        let start = out.len();
        let device = self.device(&read.rules, names);
        let mut run = Run::new(&self.profile, &self.context.zone, *message, out);
        match device {
            Ok(device) => run.scope(&read.rules, node, names, &Around { device, time: None }),
            Err(what) => run.refuse(DeadLetterReason::BadName, what),
        }
        self.counters.absent += run.absent;
        if read.whole && run.refused {
            let refused = out.drain(start..).find(|output| matches!(output, Output::DeadLetter(_)));
            out.extend(refused);
        }
        Fate::Read
    }

    /// An empty payload that says that the device is gone.
    fn offline(&self, route: &Route, message: &Message<'_>, names: &Names<'_>, out: &mut Vec<Output>) -> Fate {
        let Does::Read(read) = &route.does else { return Fate::Ignored };
        let around = self.device(&read.rules, names).unwrap_or_default();
        let template = read.rules.device.as_ref().or(self.profile.device.as_ref());
        let named = around.or_else(|| DeviceName::new(template?.fill(names).ok()?).ok());
        out.push(if let Some(device) = named {
            Output::Presence { device, online: false, time: None, retained: message.retained }
        } else {
            let detail = "nothing names the device that is gone";
            Output::DeadLetter(DeadLetter::new(DeadLetterReason::BadName, detail, message.bytes))
        });
        Fate::Read
    }

    /// The device around a route's rules: the topic's capture, else the source's own.
    fn device(&self, rules: &Rules, names: &Names<'_>) -> Result<Option<DeviceName>, String> {
        if rules.device.is_some() {
            return Ok(None);
        }
        if let Some(name) = names.get("device") {
            return DeviceName::new(name).map(Some).map_err(|error| format!("device {name:?} {error}"));
        }
        Ok(self.context.device.clone())
    }
}

/// What became of an input on a route.
enum Fate {
    Read,
    Ignored,
    /// The next route may take it.
    NotMine,
}

/// Whether a route or a reply takes an input by its topic and its first bytes. Captures become names.
pub(crate) fn takes<'n>(
    (topics, starts): (&'n [Topic], &[Vec<u8>]),
    message: &Message<'n>,
    names: &mut Names<'n>,
) -> bool {
    let mark = names.len();
    let by_topic = match message.topic {
        None => true,
        Some(topic) => topics.iter().any(|pattern| {
            names.truncate(mark);
            pattern.matches(topic, |name, text| names.push(name, text))
        }),
    };
    by_topic && (starts.is_empty() || starts.iter().any(|start| message.bytes.starts_with(start)))
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
