//! Pictures over HTTP: uploading one's own, taking it away, and showing them to anybody.

use actix_web::body::SizedStream;
use actix_web::http::header::{CACHE_CONTROL, ETag, EntityTag};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, delete, get, post};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::time::timeout;
use utoipa::{OpenApi, ToSchema};

use super::auth::refusals::{CallerRefusals, PublicRefusals};
use super::caller::Caller;
use super::conditional::is_known;
use super::multipart::{self, FormError, OVERHEAD_BYTES_MAX};
use super::users::ProfileView;
use super::whole_body::whole_body;
use crate::accounts::{AccountsError, Images};
use crate::config::{Config, ImagesConfig};
use crate::domain::images::{ImageError, ImageName};
use crate::error::{ApiError, ApiResult, Problem};

/// The field of a form that has the picture.
const FIELD: &str = "image";
/// A name is given once: what it leads to never changes, but it may be deleted, and is then forgotten everywhere in time.
const FOR_AN_HOUR: &str = "public, max-age=3600";
/// Bytes that are in memory for each who reads one.
const PIECE_BYTES: u64 = 256 * 1_024;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(upload_image).service(delete_image).service(read_image);
}

/// What [`routes`] serves, for `/openapi.json`.
#[derive(OpenApi)]
#[openapi(paths(upload_image, delete_image, read_image), components(schemas(ImageForm)))]
pub struct Doc;

/// A form with a picture in it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; the form is read by hand")]
pub(super) struct ImageForm {
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
}

/// Puts a picture into the caller's profile: a JPEG, PNG, WebP or GIF, as the body or in the field `image` of a form.
///
/// What it is, its bytes say, not its declared type. The middle is cut out as a square, in three sizes; nothing but the pixels is
/// kept. The picture that was there before is deleted.
#[utoipa::path(
    tag = "users",
    security(("bearer" = [])),
    request_body(
        description = "The picture, at most 5 MiB unless configured",
        content(("image/*"), (ImageForm = "multipart/form-data")),
    ),
    responses(
        (status = 200, description = "The profile as it is now", body = ProfileView),
        (
            status = 404,
            description = "The account is gone",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 413,
            description = "The picture has too many bytes",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 415,
            description = "`image_type_not_supported`: not a JPEG, PNG, WebP or GIF",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 422,
            description = "`image_unreadable`, `image_too_many_pixels` or `image_missing`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[post("/profile/upload-image")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn upload_image(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    images: web::Data<Images>,
    config: web::Data<Config>,
) -> ApiResult<web::Json<ProfileView>> {
    let boundary = multipart::boundary_of(&request)?;
    // Before the body is read: those that wait hold their bodies in memory.
    let upload = images.begin(caller.user_id)?;
    let picture = picture_in(&request, payload, boundary, &config.images).await?;
    let user = images.show(caller.user_id, upload, picture).await?;

    Ok(web::Json(user.into()))
}

/// Takes the picture out of the caller's profile; one that is kept here is deleted.
#[utoipa::path(
    tag = "users",
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Done"),
        (
            status = 404,
            description = "The account is gone",
            body = Problem,
            content_type = "application/problem+json",
        ),
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[delete("/profile/image")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn delete_image(caller: Caller, images: web::Data<Images>) -> ApiResult<HttpResponse> {
    images.take_away(caller.user_id).await?;

    Ok(HttpResponse::NoContent().finish())
}

/// A picture that somebody uploaded. It never changes, so it may be kept for ever.
#[utoipa::path(
    tag = "users",
    params(("name" = String, Path, description = "As in `avatar` and `avatar_sizes`")),
    responses(
        (status = 200, description = "The picture", content(("image/jpeg"), ("image/png"))),
        (status = 304, description = "The one that the client has"),
        (
            status = 404,
            description = "No such picture",
            body = Problem,
            content_type = "application/problem+json",
        ),
        PublicRefusals,
    ),
)]
#[get("/images/{name}")]
#[tracing::instrument(skip_all)]
async fn read_image(
    name: web::Path<String>,
    request: HttpRequest,
    images: web::Data<Images>,
) -> ApiResult<HttpResponse> {
    let name = ImageName::parse(&name).ok_or(ApiError::NotFound)?;
    let size = images.size(name).await?.ok_or(ApiError::NotFound)?;
    let tag = EntityTag::new_strong(name.to_string());
    let is_known = is_known(&request, &tag);
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header(ETag(tag)).insert_header((CACHE_CONTROL, FOR_AN_HOUR));

    Ok(if is_known {
        response.finish()
    } else {
        response
            .content_type(name.format.media_type())
            .body(SizedStream::new(size, pieces(images, name, size)))
    })
}

/// A picture piece after piece: whoever reads slowly has one of them in memory.
fn pieces(
    images: web::Data<Images>,
    name: ImageName,
    size: u64,
) -> impl Stream<Item = Result<Bytes, AccountsError>> {
    stream::try_unfold(0, move |from| {
        let images = images.clone();
        async move {
            let to = size.min(from + PIECE_BYTES);
            let piece = if from < to { Some(images.read(name, from..to).await?) } else { None };
            Ok(piece.map(|piece| (piece, to)))
        }
    })
}

/// The picture that is the body of a request, or is in it where that is a form. The caller holds a place for it.
///
/// # Errors
/// [`ApiError::PayloadTooLarge`], [`ApiError::Timeout`] for a body that does not come, and what is wrong with a form.
pub(super) async fn picture_in(
    request: &HttpRequest,
    payload: web::Payload,
    boundary: Option<String>,
    config: &ImagesConfig,
) -> ApiResult<Bytes> {
    let bytes_max = config.bytes_max;
    let body_bytes_max = boundary.as_ref().map_or(bytes_max, |_| bytes_max + OVERHEAD_BYTES_MAX);
    let reading = whole_body(request, payload, body_bytes_max);
    let body = timeout(config.read_timeout(), reading).await.map_err(|_| ApiError::Timeout)??;
    let picture = match boundary {
        None => body,
        Some(boundary) => taken_out(body, boundary).await?,
    };
    if picture.len() > bytes_max {
        return Err(ApiError::PayloadTooLarge { bytes_max });
    }
    Ok(picture)
}

/// The picture in a form. Looking for boundaries in megabytes is no work for a worker.
async fn taken_out(form: Bytes, boundary: String) -> ApiResult<Bytes> {
    let found = web::block(move || multipart::field(&form, &boundary, FIELD)).await;
    Ok(found.map_err(|_| ApiError::Internal)??)
}

impl From<FormError> for ApiError {
    fn from(error: FormError) -> Self {
        match error {
            FormError::Malformed => Self::Malformed("The form cannot be read.".to_owned()),
            FormError::Missing => ImageError::FieldMissing.into(),
        }
    }
}
