//! One argument of a command: what it may be.

use std::fmt;
use std::sync::Arc;

use super::{DescriptionError, at_most, once, shown};
use crate::ids::FieldName;
use crate::limits::{CHOICES_MAX, FIELDS_BYTES_MAX, NAME_BYTES_MAX, SYMBOL_BYTES_MAX};
use crate::reading::Value;

/// What an argument is.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgumentDescription {
    /// Its name, unique in the command.
    pub name: FieldName,
    /// In the words of people; `None`: its name.
    pub label: Option<Arc<str>>,
    /// UCUM symbol where there is one.
    pub unit: Option<Arc<str>>,
    /// It must be given. One that need not be and has no default is left out.
    pub required: bool,
    /// What it is where it is not given.
    pub default: Option<Value>,
    /// What it may be.
    pub kind: ArgumentKind,
}

/// What an argument may be.
#[derive(Clone, Debug, PartialEq)]
pub enum ArgumentKind {
    /// Yes or no.
    Flag,
    /// A whole number, both ends included.
    Integer {
        /// The least.
        min: Option<i64>,
        /// The greatest.
        max: Option<i64>,
    },
    /// A number, both ends included.
    Number {
        /// The least.
        min: Option<f64>,
        /// The greatest.
        max: Option<f64>,
        /// Only whole steps from `min`, or from 0 where there is no `min`.
        step: Option<f64>,
    },
    /// Text.
    Text {
        /// Its length in UTF-8, at most.
        bytes_max: u32,
    },
    /// One of these words.
    Choice {
        /// At least one, each once.
        of: Vec<Arc<str>>,
    },
    /// The agent alone knows what is allowed: none was told, or one that a later version knows.
    Any,
}

/// Largest whole number up to which each one is exactly a number.
const EXACT_MAX: i64 = 1 << 53;

/// A step is missed by no more than this part of it: decimal fractions have no exact binary ones.
const STEP_TOLERANCE: f64 = 1e-6;

impl ArgumentKind {
    /// The value as one of this kind, or `None`: it is not allowed. Programs that know only one kind of number
    /// may give 5.0 where 5 is meant, and the other way round.
    pub(super) fn admit(&self, value: &Value) -> Option<Value> {
        match (self, value) {
            (ArgumentKind::Any, value) => Some(value.clone()),
            (ArgumentKind::Flag, Value::Flag(flag)) => Some(Value::Flag(*flag)),
            (ArgumentKind::Integer { min, max }, Value::Integer(_) | Value::Number(_)) => {
                let whole = whole(value)?;
                let fits = min.is_none_or(|min| min <= whole) && max.is_none_or(|max| whole <= max);
                fits.then_some(Value::Integer(whole))
            }
            (ArgumentKind::Number { min, max, step }, Value::Integer(_) | Value::Number(_)) => {
                let number = number(value)?;
                let fits = min.is_none_or(|min| min <= number) && max.is_none_or(|max| number <= max);
                let from = min.unwrap_or(0.0);
                (fits && step.is_none_or(|step| is_step(number - from, step))).then_some(Value::Number(number))
            }
            (ArgumentKind::Text { bytes_max }, Value::Text(text)) => {
                let fits = u32::try_from(text.len()).is_ok_and(|bytes| bytes <= *bytes_max);
                fits.then(|| Value::Text(Arc::clone(text)))
            }
            (ArgumentKind::Choice { of }, Value::Text(text)) => {
                of.contains(text).then(|| Value::Text(Arc::clone(text)))
            }
            (
                ArgumentKind::Flag
                | ArgumentKind::Integer { .. }
                | ArgumentKind::Number { .. }
                | ArgumentKind::Text { .. }
                | ArgumentKind::Choice { .. },
                _,
            ) => None,
        }
    }

    fn check_itself(&self, at: &str) -> Result<(), DescriptionError> {
        let contradiction = |problem| Err(DescriptionError::Contradiction { at: at.to_owned(), problem });
        match self {
            ArgumentKind::Integer { min: Some(min), max: Some(max) } if min > max => {
                contradiction("has a min above its max; swap them")
            }
            ArgumentKind::Number { min, max, step } => {
                if [min, max, step].into_iter().flatten().any(|number| !number.is_finite()) {
                    return contradiction("has a bound that is not finite; leave it out instead");
                }
                match (min, max, step) {
                    (Some(min), Some(max), _) if min > max => contradiction("has a min above its max; swap them"),
                    (_, _, Some(step)) if *step <= 0.0 => contradiction("has a step of 0 or less; use one above 0"),
                    _ => Ok(()),
                }
            }
            ArgumentKind::Text { bytes_max: 0 } => contradiction("allows no text at all; use bytes_max of at least 1"),
            ArgumentKind::Text { bytes_max } if *bytes_max as usize > FIELDS_BYTES_MAX => {
                contradiction("allows more bytes than a command may have; use bytes_max of at most 16384")
            }
            ArgumentKind::Choice { of } if of.is_empty() => contradiction("has no choices; name at least one"),
            ArgumentKind::Choice { of } => {
                at_most(at, of.len(), CHOICES_MAX)?;
                once(at, of.iter().map(AsRef::as_ref))?;
                of.iter().try_for_each(|word| shown(Some(word), NAME_BYTES_MAX, || format!("{at}.choice")))
            }
            ArgumentKind::Flag | ArgumentKind::Integer { .. } | ArgumentKind::Text { .. } | ArgumentKind::Any => Ok(()),
        }
    }
}

impl ArgumentDescription {
    pub(super) fn check_itself(&self, at: &str) -> Result<(), DescriptionError> {
        shown(self.label.as_ref(), NAME_BYTES_MAX, || format!("{at}.label"))?;
        shown(self.unit.as_ref(), SYMBOL_BYTES_MAX, || format!("{at}.unit"))?;
        self.kind.check_itself(at)?;
        let contradiction = |problem| Err(DescriptionError::Contradiction { at: format!("{at}.default"), problem });
        match &self.default {
            Some(_) if self.required => {
                contradiction("is never used, as the argument is required; drop one of the two")
            }
            Some(Value::Number(number)) if !number.is_finite() => contradiction("is not finite; leave it out instead"),
            Some(default) if self.kind.admit(default).is_none() => contradiction("is not among what is allowed"),
            Some(_) | None => Ok(()),
        }
    }
}

/// What is allowed, as an error says it.
impl fmt::Display for ArgumentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArgumentKind::Flag => f.write_str("true or false"),
            ArgumentKind::Integer { min, max } => bounds(f, "a whole number", min.as_ref(), max.as_ref()),
            ArgumentKind::Number { min, max, step } => {
                bounds(f, "a number", min.as_ref(), max.as_ref())?;
                match step {
                    Some(step) => write!(f, ", in steps of {step}"),
                    None => Ok(()),
                }
            }
            ArgumentKind::Text { bytes_max } => write!(f, "text of at most {bytes_max} bytes"),
            ArgumentKind::Choice { of } => {
                let words: Vec<String> = of.iter().map(|word| format!("\"{word}\"")).collect();
                match words.as_slice() {
                    [one] => f.write_str(one),
                    words => write!(f, "one of {}", words.join(", ")),
                }
            }
            ArgumentKind::Any => f.write_str("any value"),
        }
    }
}

fn bounds<N: fmt::Display>(f: &mut fmt::Formatter<'_>, what: &str, min: Option<&N>, max: Option<&N>) -> fmt::Result {
    match (min, max) {
        (Some(min), Some(max)) => write!(f, "{what} from {min} to {max}"),
        (Some(min), None) => write!(f, "{what} from {min} on"),
        (None, Some(max)) => write!(f, "{what} up to {max}"),
        (None, None) => f.write_str(what),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "only within what both hold exactly")]
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(integer) => Some(*integer),
        Value::Number(number) if number.fract() == 0.0 && number.abs() <= EXACT_MAX as f64 => Some(*number as i64),
        Value::Number(_) | Value::Flag(_) | Value::Text(_) | Value::Raw(_) => None,
    }
}

#[allow(clippy::cast_precision_loss, reason = "only within what both hold exactly")]
fn number(value: &Value) -> Option<f64> {
    match value {
        // Of the two zeroes, the sum with the positive one is the positive one.
        Value::Number(number) if number.is_finite() => Some(*number + 0.0),
        Value::Integer(integer) if integer.unsigned_abs() <= EXACT_MAX.unsigned_abs() => Some(*integer as f64),
        Value::Number(_) | Value::Integer(_) | Value::Flag(_) | Value::Text(_) | Value::Raw(_) => None,
    }
}

fn is_step(distance: f64, step: f64) -> bool {
    let steps = distance / step;
    (steps - steps.round()).abs() <= STEP_TOLERANCE
}
