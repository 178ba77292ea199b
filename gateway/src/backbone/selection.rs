//! What a reader wants of a room's devices: which of them, and no more than it can use.

use std::fmt;
use std::sync::Arc;

use lockgate_proto::ids::{DeviceName, MetricName, Tag};
use lockgate_proto::position::Position;
use lockgate_proto::reading::Value;

use super::{DeviceShadow, DeviceSummary};

/// Which of those that have a name.
pub struct NameTest<Name>(Arc<dyn Fn(&Name) -> bool + Send + Sync>);

/// Which devices: by name, so that nothing of the others need be read.
pub type DeviceTest = NameTest<DeviceName>;

/// Which metrics of a device.
pub type MetricTest = NameTest<MetricName>;

/// Which shadows, and how much of them.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which devices.
    pub devices: DeviceTest,
    /// Which of their metrics.
    pub metrics: MetricTest,
    /// Reading is given up when the shadows must be larger than this, however they are encoded.
    pub bytes_max: usize,
}

/// The shadows that were wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// The shadows know every entry up to here, and perhaps later ones.
    pub position: Position,
    /// By name of the device; `None` where they are larger than was wanted.
    pub devices: Option<Vec<DeviceShadow>>,
}

/// A part of a list of devices.
#[derive(Clone, Debug)]
pub struct PageWanted {
    /// Which devices.
    pub devices: DeviceTest,
    /// Only those that have this tag.
    pub tag: Option<Tag>,
    /// Only those whose names follow this one.
    pub after: Option<DeviceName>,
    /// So many at most.
    pub count_max: usize,
}

/// What a list has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePage {
    /// By name.
    pub devices: Vec<DeviceSummary>,
    /// Others that are wanted follow.
    pub more: bool,
}

impl<Name> NameTest<Name> {
    /// Those for which `test` holds.
    pub fn new(test: impl Fn(&Name) -> bool + Send + Sync + 'static) -> NameTest<Name> {
        NameTest(Arc::new(test))
    }

    /// All of them.
    pub fn all() -> NameTest<Name> {
        NameTest::new(|_| true)
    }

    /// Whether this one is wanted.
    pub fn holds(&self, name: &Name) -> bool {
        (self.0)(name)
    }
}

impl<Name> Clone for NameTest<Name> {
    fn clone(&self) -> NameTest<Name> {
        NameTest(Arc::clone(&self.0))
    }
}

impl<Name> fmt::Debug for NameTest<Name> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameTest")
    }
}

impl Wanted {
    /// Takes what is wanted of shadows, already those of the right devices, until it is too large.
    pub(super) fn take<Error>(
        &self,
        shadows: impl IntoIterator<Item = Result<DeviceShadow, Error>>,
    ) -> Result<Option<Vec<DeviceShadow>>, Error> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for shadow in shadows {
            let mut shadow = shadow?;
            shadow.metrics.retain(|metric| self.metrics.holds(&metric.reading.metric));
            bytes += bytes_at_least(&shadow);
            if bytes > self.bytes_max {
                return Ok(None);
            }
            taken.push(shadow);
        }
        Ok(Some(taken))
    }
}

impl PageWanted {
    /// Takes devices, in the order of their names.
    pub(super) fn take<Error>(
        &self,
        devices: impl IntoIterator<Item = Result<DeviceSummary, Error>>,
    ) -> Result<DevicePage, Error> {
        let mut page = DevicePage { devices: Vec::new(), more: false };
        for device in devices {
            let device = device?;
            let follows = self.after.as_ref().is_none_or(|after| *after < device.device);
            let tagged = self.tag.as_ref().is_none_or(|tag| device.tags.contains(tag));
            if !follows || !tagged || !self.devices.holds(&device.device) {
                continue;
            }
            if page.devices.len() >= self.count_max {
                page.more = true;
                break;
            }
            page.devices.push(device);
        }
        Ok(page)
    }
}

/// What is around the parts of a metric in any encoding.
const METRIC_FRAME_BYTES: usize = 8;

/// What no encoding of a shadow falls below: its names, its units and what it has of text.
fn bytes_at_least(shadow: &DeviceShadow) -> usize {
    let names = shadow.device.as_str().len() + shadow.agent.as_str().len();
    shadow.metrics.iter().fold(names, |sum, metric| {
        let reading = &metric.reading;
        let value = match &reading.value {
            Value::Text(text) => text.len(),
            Value::Raw(raw) => raw.len(),
            Value::Number(_) | Value::Integer(_) | Value::Flag(_) => 1,
        };
        sum + METRIC_FRAME_BYTES + reading.metric.as_str().len() + reading.unit.as_deref().map_or(0, str::len) + value
    })
}
