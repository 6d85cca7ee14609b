//! The description of the API (`OpenAPI` 3.1), put together from what each module documents, and what can be read off it.
//!
//! Invariant: every operation names each answer that the gateway and the framework can give in its place; errors are
//! `application/problem+json`.

mod repeated;

use std::sync::LazyLock;

use actix_web::http::header::HeaderName;
use bytes::Bytes;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, Content, OpenApi, Ref, RefOr, Response};

use super::{
    admin, admin_payments, auth, deliveries, dev_outbox, dev_payments, devices, follows, friends,
    images, messages, notifications, ops, payments, phones, preferences, presence, problem,
    reconciliation, rooms, search, service, service_keys, settings, sse, templates, unsubscribe,
    users, wallet, web_app, webhooks,
};
use crate::error::Problem;

const VERSION: &str = "/v1";
const PROBLEM_REF: &str = "#/components/schemas/Problem";
/// The name that operations ask for.
const BEARER: &str = "bearer";
/// Headers that services are known by, with the name that operations ask for; both are needed.
const SERVICE: [(&str, HeaderName); 2] =
    [("service_key", service::API_KEY), ("service_name", service::SERVICE_NAME)];

/// Paths that are served and not described: the description itself, its pages, and sockets; with those of
/// [`web_app::PATHS`].
const UNDESCRIBED: [(&str, &[&str]); 4] =
    [("/openapi.json", PAGE), ("/docs", PAGE), ("/docs/", PAGE), ("/v1/chat/socket", &["GET"])];
/// The methods of what is only looked at.
const PAGE: &[&str] = &["GET", "HEAD"];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "madang", description = "People, chat rooms, presence, notifications and payments for an app, live."),
    components(schemas(Problem)),
    tags(
        (name = "auth", description = "Accounts, logins and tokens"),
        (name = "users", description = "People: profiles, pictures, settings, search, telephone numbers, and who follows whom"),
        (name = "friends", description = "Requests, friendships and blocks"),
        (name = "rooms", description = "Rooms and their members"),
        (name = "messages", description = "What is said in rooms"),
        (name = "templates", description = "The words of notifications, for administrators"),
        (name = "notifications", description = "What users are told of, and where"),
        (name = "webhooks", description = "Domain events for other systems"),
        (name = "payments", description = "Taking money for orders, and giving it back"),
        (name = "admin", description = "For administrators"),
        (name = "ops", description = "For operators"),
        (name = "dev", description = "In development mode only"),
    ),
)]
struct Base;

/// What is served under a path.
struct Known {
    pattern: String,
    methods: Vec<&'static str>,
}

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let described = document().paths.paths.into_iter();
    let described = described.map(|(pattern, item)| Known { methods: methods(&item), pattern });
    let pages = web_app::PATHS.map(|path| (path, PAGE));
    let others = UNDESCRIBED
        .into_iter()
        .chain(pages)
        .map(|(path, methods)| Known { pattern: path.to_owned(), methods: methods.to_vec() });
    described.chain(others).collect()
});

static JSON: LazyLock<Option<Bytes>> = LazyLock::new(|| document().to_json().ok().map(Bytes::from));

/// The whole description.
#[must_use]
pub fn document() -> OpenApi {
    let mut document = Base::openapi();
    for module in modules() {
        document.merge(below_version(module));
    }
    document.merge(auth::RootDoc::openapi());
    document.merge(ops::Doc::openapi());

    let bearer = Http::builder().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme(BEARER, SecurityScheme::Http(bearer));
    for (name, header) in SERVICE {
        let header = ApiKey::Header(ApiKeyValue::new(header.as_str()));
        components.add_security_scheme(name, SecurityScheme::ApiKey(header));
    }
    for item in document.paths.paths.values_mut() {
        operations_mut(item).for_each(complete);
    }
    repeated::hoist(&mut document);

    document
}

/// What is served below the version. Of two types of one name the first would stand for both.
fn modules() -> Vec<OpenApi> {
    vec![
        auth::Doc::openapi(),
        users::Doc::openapi(),
        follows::Doc::openapi(),
        friends::Doc::openapi(),
        settings::Doc::openapi(),
        search::Doc::openapi(),
        images::Doc::openapi(),
        phones::Doc::openapi(),
        rooms::Doc::openapi(),
        messages::Doc::openapi(),
        preferences::Doc::openapi(),
        unsubscribe::Doc::openapi(),
        templates::Doc::openapi(),
        presence::Doc::openapi(),
        sse::Doc::openapi(),
        devices::Doc::openapi(),
        notifications::Doc::openapi(),
        deliveries::Doc::openapi(),
        dev_payments::Doc::openapi(),
        dev_outbox::Doc::openapi(),
        service_keys::Doc::openapi(),
        webhooks::Doc::openapi(),
        payments::Doc::openapi(),
        wallet::Doc::openapi(),
        admin_payments::Doc::openapi(),
        admin::Doc::openapi(),
        reconciliation::Doc::openapi(),
    ]
}

/// The description as JSON, written once.
#[must_use]
pub fn json() -> Option<Bytes> {
    JSON.clone()
}

/// The methods that `path` is served with; none if it is not.
#[must_use]
pub fn methods_of(path: &str) -> Vec<&'static str> {
    let mut methods: Vec<&str> = KNOWN
        .iter()
        .filter(|known| matches(&known.pattern, path))
        .flat_map(|known| known.methods.iter().copied())
        .collect();
    methods.sort_unstable();
    methods.dedup();
    methods
}

/// Whether something is served under exactly this path, without a placeholder.
#[must_use]
pub fn is_literal(path: &str) -> bool {
    KNOWN.iter().any(|known| known.pattern == path)
}

fn below_version(mut module: OpenApi) -> OpenApi {
    let paths = std::mem::take(&mut module.paths.paths);
    module.paths.paths = paths
        .into_iter()
        .map(|(path, item)| match path.strip_prefix(VERSION) {
            Some(rest) if rest.starts_with('/') => (path, item),
            _ => (format!("{VERSION}{path}"), item),
        })
        .collect();
    module
}

/// Whether a path is one of those that a pattern stands for: `{name}` is one segment, `*` at the end whatever follows.
#[must_use]
pub fn matches(pattern: &str, path: &str) -> bool {
    let (mut named, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (named.next(), given.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => return true,
            (Some(name), Some(value)) if name == value => {}
            (Some(name), Some(value)) if name.starts_with('{') && !value.is_empty() => {}
            _ => return false,
        }
    }
}

fn methods(item: &PathItem) -> Vec<&'static str> {
    [
        ("DELETE", &item.delete),
        ("GET", &item.get),
        ("HEAD", &item.get),
        ("PATCH", &item.patch),
        ("POST", &item.post),
        ("PUT", &item.put),
    ]
    .into_iter()
    .filter_map(|(name, operation)| operation.as_ref().map(|_| name))
    .collect()
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let operations =
        [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
    operations.into_iter().flatten()
}

/// Adds the answers that come from in front of the handler, and gives errors their media type.
fn complete(operation: &mut Operation) {
    let mut shared = vec!["400", "429", "500", "503"];
    if operation.security.is_some() {
        shared.push("401");
    }
    if has_parameter(operation, &ParameterIn::Path) {
        shared.push("404");
    }
    if has_parameter(operation, &ParameterIn::Query) {
        shared.push("422");
    }
    if operation.request_body.is_some() {
        shared.extend(["413", "415", "422"]);
    }

    let responses = &mut operation.responses.responses;
    for status in shared {
        responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(Response::new("")));
    }
    for (status, response) in responses.iter_mut() {
        if let RefOr::T(response) = response
            && status.starts_with(['4', '5'])
        {
            give_problem(status, response);
        }
    }
}

fn has_parameter(operation: &Operation, place: &ParameterIn) -> bool {
    let parameters = operation.parameters.iter().flatten();
    parameters
        .filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(&parameter.parameter_in),
            RefOr::Ref(_) => None,
        })
        .any(|found| found == place)
}

/// An error that a module gave a body of its own also comes as a problem, from in front of it.
fn give_problem(status: &str, response: &mut Response) {
    let is_problem = |content: &RefOr<Content>| match content {
        RefOr::T(content) => matches!(
            &content.schema,
            Some(RefOr::Ref(reference)) if reference.ref_location == PROBLEM_REF
        ),
        RefOr::Ref(_) => false,
    };
    response.content.retain(|_, content| !is_problem(content));
    let schema: RefOr<Schema> = RefOr::Ref(Ref::new(PROBLEM_REF));
    response.content.insert(problem::CONTENT_TYPE.to_owned(), RefOr::T(Content::new(Some(schema))));
    if response.description.is_empty() {
        response.description = default_description(status).to_owned();
    }
}

fn default_description(status: &str) -> &'static str {
    match status {
        "400" => "The request cannot be read.",
        "401" => "There is no valid access token.",
        "403" => "Not allowed.",
        "404" => "It does not exist, or the caller may not know that it does.",
        "409" => "In conflict with what is there.",
        "413" => "The body is too big.",
        "415" => "The body is not `application/json`.",
        "422" => "Understood, but not allowed.",
        "429" => "Too many requests; `Retry-After` says how long to wait.",
        "500" => "The server failed, or does not know whether this was done (`outcome_unknown`).",
        "503" => "Too busy, and nothing was done; or `timed_out`.",
        _ => "An error.",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    #[test]
    fn every_error_is_described_as_a_problem() {
        let document = serde_json::to_value(document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert!(!paths.is_empty());

        for (path, item) in paths {
            for (method, operation) in item.as_object().unwrap() {
                let Some(responses) = operation["responses"].as_object() else { continue };
                for status in ["400", "429", "500", "503"] {
                    assert!(responses.contains_key(status), "{method} {path} {status}");
                }
                for (status, response) in
                    responses.iter().filter(|(status, _)| status.starts_with(['4', '5']))
                {
                    let shared = response["$ref"].as_str().and_then(|it| it.strip_prefix('#'));
                    let response = shared.map_or(response, |it| document.pointer(it).unwrap());
                    let schema = &response["content"][problem::CONTENT_TYPE]["schema"]["$ref"];
                    assert_eq!(schema, PROBLEM_REF, "{method} {path} {status}");
                }
            }
        }
    }

    #[test]
    fn every_parameter_in_a_path_is_described() {
        let document = serde_json::to_value(document()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let none = Vec::new();
                let described = operation["parameters"].as_array().unwrap_or(&none);
                for name in path.split('/').filter_map(|part| part.strip_prefix('{')) {
                    let name = name.trim_end_matches('}');
                    let is_there =
                        described.iter().any(|it| it["in"] == "path" && it["name"] == name);
                    assert!(is_there, "{method} {path}: {name}");
                }
            }
        }
    }

    /// Clients that are generated name their functions by it (`OpenAPI` 3.1, section 4.8.10).
    #[test]
    fn every_operation_has_an_id_of_its_own() {
        let document = serde_json::to_value(document()).unwrap();
        let items = document["paths"].as_object().unwrap().values();
        let operations = items.flat_map(|item| item.as_object().unwrap().values());
        let mut ids: Vec<&str> = operations.filter_map(|it| it["operationId"].as_str()).collect();
        let count = ids.len();
        assert!(count > 100, "{count}");
        ids.sort_unstable();
        let doubled: Vec<_> = ids.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(doubled.is_empty(), "{doubled:?}");
    }

    #[test]
    fn no_two_types_have_one_name() {
        let mut known: BTreeMap<String, (String, Value)> = BTreeMap::new();
        for module in modules() {
            let path = module.paths.paths.keys().next().cloned().unwrap_or_default();
            for (name, schema) in module.components.into_iter().flat_map(|it| it.schemas) {
                let schema = serde_json::to_value(schema).unwrap();
                let first =
                    known.entry(name.clone()).or_insert_with(|| (path.clone(), schema.clone()));
                assert_eq!(first.1, schema, "{name}, near {} and {path}", first.0);
            }
        }
        assert!(known.len() > 150, "{}", known.len());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = serde_json::to_value(document()).unwrap();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn paths_are_matched_segment_by_segment() {
        assert!(matches("/v1/users/{id}", "/v1/users/7"));
        assert!(!matches("/v1/users/{id}", "/v1/users/"));
        assert!(!matches("/v1/users/{id}", "/v1/users/7/rooms"));
        assert!(matches("/v1/users/profile", "/v1/users/profile"));
        assert!(matches("/console/*", "/console/") && matches("/console/*", "/console/a/b"));
        assert!(!matches("/console/*", "/console"));
    }

    #[test]
    fn the_methods_of_a_path_are_known() {
        for path in ["/livez", "/", "/console/a/b", "/assets/a.js"] {
            assert_eq!(methods_of(path), ["GET", "HEAD"], "{path}");
        }
        assert_eq!(methods_of("/v1/auth/login"), ["POST"]);
        assert!(methods_of("/nowhere").is_empty());
    }
}
