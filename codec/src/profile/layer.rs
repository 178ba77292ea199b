//! Reads one document or block of the mapping language; a source's own block lies over its profile.

use std::sync::Arc;
use std::time::Duration;

use lockgate_config::{Item, Table};
use lockgate_proto::ids::Tag;

use super::commands::{ReplyLayer, WritingLayer, command, reply};
use super::framing::{checksum, framing};
use super::reading::{Reading, decoder, free_names, noted, symbol};
use super::route::{Does, Empty, Read, Route};
use super::silence::Silences;
use crate::checksum::Checksum;
use crate::command::CommandRule;
use crate::decode::Decoder;
use crate::framing::Framing;
use crate::mapping::{Condition, Pattern, Rules};
use crate::topic::Topic;

/// What one document says.
pub(super) struct Layer {
    pub(super) framing: Option<(Framing, Duration)>,
    pub(super) checksum: Option<Checksum>,
    pub(super) decode: Option<Decoder>,
    pub(super) whole: Option<bool>,
    pub(super) units: Vec<(Pattern, Arc<str>)>,
    pub(super) silences: Silences,
    pub(super) tags: Vec<Tag>,
    pub(super) rules: Rules,
    pub(super) routes: Vec<RouteLayer>,
    pub(super) commands: Vec<CommandRule>,
    pub(super) replies: Vec<ReplyLayer>,
    pub(super) writing: WritingLayer,
}

/// A route, before what it does not say is filled in.
pub(super) struct RouteLayer {
    topics: Vec<Topic>,
    has_topics: bool,
    starts: Vec<Vec<u8>>,
    when: Vec<Condition>,
    shape: Option<Pattern>,
    empty: Empty,
    ignore: bool,
    decode: Option<Decoder>,
    whole: Option<bool>,
    rules: Rules,
}

/// Constants of a table: `names = { base = "zigbee2mqtt" }`.
pub(super) fn names(table: &Table<'_>) -> Vec<(String, String)> {
    let text = |(name, item): (&str, Item<'_>)| {
        let text = item.text()?;
        free_names(&item, [name]);
        if text.contains(['{', '}', '+', '#', '$']) {
            item.problem("has a character that means something in topics", "use none of { } + # $");
            return None;
        }
        Some((name.to_owned(), text.to_owned()))
    };
    let read = |table: &Table<'_>| Some(table.items().into_iter().filter_map(text).collect());
    table.optional("names", |item| item.table(read)).unwrap_or_default()
}

impl Layer {
    /// Reads a layer; `constants` are those of all layers.
    pub(super) fn read<'d>(table: &Table<'d>, reading: &Reading<'d>, constants: &[(String, String)]) -> Layer {
        reading.define(constants.iter().map(|(name, _)| name.as_str()));
        let units = |item: &Item<'d>| {
            item.table(|table| {
                let unit = |(name, item): (&str, Item<'d>)| Some((noted(&item, Pattern::parse(name))?, symbol(&item)?));
                Some(table.items().into_iter().filter_map(unit).collect())
            })
        };
        Layer {
            framing: table.optional("framing", framing),
            checksum: table.optional("checksum", checksum),
            decode: table.optional("decode", decoder),
            whole: whole(table),
            units: table.optional("units", units).unwrap_or_default(),
            silences: table.optional("stale_after", Silences::read).unwrap_or_default(),
            tags: table.or("tags", Vec::new(), |item| item.list(|item| item.parse(str::parse::<Tag>))),
            rules: reading.rules(table, 0),
            routes: table.sections("route", |table| Some(RouteLayer::read(table, reading, constants))),
            commands: table.sections("command", |table| command(table, constants)),
            replies: table.sections("reply", |table| reply(table, reading, constants)),
            writing: WritingLayer::read(table),
        }
    }

    /// This layer over another one: what it says itself stands before what the other says.
    pub(super) fn over(mut self, mut below: Layer) -> Layer {
        self.units.append(&mut below.units);
        let more_tags = std::mem::take(&mut below.tags).into_iter().filter(|tag| !self.tags.contains(tag));
        let more_tags: Vec<Tag> = more_tags.collect();
        self.tags.extend(more_tags);
        self.routes.append(&mut below.routes);
        self.commands.append(&mut below.commands);
        self.replies.append(&mut below.replies);
        self.rules.values.append(&mut below.rules.values);
        self.rules.groups.append(&mut below.rules.groups);
        // Later names hide earlier ones.
        below.rules.with.append(&mut self.rules.with);
        Layer {
            framing: self.framing.or(below.framing),
            checksum: self.checksum.or(below.checksum),
            decode: self.decode.or(below.decode),
            whole: self.whole.or(below.whole),
            units: self.units,
            silences: self.silences.over(below.silences),
            tags: self.tags,
            rules: Rules {
                with: below.rules.with,
                device: self.rules.device.or(below.rules.device),
                time: self.rules.time.or(below.rules.time),
                values: self.rules.values,
                groups: self.rules.groups,
            },
            routes: self.routes,
            commands: self.commands,
            replies: self.replies,
            writing: self.writing.over(below.writing),
        }
    }

    /// The routes with all that the layer says for them. Where none is written, all goes one way.
    pub(super) fn routes(&mut self) -> Vec<Route> {
        let mut layers = std::mem::take(&mut self.routes);
        if layers.is_empty() {
            layers.push(RouteLayer::everything());
        }
        layers.into_iter().map(|layer| self.route(layer)).collect()
    }

    fn route(&self, route: RouteLayer) -> Route {
        let mut rules = route.rules;
        if rules.values.is_empty() && rules.groups.is_empty() {
            rules.values.clone_from(&self.rules.values);
            rules.groups.clone_from(&self.rules.groups);
        }
        if rules.time.is_none() {
            rules.time.clone_from(&self.rules.time);
        }
        rules.with = self.rules.with.iter().cloned().chain(rules.with).collect();
        let does = if route.ignore {
            Does::Ignore
        } else {
            Does::Read(Read { rules, whole: route.whole.or(self.whole).unwrap_or(false), shape: route.shape }.into())
        };
        Route {
            topics: route.topics,
            starts: route.starts,
            when: route.when,
            empty: route.empty,
            decode: route.decode.or(self.decode.clone()).unwrap_or(Decoder::Text),
            does,
        }
    }

    /// Whether something says how a route's input is decoded.
    pub(super) fn all_decoded(&self) -> bool {
        let route_decodes = |route: &RouteLayer| route.decode.is_some() || route.ignore && route.when.is_empty();
        self.decode.is_some() || !self.routes.is_empty() && self.routes.iter().all(route_decodes)
    }

    /// Whether each command and each reply has a topic.
    pub(super) fn all_commands_addressed(&self) -> bool {
        self.commands.iter().all(|command| command.topic.is_some()) && self.replies.iter().all(ReplyLayer::has_topics)
    }

    /// Whether any of them has one.
    pub(super) fn has_addressed_commands(&self) -> bool {
        self.commands.iter().any(|command| command.topic.is_some()) || self.replies.iter().any(ReplyLayer::has_topics)
    }

    /// Whether each route has topics.
    pub(super) fn all_have_topics(&self) -> bool {
        !self.routes.is_empty() && self.routes.iter().all(|route| route.has_topics)
    }
}

impl RouteLayer {
    fn everything() -> RouteLayer {
        RouteLayer {
            topics: Vec::new(),
            has_topics: false,
            starts: Vec::new(),
            when: Vec::new(),
            shape: None,
            empty: Empty::Ignore,
            ignore: false,
            decode: None,
            whole: None,
            rules: Rules::default(),
        }
    }

    fn read<'d>(table: &Table<'d>, reading: &Reading<'d>, constants: &[(String, String)]) -> RouteLayer {
        let topics = table.optional("topic", |item| item.one_or_many(|item| topic(item, reading, constants)));
        if topics.is_none() && table.has("topic") {
            reading.unsure(table.path());
        }
        let empties = [("ignore", Empty::Ignore), ("offline", Empty::Offline), ("decode", Empty::Decode)];
        RouteLayer {
            topics: topics.unwrap_or_default(),
            has_topics: table.has("topic"),
            starts: table.or("starts", Vec::new(), |item| item.one_or_many(|item| item.text().map(Into::into))),
            when: table.optional("when", |item| reading.when(item)).unwrap_or_default(),
            shape: table.optional("shape", Reading::pattern),
            empty: table.or("empty", Empty::Ignore, |item| item.word(&empties)),
            ignore: table.or("ignore", false, Item::boolean),
            decode: table.optional("decode", decoder),
            whole: whole(table),
            rules: reading.rules(table, 0),
        }
    }
}

/// Whether one refused value takes the whole frame or message with it.
fn whole(table: &Table<'_>) -> Option<bool> {
    table.optional("refuse", |item| item.word(&[("part", false), ("whole", true)]))
}

/// A topic whose captures become names.
pub(super) fn topic<'d>(item: &Item<'d>, reading: &Reading<'d>, constants: &[(String, String)]) -> Option<Topic> {
    let topic = noted(item, filled(item.text()?, constants))?;
    let topic = noted(item, Topic::parse(&topic).map_err(|error| error.to_string()))?;
    free_names(item, topic.names());
    reading.define(topic.names());
    Some(topic)
}

/// A topic with constants in place of `$name`.
fn filled(topic: &str, constants: &[(String, String)]) -> Result<String, String> {
    let mut names = crate::mapping::Names::default();
    for (name, text) in constants {
        names.push(name, text.as_str());
    }
    let missing = |name: String| format!("uses `${name}`, which is no constant; add it to `names`");
    crate::mapping::Template::parse(topic)?.fill(&names).map_err(missing)
}
