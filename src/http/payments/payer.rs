//! Payers: callers who begin or confirm a payment, which they may do only so often.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;

use crate::error::{ApiError, ApiResult};
use crate::http::caller::Caller;
use crate::http::gateway::rate_limit::{PayerCall, check_payer};

/// A caller who begins a payment.
pub struct Beginning(pub Caller);

/// A caller who confirms one.
pub struct Confirming(pub Caller);

impl FromRequest for Beginning {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, ApiResult<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let caller = counted(PayerCall::Create, request, payload);
        Box::pin(async move { caller.await.map(Self) })
    }
}

impl FromRequest for Confirming {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, ApiResult<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let caller = counted(PayerCall::Confirm, request, payload);
        Box::pin(async move { caller.await.map(Self) })
    }
}

fn counted(
    call: PayerCall,
    request: &HttpRequest,
    payload: &mut Payload,
) -> LocalBoxFuture<'static, ApiResult<Caller>> {
    let (caller, request) = (Caller::from_request(request, payload), request.clone());
    Box::pin(async move {
        let caller = caller.await?;
        check_payer(&request, caller.user_id, call).await?;
        Ok(caller)
    })
}
