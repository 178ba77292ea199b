//! Numbers as devices write them, kept exactly: a decimal text never passes through binary fractions
//! before it is scaled, so `2995 × 0.001` is `2.995`.

use std::fmt;
use std::str::FromStr;

/// LIMIT: significant digits that are kept; a double has 17.
const DIGITS_MAX: u32 = 36;

/// LIMIT: beyond this power of ten every number is zero or infinite as a double.
const EXPONENT_MAX: i32 = 4_000;

/// A decimal number: `mantissa × 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    mantissa: i128,
    exponent: i32,
    /// Written without a point and an exponent.
    whole: bool,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Notation {
    /// `-12.5`, `0042`, `1.2e+04`.
    #[default]
    Decimal,
    /// `-12,5`.
    Comma,
    /// `00d1`, `0x00D1`.
    Hex,
}

/// Why a text is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NumberError {
    /// The text has another form.
    #[error("is no number")]
    Malformed,
    /// `inf`, or a number too large for a double.
    #[error("is not finite")]
    Infinite,
}

impl Decimal {
    pub(crate) const ONE: Decimal = Decimal { mantissa: 1, exponent: 0, whole: true };
    pub(crate) const ZERO: Decimal = Decimal { mantissa: 0, exponent: 0, whole: true };

    /// Reads a text; blanks around it don't count.
    pub(crate) fn parse(text: &str, notation: Notation) -> Result<Decimal, NumberError> {
        let text = text.trim_ascii();
        match notation {
            Notation::Decimal => decimal(text, b'.'),
            Notation::Comma => decimal(text, b','),
            Notation::Hex => hex(text),
        }
    }

    /// The whole number that this is, if it is one and fits.
    pub(crate) fn integer(self) -> Option<i64> {
        self.shifted(0)
    }

    /// Whether the text had neither point nor exponent.
    pub(crate) fn is_whole(self) -> bool {
        self.whole
    }

    /// The nearest double; never `-0`. `None`: it would be infinite.
    pub(crate) fn float(self) -> Option<f64> {
        if self.mantissa == 0 {
            return Some(0.0);
        }
        // The correctly rounded way through text; what it costs is small beside a reading's other parts.
        let float: f64 = format!("{}e{}", self.mantissa, self.exponent).parse().ok()?;
        float.is_finite().then_some(if float == 0.0 { 0.0 } else { float })
    }

    /// `self × 10^power` as a whole number, if it is one.
    fn shifted(self, power: i32) -> Option<i64> {
        let exponent = self.exponent.checked_add(power)?;
        if self.mantissa == 0 {
            return Some(0);
        }
        let factor = 10_i128.checked_pow(exponent.unsigned_abs())?;
        let shifted = if exponent >= 0 {
            self.mantissa.checked_mul(factor)?
        } else {
            (self.mantissa % factor == 0).then(|| self.mantissa / factor)?
        };
        i64::try_from(shifted).ok()
    }

    /// `self × 10^power`, rounded down to a whole number.
    pub(crate) fn floor_shifted(self, power: i32) -> Option<i64> {
        let exponent = self.exponent.checked_add(power)?;
        let floored = match 10_i128.checked_pow(exponent.unsigned_abs()) {
            Some(factor) if exponent >= 0 => self.mantissa.checked_mul(factor)?,
            Some(factor) => self.mantissa.div_euclid(factor),
            None if exponent < 0 || self.mantissa == 0 => self.mantissa.signum().min(0),
            None => return None,
        };
        i64::try_from(floored).ok()
    }

    fn times(self, other: Decimal) -> Option<Decimal> {
        let mantissa = self.mantissa.checked_mul(other.mantissa)?;
        Some(Decimal { mantissa, exponent: self.exponent.checked_add(other.exponent)?, whole: false })
    }

    fn plus(self, other: Decimal) -> Option<Decimal> {
        let exponent = self.exponent.min(other.exponent);
        let aligned = |number: Decimal| {
            let factor = 10_i128.checked_pow(number.exponent.abs_diff(exponent))?;
            number.mantissa.checked_mul(factor)
        };
        Some(Decimal { mantissa: aligned(self)?.checked_add(aligned(other)?)?, exponent, whole: false })
    }

    /// The number whose shortest text this double has. `None`: it is not finite.
    pub(crate) fn from_float(float: f64) -> Option<Decimal> {
        decimal(&format!("{float:e}"), b'.').ok()
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<std::cmp::Ordering> {
        let negative = Decimal { mantissa: other.mantissa.checked_neg()?, ..*other };
        match self.plus(negative) {
            Some(difference) => Some(difference.mantissa.cmp(&0)),
            None => self.float()?.partial_cmp(&other.float()?),
        }
    }
}

impl FromStr for Decimal {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Decimal, NumberError> {
        Decimal::parse(text, Notation::Decimal)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.integer() {
            Some(integer) => write!(f, "{integer}"),
            None => write!(f, "{}", self.float().unwrap_or(f64::INFINITY)),
        }
    }
}

fn decimal(text: &str, point: u8) -> Result<Decimal, NumberError> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
        return Err(NumberError::Infinite);
    }
    let (mut mantissa, mut exponent, mut kept) = (0_i128, 0_i32, 0_u32);
    let (mut seen, mut after_point, mut rest) = (false, false, digits);
    while let [byte, tail @ ..] = rest {
        match byte {
            b'0'..=b'9' => {
                seen = true;
                if kept < DIGITS_MAX {
                    mantissa = mantissa * 10 + i128::from(byte - b'0');
                    kept += u32::from(mantissa != 0);
                    exponent = exponent.saturating_sub(i32::from(after_point));
                } else {
                    exponent = exponent.saturating_add(i32::from(!after_point));
                }
            }
            _ if *byte == point && !after_point => after_point = true,
            b'e' | b'E' if seen => break,
            _ => return Err(NumberError::Malformed),
        }
        rest = tail;
    }
    if !seen {
        return Err(NumberError::Malformed);
    }
    let whole = rest.is_empty() && !after_point;
    if let [_, power @ ..] = rest {
        exponent = exponent.saturating_add(power_of_ten(power)?);
    }
    let exponent = exponent.clamp(-EXPONENT_MAX, EXPONENT_MAX);
    let decimal = Decimal { mantissa: if negative { -mantissa } else { mantissa }, exponent, whole };
    if decimal.float().is_none() { Err(NumberError::Infinite) } else { Ok(decimal) }
}

fn power_of_ten(text: &[u8]) -> Result<i32, NumberError> {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] | rest => (1, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NumberError::Malformed);
    }
    let power = digits.iter().fold(0_i32, |power, digit| (power * 10 + i32::from(digit - b'0')).min(EXPONENT_MAX * 2));
    Ok(sign * power)
}

fn hex(text: &str) -> Result<Decimal, NumberError> {
    let digits = text.strip_prefix("0x").or(text.strip_prefix("0X")).unwrap_or(text);
    if digits.is_empty() || digits.len() > 16 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(NumberError::Malformed);
    }
    let number = u64::from_str_radix(digits, 16).map_err(|_| NumberError::Malformed)?;
    Ok(Decimal { mantissa: i128::from(number), exponent: 0, whole: true })
}

/// What is done to a number: `× numerator / denominator + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    pub(crate) numerator: Decimal,
    pub(crate) denominator: Decimal,
    pub(crate) offset: Decimal,
}

impl Scale {
    /// Exactly, unless it divides or the digits run out.
    pub(crate) fn apply(&self, number: Decimal) -> Option<Decimal> {
        if self.denominator == Decimal::ONE
            && let Some(scaled) = number.times(self.numerator).and_then(|product| product.plus(self.offset))
        {
            return Some(scaled);
        }
        let scaled = number.float()? * self.numerator.float()? / self.denominator.float()? + self.offset.float()?;
        Decimal::from_float(scaled).map(|scaled| Decimal { whole: false, ..scaled })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Decimal, Notation, NumberError, Scale};

    fn number(text: &str) -> Decimal {
        Decimal::parse(text, Notation::Decimal).unwrap()
    }

    #[test]
    fn decimal_texts_are_read_as_written() {
        assert_eq!(number("004512.317").float(), Some(4512.317));
        assert_eq!(number("1.2e+04").float(), Some(12_000.0));
        assert_eq!(number("-0.0").float().map(f64::to_bits), Some(0));
        assert_eq!(number("00009").integer(), Some(9));
        assert_eq!(number("9223372036854775807").integer(), Some(i64::MAX));
        assert_eq!(number("9223372036854775808").integer(), None);
        assert_eq!(number(" 7 ").integer(), Some(7));
        assert!(number("7").is_whole() && !number("7.0").is_whole());
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", ".", "1e", "1e+", "18emonTx", "1.2.3", "0x10", "1_000", "--1", "1,5", "e5"] {
            assert_eq!(Decimal::parse(text, Notation::Decimal), Err(NumberError::Malformed), "{text}");
        }
        for text in ["inf", "-INF", "Infinity", "1e999"] {
            assert_eq!(Decimal::parse(text, Notation::Decimal), Err(NumberError::Infinite), "{text}");
        }
        assert_eq!(Decimal::parse("zz12", Notation::Hex), Err(NumberError::Malformed));
    }

    #[test]
    fn other_notations_are_read() {
        assert_eq!(Decimal::parse("00d1", Notation::Hex).unwrap().integer(), Some(209));
        assert_eq!(
            Decimal::parse("0xFFFFFFFFFFFFFFFF", Notation::Hex).unwrap().float(),
            Some(18_446_744_073_709_551_615.0)
        );
        assert_eq!(Decimal::parse("-12,5", Notation::Comma).unwrap().float(), Some(-12.5));
    }

    #[test]
    fn scaling_is_exact_where_decimals_are() {
        let scale = |numerator: &str, denominator: &str, offset: &str| Scale {
            numerator: number(numerator),
            denominator: number(denominator),
            offset: number(offset),
        };
        assert_eq!(scale("0.001", "1", "0").apply(number("2995")).unwrap().float(), Some(2.995));
        assert_eq!(scale("0.01", "1", "0").apply(number("2143")).unwrap().float(), Some(21.43));
        assert_eq!(scale("0.1", "1", "-40").apply(number("82")).unwrap().float(), Some(-31.8));
        assert_eq!(scale("0.01", "1", "0").apply(number("4200")).unwrap().integer(), Some(42));
        let hours = scale("1", "60", "0").apply(number("21826")).unwrap().float().unwrap();
        assert!((hours - 363.766_666_666).abs() < 1e-6);
    }

    #[test]
    fn numbers_compare_by_value() {
        assert!(number("30000") == number("30000") && number("3e4").partial_cmp(&number("30000.0")).unwrap().is_eq());
        assert!(number("-1") < number("0.5"));
    }

    proptest! {
        #[test]
        fn any_double_comes_back(bits: u64) {
            let float = f64::from_bits(bits);
            if let Some(decimal) = Decimal::from_float(float) {
                prop_assert_eq!(decimal.float(), Some(float + 0.0));
            } else {
                prop_assert!(!float.is_finite());
            }
        }

        #[test]
        fn any_integer_is_exact(integer: i64) {
            prop_assert_eq!(number(&integer.to_string()).integer(), Some(integer));
        }

        #[test]
        fn agrees_with_the_standard_library(text in "[-+]?[0-9]{0,40}(\\.[0-9]{0,40})?([eE][-+]?[0-9]{1,3})?") {
            let ours = Decimal::parse(&text, Notation::Decimal).ok().and_then(Decimal::float);
            let theirs = text.parse::<f64>().ok().filter(|float| float.is_finite());
            match (ours, theirs) {
                // Beyond the digits that are kept the last bit may differ.
                (Some(ours), Some(theirs)) => prop_assert!((ours - theirs).abs() <= theirs.abs() * 1e-15),
                (ours, theirs) => prop_assert_eq!(ours, theirs),
            }
        }

        #[test]
        fn no_text_breaks_it(text: String) {
            for notation in [Notation::Decimal, Notation::Comma, Notation::Hex] {
                if let Ok(number) = Decimal::parse(&text, notation) {
                    prop_assert!(number.float().is_some());
                    let _ = (number.integer(), number.floor_shifted(6), number.to_string());
                }
            }
        }
    }
}
