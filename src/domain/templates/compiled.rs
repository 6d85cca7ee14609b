//! A template that was read and is ready to be rendered, any number of times and on any thread.

use std::collections::BTreeSet;

use minijinja::{Environment, Value};

use super::context::Context;
use super::parts::{Part, Parts};
use super::{TemplateError, engine, layout};
use crate::domain::locales::Locale;

/// Variables whose value is another for each recipient.
const PERSONAL: [&str; 3] = ["recipient", "code", "unsubscribe_url"];
/// A `mail_html` that begins like this is a page of its own.
const WHOLE_PAGE: &str = "<!doctype";

/// The words of one kind in one language.
pub struct CompiledTemplate {
    engine: Environment<'static>,
    parts: BTreeSet<Part>,
    personal: BTreeSet<Part>,
    has_own_page: bool,
    locale: Locale,
}

/// What the inbox and a locked screen show.
#[derive(Clone, PartialEq, Eq)]
pub struct Notice {
    pub title: String,
    pub body: String,
}

/// What a mail says.
#[derive(Clone, PartialEq, Eq)]
pub struct MailWords {
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// What every medium says.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    pub notice: Notice,
    pub sms: String,
    pub mail: MailWords,
}

impl CompiledTemplate {
    /// Reads the parts of a template in `locale`.
    ///
    /// # Errors
    /// [`TemplateError::SourceTooLong`]; [`TemplateError::Broken`] with the place of what cannot be read.
    pub fn compile(parts: &Parts, locale: Locale) -> Result<Self, TemplateError> {
        parts.check_lengths()?;
        let mut engine = engine::engine();
        let mut personal = BTreeSet::new();
        for (part, source) in parts.iter() {
            engine::add(&mut engine, part, source)?;
            if engine::variables(&engine, part).iter().any(|name| PERSONAL.contains(&name.as_str()))
            {
                personal.insert(part);
            }
        }
        let html = parts.mail_html.as_deref().unwrap_or_default().trim_start();
        let has_own_page = html
            .get(..WHOLE_PAGE.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(WHOLE_PAGE));
        let parts = parts.iter().map(|(part, _)| part).collect();
        Ok(Self { engine, parts, personal, has_own_page, locale })
    }

    /// The language it is written in, which need not be the one that was asked for.
    #[must_use]
    pub const fn locale(&self) -> &Locale {
        &self.locale
    }

    /// Whether title or body names the recipient: otherwise one rendering serves everybody who reads this language.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        self.is_part_personal(Part::Title) || self.is_part_personal(Part::Body)
    }

    /// Whether a part names the recipient.
    #[must_use]
    pub fn is_part_personal(&self, part: Part) -> bool {
        self.personal.contains(&part)
    }

    /// Renders title and body.
    ///
    /// # Errors
    /// Any [`TemplateError`] of rendering: the template does not fit what it was given, and never will.
    pub fn notice(&self, context: &Context) -> Result<Notice, TemplateError> {
        self.notice_of(&Value::from_serialize(context))
    }

    /// Renders a text message.
    ///
    /// # Errors
    /// As [`Self::notice`].
    pub fn sms(&self, context: &Context) -> Result<String, TemplateError> {
        self.sms_of(&Value::from_serialize(context))
    }

    /// Renders a mail. A link to end mails like this stands below it where `context` has one.
    ///
    /// # Errors
    /// As [`Self::notice`].
    pub fn mail(&self, context: &Context) -> Result<MailWords, TemplateError> {
        let values = Value::from_serialize(context);
        let subject = self.first_of(&[Part::MailSubject, Part::Title], &values)?;
        let text = self.first_of(&[Part::MailText, Part::Body], &values)?;
        let html = match self.part(Part::MailHtml, &values)? {
            Some(html) if self.has_own_page => html,
            Some(html) => layout::page(&self.locale, &subject, html, context)?,
            None => layout::page(&self.locale, &subject, layout::paragraphs(&text), context)?,
        };
        let text = layout::with_footer(&self.locale, &text, context);
        Ok(MailWords { subject, text, html })
    }

    /// Renders everything.
    ///
    /// # Errors
    /// As [`Self::notice`].
    pub fn render(&self, context: &Context) -> Result<Rendered, TemplateError> {
        Ok(Rendered {
            notice: self.notice(context)?,
            sms: self.sms(context)?,
            mail: self.mail(context)?,
        })
    }

    fn notice_of(&self, values: &Value) -> Result<Notice, TemplateError> {
        Ok(Notice {
            title: self.first_of(&[Part::Title], values)?,
            body: self.first_of(&[Part::Body], values)?,
        })
    }

    fn sms_of(&self, values: &Value) -> Result<String, TemplateError> {
        if let Some(text) = self.part(Part::Sms, values)? {
            return Ok(text);
        }
        let Notice { title, body } = self.notice_of(values)?;
        Ok(format!("{title}\n{body}"))
    }

    /// The first of `parts` that there is.
    fn first_of(&self, parts: &[Part], values: &Value) -> Result<String, TemplateError> {
        for part in parts {
            if let Some(text) = self.part(*part, values)? {
                return Ok(text);
            }
        }
        Err(TemplateError::NotFound)
    }

    fn part(&self, part: Part, values: &Value) -> Result<Option<String>, TemplateError> {
        if !self.parts.contains(&part) {
            return Ok(None);
        }
        let text = clean(part, &engine::render(&self.engine, part, values)?);
        if text.is_empty() { Err(TemplateError::Empty { part }) } else { Ok(Some(text)) }
    }
}

/// Takes away what no text should carry: control characters, and line breaks where there is one line.
fn clean(part: Part, text: &str) -> String {
    if part.is_one_line() {
        let visible = text.chars().map(|c| if is_forbidden(c) { ' ' } else { c });
        let visible: String = visible.collect();
        return visible.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    let kept: String =
        text.chars().filter(|c| matches!(c, '\n' | '\t') || !is_forbidden(*c)).collect();
    kept.trim().to_owned()
}

/// Control characters, separators of lines, and what turns the direction of everything that follows.
fn is_forbidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}
