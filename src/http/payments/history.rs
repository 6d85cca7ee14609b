//! What a caller has paid for, the latest first, and one payment as it stands.

use actix_web::get;
use actix_web::web::{self, ServiceConfig};

use super::history_query::HistoryQuery;
use super::reader::PaymentReader;
use crate::actors::payments::Payments;
use crate::actors::payments::answers::PaymentView;
use crate::domain::ids::PaymentId;
use crate::domain::payments::PaymentError;
use crate::domain::time::Timestamp;
use crate::error::ApiResult;
use crate::http::caller::Caller;
use crate::http::page::{Cursor, Page, decode};
use crate::http::views::ReadRefusals;
use crate::store::payments::views::PaymentCursor;

/// `/payments/history` has to come before what is below `/payments/{id}`.
pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_payments).service(read_payment);
}

/// The caller's payments, the latest first.
#[utoipa::path(
    tag = "payments",
    params(HistoryQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<PaymentView>), ReadRefusals),
)]
#[get("/payments/history")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn list_payments(
    caller: Caller,
    query: web::Query<HistoryQuery>,
    payments: web::Data<Payments>,
) -> ApiResult<web::Json<Page<PaymentView>>> {
    let (after, limit) = (query.cursor.as_deref().map(decode).transpose()?, query.limit());
    let filter = query.filter()?;
    let rows = payments.list(caller.user_id, filter, after, limit.with_probe()).await?;
    let cursor =
        |payment: &PaymentView| PaymentCursor { created_at: payment.created_at, id: payment.id };

    Ok(web::Json(Page::new(rows, limit, cursor)))
}

/// A payment as it stands: to whoever pays it, and to the app that sells, by its key or an administrator.
#[utoipa::path(
    tag = "payments",
    params(("id" = PaymentId, Path)),
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses((status = 200, body = PaymentView), ReadRefusals),
)]
#[get("/payments/{id}")]
#[tracing::instrument(skip_all, fields(payment.id = %id))]
pub(super) async fn read_payment(
    reader: PaymentReader,
    id: web::Path<PaymentId>,
    payments: web::Data<Payments>,
) -> ApiResult<web::Json<PaymentView>> {
    let payment = payments.find(reader.payer(), *id).await?;

    Ok(web::Json(payment.ok_or(PaymentError::NotFound)?))
}

impl Cursor for PaymentCursor {
    fn to_text(&self) -> String {
        format!("{}:{}", self.created_at.millis(), self.id)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (created_at, id) = text.split_once(':')?;
        let created_at = Timestamp::from_millis(created_at.parse().ok()?);
        Some(Self { created_at, id: id.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let cursor = PaymentCursor {
            created_at: Timestamp::from_millis(1_795_262_400_000),
            id: uuid::Uuid::from_u128(7).into(),
        };
        assert_eq!(PaymentCursor::from_text(&cursor.to_text()), Some(cursor));
        for text in ["", "1", "x:y", "1:", ":1"] {
            assert_eq!(PaymentCursor::from_text(text), None, "{text}");
        }
    }
}
