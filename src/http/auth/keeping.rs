//! Who keeps a login's refresh token: the client, which is told it, or the browser in a cookie that no script can read.
//!
//! Invariant: a cookie is set, taken and cleared only for pages of this origin. Another could plant its own login in a browser,
//! or end the one that is there.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue, SET_COOKIE};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use secrecy::{ExposeSecret, SecretString};

use super::bodies::{AuthView, RefreshBody};
use crate::accounts::Grant;
use crate::domain::accounts::AccountError;
use crate::error::{ApiError, ApiResult, FieldError};
use crate::http::cookie::{Cookie, is_of_this_origin};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeper {
    Client,
    Browser,
}

impl Keeper {
    /// The one that a body asks for with `cookie`.
    pub(super) fn asked(cookie: bool, request: &HttpRequest) -> ApiResult<Self> {
        match cookie {
            false => Ok(Self::Client),
            true if is_of_this_origin(request.method(), request.headers()) => Ok(Self::Browser),
            true => Err(ApiError::OriginNotAllowed),
        }
    }

    /// The answer to whoever has logged in, which nothing on the way may keep.
    pub(super) fn answer(self, grant: Grant, status: StatusCode) -> HttpResponse {
        let mut response = HttpResponse::build(status);
        response.insert_header((CACHE_CONTROL, "no-store"));
        let token = grant.refresh_token.expose_secret();
        let told = match self {
            Self::Client => Some(token.to_owned()),
            Self::Browser => {
                let cookie = Cookie::Refresh.set(token, grant.refresh_expires_in.as_secs());
                response.append_header((SET_COOKIE, cookie));
                None
            }
        };

        response.json(AuthView::new(grant, told))
    }

    /// The answer to whoever has logged out.
    pub(super) fn farewell(self) -> HttpResponse {
        let mut response = HttpResponse::NoContent();
        if self == Self::Browser {
            for cookie in [Cookie::Refresh, Cookie::Access] {
                response.append_header((SET_COOKIE, cookie.clear()));
            }
        }

        response.finish()
    }
}

/// What is offered in exchange for new tokens: the token in the body, or the one in the cookie.
pub(super) fn offered(
    body: RefreshBody,
    request: &HttpRequest,
) -> ApiResult<(Keeper, SecretString)> {
    match (body.refresh_token, body.cookie) {
        (Some(token), false) => Ok((Keeper::Client, token)),
        (None, true) => {
            let token = kept(request).ok_or(AccountError::Unauthenticated)?;
            Ok((Keeper::Browser, token))
        }
        (None, false) => Err(wrong("/refresh_token", "missing_field")),
        (Some(_), true) => Err(wrong("/cookie", "invalid_value")),
    }
}

/// The refresh token that the browser keeps; none for a page of another origin.
pub(super) fn kept(request: &HttpRequest) -> Option<SecretString> {
    Cookie::Refresh.token(request.method(), request.headers()).map(SecretString::from)
}

/// Tells a page that what its browser keeps is worthless, and has that forgotten.
pub(super) fn worthless() -> HttpResponse {
    let mut response = ApiError::Account(AccountError::InvalidRefreshToken).error_response();
    if let Ok(cleared) = HeaderValue::from_str(&Cookie::Refresh.clear()) {
        response.headers_mut().append(SET_COOKIE, cleared);
    }

    response
}

fn wrong(pointer: &str, code: &str) -> ApiError {
    let (pointer, code) = (pointer.to_owned(), code.to_owned());
    let detail = "Either `refresh_token` is given, or `cookie` is true.".to_owned();
    ApiError::InvalidBody { errors: vec![FieldError { pointer, code, detail }] }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    /// A request of a page of `site`, whose browser keeps a token.
    fn from(site: &str) -> HttpRequest {
        TestRequest::post()
            .insert_header(("sec-fetch-site", site))
            .insert_header(("cookie", "__Host-madang-refresh=kept"))
            .to_http_request()
    }

    /// What is exchanged, or the code of the refusal.
    fn exchanged(token: Option<&str>, cookie: bool, site: &str) -> Result<String, &'static str> {
        let body = RefreshBody { refresh_token: token.map(SecretString::from), cookie };
        let offered = offered(body, &from(site)).map_err(|error| error.status_and_code().1);
        offered.map(|(_, token)| token.expose_secret().to_owned())
    }

    #[test]
    fn either_the_token_or_the_cookie_is_exchanged() {
        assert_eq!(exchanged(Some("told"), false, "same-origin").unwrap(), "told");
        assert_eq!(exchanged(Some("told"), false, "cross-site").unwrap(), "told");
        assert_eq!(exchanged(None, true, "same-origin").unwrap(), "kept");
        assert_eq!(exchanged(None, false, "same-origin"), Err("invalid_body"));
        assert_eq!(exchanged(Some("told"), true, "same-origin"), Err("invalid_body"));
    }

    #[test]
    fn nothing_is_kept_for_another_origin() {
        assert_eq!(exchanged(None, true, "cross-site"), Err("unauthenticated"));
        assert_eq!(Keeper::asked(true, &from("same-origin")).unwrap(), Keeper::Browser);
        let refused = Keeper::asked(true, &from("same-site")).unwrap_err();
        assert_eq!(refused.status_and_code().1, "origin_not_allowed");
        assert_eq!(Keeper::asked(false, &from("cross-site")).unwrap(), Keeper::Client);
    }
}
