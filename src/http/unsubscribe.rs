//! The way out of mails, without a login: what a mail program posts to (RFC 8058), and the page that asks a person.
//!
//! Invariant: only POST changes anything. Programs that look at every link in a mail follow them with GET.

use actix_web::http::header::{ACCEPT, ContentType};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, get, post};
use minijinja::HtmlEscape;
use serde::Deserialize;
use utoipa::OpenApi;

use super::auth::refusals::PublicRefusals;
use crate::clock;
use crate::config::Config;
use crate::domain::accounts::AccountError;
use crate::domain::digests;
use crate::domain::locales::Locale;
use crate::domain::media::Medium;
use crate::domain::preferences::{Change, Choice, Scope};
use crate::domain::unsubscribe::UnsubscribeToken;
use crate::error::{ApiResult, Problem};
use crate::store::{Store, StoreError, preferences};

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(ask_to_unsubscribe).service(unsubscribe);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(ask_to_unsubscribe, unsubscribe))]
pub struct Doc;

/// What the link in the mail brings. What others have put behind it, such as `utm_source`, stops nobody.
#[derive(Deserialize)]
struct TokenQuery {
    token: String,
}

/// Asks a person whether they want no more mails of a kind; changes nothing.
#[utoipa::path(
    tag = "notifications",
    params(("token" = String, Query, description = "What the link in the mail brings")),
    responses(
        (status = 200, description = "A page with one button", body = String, content_type = "text/html"),
        (
            status = 422,
            description = "`invalid_token`: not a link of this server, or the account is gone",
            body = Problem,
            content_type = "application/problem+json",
        ),
        PublicRefusals,
    ),
)]
#[get("/notifications/unsubscribe")]
#[tracing::instrument(skip_all)]
async fn ask_to_unsubscribe(
    query: web::Query<TokenQuery>,
    store: web::Data<Store>,
    config: web::Data<Config>,
) -> ApiResult<HttpResponse> {
    let (token, locale) = believed(&store, &query.token).await?;
    let words = words(&locale);
    let form = format!(
        "<form method=\"post\" action=\"?token={}\"><button>{}</button></form>",
        token.to_text(),
        words.button
    );

    Ok(page(&config, &locale, words, words.question, &form))
}

/// Ends mails of a kind to a user, once and for all; again changes nothing. A body is not looked at.
#[utoipa::path(
    tag = "notifications",
    params(("token" = String, Query, description = "What the link in the mail brings")),
    responses(
        (status = 204, description = "Done"),
        (status = 200, description = "Done, for a browser", body = String, content_type = "text/html"),
        (
            status = 422,
            description = "`invalid_token`: not a link of this server, or the account is gone",
            body = Problem,
            content_type = "application/problem+json",
        ),
        PublicRefusals,
    ),
)]
#[post("/notifications/unsubscribe")]
#[tracing::instrument(skip_all)]
async fn unsubscribe(
    request: HttpRequest,
    query: web::Query<TokenQuery>,
    store: web::Data<Store>,
    config: web::Data<Config>,
) -> ApiResult<HttpResponse> {
    let (token, locale) = believed(&store, &query.token).await?;
    let changes = changes(&token)?;
    let (user, now) = (token.user, clock::now());
    store
        .write::<_, StoreError, _>(move |db| {
            Box::pin(
                async move { preferences::update_preferences(db, user, &changes, None, now).await },
            )
        })
        .await?;

    if wants_a_page(&request) {
        let words = words(&locale);
        return Ok(page(&config, &locale, words, words.done, ""));
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Mails of each kind that the link is about end.
fn changes(token: &UnsubscribeToken) -> ApiResult<Vec<Change>> {
    let mut changes = Vec::new();
    for kind in digests::ended_by(token.scope.as_str()) {
        let scope = Scope::parse(kind).map_err(|_| AccountError::InvalidOneTimeToken)?;
        let change = Change { scope, medium: Medium::Mail, choice: Some(Choice::Off) };
        // What cannot be switched off has no such link.
        change.check().map_err(|_| AccountError::InvalidOneTimeToken)?;
        changes.push(change);
    }
    Ok(changes)
}

/// The token, if the key of its user has signed it, and the language to answer in.
async fn believed(store: &Store, text: &str) -> ApiResult<(UnsubscribeToken, Locale)> {
    let token = UnsubscribeToken::parse(text).ok_or(AccountError::InvalidOneTimeToken)?;
    let user = token.user;
    let found = store
        .read::<_, StoreError, _>(move |db| Box::pin(preferences::find_unsubscriber(db, user)))
        .await?;
    let found = found.filter(|found| token.is_signed_with(&found.key));
    let found = found.ok_or(AccountError::InvalidOneTimeToken)?;

    Ok((token, Locale::parse(&found.locale).unwrap_or_default()))
}

fn wants_a_page(request: &HttpRequest) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// The words of the page.
struct Words {
    title: &'static str,
    question: &'static str,
    button: &'static str,
    done: &'static str,
}

const EN: Words = Words {
    title: "Mails from",
    question: "Do you want no more mails of this kind?",
    button: "Stop these mails",
    done: "You will get no more mails of this kind. You can change that in the app at any time.",
};
const KO: Words = Words {
    title: "메일 알림:",
    question: "이런 메일을 그만 받으시겠어요?",
    button: "그만 받기",
    done: "이제 이런 메일을 보내지 않을게요. 앱에서 언제든지 다시 바꿀 수 있어요.",
};

fn words(locale: &Locale) -> &'static Words {
    if locale.language() == "ko" { &KO } else { &EN }
}

fn page(
    config: &Config,
    locale: &Locale,
    words: &Words,
    sentence: &str,
    form: &str,
) -> HttpResponse {
    let title = format!("{} {}", words.title, HtmlEscape(&config.notifications.app_name));
    let html = format!(
        "<!doctype html>\n<html lang=\"{locale}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>body{{font:16px/1.6 system-ui,sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem}}\
         button{{font:inherit;padding:.5rem 1rem}}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n<p>{sentence}</p>\n{form}\n</main>\n</body>\n</html>\n"
    );
    HttpResponse::Ok().content_type(ContentType::html()).body(html)
}
