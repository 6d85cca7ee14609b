//! What a template may be written with, looked at before the engine reads it.
//!
//! Only tags that choose and repeat. Nothing that makes a longer text of shorter ones, and nothing that gives such a text a
//! name: steps are counted while a template is rendered, bytes are not, so `"a" * 100000000` would be one step. Invariant:
//! whatever an expression comes to is no longer than what it was given, save for what the filter `join` bounds itself.

use super::TemplateError;
use super::parts::Part;

/// `set` could double a text again and again, `autoescape` would undo escaping.
const TAGS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];
/// `+` and `~` join texts, `*` repeats them.
const GROWING: [char; 3] = ['*', '+', '~'];

/// Refuses what the engine could read and nobody should write.
///
/// # Errors
/// [`TemplateError::Broken`] with the line of it.
pub(super) fn check(part: Part, source: &str) -> Result<(), TemplateError> {
    let mut rest = source;
    while let Some((opening, inside)) = next_opening(rest) {
        let line = line_of(source, inside);
        if opening == Opening::Comment {
            rest = inside.split_once("#}").map_or("", |(_, after)| after);
            continue;
        }
        let (code, after) = split_at_end(opening, inside);
        let refused = check_code(opening, code);
        refused.map_err(|message| TemplateError::Broken { part, line, message })?;
        rest = after;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    Expression,
    Tag,
    Comment,
}

/// The next of `{{`, `{%` and `{#`, and what follows it.
fn next_opening(text: &str) -> Option<(Opening, &str)> {
    text.match_indices('{').find_map(|(place, _)| {
        let after = text.get(place..)?.strip_prefix('{')?;
        let opening = match after.bytes().next()? {
            b'{' => Opening::Expression,
            b'%' => Opening::Tag,
            b'#' => Opening::Comment,
            _ => return None,
        };
        Some((opening, after.get(1..)?))
    })
}

/// What stands between an opening and its end, and what follows. As the engine does it: an end counts outside of strings
/// and brackets.
fn split_at_end(opening: Opening, inside: &str) -> (&str, &str) {
    let end = if opening == Opening::Tag { "%}" } else { "}}" };
    let mut depth = 0_i64;
    for (place, character) in outside_strings(inside) {
        if depth == 0
            && let Some((code, after)) = inside.split_at_checked(place)
            && let Some(after) = after.strip_prefix(end)
        {
            return (code, after);
        }
        match character {
            '(' | '[' | '{' => depth = depth.saturating_add(1),
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    (inside, "")
}

/// The characters of code with their places, without those of strings.
fn outside_strings(code: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quote = None;
    let mut is_escaped = false;
    code.char_indices().filter(move |(_, character)| match quote {
        None => {
            quote = matches!(character, '"' | '\'').then_some(*character);
            quote.is_none()
        }
        Some(begun) => {
            let ends = !is_escaped && *character == begun;
            is_escaped = !is_escaped && *character == '\\';
            quote = (!ends).then_some(begun);
            false
        }
    })
}

/// Says what is wrong with what stands in an expression or a tag.
fn check_code(opening: Opening, code: &str) -> Result<(), String> {
    // `{%-` and `+%}` say what becomes of the blanks around.
    let code = code.strip_prefix(['-', '+']).unwrap_or(code);
    let code = code.strip_suffix(['-', '+']).unwrap_or(code).trim();
    if let Some((_, operator)) = outside_strings(code).find(|(_, it)| GROWING.contains(it)) {
        return Err(format!("`{operator}` cannot be used here: texts stand side by side"));
    }
    if opening == Opening::Expression {
        return Ok(());
    }
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
    let (tag, rest) = code.split_at_checked(end).unwrap_or((code, ""));
    if !TAGS.contains(&tag) {
        return Err(format!("the tag `{tag}` cannot be used here, only `if` and `for`"));
    }
    if tag == "for" && !goes_through_a_name(rest) {
        return Err("`for` goes through a name, such as `items` or `data.lines`".to_owned());
    }
    Ok(())
}

/// `item in items`, perhaps with an `if` behind: what it repeats was given, not made, and is not given again to itself.
fn goes_through_a_name(code: &str) -> bool {
    let mut words = code.split_whitespace().skip_while(|word| *word != "in").skip(1);
    let is_part = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let is_name = words.next().is_some_and(|word| word.split('.').all(is_part));
    is_name && words.next().is_none_or(|word| word == "if") && words.all(|word| word != "recursive")
}

/// The line of `source` in which `rest`, the end of it, begins.
fn line_of(source: &str, rest: &str) -> usize {
    let before = source.get(..source.len().saturating_sub(rest.len())).unwrap_or_default();
    before.matches('\n').count().saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(source: &str) -> Result<(), TemplateError> {
        check(Part::Body, source)
    }

    #[test]
    fn what_makes_texts_longer_is_refused_wherever_it_hides() {
        for source in [
            "{{ \"a\" * 100000000 }}",
            "{{ 9 ** 9 }}",
            "{{ data.a ~ data.a }}",
            "{{ data.a + data.a }}",
            "{{- data.a~data.a -}}",
            "{% if \"a\" * 9 == data.a %}x{% endif %}",
            "{{ \"}}\" * 9 }}",
            "{{ '\\'}}' * 9 }}",
            "{{ {\"a\": {\"b\": 1}} * 9 }}",
            "{# {{ #}{{ data.a * 9 }}",
            "{{{ \"a\": 1 }|length * 9 }}",
        ] {
            assert!(matches!(checked(source), Err(TemplateError::Broken { .. })), "{source}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not() {
        for source in [
            "**Sale** + more ~ {{ count - 1 }}",
            "{{ \"a * b\" }} {{ 'a + b' }}",
            "{%+ if count > 1 +%}x{%- endif -%}",
            "{# * + ~ #}",
            "{ * }",
            "{{ items[0].title|default(\"~\") }}",
        ] {
            assert_eq!(checked(source), Ok(()), "{source}");
        }
    }

    #[test]
    fn a_loop_goes_through_what_was_given_and_through_nothing_else() {
        for source in [
            "{% for a in items %}",
            "{%- for key, value in data.lines -%}",
            "{% for item in items if item.count > 1 %}",
            "{% for item in items if \"in\" in item.title %}",
        ] {
            assert_eq!(checked(source), Ok(()), "{source}");
        }
        for source in [
            "{% for a in [a, a] %}",
            "{% for a in (a, a) %}",
            "{% for a in \"aa\" %}",
            "{% for a in names|join(data.a) %}",
            "{% for a in items recursive %}",
            "{% for a in items if a recursive %}",
            "{% for a in[a, a] %}",
            "{% for a in %}",
            "{% for %}",
        ] {
            assert!(
                matches!(checked(source), Err(TemplateError::Broken { line: 1, .. })),
                "{source}"
            );
        }
    }

    #[test]
    fn the_line_of_what_is_refused_is_named() {
        let Err(TemplateError::Broken { line, .. }) = checked("a\n{{ count }}\n{{ 1 * 1 }}") else {
            panic!("it is refused");
        };
        assert_eq!(line, 3);
    }
}
