//! The parts of a template: one for each place in which its words are shown.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TemplateError;
use crate::domain::stored_as;

/// A place for words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// One line, in the inbox and on a locked screen.
    Title,
    /// A few sentences, in the same places.
    Body,
    Sms,
    MailSubject,
    MailText,
    MailHtml,
}
stored_as!(Part {
    Title = "title",
    Body = "body",
    Sms = "sms",
    MailSubject = "mail_subject",
    MailText = "mail_text",
    MailHtml = "mail_html"
});

impl Part {
    pub const ALL: [Self; 6] =
        [Self::Title, Self::Body, Self::Sms, Self::MailSubject, Self::MailText, Self::MailHtml];

    /// How long its template may be.
    #[must_use]
    pub const fn source_bytes_max(self) -> usize {
        match self {
            Self::Title | Self::MailSubject => 2_000,
            Self::Body | Self::Sms => 8_000,
            Self::MailText => 32_000,
            Self::MailHtml => 128_000,
        }
    }

    /// How long what comes of it may be.
    #[must_use]
    pub const fn output_bytes_max(self) -> usize {
        match self {
            Self::Title | Self::MailSubject => 1_500,
            Self::Body | Self::Sms => 6_000,
            Self::MailText => 64_000,
            Self::MailHtml => 256_000,
        }
    }

    /// Whether it is a header or a heading: no line breaks in it.
    #[must_use]
    pub const fn is_one_line(self) -> bool {
        matches!(self, Self::Title | Self::MailSubject)
    }
}

/// The words of one kind in one language, as Jinja templates with `if` and `for`.
///
/// A part that is left out is made of others: `sms` of title and body, `mail_subject` of the title, `mail_text` of the
/// body, `mail_html` of the mail's text. `mail_html` is put into the mail's frame, unless it begins with `<!doctype`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    #[schema(
        min_length = 1,
        max_length = 2000,
        example = "Your order {{ data.number }} is on its way"
    )]
    pub title: String,
    #[schema(min_length = 1, max_length = 8000, example = "It arrives on {{ data.day }}.")]
    pub body: String,
    #[serde(default)]
    #[schema(max_length = 8000)]
    pub sms: Option<String>,
    #[serde(default)]
    #[schema(max_length = 2000)]
    pub mail_subject: Option<String>,
    #[serde(default)]
    #[schema(max_length = 32000)]
    pub mail_text: Option<String>,
    #[serde(default)]
    #[schema(max_length = 128000)]
    pub mail_html: Option<String>,
}

impl Parts {
    /// The template of a part, if there is one.
    #[must_use]
    pub fn get(&self, part: Part) -> Option<&str> {
        match part {
            Part::Title => Some(&self.title),
            Part::Body => Some(&self.body),
            Part::Sms => self.sms.as_deref(),
            Part::MailSubject => self.mail_subject.as_deref(),
            Part::MailText => self.mail_text.as_deref(),
            Part::MailHtml => self.mail_html.as_deref(),
        }
    }

    /// The parts that there are.
    pub fn iter(&self) -> impl Iterator<Item = (Part, &str)> {
        Part::ALL.into_iter().filter_map(|part| self.get(part).map(|source| (part, source)))
    }

    /// # Errors
    /// [`TemplateError::SourceTooLong`] for the first part that is.
    pub fn check_lengths(&self) -> Result<(), TemplateError> {
        let is_too_long = |(part, source): &(Part, &str)| source.len() > part.source_bytes_max();
        match self.iter().find(is_too_long) {
            Some((part, _)) => Err(TemplateError::SourceTooLong { part }),
            None => Ok(()),
        }
    }
}
