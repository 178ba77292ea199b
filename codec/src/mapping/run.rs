//! Applies rules to one tree. What is refused costs only itself, unless the route says otherwise.

use std::sync::Arc;

use lockgate_proto::ids::{DeviceName, MetricName, is_printable};
use lockgate_proto::limits::{READINGS_PER_RECORD_MAX, SYMBOL_BYTES_MAX};
use lockgate_proto::reading::{Quality, Value};
use lockgate_proto::time::UnixMicros;

use super::names::{Names, Template};
use super::place::{Found, Tree};
use super::rules::{Group, Makes, Rules, TimeRule, Unit, ValueRule};
use crate::message::Message;
use crate::output::{DeadLetter, DeadLetterReason, Decoded, Output};
use crate::profile::Profile;
use crate::time::Zone;
use crate::tree::{NODES_MAX, Node};

/// LIMIT: outputs of one frame or message.
const OUTPUTS_MAX: usize = READINGS_PER_RECORD_MAX;

/// What a scope inherits from the one around it.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    /// `None`: nothing has named it.
    pub(crate) device: Option<DeviceName>,
    pub(crate) time: Option<UnixMicros>,
}

/// One application of a mapping to one frame or message.
#[derive(Debug)]
pub(crate) struct Run<'r> {
    profile: &'r Profile,
    zone: &'r Zone,
    message: Message<'r>,
    out: &'r mut Vec<Output>,
    /// Outputs that are still allowed.
    left: usize,
    /// Values that meant "no value".
    pub(crate) absent: u64,
    /// Something was refused.
    pub(crate) refused: bool,
}

enum Hit<'n> {
    Bad,
    Value(&'n ValueRule),
    Group(&'n Group),
}

/// Where a value rule is applied, and the metrics that others made of the same node.
#[derive(Clone, Copy)]
struct At<'t, 'n> {
    node: &'n Node<'n>,
    tree: &'t Tree<'n>,
    metrics: &'t [String],
}

/// Something is wrong, and a dead letter has told it.
struct Told;

/// What became of one node and one rule.
enum Made {
    /// The rule does not apply.
    Nothing,
    /// This metric, or a refusal in its place.
    Metric(String),
    /// The node is settled.
    Settled,
}

impl<'r> Run<'r> {
    pub(crate) fn new(profile: &'r Profile, zone: &'r Zone, message: Message<'r>, out: &'r mut Vec<Output>) -> Run<'r> {
        Run { profile, zone, message, out, left: OUTPUTS_MAX, absent: 0, refused: false }
    }

    /// Applies the rules in a scope.
    pub(crate) fn scope<'n>(&mut self, rules: &'n Rules, node: &'n Node<'n>, names: &mut Names<'n>, around: &Around) {
        let tree = Tree::new(node);
        let mark = names.len();
        for (name, source) in &rules.with {
            if let Some(text) = source.text(&tree, names) {
                names.push(name, text);
            }
        }
        // A scope whose device can't be named has nothing to say; why has been told.
        let template = rules.device.as_ref().or(self.profile.device.as_ref().filter(|_| around.device.is_none()));
        if let Ok(device) = self.device(template, names, around) {
            let time = match &rules.time {
                Some(rule) => self.time(rule, &tree, names),
                None => around.time,
            };
            self.apply(rules, &tree, names, &Around { device, time });
        }
        names.truncate(mark);
    }

    fn apply<'n>(&mut self, rules: &'n Rules, tree: &Tree<'n>, names: &mut Names<'n>, around: &Around) {
        let mut node: Option<&Node<'n>> = None;
        // Metrics that were made of `node`; `None`: no later rule makes anything of it.
        let mut made: Option<Vec<String>> = None;
        for (found, hit) in self.hits(rules, tree) {
            if !node.is_some_and(|node| std::ptr::eq(node, found.node)) {
                (node, made) = (Some(found.node), Some(Vec::new()));
            }
            let mark = names.len();
            names.push("key", found.key);
            names.extend(found.index.map(|index| ("index", index.to_string().into())));
            names.extend(found.captures);
            match (hit, &mut made) {
                (Hit::Bad, _) => self.refuse_bad(found.node),
                (Hit::Value(_), None) => {}
                (Hit::Value(rule), Some(metrics)) => {
                    match self.value(rule, At { node: found.node, tree, metrics }, names, around) {
                        Made::Nothing => {}
                        Made::Metric(metric) => metrics.push(metric),
                        Made::Settled => made = None,
                    }
                }
                (Hit::Group(group), _) => {
                    let inside = Tree::new(found.node);
                    if group.when.iter().all(|condition| condition.holds(&inside, names)) {
                        self.scope(&group.rules, found.node, names, around);
                    }
                }
            }
            names.truncate(mark);
        }
    }

    /// All that the places of a scope find, in the order of the input.
    fn hits<'n>(&mut self, rules: &'n Rules, tree: &Tree<'n>) -> Vec<(Found<'n>, Hit<'n>)> {
        let mut hits: Vec<(Found<'n>, Hit<'n>)> = Vec::new();
        let mut too_many = false;
        let mut tell = |found: Found<'n>, hit: Hit<'n>| {
            let is_bad = matches!(found.node, Node::Bad(_));
            if hits.len() >= NODES_MAX {
                too_many = true;
            } else if is_bad == matches!(hit, Hit::Bad) {
                hits.push((found, hit));
            }
        };
        Found::bad_parts(tree.node, &mut |found| tell(found, Hit::Bad));
        for rule in &rules.values {
            rule.place.find(tree, &mut |found| tell(found, Hit::Value(rule)));
        }
        for group in &rules.groups {
            group.place.find(tree, &mut |found| tell(found, Hit::Group(group)));
        }
        if too_many {
            self.refuse(DeadLetterReason::TooComplex, format!("the mapping finds more than {NODES_MAX} places"));
        }
        // Stable: of rules that find the same node, the first stays the first.
        hits.sort_by_key(|(found, _)| found.order);
        hits
    }

    fn value<'n>(&mut self, rule: &'n ValueRule, at: At<'_, 'n>, names: &mut Names<'n>, around: &Around) -> Made {
        let At { node, tree, metrics } = at;
        let Ok(device) = self.device(rule.device.as_ref(), names, around) else { return Made::Nothing };
        let is_meant = rule
            .devices
            .as_ref()
            .is_none_or(|pattern| device.as_ref().is_some_and(|device| pattern.matches(device.as_str())));
        if !is_meant || !rule.when.iter().all(|condition| condition.holds(tree, names)) {
            return Made::Nothing;
        }
        let metric = match &rule.makes {
            Makes::Nothing => return Made::Settled,
            Makes::Presence => "online".to_owned(),
            Makes::Reading { metric, .. } => match metric.fill(names) {
                Ok(metric) => metric,
                Err(missing) => {
                    self.refuse(DeadLetterReason::BadName, format!("no {missing:?} to name the metric {metric}"));
                    return Made::Nothing;
                }
            },
        };
        if metrics.contains(&metric) {
            return Made::Nothing;
        }
        match rule.convert.apply(node) {
            Ok(None) => self.absent += 1,
            Ok(Some(value)) => {
                let time = match &rule.time {
                    Some(rule) => self.time(rule, tree, names),
                    None => around.time,
                };
                self.make(rule, &metric, value, Around { device, time }, (node, tree, names));
            }
            Err(refusal) => {
                let text = node.scalar().map(|text| format!(" {:?}", head(text))).unwrap_or_default();
                self.refuse(refusal.reason, format!("{metric}:{text} {}", refusal.what));
            }
        }
        Made::Metric(metric)
    }

    fn make<'n>(
        &mut self,
        rule: &'n ValueRule,
        metric: &str,
        value: Value,
        around: Around,
        at: (&'n Node<'n>, &Tree<'n>, &Names<'n>),
    ) {
        let Some(device) = around.device else {
            let fix = "give `device = \"…\"` in the source or the profile";
            return self.refuse(DeadLetterReason::BadName, format!("{metric}: nothing names the device; {fix}"));
        };
        let retained = self.message.retained;
        let Makes::Reading { unit, .. } = &rule.makes else {
            return match value {
                Value::Flag(online) => {
                    self.push(Output::Presence { device, online, time: around.time, retained });
                }
                _ => self.refuse(DeadLetterReason::BadType, format!("{device}: presence must be true or false")),
            };
        };
        let Ok(unit) = self.unit(unit.as_ref(), metric, at) else { return };
        match MetricName::new(metric) {
            Ok(metric) => {
                let (time, quality) = (around.time, Quality::Good);
                let reading = Decoded { device, metric, unit, value, quality, time, retained, historical: false };
                self.push(Output::Reading(reading));
            }
            Err(error) => self.refuse(DeadLetterReason::BadName, format!("metric {:?} {error}", head(metric))),
        }
    }

    /// The unit of a value; fails where the payload's text can be none.
    fn unit<'n>(
        &mut self,
        rule: Option<&'n Unit>,
        metric: &str,
        (node, tree, names): (&'n Node<'n>, &Tree<'n>, &Names<'n>),
    ) -> Result<Option<Arc<str>>, Told> {
        let text = match (rule, node) {
            (Some(Unit::Fixed(unit)), _) => return Ok(stated(unit)),
            (Some(Unit::From(source)), _) => {
                let Some(text) = source.text(tree, names) else { return Ok(None) };
                text.into_owned()
            }
            (None, Node::Quantity(quantity)) => quantity.unit.as_ref().to_owned(),
            (None, _) => {
                let by_name = self.profile.units.iter().find(|(pattern, _)| pattern.matches(metric));
                return Ok(by_name.and_then(|(_, unit)| stated(unit)));
            }
        };
        if text.len() > SYMBOL_BYTES_MAX || !is_printable(&text) {
            self.refuse(DeadLetterReason::BadName, format!("{metric}: {:?} is no unit", head(&text)));
            return Err(Told);
        }
        Ok((!text.is_empty()).then(|| text.into()))
    }

    /// The device that a template names, else the one around; fails where the template can't name one.
    fn device(
        &mut self,
        template: Option<&Template>,
        names: &Names<'_>,
        around: &Around,
    ) -> Result<Option<DeviceName>, Told> {
        let Some(template) = template else { return Ok(around.device.clone()) };
        let named = template.fill(names).map_err(|missing| format!("no {missing:?} to name the device {template}"));
        let named =
            named.and_then(|name| DeviceName::new(&name).map_err(|error| format!("device {:?} {error}", head(&name))));
        match named {
            Ok(device) => Ok(Some(device)),
            Err(what) => {
                self.refuse(DeadLetterReason::BadName, what);
                Err(Told)
            }
        }
    }

    /// A time that can't be read is refused; what it belongs to then counts as of its arrival.
    fn time<'n>(&mut self, rule: &'n TimeRule, tree: &Tree<'n>, names: &Names<'n>) -> Option<UnixMicros> {
        rule.read(tree, names, self.zone).unwrap_or_else(|text| {
            self.refuse(DeadLetterReason::BadTime, format!("{:?} is no time in the stated form", head(&text)));
            None
        })
    }

    fn refuse_bad(&mut self, node: &Node<'_>) {
        if let Node::Bad(part) = node {
            self.refuse(part.reason, part.detail.clone());
        }
    }

    pub(crate) fn refuse(&mut self, reason: DeadLetterReason, detail: String) {
        self.refused = true;
        self.push(Output::DeadLetter(DeadLetter::new(reason, detail, self.message.bytes)));
    }

    fn push(&mut self, output: Output) {
        match self.left {
            0 => return,
            1 => {
                let detail = format!("more than {OUTPUTS_MAX} outputs of one input");
                self.refused = true;
                self.out.push(Output::DeadLetter(DeadLetter::new(
                    DeadLetterReason::TooComplex,
                    detail,
                    self.message.bytes,
                )));
            }
            _ => self.out.push(output),
        }
        self.left -= 1;
    }
}

/// A unit of a profile; an empty one stands for none.
fn stated(unit: &Arc<str>) -> Option<Arc<str>> {
    (!unit.is_empty()).then(|| Arc::clone(unit))
}

/// The beginning of a text.
fn head(text: &str) -> &str {
    const CHARACTERS: usize = 60;
    text.char_indices().nth(CHARACTERS).map_or(text, |(end, _)| &text[..end])
}
