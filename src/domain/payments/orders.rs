//! Orders: what is paid for, and how much that is. The app's own server registers them, and a payer never says what
//! something costs.

use std::fmt;

use serde::Serialize;

use crate::domain::ids::UserId;
use crate::domain::money::{Amount, Currency};

pub const ORDER_TYPE_CHARS_MAX: usize = 32;
pub const ORDER_ID_CHARS_MAX: usize = 64;
pub const ORDER_NAME_CHARS_MAX: usize = 100;
/// Hundredths of a percent.
pub const FEE_BPS_MAX: i64 = 10_000;

/// Why something is no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("an order's type has 1 to {ORDER_TYPE_CHARS_MAX} of a-z, 0-9 and _, a letter first")]
    InvalidType,
    #[error("an order's id has 1 to {ORDER_ID_CHARS_MAX} characters of A-Z, a-z, 0-9 and _ . : -")]
    InvalidId,
    #[error(
        "an order's name has 1 to {ORDER_NAME_CHARS_MAX} characters, and no control characters"
    )]
    InvalidName,
    #[error("a fee is 0 to {FEE_BPS_MAX} hundredths of a percent")]
    InvalidFee,
    #[error("nobody pays themselves")]
    PayerIsPayee,
}

/// What an order is known by: its type, such as `job`, and its id in the app that registered it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct OrderKey {
    order_type: String,
    order_id: String,
}

impl OrderKey {
    /// # Errors
    /// [`OrderError::InvalidType`] and [`OrderError::InvalidId`].
    pub fn parse(order_type: &str, order_id: &str) -> Result<Self, OrderError> {
        let is_type = order_type.starts_with(|first: char| first.is_ascii_lowercase())
            && order_type.len() <= ORDER_TYPE_CHARS_MAX
            && order_type.bytes().all(|it| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !is_type {
            return Err(OrderError::InvalidType);
        }
        let is_id = (1..=ORDER_ID_CHARS_MAX).contains(&order_id.len())
            && order_id
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'.' | b':' | b'-'));
        if !is_id {
            return Err(OrderError::InvalidId);
        }
        Ok(Self { order_type: order_type.to_owned(), order_id: order_id.to_owned() })
    }

    #[must_use]
    pub fn order_type(&self) -> &str {
        &self.order_type
    }

    #[must_use]
    pub fn order_id(&self) -> &str {
        &self.order_id
    }
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.order_type, self.order_id)
    }
}

/// What a payer is shown of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderName(String);

impl OrderName {
    /// # Errors
    /// [`OrderError::InvalidName`].
    pub fn parse(text: &str) -> Result<Self, OrderError> {
        let text = text.trim();
        let count = text.chars().count();
        if !(1..=ORDER_NAME_CHARS_MAX).contains(&count) || text.chars().any(char::is_control) {
            return Err(OrderError::InvalidName);
        }
        Ok(Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is kept of what a payee earns, in hundredths of a percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FeeBps(i64);

impl FeeBps {
    /// # Errors
    /// [`OrderError::InvalidFee`].
    pub const fn new(bps: i64) -> Result<Self, OrderError> {
        if 0 <= bps && bps <= FEE_BPS_MAX { Ok(Self(bps)) } else { Err(OrderError::InvalidFee) }
    }

    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// An order as it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    pub key: OrderKey,
    /// `None`: whoever pays.
    pub payer: Option<UserId>,
    /// `None`: the platform keeps it.
    pub payee: Option<UserId>,
    pub amount: Amount,
    pub currency: Currency,
    pub name: OrderName,
    pub fee: FeeBps,
}

impl NewOrder {
    /// # Errors
    /// [`OrderError::PayerIsPayee`].
    pub fn check(&self) -> Result<(), OrderError> {
        let is_same = self.payer.is_some() && self.payer == self.payee;
        if is_same { Err(OrderError::PayerIsPayee) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_short_and_of_plain_characters() {
        let key = OrderKey::parse("job", "2026:a-1_b.C").unwrap();
        assert_eq!(key.to_string(), "job/2026:a-1_b.C");
        for order_type in ["", "Job", "1job", "jo b", "일", &"j".repeat(33)] {
            assert_eq!(OrderKey::parse(order_type, "1"), Err(OrderError::InvalidType));
        }
        for order_id in ["", "a/b", "a b", "주문", "a\n", &"1".repeat(65)] {
            assert_eq!(OrderKey::parse("job", order_id), Err(OrderError::InvalidId));
        }
    }

    #[test]
    fn a_name_says_something_in_one_line() {
        assert_eq!(OrderName::parse("  화단 정리 ").unwrap().as_str(), "화단 정리");
        for name in ["", "  ", "a\nb", &"가".repeat(101)] {
            assert_eq!(OrderName::parse(name), Err(OrderError::InvalidName), "{name:?}");
        }
    }

    #[test]
    fn a_fee_is_a_part_of_the_whole() {
        for bps in [0, 350, 10_000] {
            assert_eq!(FeeBps::new(bps).unwrap().get(), bps);
        }
        for bps in [-1, 10_001, i64::MIN] {
            assert_eq!(FeeBps::new(bps), Err(OrderError::InvalidFee));
        }
    }
}
