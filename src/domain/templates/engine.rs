//! The engine: Jinja cut down to what words need, and bounded.
//!
//! No files, no includes, no macros, no `set`, no way around escaping; [`grammar`] says what may be written. A template that
//! is missing a variable, runs for too long or writes too much is an error.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::LazyLock;

use minijinja::value::ValueKind;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
    escape_formatter, filters, tests,
};

use super::parts::Part;
use super::{TemplateError, grammar};

/// Steps of one rendering: a digest of a hundred items takes a tenth of it.
const FUEL_MAX: u64 = 50_000;
const NESTING_MAX: usize = 32;
/// What `join` may come to.
const JOINED_BYTES_MAX: usize = 64_000;

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::empty();
    engine.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    engine.set_fuel(Some(FUEL_MAX));
    engine.set_recursion_limit(NESTING_MAX);
    engine.set_trim_blocks(true);
    engine.set_lstrip_blocks(true);
    engine.set_keep_trailing_newline(true);
    engine.set_auto_escape_callback(escaping);
    engine.set_formatter(write_value);
    engine.add_filter("default", filters::default);
    engine.add_filter("first", filters::first);
    engine.add_filter("join", join);
    engine.add_filter("last", filters::last);
    engine.add_filter("length", filters::length);
    engine.add_filter("lower", filters::lower);
    engine.add_filter("plural", plural);
    engine.add_filter("trim", filters::trim);
    engine.add_filter("truncate", truncate);
    engine.add_filter("upper", filters::upper);
    engine.add_test("defined", tests::is_defined);
    engine.add_test("none", tests::is_none);
    engine
});

/// An engine without templates.
pub(super) fn engine() -> Environment<'static> {
    ENGINE.clone()
}

/// Adds the template of a part.
pub(super) fn add(
    engine: &mut Environment<'static>,
    part: Part,
    source: &str,
) -> Result<(), TemplateError> {
    grammar::check(part, source)?;
    engine.add_template_owned(part.as_str(), source.to_owned()).map_err(|error| {
        TemplateError::Broken { part, line: line_of(&error), message: say(&error) }
    })
}

/// The variables that a part which was added may look up.
pub(super) fn variables(engine: &Environment<'static>, part: Part) -> HashSet<String> {
    engine
        .get_template(part.as_str())
        .map(|template| template.undeclared_variables(false))
        .unwrap_or_default()
}

/// Renders a part that was added.
pub(super) fn render(
    engine: &Environment<'static>,
    part: Part,
    context: &Value,
) -> Result<String, TemplateError> {
    let mut output = Bounded { bytes: Vec::new(), bytes_max: part.output_bytes_max() };
    let rendered = engine
        .get_template(part.as_str())
        .and_then(|template| template.render_captured_to(context, &mut output).map(|_| ()));
    match rendered {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::WriteFailure => {
            return Err(TemplateError::OutputTooLong { part });
        }
        Err(error) => {
            let (line, message) = (line_of(&error), say(&error));
            return Err(TemplateError::Unrendered { part, line, message });
        }
    }
    Ok(String::from_utf8_lossy(&output.bytes).into_owned())
}

fn escaping(name: &str) -> AutoEscape {
    if name == Part::MailHtml.as_str() { AutoEscape::Html } else { AutoEscape::None }
}

/// Writes texts and numbers. Nothing else is meant to be read by people, least of all `none`.
fn write_value(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::String | ValueKind::Number => escape_formatter(out, state, value),
        // The other branch of an inline `if` without `else`; a variable that is missing does not come here.
        ValueKind::Undefined => Ok(()),
        ValueKind::None => Err(Error::new(ErrorKind::UndefinedError, "there is no value here")),
        kind => {
            let message = format!("a {kind} cannot be written, only text and numbers");
            Err(Error::new(ErrorKind::InvalidOperation, message))
        }
    }
}

/// `{{ count|plural("room", "rooms") }}`
fn plural(count: i64, one: String, many: String) -> String {
    if count == 1 { one } else { many }
}

/// The texts and numbers of a list with `between` between them. Bounded, because it writes `between` as often as it likes.
fn join(list: &Value, between: Option<&str>) -> Result<String, Error> {
    let mut joined = String::new();
    for (place, item) in list.try_iter()?.enumerate() {
        if place > 0 {
            joined.push_str(between.unwrap_or_default());
        }
        match item.as_str() {
            Some(text) => joined.push_str(text),
            None if item.kind() == ValueKind::Number => joined.push_str(&item.to_string()),
            None => {
                let message = format!("a {} cannot be joined, only text and numbers", item.kind());
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        if joined.len() > JOINED_BYTES_MAX {
            let message = format!("`join` comes to more than {JOINED_BYTES_MAX} bytes");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
    }
    Ok(joined)
}

/// The first `chars_max` characters, with `…` in the place of the last one where there are more.
fn truncate(text: String, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text;
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

fn line_of(error: &Error) -> usize {
    error.line().unwrap_or(1)
}

fn say(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(bytes.len()) > self.bytes_max {
            return Err(io::Error::other("more than fits"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
