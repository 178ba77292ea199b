//! What a token lets a person do, as text: `telemetry:read:SITE/DEVICE`, `command:send:SITE/DEVICE`.
//!
//! SITE and DEVICE are patterns: `*` stands for any characters, also for none. Names are
//! percent-encoded, so that a name may have any character: `%2F` is a slash, `%2A` a star that stands
//! for itself. `telemetry:read:SITE` means all devices of the site.

use std::fmt;
use std::str::FromStr;

/// Why a text is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// The right is none that this version knows.
    #[error("the scope {text:?} has a right that is not known; known are: telemetry:read, command:send")]
    UnknownRight {
        /// The scope.
        text: String,
    },
    /// The right is not followed by `:` and a site.
    #[error("the scope {text:?} names no site; write it like telemetry:read:plant-1/* or telemetry:read:*")]
    NoSite {
        /// The scope.
        text: String,
    },
    /// A pattern is empty, or has a `%` without two hexadecimal digits, or is not UTF-8.
    #[error("the scope {text:?} has a pattern that can't be read; write names percent-encoded, such as room%201")]
    Pattern {
        /// The scope.
        text: String,
    },
}

/// A name in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// INVARIANT: at least one; between two neighbours stands a `*`.
    literals: Vec<String>,
}

impl Pattern {
    /// Matches every name.
    pub fn any() -> Pattern {
        Pattern { literals: vec![String::new(), String::new()] }
    }

    /// Matches this name and no other.
    pub fn exactly(name: &str) -> Pattern {
        Pattern { literals: vec![name.to_owned()] }
    }

    /// `None`: empty, or not percent-encoded as it should be.
    pub fn parse(text: &str) -> Option<Pattern> {
        if text.is_empty() {
            return None;
        }
        let mut literals = Vec::new();
        for literal in text.split('*') {
            literals.push(percent_decode(literal)?);
        }
        // Neighbouring stars say no more than one.
        let last = literals.len() - 1;
        let mut index = 0;
        literals.retain(|literal| {
            let keep = index == 0 || index == last || !literal.is_empty();
            index += 1;
            keep
        });
        Some(Pattern { literals })
    }

    /// Whether every name matches.
    pub fn is_any(&self) -> bool {
        self.literals.len() > 1 && self.literals.iter().all(String::is_empty)
    }

    /// Whether the name matches. The cost grows with the product of both lengths at most.
    pub fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = self.literals.as_slice() else {
            return self.literals.first().is_some_and(|only| only == name);
        };
        let Some(rest) = name.strip_prefix(first.as_str()) else { return false };
        let Some(mut rest) = rest.strip_suffix(last.as_str()) else { return false };
        for literal in middle {
            // The leftmost place leaves the most for what follows.
            match rest.split_once(literal.as_str()) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        true
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, literal) in self.literals.iter().enumerate() {
            if index > 0 {
                f.write_str("*")?;
            }
            percent_encode(literal, f)?;
        }
        Ok(())
    }
}

/// One right and where it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// What may be done.
    pub right: Right,
    /// The sites.
    pub site: Pattern,
    /// Their devices.
    pub device: Pattern,
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// `telemetry:read`: see readings, presence, shadows, losses, and what becomes of commands.
    TelemetryRead,
    /// `command:send`: order something of devices, take it back, and see what becomes of it.
    CommandSend,
}

impl Right {
    /// All of them.
    pub const ALL: [Right; 2] = [Right::TelemetryRead, Right::CommandSend];

    /// The words that a scope begins with.
    pub fn as_str(self) -> &'static str {
        match self {
            Right::TelemetryRead => "telemetry:read",
            Right::CommandSend => "command:send",
        }
    }
}

impl Scope {
    /// The right to all that this site has.
    pub fn site(right: Right, site: &str) -> Scope {
        Scope { right, site: Pattern::exactly(site), device: Pattern::any() }
    }

    /// The right to all that there is.
    pub fn all(right: Right) -> Scope {
        Scope { right, site: Pattern::any(), device: Pattern::any() }
    }

    /// To read all that this site has.
    pub fn read_site(site: &str) -> Scope {
        Scope::site(Right::TelemetryRead, site)
    }

    /// To read all that there is.
    pub fn read_all() -> Scope {
        Scope::all(Right::TelemetryRead)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.right.as_str(), self.site, self.device)
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Scope, ScopeError> {
        let own = || text.to_owned();
        let found = Right::ALL.into_iter().find_map(|right| Some((right, text.strip_prefix(right.as_str())?)));
        let (right, place) = match found {
            Some((_, "")) => return Err(ScopeError::NoSite { text: own() }),
            Some((right, rest)) => match rest.strip_prefix(':') {
                Some(place) => (right, place),
                None => return Err(ScopeError::UnknownRight { text: own() }),
            },
            None => return Err(ScopeError::UnknownRight { text: own() }),
        };
        if place.is_empty() {
            return Err(ScopeError::NoSite { text: own() });
        }
        let (site, device) = place.split_once('/').unwrap_or((place, "*"));
        let pattern = |part| Pattern::parse(part).ok_or_else(|| ScopeError::Pattern { text: own() });
        if device.contains('/') {
            return Err(ScopeError::Pattern { text: own() });
        }
        Ok(Scope { right, site: pattern(site)?, device: pattern(device)? })
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn percent_encode(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => write!(f, "{}", char::from(byte))?,
            other => write!(f, "%{other:02X}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Pattern, Scope, ScopeError};

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(name)
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        assert!(matches("*", "") && matches("*", "plant-1") && matches("**", "x"));
        assert!(matches("plant-*", "plant-1") && !matches("plant-*", "ship-1"));
        assert!(matches("*-1", "plant-1") && matches("p*t-*1", "plant-1"));
        assert!(matches("a*a", "aa") && !matches("a*a", "a"));
        assert!(matches("a*b*c", "a-b-b-c") && !matches("a*b*c", "a-c"));
    }

    #[test]
    fn an_encoded_name_stands_for_itself() {
        assert!(matches("room%201", "room 1") && matches("%2A", "*") && !matches("%2A", "x"));
        assert!(matches("a%2Fb", "a/b") && matches("K%C3%BCche", "Küche"));
    }

    #[test]
    fn a_scope_is_written_as_it_was_read() {
        for text in [
            "telemetry:read:plant-1/*",
            "telemetry:read:*/*",
            "telemetry:read:a%2Fb/p*-%C3%BC",
            "command:send:plant-1/pump-*",
        ] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        assert_eq!("telemetry:read:x".parse::<Scope>(), "telemetry:read:x/*".parse());
        assert_ne!("telemetry:read:x".parse::<Scope>(), "command:send:x".parse());
    }

    #[test]
    fn what_is_no_scope_is_refused_with_the_reason() {
        let parse = |text: &str| text.parse::<Scope>().unwrap_err();
        assert!(matches!(parse("command:cancel:x"), ScopeError::UnknownRight { .. }));
        assert!(matches!(parse("command:send"), ScopeError::NoSite { .. }));
        assert!(matches!(parse("telemetry:readall:x"), ScopeError::UnknownRight { .. }));
        assert!(matches!(parse("telemetry:read"), ScopeError::NoSite { .. }));
        assert!(matches!(parse("telemetry:read:"), ScopeError::NoSite { .. }));
        for text in ["telemetry:read:%", "telemetry:read:%ff", "telemetry:read:a/", "telemetry:read:a/b/c"] {
            assert!(matches!(parse(text), ScopeError::Pattern { .. }), "{text}");
        }
    }
}
