//! Other names of operations: one table of alias and canonical path, both below `/v1`.
//!
//! The path is rewritten before routing, so that an alias reaches the very same handler. A path that is itself an
//! operation, such as `/messages/read`, is no alias: `is_own_path` has the last word.

/// `{id}` stands for one segment, in order. A method restricts the row to it.
const ALIASES: &[(Option<&str>, &str, &str)] = &[
    (Some("POST"), "/users/register", "/auth/register"),
    (Some("POST"), "/users/login", "/auth/login"),
    (Some("POST"), "/users/verify-email", "/auth/verify-email"),
    (Some("POST"), "/users/reset-password", "/auth/reset-password"),
    (None, "/profile/me", "/users/profile"),
    (None, "/chat-rooms", "/chat/rooms"),
    (None, "/messages/{id}", "/chat/rooms/{id}/messages"),
];

const VERSION: &str = "/v1";

/// The canonical path that `path` is another name of; `None` if it is no alias.
///
/// `is_own_path` says whether something is served under a path itself.
#[must_use]
pub fn canonical(method: &str, path: &str, is_own_path: impl Fn(&str) -> bool) -> Option<String> {
    let below = path.strip_prefix(VERSION)?;
    ALIASES
        .iter()
        .filter(|(only, ..)| only.is_none_or(|only| only == method))
        .find_map(|(_, alias, target)| rewritten(below, alias, target))
        .filter(|_| !is_own_path(path))
        .map(|target| format!("{VERSION}{target}"))
}

fn rewritten(path: &str, alias: &str, target: &str) -> Option<String> {
    let (mut given, mut named) = (path.split('/'), alias.split('/'));
    let mut target = target.to_owned();
    loop {
        match (given.next(), named.next()) {
            (None, None) => return Some(target),
            (Some(value), Some("{id}")) if !value.is_empty() => {
                target = target.replacen("{id}", value, 1);
            }
            (Some(value), Some(name)) if value == name => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: &str, path: &str) -> Option<String> {
        canonical(method, path, |path| path == "/v1/messages/read")
    }

    #[test]
    fn every_alias_leads_to_its_operation() {
        assert_eq!(target("POST", "/v1/users/login").as_deref(), Some("/v1/auth/login"));
        assert_eq!(target("PUT", "/v1/profile/me").as_deref(), Some("/v1/users/profile"));
        assert_eq!(target("GET", "/v1/chat-rooms").as_deref(), Some("/v1/chat/rooms"));
    }

    #[test]
    fn a_segment_is_carried_over() {
        assert_eq!(target("GET", "/v1/messages/42").as_deref(), Some("/v1/chat/rooms/42/messages"));
    }

    #[test]
    fn what_is_no_alias_stays() {
        for path in ["/v1/users/profile", "/messages/42", "/v1/messages/", "/v1/messages/4/2", "/"]
        {
            assert_eq!(target("GET", path), None, "{path}");
        }
        assert_eq!(target("GET", "/v1/users/login"), None);
    }

    #[test]
    fn an_operation_of_its_own_is_no_alias() {
        assert_eq!(target("POST", "/v1/messages/read"), None);
    }
}
