//! Pictures for messages over HTTP: brought first, and then attached to a message.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, post, web};
use serde::Deserialize;

use crate::accounts::Images;
use crate::clock;
use crate::config::Config;
use crate::domain::ids::RoomId;
use crate::domain::messages::{Attachment, is_attachment_text};
use crate::error::{ApiError, ApiResult, Problem};
use crate::http::caller::Caller;
use crate::http::images::{ImageForm, picture_in};
use crate::http::multipart;
use crate::http::views::ChangeRefusals;
use crate::store::Store;

/// What to call a picture.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ImageQuery {
    /// 1 to 500 characters; `image.jpg` or `image.png` where it is left out.
    #[param(min_length = 1, max_length = 500, example = "garden.jpg")]
    name: Option<String>,
}

/// Brings a picture for a message: a JPEG, PNG, WebP or GIF, as the body or in the field `image` of a form.
///
/// What it is, its bytes say, not its declared type. It is turned upright, made smaller where a side is longer than 2,048
/// pixels, and packed anew, so that nothing but the pixels is kept. What is answered goes into `attachments` of a message as it
/// is; a picture that nobody has sent in a week goes, and so does the oldest of more than 50 of one user.
#[utoipa::path(
    tag = "messages",
    params(("id" = RoomId, Path), ImageQuery),
    security(("bearer" = [])),
    request_body(
        description = "The picture, at most 5 MiB unless configured",
        content(("image/*"), (ImageForm = "multipart/form-data")),
    ),
    responses(
        (status = 201, body = Attachment),
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
        ChangeRefusals,
    ),
)]
#[post("/chat/rooms/{id}/images")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn upload_message_image(
    caller: Caller,
    id: web::Path<RoomId>,
    query: web::Query<ImageQuery>,
    (request, payload): (HttpRequest, web::Payload),
    images: web::Data<Images>,
    config: web::Data<Config>,
    store: web::Data<Store>,
) -> ApiResult<(web::Json<Attachment>, StatusCode)> {
    let ImageQuery { name } = query.into_inner();
    if name.as_deref().is_some_and(|name| !is_attachment_text(name)) {
        return Err(ApiError::invalid("?name", "invalid_name", "A name has 1 to 500 characters."));
    }
    let boundary = multipart::boundary_of(&request)?;
    store.check_may_write(*id, caller.user_id, clock::now()).await?;
    // Before the body is read: those that wait hold their bodies in memory.
    let upload = images.begin(caller.user_id)?;
    let picture = picture_in(&request, payload, boundary, &config.images).await?;
    let place = (*id, caller.user_id);
    let attachment = images.keep_for_message(place, upload, picture, name).await?;

    Ok((web::Json(attachment), StatusCode::CREATED))
}
