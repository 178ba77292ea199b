//! What people are told of a source's devices, as far as its profile says it.

use std::sync::Arc;

use lockgate_proto::description::{MetricDescription, ValueKind};
use lockgate_proto::ids::{DeviceName, MetricName, Tag};

use super::Profile;
use super::route::Does;
use crate::mapping::{Makes, Place, Template, Type, Unit, ValueRule};

impl Profile {
    /// What a device of this source measures: the metrics whose names stand in the profile as they are, in its order.
    /// Those that are made of data are known when they are heard.
    pub fn metrics_of(&self, device: &DeviceName) -> Vec<MetricDescription> {
        let rules = self.routes.iter().filter_map(|route| match &route.does {
            Does::Read(read) => Some(&read.rules.values),
            Does::Ignore => None,
        });
        let mut metrics: Vec<MetricDescription> = Vec::new();
        for rule in rules.flatten() {
            let is_for = rule.devices.as_ref().is_none_or(|devices| devices.matches(device.as_str()));
            let Some(metric) = is_for.then(|| self.metric(rule)).flatten() else { continue };
            if metrics.iter().all(|known| known.name != metric.name) {
                metrics.push(metric);
            }
        }
        metrics
    }

    /// By what all devices of this source can be selected.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    fn metric(&self, rule: &ValueRule) -> Option<MetricDescription> {
        let Makes::Reading { metric, unit } = &rule.makes else { return None };
        let name = match (metric.only_name(), &rule.place) {
            (Some("key"), Place::Key(key)) => MetricName::new(key).ok()?,
            _ => MetricName::new(fixed(metric)?).ok()?,
        };
        let unit = match unit {
            Some(Unit::Fixed(unit)) => Some(Arc::clone(unit)),
            Some(Unit::From(_)) => None,
            None => {
                let unit = self.units.iter().find(|(pattern, _)| pattern.matches(name.as_str()));
                unit.map(|(_, unit)| Arc::clone(unit))
            }
        };
        let is_mapped = !rule.convert.map.is_empty();
        let kind = match rule.convert.kind {
            Type::Number => Some(ValueKind::Number),
            Type::Integer => Some(ValueKind::Integer),
            Type::Text => Some(ValueKind::Text),
            Type::Flag => Some(ValueKind::Flag),
            Type::Auto => None,
        };
        let kind = kind.filter(|_| !is_mapped);
        Some(MetricDescription { name, unit: unit.filter(|unit| !unit.is_empty()), kind, label: None })
    }
}

/// The text of a template that uses no name.
fn fixed(template: &Template) -> Option<String> {
    template.fill(&crate::mapping::Names::default()).ok()
}
