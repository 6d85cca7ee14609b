//! Looking after an installation over HTTP, for administrators: people, rooms, what members report, nodes, settings, and what
//! was done by hand.
//!
//! Invariant: whoever changes something here says why, and it is in the audit.

pub mod audit;
mod message_reports;
mod node;
mod people;
mod rooms;
mod settings;

use actix_web::web::ServiceConfig;
use utoipa::OpenApi;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.configure(audit::routes)
        .configure(people::routes)
        .configure(message_reports::routes)
        .configure(rooms::routes)
        .configure(node::routes)
        .configure(settings::routes);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(
    audit::list_whole_audit,
    people::list_people,
    people::read_person,
    people::suspend_user,
    people::restore_user,
    people::give_roles,
    people::end_sessions,
    people::end_session,
    message_reports::list_message_reports,
    message_reports::resolve_message_report,
    rooms::list_all_rooms,
    rooms::examine_room,
    node::list_nodes,
    node::read_figures,
    settings::list_settings,
))]
pub struct Doc;
