//! The rules of a mapping, checked and compiled.

use std::sync::Arc;

use lockgate_proto::time::UnixMicros;

use super::condition::Condition;
use super::convert::Convert;
use super::names::{Names, Pattern, Template};
use super::place::{Place, Tree};
use super::source::Source;
use crate::time::{Form, Zone};

/// What is done in a scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// Fields that become names.
    pub(crate) with: Vec<(String, Source)>,
    pub(crate) device: Option<Template>,
    pub(crate) time: Option<TimeRule>,
    /// The first rule that makes a metric of a node wins.
    pub(crate) values: Vec<ValueRule>,
    pub(crate) groups: Vec<Group>,
}

/// Opens a scope at each node of a place.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) place: Place,
    pub(crate) when: Vec<Condition>,
    pub(crate) rules: Rules,
}

/// Makes a reading of each node of a place.
#[derive(Clone, Debug)]
pub(crate) struct ValueRule {
    pub(crate) place: Place,
    pub(crate) when: Vec<Condition>,
    /// Applies to devices of such names only.
    pub(crate) devices: Option<Pattern>,
    pub(crate) device: Option<Template>,
    pub(crate) time: Option<TimeRule>,
    pub(crate) makes: Makes,
    pub(crate) convert: Convert,
}

/// What a value rule makes.
#[derive(Clone, Debug)]
pub(crate) enum Makes {
    /// A reading.
    Reading { metric: Template, unit: Option<Unit> },
    /// Presence: the value must be true or false.
    Presence,
    /// Nothing, and no later rule makes anything of that node either.
    Nothing,
}

/// Where a unit comes from. Without a rule: from beside the value, or from the profile's table of units.
#[derive(Clone, Debug)]
pub(crate) enum Unit {
    /// As stated; empty: there is none.
    Fixed(Arc<str>),
    /// From the payload.
    From(Source),
}

/// Where a time comes from and how it is written.
#[derive(Clone, Debug)]
pub(crate) struct TimeRule {
    pub(crate) from: Source,
    /// Tried in this order.
    pub(crate) forms: Vec<Form>,
    pub(crate) zone: ZoneRule,
}

/// The zone of times that are written without one.
#[derive(Clone, Debug)]
pub(crate) enum ZoneRule {
    /// That of the site.
    Site,
    /// A stated one.
    Fixed(Zone),
}

impl TimeRule {
    /// The time; `Ok(None)`: none is told. The error is the text that is none.
    pub(crate) fn read<'n>(
        &'n self,
        tree: &Tree<'n>,
        names: &Names<'n>,
        site: &Zone,
    ) -> Result<Option<UnixMicros>, String> {
        let text = self.from.text(tree, names).filter(|text| !text.trim_ascii().is_empty());
        let Some(text) = text else { return Ok(None) };
        let zone = match &self.zone {
            ZoneRule::Site => site,
            ZoneRule::Fixed(zone) => zone,
        };
        match self.forms.iter().find_map(|form| form.read(&text, zone)) {
            Some(time) => Ok(Some(time)),
            None => Err(text.into_owned()),
        }
    }
}
