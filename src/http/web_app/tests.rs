//! The web app from files of our own: what was built does not matter here.

use std::borrow::Cow;

use actix_web::body::{MessageBody as _, to_bytes};
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use actix_web::test::TestRequest;

use super::*;

const FILES: [(&str, &str); 6] = [
    ("index.html", "the app"),
    ("index.html.br", "app, br"),
    ("index.html.gz", "app, gzip"),
    ("console.html", "the console"),
    ("assets/app-3f2a.js", "run()"),
    ("assets/notes.xyz", "nothing of a page"),
];

struct Told {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Told {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn find(name: &str) -> Option<File> {
    let (_, text) = FILES.iter().find(|(file, _)| *file == name)?;
    let tag = text.replace([' ', ','], "-");
    Some(File { bytes: Cow::Borrowed(text.as_bytes()), tag })
}

/// What is told; `None` for what is not there.
async fn ask(path: &str, headers: &[(&'static str, &str)]) -> Option<Told> {
    let mut request = TestRequest::get().uri(path);
    for header in headers {
        request = request.insert_header(*header);
    }
    let (head, body) = found(&request.to_http_request(), find)?.into_parts();
    let (status, headers) = (head.status(), head.headers().clone());
    let bytes = to_bytes(body.boxed()).await.unwrap();
    Some(Told { status, headers, body: String::from_utf8(bytes.to_vec()).unwrap() })
}

#[actix_web::test]
async fn every_path_of_a_page_leads_to_it() {
    for (path, body) in [
        ("/", "the app"),
        ("/?from=mail", "the app"),
        ("/console", "the console"),
        ("/console/", "the console"),
        ("/console/payments/7", "the console"),
    ] {
        let told = ask(path, &[]).await.unwrap();
        assert_eq!((told.status, told.body.as_str()), (StatusCode::OK, body), "{path}");
        assert_eq!(told.header("content-type"), "text/html; charset=utf-8", "{path}");
        assert_eq!(told.header("cache-control"), "no-cache", "{path}");
    }
}

#[actix_web::test]
async fn a_file_with_a_hash_in_its_name_is_kept_for_ever() {
    let told = ask("/assets/app-3f2a.js", &[]).await.unwrap();

    assert_eq!(told.body, "run()");
    assert_eq!(told.header("content-type"), "text/javascript; charset=utf-8");
    assert_eq!(told.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(told.header("vary"), "", "there is but one way to have it");
}

#[actix_web::test]
async fn a_browser_is_given_the_smallest_that_it_takes() {
    for (accepted, coding, body) in [
        ("gzip, deflate, br, zstd", "br", "app, br"),
        ("gzip", "gzip", "app, gzip"),
        ("br;q=0.5, gzip;q=0.8", "gzip", "app, gzip"),
        ("br;q=0", "", "the app"),
        ("zstd", "", "the app"),
        ("", "", "the app"),
    ] {
        let told = ask("/", &[("accept-encoding", accepted)]).await.unwrap();
        assert_eq!((told.header("content-encoding"), told.body.as_str()), (coding, body));
        assert_eq!(told.header("vary"), "Accept-Encoding", "{accepted}");
    }
}

#[actix_web::test]
async fn what_a_browser_has_is_not_sent_again() {
    let (plain, packed) = (ask("/", &[]).await.unwrap(), [("accept-encoding", "br")]);
    let packed = ask("/", &packed).await.unwrap();
    let (plain, packed) = (plain.header("etag"), packed.header("etag"));
    assert!(plain.starts_with('"') && plain != packed, "{plain} {packed}");

    let known = ask("/", &[("if-none-match", plain)]).await.unwrap();
    assert_eq!((known.status, known.body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    assert_eq!((known.header("etag"), known.header("vary")), (plain, "Accept-Encoding"));
    assert_eq!(known.header("cache-control"), "no-cache");

    let other = ask("/", &[("if-none-match", plain), ("accept-encoding", "br")]).await.unwrap();
    assert_eq!((other.status, other.header("etag")), (StatusCode::OK, packed));
}

#[actix_web::test]
async fn what_is_no_part_of_a_page_is_not_there() {
    for path in [
        "/assets/other.js",
        "/assets/",
        "/assets/notes.xyz",
        "/assets/../index.html",
        "/assets/%2e%2e/index.html",
        "/index.html.br",
        "/favicon.svg",
    ] {
        assert!(ask(path, &[]).await.is_none(), "{path}");
    }
}

#[actix_web::test]
async fn without_a_build_the_pages_say_how_to_make_one() {
    for path in ["/", "/console"] {
        let request = TestRequest::get().uri(path).to_http_request();
        let response = found(&request, |_| None).unwrap();
        assert_eq!(response.headers().get("cache-control").unwrap(), "no-store");
        let body = to_bytes(response.into_body()).await.unwrap();
        assert!(String::from_utf8_lossy(&body).contains("make run"));
    }
    let request = TestRequest::get().uri("/favicon.svg").to_http_request();
    assert!(found(&request, |_| None).is_none());
}

#[test]
fn pages_are_told_from_the_rest() {
    for path in ["/", "/console", "/console/", "/console/a/b", "/assets/a.js", "/favicon.svg"] {
        assert!(is_page(path), "{path}");
    }
    for path in ["", "/livez", "/consoles", "/assets", "/v1/", "/docs/", "/index.html"] {
        assert!(!is_page(path), "{path}");
    }
}
