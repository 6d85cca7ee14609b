//! The caller of a request: taken from `Authorization: Bearer`, or from the cookie of a page, before a handler runs.
//!
//! A handler that asks for a [`Caller`] cannot be reached without a sound access token; one that does not is public.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::future::{Either, LocalBoxFuture};

pub use crate::accounts::Caller;
use crate::accounts::revocations::Revocations;
use crate::clock;
use crate::domain::accounts::{AccountError, Role};
use crate::error::ApiError;
use crate::http::cookie::Cookie;
use crate::http::gateway::rate_limit::check_user;
use crate::providers::tokens::AccessTokens;

impl FromRequest for Caller {
    type Error = ApiError;
    type Future =
        Either<Ready<Result<Self, ApiError>>, LocalBoxFuture<'static, Result<Self, ApiError>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = match authenticate(request) {
            Ok(caller) => caller,
            Err(error) => return Either::Left(ready(Err(ApiError::Account(error)))),
        };
        match check_user(request, caller.user_id) {
            Either::Left(checked) => Either::Left(ready(checked.into_inner().map(|()| caller))),
            Either::Right(checking) => {
                Either::Right(Box::pin(async move { checking.await.map(|()| caller) }))
            }
        }
    }
}

/// A caller who administers this installation. Everybody else is refused with 403 before the handler runs.
pub struct Admin(pub Caller);

impl FromRequest for Admin {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let caller = Caller::from_request(request, payload);
        Box::pin(async move {
            let caller = caller.await?;
            if caller.roles.contains(Role::Admin) {
                Ok(Self(caller))
            } else {
                Err(ApiError::Forbidden)
            }
        })
    }
}

fn authenticate(request: &HttpRequest) -> Result<Caller, AccountError> {
    let token = bearer_token(request)
        .or_else(|| Cookie::Access.token(request.method(), request.headers()))
        .ok_or(AccountError::Unauthenticated)?;
    let (Some(tokens), Some(revocations)) = (
        request.app_data::<web::Data<AccessTokens>>(),
        request.app_data::<web::Data<Revocations>>(),
    ) else {
        tracing::error!("the application was built without access tokens");
        return Err(AccountError::Crypto);
    };
    Caller::from_access_token(token, tokens, revocations, clock::now())
}

/// The credentials of the `Bearer` scheme (RFC 6750), whose name has no case.
#[must_use]
pub fn bearer_token(request: &HttpRequest) -> Option<&str> {
    let (scheme, token) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn token_of(header: &str) -> Option<String> {
        let request =
            TestRequest::default().insert_header((AUTHORIZATION, header)).to_http_request();
        bearer_token(&request).map(str::to_owned)
    }

    #[test]
    fn the_scheme_has_no_case_and_must_be_there() {
        assert_eq!(token_of("Bearer a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(token_of("bearer  a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(token_of("Basic a.b.c"), None);
        assert_eq!(token_of("a.b.c"), None);
        assert_eq!(bearer_token(&TestRequest::default().to_http_request()), None);
    }
}
