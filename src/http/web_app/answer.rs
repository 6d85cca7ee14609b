//! How a file is answered: as what it is, packed as the client likes it best, and not at all where the client has it.
//!
//! Invariant: each way of packing has a tag of its own, because its bytes are others (RFC 9110, 8.8.3.3).

use std::borrow::Cow;

use actix_web::http::header::{
    AcceptEncoding, CACHE_CONTROL, ContentEncoding, ETag, Encoding, EntityTag, Header as _, VARY,
};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;

use super::files::File;
use crate::http::conditional::is_known;

/// Their names have a hash of what is in them.
const HASHED: &str = "assets/";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Asked for again each time.
const FOR_NOW: &str = "no-cache";

/// How the build packs files beside the plain ones, the smallest first.
const PACKED: [(ContentEncoding, &str); 2] =
    [(ContentEncoding::Brotli, ".br"), (ContentEncoding::Gzip, ".gz")];

/// The file of that name; `None` if `find` knows none, or it is nothing that a page is made of.
pub(super) fn answer(
    request: &HttpRequest,
    name: &str,
    find: impl Fn(&str) -> Option<File>,
) -> Option<HttpResponse> {
    let media_type = media_type(name)?;
    let plain = find(name)?;
    let packed: Vec<_> = PACKED
        .into_iter()
        .filter_map(|(coding, ending)| Some((coding, find(&format!("{name}{ending}"))?)))
        .collect();
    let is_packed = !packed.is_empty();
    let (coding, file) = chosen(request, plain, packed);

    let tag = EntityTag::new_strong(file.tag);
    let is_known = is_known(request, &tag);
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    let cached = if name.starts_with(HASHED) { FOR_EVER } else { FOR_NOW };
    response.insert_header(ETag(tag)).insert_header((CACHE_CONTROL, cached));
    if is_packed {
        response.insert_header((VARY, "Accept-Encoding"));
    }
    if is_known {
        return Some(response.finish());
    }
    if coding != ContentEncoding::Identity {
        response.insert_header(coding);
    }

    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    Some(response.content_type(media_type).body(bytes))
}

/// What the client accepts and likes best; of what it likes as well, the smallest.
fn chosen(
    request: &HttpRequest,
    plain: File,
    packed: Vec<(ContentEncoding, File)>,
) -> (ContentEncoding, File) {
    let codings = packed.iter().map(|(coding, _)| *coding).chain([ContentEncoding::Identity]);
    let offered: Vec<Encoding> = codings.map(Encoding::Known).collect();
    let liked =
        AcceptEncoding::parse(request).ok().and_then(|liked| liked.negotiate(offered.iter()));
    packed
        .into_iter()
        .find(|(coding, _)| liked == Some(Encoding::Known(*coding)))
        .unwrap_or((ContentEncoding::Identity, plain))
}

/// Of what pages are made of. A browser that is told `nosniff` runs nothing that is called something else.
fn media_type(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}
