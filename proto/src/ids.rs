//! Names and ids. Each is its own type, so that no two can be taken for one another.

use std::fmt;
use std::sync::Arc;

use crate::limits::NAME_BYTES_MAX;

/// Why a text can't be a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text has no characters.
    #[error("is empty; give it at least one character")]
    Empty,
    /// The text is longer than [`NAME_BYTES_MAX`].
    #[error("has {bytes} bytes; at most {NAME_BYTES_MAX} are allowed")]
    TooLong {
        /// Length of the refused text.
        bytes: usize,
    },
    /// The text has a control character, which no terminal or log could show.
    #[error("has the control character {character:?}; use printable text")]
    Control {
        /// The first offending character.
        character: char,
    },
    /// The text has a character that is not seen itself, and reorders or breaks the line it stands in: what
    /// a log or a terminal shows would not be what is there.
    #[error("has the invisible character {character:?}, which reorders or breaks a line; use printable text")]
    Layout {
        /// The first offending character.
        character: char,
    },
}

/// Whether a character, unseen itself, changes the order or the lines of the text around it: the controls of
/// writing direction, and the separators of lines and paragraphs.
pub fn is_layout(character: char) -> bool {
    matches!(character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a text can be shown in a line of a log or terminal as what it is: it has no control characters,
/// and none that [reorders or breaks a line](is_layout).
pub fn is_printable(text: &str) -> bool {
    !text.chars().any(|character| character.is_control() || is_layout(character))
}

fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { bytes: text.len() });
    }
    match text.chars().find(|character| character.is_control() || is_layout(*character)) {
        Some(character) if character.is_control() => Err(NameError::Control { character }),
        Some(character) => Err(NameError::Layout { character }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text: 1 to [`NAME_BYTES_MAX`] bytes, [printable](is_printable).
            pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
                check_name(text.as_ref())?;
                Ok(Self(text.as_ref().into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}

name! {
    /// Who owns sites, agents and devices. Nothing crosses from one tenant to another.
    Tenant
}
name! {
    /// A place of a tenant (plant, ship, house) with one time zone.
    Site
}
name! {
    /// An edge agent's name, unique in its site.
    AgentName
}
name! {
    /// A person, by the subject of a token.
    UserName
}
name! {
    /// A device's name, unique in its site. Any printable text, blanks and slashes included.
    DeviceName
}
name! {
    /// What is measured of a device.
    MetricName
}
name! {
    /// What a device can be told to do.
    CommandName
}
name! {
    /// An argument of a command, or a value of its result.
    FieldName
}
name! {
    /// A label that selects devices of a site.
    Tag
}

/// One site's stream of entries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId {
    /// The owner.
    pub tenant: Tenant,
    /// The place.
    pub site: Site,
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.site)
    }
}

/// One agent in all the system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId {
    /// The room that it feeds.
    pub room: RoomId,
    /// Its name there.
    pub agent: AgentName,
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.room, self.agent)
    }
}

/// One run of a gateway. Random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u64);

/// One connection's claim to write an agent's ledger. Random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_reorder_or_break_the_line_it_is_shown_in() {
        let spoofs =
            ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}'];
        for character in spoofs {
            let name = format!("pump{character}1");
            assert_eq!(DeviceName::new(&name), Err(NameError::Layout { character }));
            assert!(!is_printable(&name));
        }
        let error = AgentName::new("a\u{202e}b").unwrap_err().to_string();
        assert!(error.is_ascii() && error.contains("202e") && error.contains("printable"), "{error}");
        assert_eq!(Site::new("a\nb"), Err(NameError::Control { character: '\n' }));
    }

    #[test]
    fn names_in_any_script_are_names() {
        // Joiners (200d, 200c) spell words and pictures, and move nothing.
        for name in ["Kühlraum 1", "مضخة", "משאבה", "می\u{200c}خواهم", "👩\u{200d}🔧", "温度"] {
            assert_eq!(DeviceName::new(name).map(|name| name.to_string()).as_deref(), Ok(name));
        }
    }
}
