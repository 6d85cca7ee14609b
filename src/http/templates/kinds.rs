//! What there is: kinds of notifications, the languages they are written in, and their versions.

use actix_web::get;
use actix_web::web::{self, ServiceConfig};

use super::bodies::{BuiltinView, KindDetailsView, KindView, TemplateView, VersionView};
use super::parse;
use super::refusals::TemplateRefusals;
use crate::domain::templates::{NotificationKind, TemplateError, builtin};
use crate::error::ApiResult;
use crate::http::auth::refusals::{CallerRefusals, PublicRefusals};
use crate::http::caller::Admin;
use crate::http::page::{Cursor, Page, PageQuery};
use crate::store::{Store, StoreError, templates};

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_templates).service(read_template).service(read_version);
}

/// Every kind of notification with the languages it is written in, in the order of their names.
#[utoipa::path(
    tag = "templates",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, body = Page<KindView>),
        TemplateRefusals,
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[get("/admin/templates")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_templates(
    admin: Admin,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<KindView>>> {
    let after: Option<NotificationKind> = query.after()?;
    let (from, limit) = (after.clone(), query.limit.with_probe());
    let heads = store
        .read::<_, StoreError, _>(move |db| {
            Box::pin(async move { templates::list_template_heads(db, from.as_ref(), limit).await })
        })
        .await?;
    let mut views: Vec<KindView> = builtin::KINDS
        .into_iter()
        .filter_map(|(kind, _)| NotificationKind::parse(kind).ok())
        .filter(|kind| after.as_ref().is_none_or(|after| kind > after))
        .map(KindView::new)
        .collect();
    for head in heads {
        let place = views.partition_point(|view| view.kind < head.kind);
        if views.get(place).is_none_or(|view| view.kind != head.kind) {
            views.insert(place, KindView::new(head.kind.clone()));
        }
        if let Some(view) = views.get_mut(place) {
            view.add(head);
        }
    }

    Ok(web::Json(Page::new(views, query.limit, |view| view.kind.clone())))
}

/// One kind: its built-in words, and which versions were written.
#[utoipa::path(
    tag = "templates",
    params(("kind" = String, Path, example = "welcome")),
    security(("bearer" = [])),
    responses(
        (status = 200, body = KindDetailsView),
        TemplateRefusals,
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[get("/admin/templates/{kind}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn read_template(
    admin: Admin,
    path: web::Path<String>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<KindDetailsView>> {
    let kind = NotificationKind::parse(&path)?;
    let wanted = kind.clone();
    let (heads, versions) = store
        .read::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                let heads = templates::list_template_heads_of(db, &wanted).await?;
                Ok((heads, templates::list_template_versions(db, &wanted).await?))
            })
        })
        .await?;
    let mut view = KindView::new(kind);
    heads.into_iter().for_each(|head| view.add(head));
    if view.locales.is_empty() {
        return Err(TemplateError::NotFound.into());
    }
    let words = |locale| {
        let parts = builtin::find(view.kind.as_str(), locale)?;
        Some(BuiltinView { locale, parts })
    };
    let builtin = builtin::LOCALES.into_iter().filter_map(words).collect();
    let versions = versions.into_iter().map(VersionView::from).collect();

    Ok(web::Json(KindDetailsView { kind: view, builtin, versions }))
}

/// The words of one version, in use or not.
#[utoipa::path(
    tag = "templates",
    params(
        ("kind" = String, Path, example = "welcome"),
        ("locale" = String, Path, example = "ko"),
        ("version" = i64, Path, minimum = 1, example = 3),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, body = TemplateView),
        TemplateRefusals,
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[get("/admin/templates/{kind}/{locale}/versions/{version}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn read_version(
    admin: Admin,
    path: web::Path<(String, String, i64)>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<TemplateView>> {
    let (kind, locale, version) = path.into_inner();
    let (kind, locale) = parse(&(kind, locale))?;
    let found = store
        .read::<_, StoreError, _>(move |db| {
            Box::pin(async move { templates::get_template(db, &kind, &locale, version).await })
        })
        .await;
    match found {
        Ok(template) => Ok(web::Json(template.into())),
        Err(StoreError::NotFound) => Err(TemplateError::NotFound.into()),
        Err(error) => Err(error.into()),
    }
}

impl Cursor for NotificationKind {
    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }
}
