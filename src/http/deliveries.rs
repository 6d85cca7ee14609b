//! The delivery log over HTTP, for administrators: what became of every letter, and replaying those that are dead.
//!
//! Invariant: no answer shows what a letter says, or an address.

use actix_web::web::{self, ServiceConfig};
use actix_web::{get, post};
use utoipa::OpenApi;

use super::caller::Admin;
use super::page::{Page, PageQuery};
use super::views::{
    AttemptView, ChangeRefusals, DeliveriesQuery, DeliveryDetailsView, DeliveryView, MediaView,
    MediumView, ReadRefusals, ReplayBody, ReplayedView, RouteDownView, WriteRefusals,
};
use crate::actors::post::Post;
use crate::clock;
use crate::domain::deliveries::DeliveryLogError;
use crate::domain::ids::DeliveryId;
use crate::error::{ApiResult, Problem};
use crate::store::deliveries::log::{
    DeadFilter, DeliveryCursor, DeliveryFilter, LoggedDelivery, QueueFigures, Replayed,
};
use crate::store::{Store, StoreError};

/// Dead letters that are replayed at once.
const REPLAYED_MAX: i64 = 1_000;
/// Attempts of one letter that are shown, the latest.
const ATTEMPTS_MAX: i64 = 200;
/// Letters that are counted in one queue.
const COUNT_MAX: i64 = 100_000;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    // What is literal comes before what takes an id.
    cfg.service(list_deliveries)
        .service(replay_deliveries)
        .service(read_delivery)
        .service(replay_delivery)
        .service(list_media);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(list_deliveries, replay_deliveries, read_delivery, replay_delivery, list_media))]
pub struct Doc;

/// Letters of every medium, the newest first.
#[utoipa::path(
    tag = "admin",
    params(DeliveriesQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, body = Page<DeliveryView>),
        (status = 403, description = "The caller is no administrator.", body = Problem),
        ReadRefusals,
    ),
)]
#[get("/admin/deliveries")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
async fn list_deliveries(
    admin: Admin,
    query: web::Query<DeliveriesQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<DeliveryView>>> {
    let DeliveriesQuery { status, medium, user_id, target_id, kind, cursor, limit } =
        query.into_inner();
    let filter = DeliveryFilter { status, medium, user: user_id, target: target_id, kind };
    let page = PageQuery { cursor, limit };
    let rows = store.list_deliveries(filter, page.after()?, limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, limit, |row: &LoggedDelivery| DeliveryCursor {
        created_at: row.created_at,
        id: row.id,
    })))
}

/// One letter with every attempt at it.
#[utoipa::path(
    tag = "admin",
    params(("id" = DeliveryId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 200, body = DeliveryDetailsView),
        (status = 403, description = "The caller is no administrator.", body = Problem),
        ReadRefusals,
    ),
)]
#[get("/admin/deliveries/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
async fn read_delivery(
    admin: Admin,
    id: web::Path<DeliveryId>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<DeliveryDetailsView>> {
    Ok(web::Json(details(&store, *id).await?))
}

/// Puts a dead letter back into its queue, as if it was new, with the same id.
#[utoipa::path(
    tag = "admin",
    params(("id" = DeliveryId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = DeliveryDetailsView), ChangeRefusals),
)]
#[post("/admin/deliveries/{id}/replay")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
async fn replay_delivery(
    admin: Admin,
    id: web::Path<DeliveryId>,
    store: web::Data<Store>,
    post: web::Data<Post>,
) -> ApiResult<web::Json<DeliveryDetailsView>> {
    match store.replay_delivery(*id, clock::now()).await? {
        Replayed::Queued(medium) => post.wake_medium(medium),
        Replayed::NotDead => return Err(DeliveryLogError::NotDead.into()),
        Replayed::Unknown => return Err(DeliveryLogError::NotFound.into()),
    }

    Ok(web::Json(details(&store, *id).await?))
}

/// Puts dead letters back into their queues, the oldest first, at most 1,000 at once.
#[utoipa::path(
    tag = "admin",
    security(("bearer" = [])),
    responses((status = 200, body = ReplayedView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/deliveries/replay")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
async fn replay_deliveries(
    admin: Admin,
    body: web::Json<ReplayBody>,
    store: web::Data<Store>,
    post: web::Data<Post>,
) -> ApiResult<web::Json<ReplayedView>> {
    let ReplayBody { medium, kind, before } = body.into_inner();
    let filter = DeadFilter { medium, kind, before };
    let replayed = store.replay_deliveries(filter, REPLAYED_MAX, clock::now()).await?;
    post.wake();
    let has_more = i64::try_from(replayed).is_ok_and(|replayed| replayed >= REPLAYED_MAX);

    Ok(web::Json(ReplayedView { replayed, has_more }))
}

/// How full the queue of each medium is, and how this node delivers.
#[utoipa::path(
    tag = "admin",
    security(("bearer" = [])),
    responses(
        (status = 200, body = MediaView),
        (status = 403, description = "The caller is no administrator.", body = Problem),
        ReadRefusals,
    ),
)]
#[get("/admin/media")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
async fn list_media(
    admin: Admin,
    store: web::Data<Store>,
    post: web::Data<Post>,
) -> ApiResult<web::Json<MediaView>> {
    let figures = store.list_queue_figures(COUNT_MAX).await?;
    let items = figures.into_iter().map(|figures| medium_view(figures, &post)).collect();

    Ok(web::Json(MediaView { items }))
}

fn medium_view(figures: QueueFigures, post: &Post) -> MediumView {
    let QueueFigures { medium, queued, oldest_due_at, dead } = figures;
    let here = post.look(medium);
    MediumView {
        medium,
        provider: here.provider.map(str::to_owned),
        queued,
        oldest_due_at,
        dead,
        busy: here.busy,
        routes_down: here.routes.into_iter().map(RouteDownView::from).collect(),
    }
}

async fn details(store: &Store, id: DeliveryId) -> ApiResult<DeliveryDetailsView> {
    match store.get_delivery(id, ATTEMPTS_MAX).await {
        Ok((delivery, log)) => Ok(DeliveryDetailsView {
            delivery: delivery.into(),
            log: log.into_iter().map(AttemptView::from).collect(),
        }),
        Err(StoreError::NotFound) => Err(DeliveryLogError::NotFound.into()),
        Err(error) => Err(error.into()),
    }
}
