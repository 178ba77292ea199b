//! Times as devices write them.

use jiff::tz::TimeZone;

/// A time zone by its IANA name.
#[derive(Clone, Debug)]
pub struct Zone(pub(crate) TimeZone);

/// The name is in no zone that we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no time zone that is known; give an IANA name, such as \"Europe/Amsterdam\"")]
pub struct ZoneError;

impl Default for Zone {
    fn default() -> Zone {
        Zone(TimeZone::UTC)
    }
}

impl std::str::FromStr for Zone {
    type Err = ZoneError;

    fn from_str(name: &str) -> Result<Zone, ZoneError> {
        TimeZone::get(name).map(Zone).map_err(|_| ZoneError)
    }
}
