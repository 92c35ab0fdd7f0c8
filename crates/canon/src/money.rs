//! Exact money: integers of 10⁻¹² USD.

use std::borrow::Cow;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::write::push_u64;

/// An amount in 10⁻¹² USD. A price of 1 USD per million tokens is 10⁶ of these per token, so that the product of
/// a price and a count is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pico(pub i64);

const DIGITS: usize = 12;

impl Pico {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One US dollar.
    pub const USD: Self = Self(1_000_000_000_000);

    /// Reads a price in USD per million tokens (`"0.15"`) as an amount per token. At most six decimals are exact;
    /// more is an error.
    pub fn per_token(usd_per_million: &str) -> Result<Self, ParseMoneyError> {
        let amount: Self = usd_per_million.parse()?;
        if amount.0 % 1_000_000 != 0 {
            return Err(ParseMoneyError);
        }
        Ok(Self(amount.0 / 1_000_000))
    }

    /// Appends the amount in USD as it is displayed; it is a JSON number too.
    pub fn push(self, out: &mut Vec<u8>) {
        if self.0 < 0 {
            out.push(b'-');
        }
        let amount = self.0.unsigned_abs();
        push_u64(out, amount / Self::USD.0.unsigned_abs());
        let mut rest = amount % Self::USD.0.unsigned_abs();
        if rest == 0 {
            return;
        }
        let mut digits = [b'0'; DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        let length = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        out.push(b'.');
        out.extend_from_slice(&digits[..length]);
    }

    /// The amount in USD, for estimates and scores only: not exact.
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e12
    }
}

/// The text is not a plain decimal of at most twelve decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseMoneyError;

impl fmt::Display for ParseMoneyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a plain decimal amount in USD")
    }
}

impl std::error::Error for ParseMoneyError {}

impl FromStr for Pico {
    type Err = ParseMoneyError;

    fn from_str(text: &str) -> Result<Self, ParseMoneyError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty())
            || fraction.len() > DIGITS
            || !digits(whole)
            || !digits(fraction)
        {
            return Err(ParseMoneyError);
        }
        let padded = format!("{whole}{fraction:0<DIGITS$}");
        padded.parse().map(Self).map_err(|_| ParseMoneyError)
    }
}

/// A plain decimal in USD without an exponent and without trailing zeros: `0.000026`.
impl fmt::Display for Pico {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        self.push(&mut text);
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl Add for Pico {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Pico {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Mul<u64> for Pico {
    type Output = Self;
    fn mul(self, count: u64) -> Self {
        Self(self.0.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX)))
    }
}

impl Sum for Pico {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl Serialize for Pico {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pico {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Pico {
    fn schema_name() -> Cow<'static, str> {
        "Usd".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "An amount of USD as a decimal: at most 12 digits after the point.",
            "pattern": r"^([0-9]+(\.[0-9]{0,12})?|\.[0-9]{1,12})$",
        })
    }
}

/// The cost of an answer. The parts are exact and `total` is their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Everything together.
    pub total: Pico,
    /// The prompt at every rate: uncached, cached, written to the cache, audio.
    pub input: Pico,
    /// The produced tokens.
    pub output: Pico,
    /// The part of `input` that was read from a cache.
    pub cached_input: Pico,
    /// Per request, per search, per image.
    pub other: Pico,
}

impl Cost {
    /// This percentage of the cost.
    pub fn share(self, percent: u8) -> Self {
        let of = |cost: Pico| Pico((i128::from(cost.0) * i128::from(percent) / 100) as i64);
        Self {
            total: of(self.total),
            input: of(self.input),
            output: of(self.output),
            cached_input: of(self.cached_input),
            other: of(self.other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_printed_as_plain_decimals() {
        assert_eq!(Pico(0).to_string(), "0");
        assert_eq!(Pico(26_000_000).to_string(), "0.000026");
        assert_eq!(Pico(1).to_string(), "0.000000000001");
        assert_eq!((Pico::USD * 3).to_string(), "3");
        assert_eq!(Pico(-1_500_000_000_000).to_string(), "-1.5");
    }

    #[test]
    fn printed_amounts_are_read_back_and_others_refused() {
        for amount in [0, 1, 999, 26_000_000, 1_000_000_000_000, 12_345_678_901_234] {
            assert_eq!(Pico(amount).to_string().parse(), Ok(Pico(amount)));
        }
        for bad in ["", ".", "-1", "1e-6", "1,5", " 1", "0.0000000000001", "NaN"] {
            assert_eq!(bad.parse::<Pico>(), Err(ParseMoneyError), "{bad:?}");
        }
    }

    #[test]
    fn a_price_times_a_count_is_exact() {
        assert_eq!(Pico::per_token("0.15").unwrap() * 104, Pico(15_600_000));
        assert_eq!(Pico::per_token("0.0000001"), Err(ParseMoneyError));
    }
}
