//! What the documents leave out: whoever reads `docs/api.md` finds every endpoint, every code of a refusal and every topic.

use std::collections::BTreeSet;
use std::fs;

use madang::domain::events::TOPICS;
use madang::http::openapi;

use crate::{NONE, root};

#[test]
fn every_endpoint_is_in_the_documents() {
    let described = serde_json::to_value(openapi::document()).expect("it is JSON");
    let paths = described["paths"].as_object().expect("it has paths");
    assert!(paths.contains_key("/v1/payments/create"), "no endpoint was looked at");
    let missing = missing(paths.keys().map(String::as_str), &api(), "");
    assert_eq!(missing, NONE);
}

#[test]
fn every_code_of_a_refusal_is_in_the_documents() {
    let of_errors = read("src/error/table.rs");
    let of_payments = read("src/actors/payments/answers.rs");
    let errors = of_errors.split('"').skip(1).step_by(2).filter(|it| is_code(it));
    let refusals = of_payments.split("refusal(").filter_map(|it| it.split('"').nth(1));
    let codes: BTreeSet<&str> = errors.chain(refusals.filter(|it| is_code(it))).collect();
    assert!(codes.contains("account_exists"), "no error was looked at");
    assert!(codes.contains("payment_declined"), "no refusal was looked at");
    assert_eq!(missing(codes, &api(), "`"), NONE);
}

#[test]
fn every_topic_is_in_the_documents() {
    assert_eq!(missing(TOPICS, &api(), "`"), NONE);
}

#[test]
fn what_is_left_out_is_found() {
    assert_eq!(missing(["there", "not_there"], "| 404 | `there` |", "`"), ["not_there"]);
}

/// Those names that do not stand in a text between quotes.
fn missing<'a>(names: impl IntoIterator<Item = &'a str>, text: &str, quote: &str) -> Vec<String> {
    let stands = |name: &str| text.contains(&format!("{quote}{name}{quote}"));
    names.into_iter().filter(|name| !stands(name)).map(str::to_owned).collect()
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')
}

fn api() -> String {
    read("docs/api.md")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("it is read")
}
