//! The web app and the console: pages that the program brings along, built from `web/`.
//!
//! What the app shows is named behind a `#`, so that `/` is all of it. Invariant: a name below `/assets/` stands for its
//! bytes for ever; whatever else there is, browsers ask for again each time.

mod answer;
mod files;
#[cfg(test)]
mod tests;

use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use self::answer::answer;
use self::files::File;
use super::openapi;
use crate::error::{ApiError, ApiResult};

/// Where pages are, and what they are made of; `*` stands for anything.
pub const PATHS: [&str; 6] =
    ["/", "/console", "/console/*", "/assets/*", "/favicon.svg", "/manifest.webmanifest"];
const APP: &str = "index.html";
const CONSOLE: &str = "console.html";

/// What stands in for pages that were not built.
const NOT_BUILT: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>madang</title>
<h1>madang is running</h1>
<p>This program was built without its web app. <code>make run</code> builds both; so does <code>npm ci &amp;&amp; npm run build</code>
before <code>cargo build</code>.</p>
<p><a href=\"/docs/\">The API, to try</a></p>
</html>
";

/// Routes at the root.
pub fn routes(cfg: &mut ServiceConfig) {
    for path in PATHS {
        cfg.route(&path.replace('*', "{rest:.*}"), web::get().to(serve));
    }
}

/// Whether a path leads to a page or to a part of one.
#[must_use]
pub fn is_page(path: &str) -> bool {
    PATHS.iter().any(|pattern| openapi::matches(pattern, path))
}

async fn serve(request: HttpRequest) -> ApiResult<HttpResponse> {
    found(&request, files::find).ok_or(ApiError::NotFound)
}

fn found(request: &HttpRequest, find: impl Fn(&str) -> Option<File>) -> Option<HttpResponse> {
    let name = name_of(request.path())?;
    let is_page = [APP, CONSOLE].contains(&name);
    answer(request, name, find).or_else(|| is_page.then(not_built))
}

/// The file behind a path. A debug build reads it from a folder, which no path leads out of.
fn name_of(path: &str) -> Option<&str> {
    match path.strip_prefix('/')? {
        "" => Some(APP),
        name if name == "console" || name.starts_with("console/") => Some(CONSOLE),
        name => (!name.contains("..")).then_some(name),
    }
}

fn not_built() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(ContentType::html())
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(NOT_BUILT)
}
