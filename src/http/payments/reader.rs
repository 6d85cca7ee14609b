//! Who may read a payment: whoever pays it, and the app that sells, by its key or an administrator.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;

use crate::domain::accounts::Role;
use crate::domain::ids::UserId;
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Caller;
use crate::http::service::{API_KEY, OrderKeeper};

/// Somebody who reads a payment.
#[derive(Debug)]
pub(super) enum PaymentReader {
    /// Of their own.
    Payer(UserId),
    /// Of everybody.
    Keeper,
}

impl PaymentReader {
    /// Whose payments are read; `None` for everybody's.
    pub(super) const fn payer(&self) -> Option<UserId> {
        match self {
            Self::Payer(user) => Some(*user),
            Self::Keeper => None,
        }
    }
}

impl FromRequest for PaymentReader {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, ApiResult<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if request.headers().contains_key(API_KEY) {
            let keeper = OrderKeeper::from_request(request, payload);
            return Box::pin(async move { keeper.await.map(|_| Self::Keeper) });
        }
        let caller = Caller::from_request(request, payload);
        Box::pin(async move {
            let caller = caller.await?;
            if caller.roles.contains(Role::Admin) {
                Ok(Self::Keeper)
            } else {
                Ok(Self::Payer(caller.user_id))
            }
        })
    }
}
