//! Refusals that several operations tell in the same words stand in the description once, below `components.responses`.
//!
//! A name is made of the words, so that it changes only with them. Invariant: one name stands for one refusal; where two
//! would have the same, the later one stays where it is.

use std::collections::BTreeMap;

use utoipa::openapi::{Components, OpenApi, Ref, RefOr, Response};

use super::operations_mut;

/// Puts a reference where a refusal is told for the first or any other time.
pub(super) fn hoist(document: &mut OpenApi) {
    let mut counted: BTreeMap<String, (Response, usize)> = BTreeMap::new();
    for refusal in refusals_mut(document) {
        let RefOr::T(response) = refusal else { continue };
        let (first, count) =
            counted.entry(name_of(response)).or_insert_with(|| (response.clone(), 0));
        *count += usize::from(first == response);
    }
    counted.retain(|_, (_, count)| *count > 1);

    for refusal in refusals_mut(document) {
        let RefOr::T(response) = refusal else { continue };
        let name = name_of(response);
        if counted.get(&name).is_some_and(|(first, _)| first == response) {
            *refusal = RefOr::Ref(Ref::from_response_name(name));
        }
    }
    let components = document.components.get_or_insert_with(Components::new);
    let responses = counted.into_iter().map(|(name, (response, _))| (name, RefOr::T(response)));
    components.responses.extend(responses);
}

fn refusals_mut(document: &mut OpenApi) -> impl Iterator<Item = &mut RefOr<Response>> {
    let operations = document.paths.paths.values_mut().flat_map(operations_mut);
    let responses = operations.flat_map(|operation| operation.responses.responses.iter_mut());
    responses.filter(|(status, _)| status.starts_with(['4', '5'])).map(|(_, response)| response)
}

/// The first part of what is said, in one word: `TooManyRequests` of "Too many requests; `Retry-After` says …".
fn name_of(response: &Response) -> String {
    let said = response.description.split([';', ':', '.', '(']).next().unwrap_or_default();
    let words = said.split(|letter: char| !letter.is_ascii_alphanumeric());
    words
        .filter_map(|word| word.split_at_checked(1))
        .map(|(first, rest)| first.to_ascii_uppercase() + rest)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::document;
    use super::*;

    #[test]
    fn nothing_is_said_twice() {
        let mut document = document();
        let mut said = BTreeSet::new();
        for refusal in refusals_mut(&mut document) {
            let RefOr::T(response) = refusal else { continue };
            let text = serde_json::to_string(response).unwrap();
            assert!(said.insert(text), "\"{}\" needs words of its own", response.description);
        }
    }

    #[test]
    fn what_is_said_once_stays_where_it_is() {
        let document = serde_json::to_value(document()).unwrap();
        let text = document.to_string();
        let shared = document["components"]["responses"].as_object().unwrap();
        assert!((10..60).contains(&shared.len()), "{}", shared.len());
        for name in shared.keys() {
            let reference = format!("\"#/components/responses/{name}\"");
            assert!(text.matches(&reference).count() > 1, "{name}");
        }
    }

    #[test]
    fn a_name_is_made_of_the_first_words() {
        let name = |said: &str| name_of(&Response::new(said));
        assert_eq!(name("Too many requests; `Retry-After` says how long"), "TooManyRequests");
        assert_eq!(name("`order_not_found`"), "OrderNotFound");
        assert_eq!(name("It's not: so"), "ItSNot");
    }
}
