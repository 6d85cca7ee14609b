//! Forms with a file in them: one field of a `multipart/form-data` body (RFC 7578) that is in memory as a whole.

use actix_web::http::header::{ContentDisposition, DispositionType, HeaderValue};
use actix_web::{HttpMessage as _, HttpRequest, mime};
use bytes::Bytes;

/// What the boundaries and headers of a form may add to its file.
pub const OVERHEAD_BYTES_MAX: usize = 64 * 1_024;
/// RFC 2046, 5.1.1.
const BOUNDARY_CHARS_MAX: usize = 70;

/// Why there is nothing to take out of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormError {
    /// It is no form.
    Malformed,
    /// It has no field of this name.
    Missing,
}

/// The boundary between the parts of the body; `None` where the body is no form at all.
///
/// # Errors
/// [`FormError::Malformed`] for a form without one.
pub fn boundary_of(request: &HttpRequest) -> Result<Option<String>, FormError> {
    let kind = request.mime_type().ok().flatten();
    let Some(kind) =
        kind.filter(|kind| kind.type_() == mime::MULTIPART && kind.subtype() == mime::FORM_DATA)
    else {
        return Ok(None);
    };
    let boundary = kind.get_param(mime::BOUNDARY).map(|boundary| boundary.as_str().to_owned());
    boundary
        .filter(|boundary| (1..=BOUNDARY_CHARS_MAX).contains(&boundary.len()))
        .map(Some)
        .ok_or(FormError::Malformed)
}

/// The first part of that name; shares the memory of the body. Takes time by the length of the body.
///
/// # Errors
/// [`FormError`].
pub fn field(body: &Bytes, boundary: &str, name: &str) -> Result<Bytes, FormError> {
    let delimiter = format!("\r\n--{boundary}");
    let delimiter = delimiter.as_bytes();
    let mut at = match delimiter.get(2..) {
        Some(first) if body.starts_with(first) => first.len(),
        _ => end_of(body, 0, delimiter)?,
    };
    loop {
        if from(body, at).starts_with(b"--") {
            return Err(FormError::Missing);
        }
        // Its line ends where the headers begin; a part without any has two ends of line in a row.
        let headers = end_of(body, at, b"\r\n")? - 2;
        let padding = body.get(at..headers).unwrap_or_default();
        if !padding.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(FormError::Malformed);
        }
        let content = end_of(body, headers, b"\r\n\r\n")?;
        let next = end_of(body, content, delimiter)?;
        if is_named(body.get(headers..content).unwrap_or_default(), name) {
            return Ok(body.slice(content..next - delimiter.len()));
        }
        at = next;
    }
}

fn from(body: &[u8], at: usize) -> &[u8] {
    body.get(at..).unwrap_or_default()
}

/// Where the first `wanted` at or after `at` ends.
fn end_of(body: &[u8], at: usize, wanted: &[u8]) -> Result<usize, FormError> {
    let place = from(body, at).windows(wanted.len()).position(|window| window == wanted);
    place.map(|place| at + place + wanted.len()).ok_or(FormError::Malformed)
}

fn is_named(headers: &[u8], name: &str) -> bool {
    let lines = headers.split(|byte| *byte == b'\n');
    let disposition = lines.filter_map(|line| {
        let line = line.trim_ascii();
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (field, value) = line.split_at(colon);
        let value = HeaderValue::from_bytes(value.get(1..)?.trim_ascii()).ok()?;
        field.eq_ignore_ascii_case(b"content-disposition").then_some(value)
    });
    disposition.filter_map(|value| ContentDisposition::from_raw(&value).ok()).any(|found| {
        found.disposition == DispositionType::FormData && found.get_name() == Some(name)
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::*;

    const FORM: &[u8] = b"--b7\r\nContent-Disposition: form-data; name=\"caption\"\r\n\r\nme\r\n\
        --b7  \r\ncontent-type: image/png\r\n\
        content-disposition: form-data; name=\"image\"; filename=\"\xEC\x82\xAC\xEC\xA7\x84.png\"\r\n\r\n\
        a\r\n--b\r\nb\r\n--b7--\r\n";

    fn read(form: &'static [u8], name: &str) -> Result<Bytes, FormError> {
        field(&Bytes::from_static(form), "b7", name)
    }

    #[test]
    fn a_field_is_found_by_its_name_and_taken_as_it_is() {
        assert_eq!(read(FORM, "image").unwrap(), &b"a\r\n--b\r\nb"[..]);
        assert_eq!(read(FORM, "caption").unwrap(), "me");
        assert_eq!(read(FORM, "avatar"), Err(FormError::Missing));
    }

    #[test]
    fn a_preamble_is_passed_over_and_an_empty_file_is_a_file() {
        let form = b"hello\r\n--b7\r\nContent-Disposition: form-data; name=image\r\n\r\n\r\n--b7--";
        assert_eq!(read(form, "image").unwrap(), "");
        assert_eq!(read(b"--b7\r\n\r\nno name\r\n--b7--", "image"), Err(FormError::Missing));
    }

    #[test]
    fn what_ends_early_is_no_form() {
        for end in 0..FORM.len() - 4 {
            let begun = read(FORM.get(..end).unwrap(), "avatar");
            assert_eq!(begun, Err(FormError::Malformed), "{end}");
        }
        assert_eq!(read(b"--b77\r\n\r\n\r\n--b7--", "image"), Err(FormError::Malformed));
    }

    #[test]
    fn a_boundary_is_asked_of_forms_only() {
        let boundary = |kind: &str| {
            let request = TestRequest::default().insert_header(("content-type", kind));
            boundary_of(&request.to_http_request())
        };

        assert_eq!(boundary("multipart/form-data; boundary=b7"), Ok(Some("b7".to_owned())));
        assert_eq!(boundary("multipart/form-data; boundary=\"b 7\""), Ok(Some("b 7".to_owned())));
        assert_eq!(boundary("multipart/form-data"), Err(FormError::Malformed));
        assert_eq!(boundary("image/png"), Ok(None));
        assert_eq!(boundary("nonsense"), Ok(None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_form_or_not(
            body in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'b'), any::<u8>()], 0..200),
        ) {
            let _ = field(&body.into(), "b", "image");
        }

        #[test]
        fn a_file_comes_out_as_it_went_in(file in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut form = b"--a-boundary\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n".to_vec();
            form.extend(&file);
            form.extend(b"\r\n--a-boundary--\r\n");
            prop_assert_eq!(field(&form.into(), "a-boundary", "image").unwrap(), file);
        }
    }
}
