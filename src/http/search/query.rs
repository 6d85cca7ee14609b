//! What somebody looks for, and which page of it.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::names::{SearchInvalid, SearchTerm};
use crate::error::{ApiError, ApiResult};
use crate::http::page::{Cursor, InvalidCursor, Limit, decode};
use crate::store::names::FoundCursor;

/// What to look for, and which page of it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchQuery {
    /// The beginning of a handle, or of any word of a display name, with a letter or digit in it. Case, width, spaces and marks
    /// do not matter; of Hangul the first consonants will do (`ㅎㄱㄷ`).
    #[param(min_length = 1, max_length = 400)]
    q: String,
    /// The `next_cursor` of the page before, for the same `q`; the first page without.
    cursor: Option<String>,
    /// How many items at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    pub(super) limit: Limit,
}

impl SearchQuery {
    /// What is looked for, and where the page begins; `None` at the beginning.
    ///
    /// # Errors
    /// 422 for what cannot be looked for, and for a cursor that this list did not give.
    pub(super) fn start(&self) -> ApiResult<(SearchTerm, Option<FoundCursor>)> {
        let term = SearchTerm::parse(&self.q)?;
        let after: Option<FoundCursor> = self.cursor.as_deref().map(decode).transpose()?;
        if after.as_ref().is_some_and(|after| !after.is_of(&term)) {
            return Err(InvalidCursor.into());
        }
        Ok((term, after))
    }
}

impl From<SearchInvalid> for ApiError {
    fn from(error: SearchInvalid) -> Self {
        Self::invalid("?q", "invalid_search", error.to_string())
    }
}

impl Cursor for FoundCursor {
    fn to_text(&self) -> String {
        format!("{}:{}", self.id, self.word)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (id, word) = text.split_once(':')?;
        // No database takes it in a text.
        let is_text = !word.contains('\0');
        is_text.then(|| Some(Self { id: id.parse().ok()?, word: word.to_owned() })).flatten()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::http::page::encode;

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        let cursor = FoundCursor { word: "ㅎㅗㅇ".to_owned(), id: Uuid::from_u128(7).into() };

        assert_eq!(decode(&encode(&cursor)), Ok(cursor));
        assert_eq!(FoundCursor::from_text("ㅎㅗㅇ"), None);
        assert_eq!(FoundCursor::from_text("7:ㅎㅗㅇ"), None);
        assert_eq!(FoundCursor::from_text(&format!("{}:a\0", Uuid::nil())), None);
    }
}
