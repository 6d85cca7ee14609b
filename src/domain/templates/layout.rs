//! The frame around mails: one column without tables, styles beside the words, light and dark, and a way out.

use std::sync::LazyLock;

use minijinja::{Environment, HtmlEscape, Value, context};

use super::context::Context;
use super::parts::Part;
use super::{TemplateError, engine};
use crate::domain::locales::Locale;

/// The words of the frame itself.
struct Words {
    why: &'static str,
    stop: &'static str,
    stop_link: &'static str,
}

const EN: Words = Words {
    why: "You get this mail because of your settings in",
    stop: "To stop mails like this",
    stop_link: "Stop mails like this",
};
const KO: Words = Words {
    why: "알림 설정에 따라 보내 드린 메일이에요:",
    stop: "이런 메일을 그만 받으려면",
    stop_link: "이런 메일 그만 받기",
};

static FRAME: LazyLock<Result<Environment<'static>, TemplateError>> = LazyLock::new(|| {
    let mut frame = engine::engine();
    engine::add(&mut frame, Part::MailHtml, include_str!("layout.html"))?;
    Ok(frame)
});

/// Puts `content`, which is HTML, into the frame.
pub(super) fn page(
    locale: &Locale,
    subject: &str,
    content: String,
    context: &Context,
) -> Result<String, TemplateError> {
    let frame = FRAME.as_ref().map_err(Clone::clone)?;
    let words = words(locale);
    let values = context! {
        lang => locale.as_str(),
        subject,
        content => Value::from_safe_string(content),
        app => Value::from_serialize(&context.app),
        unsubscribe_url => context.unsubscribe_url.as_deref(),
        why => words.why,
        stop_link => words.stop_link,
    };
    engine::render(frame, Part::MailHtml, &values)
}

/// Text as HTML: a blank line parts paragraphs.
pub(super) fn paragraphs(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
    let html = paragraphs.map(|paragraph| {
        let lines: Vec<String> =
            paragraph.lines().map(|line| HtmlEscape(line).to_string()).collect();
        format!("<p>{}</p>\n", lines.join("<br>\n"))
    });
    html.collect()
}

/// The text of a mail with the way out below it, where there is one.
pub(super) fn with_footer(locale: &Locale, text: &str, context: &Context) -> String {
    let text = text.trim_end();
    let Some(url) = &context.unsubscribe_url else { return format!("{text}\n") };
    let Words { why, stop, .. } = words(locale);
    format!("{text}\n\n-- \n{why} {}\n{stop}: {url}\n", context.app.name)
}

fn words(locale: &Locale) -> &'static Words {
    if locale.language() == "ko" { &KO } else { &EN }
}
