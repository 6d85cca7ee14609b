//! Money: amounts in whole minor units, and the currency they are of. No fractions, no floats, no signs.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most that one transfer moves: exact in every JSON number, and far from what a counter holds.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000;

/// Why something is no amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("an amount is a whole number of minor units from 1 to {AMOUNT_MAX}")]
    InvalidAmount,
    #[error("a currency has three letters, such as `KRW` (ISO 4217)")]
    InvalidCurrency,
}

/// A positive amount in minor units: won, cents. At most [`AMOUNT_MAX`].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(try_from = "i64", into = "i64")]
#[schema(value_type = i64, minimum = 1, maximum = 1_000_000_000_000_i64)]
pub struct Amount(i64);

impl Amount {
    /// # Errors
    /// [`MoneyError::InvalidAmount`] for anything but 1 to [`AMOUNT_MAX`].
    pub const fn new(minor: i64) -> Result<Self, MoneyError> {
        if 1 <= minor && minor <= AMOUNT_MAX {
            Ok(Self(minor))
        } else {
            Err(MoneyError::InvalidAmount)
        }
    }

    /// Minor units.
    #[must_use]
    pub const fn minor(self) -> i64 {
        self.0
    }

    /// For people, without the currency: `12,000` won, `1,234.50` dollars.
    #[must_use]
    pub fn written(self, currency: Currency) -> String {
        let digits = currency.digits();
        let width = digits.saturating_add(1);
        let minor = format!("{:0width$}", self.0);
        let (whole, part) = minor.split_at(minor.len().saturating_sub(digits));
        let mut written = String::with_capacity(minor.len().saturating_mul(2));
        for (place, digit) in whole.char_indices() {
            if place > 0 && whole.len().saturating_sub(place).is_multiple_of(3) {
                written.push(',');
            }
            written.push(digit);
        }
        if digits > 0 {
            written.push('.');
            written.push_str(part);
        }
        written
    }

    /// What is left when `other` is taken away; `None` where that is nothing, or less.
    #[must_use]
    pub fn less(self, other: Self) -> Option<Self> {
        Self::new(self.0.saturating_sub(other.0)).ok()
    }
}

impl TryFrom<i64> for Amount {
    type Error = MoneyError;

    fn try_from(minor: i64) -> Result<Self, MoneyError> {
        Self::new(minor)
    }
}

impl From<Amount> for i64 {
    fn from(amount: Amount) -> Self {
        amount.0
    }
}

impl Sum<Amount> for i128 {
    fn sum<I: Iterator<Item = Amount>>(amounts: I) -> Self {
        amounts.map(|amount| Self::from(amount.0)).sum()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Three upper-case letters (ISO 4217). Whether it is dealt in is for the operator to say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "KRW")]
pub struct Currency([u8; 3]);

impl Currency {
    pub const KRW: Self = Self(*b"KRW");

    /// How many of the last digits of an amount are a part of the whole: 0 for won, 2 for dollars (ISO 4217).
    #[must_use]
    pub const fn digits(self) -> usize {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG"
            | b"RWF" | b"UGX" | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            _ => 2,
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        // Three ASCII letters since they were parsed.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        match text.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|byte| byte.is_ascii_uppercase()) => {
                Ok(Self([*a, *b, *c]))
            }
            _ => Err(MoneyError::InvalidCurrency),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(text: String) -> Result<Self, MoneyError> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn an_amount_is_whole_positive_and_bounded() {
        for minor in [1, 100, AMOUNT_MAX] {
            assert_eq!(Amount::new(minor).unwrap().minor(), minor);
        }
        for minor in [0, -1, i64::MIN, AMOUNT_MAX + 1, i64::MAX] {
            assert_eq!(Amount::new(minor), Err(MoneyError::InvalidAmount), "{minor}");
        }
        for wrong in [json!(0), json!(-5), json!(1.5), json!("10"), json!(1e30), json!(null)] {
            assert!(from_value::<Amount>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_left_is_an_amount_or_nothing() {
        let won = |minor| Amount::new(minor).unwrap();
        assert_eq!(won(10).less(won(3)), Some(won(7)));
        assert_eq!(won(10).less(won(10)), None);
        assert_eq!(won(3).less(won(10)), None);
    }

    #[test]
    fn an_amount_is_written_for_people() {
        let written =
            |minor, currency: &str| Amount::new(minor).unwrap().written(currency.parse().unwrap());
        for (minor, currency, expected) in [
            (1, "KRW", "1"),
            (999, "KRW", "999"),
            (1_000, "KRW", "1,000"),
            (AMOUNT_MAX, "KRW", "1,000,000,000,000"),
            (1, "USD", "0.01"),
            (123_450, "USD", "1,234.50"),
            (1_234_567, "KWD", "1,234.567"),
        ] {
            assert_eq!(written(minor, currency), expected, "{minor} {currency}");
        }
    }

    #[test]
    fn a_currency_is_three_capitals() {
        assert_eq!("KRW".parse(), Ok(Currency::KRW));
        for text in ["", "KR", "krw", "KRWW", "원화", "K1W"] {
            assert_eq!(text.parse::<Currency>(), Err(MoneyError::InvalidCurrency), "{text}");
        }
    }
}
