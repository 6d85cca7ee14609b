//! Which of a payer's payments are shown, and how many of them.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::payments::PaymentStatus;
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult};
use crate::http::page::Limit;
use crate::store::payments::views::PaymentFilter;

const LIMIT_MAX: i64 = 100;

/// How many payments a page has at most: 1 to 100, 50 unless the client says otherwise.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(try_from = "i64")]
pub struct HistoryLimit(Limit);

impl TryFrom<i64> for HistoryLimit {
    type Error = String;

    fn try_from(limit: i64) -> Result<Self, String> {
        let limit = Some(limit).filter(|limit| *limit <= LIMIT_MAX);
        let limit = limit.and_then(|limit| Limit::try_from(limit).ok());
        limit.map(Self).ok_or_else(|| format!("a limit is 1 to {LIMIT_MAX}"))
    }
}

/// Which payments, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// The `next_cursor` of the page before; the first page without.
    pub cursor: Option<String>,
    /// How many payments at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: HistoryLimit,
    /// Such as `captured`.
    status: Option<String>,
    /// Begun then or later.
    from: Option<Timestamp>,
    /// Begun before then.
    to: Option<Timestamp>,
}

impl HistoryQuery {
    /// How many payments at most.
    #[must_use]
    pub const fn limit(&self) -> Limit {
        self.limit.0
    }

    /// Which payments.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] for a status that there is not.
    pub fn filter(&self) -> ApiResult<PaymentFilter> {
        let parse = |text: &str| {
            PaymentStatus::parse(text).ok_or_else(|| {
                ApiError::invalid("?status", "invalid_status", "a payment has no such status")
            })
        };
        let status = self.status.as_deref().map(parse).transpose()?;
        Ok(PaymentFilter { status, from: self.from, to: self.to })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::web;

    use super::*;

    #[test]
    fn a_page_has_at_most_a_hundred_payments_of_a_status_that_there_is() {
        let query = |text| web::Query::<HistoryQuery>::from_query(text);
        assert_eq!(query("").unwrap().limit.0.items(), 50);
        assert_eq!(query("limit=100").unwrap().limit.0.items(), 100);
        for text in ["limit=0", "limit=101", "limit=x", "from=yesterday", "page=2"] {
            assert!(query(text).is_err(), "{text}");
        }
        let filter = query("status=captured&from=2026-11-22T00:00:00Z").unwrap().filter().unwrap();
        assert_eq!(filter.status, Some(PaymentStatus::Captured));
        assert!(filter.from.is_some() && filter.to.is_none());
        assert!(query("status=paid").unwrap().filter().is_err());
    }
}
