//! Named values: the arguments of a command, and the result of a success.

use std::hash::{Hash, Hasher};

use crate::ids::FieldName;
use crate::limits::{FIELDS_BYTES_MAX, FIELDS_MAX};
use crate::reading::Value;

/// One named value.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name, unique among its like.
    pub name: FieldName,
    /// The value.
    pub value: Value,
}

/// A bounded set of named values, sorted by name.
///
/// INVARIANT: no number is NaN and none is the negative zero, so that equality is what hashing takes it for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(pub(super) Vec<Field>);

/// Why values can't be fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// There are more than [`FIELDS_MAX`].
    #[error("{count} are given; at most {FIELDS_MAX} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// Names and values are longer than [`FIELDS_BYTES_MAX`] together.
    #[error("{bytes} bytes are given; at most {FIELDS_BYTES_MAX} are allowed")]
    TooLarge {
        /// How long they are.
        bytes: usize,
    },
    /// A name stands twice.
    #[error("{0} is given twice; give it once")]
    Twice(FieldName),
    /// A number is infinite or none.
    #[error("{0} is not finite; infinity and NaN are no values")]
    NotFinite(FieldName),
}

impl Fields {
    /// Checks the values and sorts them.
    pub fn new(fields: impl IntoIterator<Item = Field>) -> Result<Fields, FieldsError> {
        let mut fields: Vec<Field> = fields.into_iter().collect();
        if fields.len() > FIELDS_MAX {
            return Err(FieldsError::TooMany { count: fields.len() });
        }
        let bytes = fields.iter().map(|field| field.name.as_str().len() + value_bytes(&field.value)).sum();
        if bytes > FIELDS_BYTES_MAX {
            return Err(FieldsError::TooLarge { bytes });
        }
        fields.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some(pair) = fields.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(FieldsError::Twice(pair[0].name.clone()));
        }
        for field in &mut fields {
            if let Value::Number(number) = &mut field.value {
                if !number.is_finite() {
                    return Err(FieldsError::NotFinite(field.name.clone()));
                }
                // Of the two zeroes, the sum with the positive one is the positive one.
                *number += 0.0;
            }
        }
        Ok(Fields(fields))
    }

    /// The values, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Field> {
        self.0.iter()
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|field| field.name.as_str() == name).map(|field| &field.value)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Eq for Fields {}

impl Hash for Fields {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.len().hash(state);
        for field in &self.0 {
            field.name.hash(state);
            std::mem::discriminant(&field.value).hash(state);
            match &field.value {
                Value::Number(number) => number.to_bits().hash(state),
                Value::Integer(integer) => integer.hash(state),
                Value::Flag(flag) => flag.hash(state),
                Value::Text(text) => text.hash(state),
                Value::Raw(bytes) => bytes.hash(state),
            }
        }
    }
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Number(_) | Value::Integer(_) => 8,
        Value::Flag(_) => 1,
        Value::Text(text) => text.len(),
        Value::Raw(bytes) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use super::*;

    fn field(name: &str, value: Value) -> Field {
        Field { name: FieldName::new(name).unwrap(), value }
    }

    fn hash(fields: &Fields) -> u64 {
        let mut hasher = DefaultHasher::new();
        fields.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn equal_fields_are_equal_in_any_order_and_hash_alike() {
        let one = Fields::new([field("b", Value::Flag(true)), field("a", Value::Number(-0.0))]).unwrap();
        let other = Fields::new([field("a", Value::Number(0.0)), field("b", Value::Flag(true))]).unwrap();
        assert_eq!(one, other);
        assert_eq!(hash(&one), hash(&other));
        assert_eq!(one.get("b"), Some(&Value::Flag(true)));
    }

    #[test]
    fn what_is_no_value_or_too_much_is_refused() {
        let name = FieldName::new("a").unwrap();
        assert_eq!(Fields::new([field("a", Value::Number(f64::NAN))]), Err(FieldsError::NotFinite(name.clone())));
        assert_eq!(
            Fields::new([field("a", Value::Flag(true)), field("a", Value::Integer(1))]),
            Err(FieldsError::Twice(name))
        );
        let many = (0..=FIELDS_MAX).map(|at| field(&format!("f{at}"), Value::Flag(true)));
        assert_eq!(Fields::new(many), Err(FieldsError::TooMany { count: FIELDS_MAX + 1 }));
        let large = field("a", Value::Text("x".repeat(FIELDS_BYTES_MAX).into()));
        assert_eq!(Fields::new([large]), Err(FieldsError::TooLarge { bytes: FIELDS_BYTES_MAX + 1 }));
    }
}
