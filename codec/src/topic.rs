//! Topic patterns with named captures. The subscription and the matcher come from the same pattern.

use std::fmt;

/// LIMIT: bytes of an MQTT topic.
const TOPIC_BYTES_MAX: usize = 65_535;

/// A pattern such as `zigbee2mqtt/{device...}/availability`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    levels: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(String),
    /// One level; `+` has no name.
    One(Option<String>),
    /// At least one level.
    Several(String),
    /// Any levels, or none; only at the end.
    Rest,
}

/// Why a text is no topic pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TopicError {
    #[error("is empty; give a topic, such as \"plant/{{device}}/state\"")]
    Empty,
    #[error("is longer than an MQTT topic may be; shorten it")]
    TooLong,
    #[error(
        "has a level {level:?} that mixes text and a wildcard; a level is text, `{{name}}`, `{{name...}}`, `+` or `#`"
    )]
    Mixed { level: String },
    #[error("has two levels that stand for several; only one can be told apart from its neighbours")]
    TwoSeveral,
    #[error("has `#` before its end; use `{{name...}}` there")]
    RestInside,
    #[error("captures {name:?} twice; give each capture a name of its own")]
    Twice { name: String },
}

impl Topic {
    pub(crate) fn parse(text: &str) -> Result<Topic, TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > TOPIC_BYTES_MAX {
            return Err(TopicError::TooLong);
        }
        let levels: Vec<Level> = text.split('/').map(level).collect::<Result<_, _>>()?;
        let several = |level: &&Level| matches!(level, Level::Several(_) | Level::Rest);
        if levels.iter().filter(several).count() > 1 {
            return Err(TopicError::TwoSeveral);
        }
        if levels.iter().rev().skip(1).any(|level| *level == Level::Rest) {
            return Err(TopicError::RestInside);
        }
        let topic = Topic { levels };
        let names: Vec<&str> = topic.names().collect();
        match names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            Some((_, name)) => Err(TopicError::Twice { name: (*name).to_owned() }),
            None => Ok(topic),
        }
    }

    /// The names of the captures.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().filter_map(|level| match level {
            Level::One(name) => name.as_deref(),
            Level::Several(name) => Some(name),
            Level::Literal(_) | Level::Rest => None,
        })
    }

    /// Whether the topic is one of those meant. Each capture is told to `capture` as (name, text).
    pub(crate) fn matches<'t>(&'t self, topic: &'t str, mut capture: impl FnMut(&'t str, &'t str)) -> bool {
        let wide = self.levels.iter().position(|level| matches!(level, Level::Several(_) | Level::Rest));
        let Some(wide) = wide else {
            let count = topic.split('/').count();
            return count == self.levels.len() && one_by_one(&self.levels, topic.split('/'), &mut capture);
        };
        let (before, after) = (&self.levels[..wide], &self.levels[wide + 1..]);
        let count = topic.split('/').count();
        let fixed = before.len() + after.len();
        let least = usize::from(self.levels[wide] != Level::Rest);
        if count < fixed + least || !one_by_one(before, topic.split('/'), &mut capture) {
            return false;
        }
        if !one_by_one(after, topic.split('/').skip(count - after.len()), &mut capture) {
            return false;
        }
        if let Level::Several(name) = &self.levels[wide] {
            capture(name, middle(topic, before.len(), after.len()));
        }
        true
    }

    /// The filter to subscribe to: it lets through at least what the pattern means.
    pub(crate) fn filter(&self) -> String {
        let mut levels = Vec::new();
        for level in &self.levels {
            match level {
                Level::Literal(text) => levels.push(text.as_str()),
                Level::One(_) => levels.push("+"),
                Level::Several(_) | Level::Rest => {
                    levels.push("#");
                    break;
                }
            }
        }
        levels.join("/")
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.filter())
    }
}

fn level(text: &str) -> Result<Level, TopicError> {
    let mixed = || TopicError::Mixed { level: text.to_owned() };
    if text == "+" {
        return Ok(Level::One(None));
    }
    if text == "#" {
        return Ok(Level::Rest);
    }
    let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return if text.contains(['{', '}', '+', '#']) { Err(mixed()) } else { Ok(Level::Literal(text.to_owned())) };
    };
    let (name, several) = inner.strip_suffix("...").map_or((inner, false), |name| (name, true));
    let is_name = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match (is_name, several) {
        (false, _) => Err(mixed()),
        (true, false) => Ok(Level::One(Some(name.to_owned()))),
        (true, true) => Ok(Level::Several(name.to_owned())),
    }
}

fn one_by_one<'t>(
    levels: &'t [Level],
    texts: impl Iterator<Item = &'t str>,
    capture: &mut impl FnMut(&'t str, &'t str),
) -> bool {
    levels.iter().zip(texts).all(|(level, text)| match level {
        Level::Literal(literal) => literal == text,
        Level::One(name) => {
            if let Some(name) = name {
                capture(name, text);
            }
            true
        }
        Level::Several(_) | Level::Rest => false,
    })
}

/// The topic without its first and last levels.
fn middle(topic: &str, before: usize, after: usize) -> &str {
    let mut text = topic;
    for _ in 0..before {
        text = text.split_once('/').map_or("", |(_, rest)| rest);
    }
    for _ in 0..after {
        text = text.rsplit_once('/').map_or("", |(rest, _)| rest);
    }
    text
}

/// The fewest filters that let through all that the given ones do.
pub(crate) fn fewest(filters: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for filter in filters {
        if kept.iter().any(|other| covers(other, &filter)) {
            continue;
        }
        kept.retain(|other| !covers(&filter, other));
        kept.push(filter);
    }
    kept
}

/// Whether every topic that `narrow` lets through is let through by `wide`.
fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('/'), narrow.split('/'));
    loop {
        match (wide.next(), narrow.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(wide), Some(narrow)) if wide == narrow => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
#[path = "topic_tests.rs"]
mod tests;
