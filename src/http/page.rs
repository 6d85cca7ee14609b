//! Pages of lists: how long one may be, and the opaque mark of where the next one begins.
//!
//! Invariant: a cursor holds the keys of the last row shown, so that pages skip and repeat nothing, however many
//! rows come before it meanwhile.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::rooms::Seq;
use crate::error::ApiError;

const LIMIT_DEFAULT: u8 = 50;
const LIMIT_MAX: u8 = 200;

/// How many items a page has at most: 1 to 200, 50 unless the client says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Limit(u8);

impl Limit {
    /// The rows to ask the store for: one more than is shown says whether there is a next page.
    #[must_use]
    pub fn with_probe(self) -> i64 {
        i64::from(self.0).saturating_add(1)
    }

    /// The items to show.
    #[must_use]
    pub fn items(self) -> usize {
        usize::from(self.0)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(LIMIT_DEFAULT)
    }
}

/// Why a number is refused before anything is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfRange {
    #[error("a limit is 1 to {LIMIT_MAX}")]
    Limit,
    #[error("a position is not negative")]
    Position,
}

impl TryFrom<i64> for Limit {
    type Error = OutOfRange;

    fn try_from(limit: i64) -> Result<Self, OutOfRange> {
        match u8::try_from(limit) {
            Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(Self(limit)),
            _ => Err(OutOfRange::Limit),
        }
    }
}

/// A place in a room's log as a client names it: 0, before the first event, or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Position(Seq);

impl Position {
    /// The place as the rules and the store know it.
    #[must_use]
    pub const fn seq(self) -> Seq {
        self.0
    }
}

impl TryFrom<i64> for Position {
    type Error = OutOfRange;

    fn try_from(seq: i64) -> Result<Self, OutOfRange> {
        if seq >= 0 { Ok(Self(seq)) } else { Err(OutOfRange::Position) }
    }
}

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The `next_cursor` of the page before; the first page without.
    pub cursor: Option<String>,
    /// How many items at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    pub limit: Limit,
}

impl PageQuery {
    /// Where the page begins; `None` at the beginning.
    ///
    /// # Errors
    /// [`InvalidCursor`] for one that this list did not give.
    pub fn after<C: Cursor>(&self) -> Result<Option<C>, InvalidCursor> {
        self.cursor.as_deref().map(decode).transpose()
    }
}

/// The keys of a row in a list's order, as short text.
pub trait Cursor: Sized {
    fn to_text(&self) -> String;

    /// Reads the text back; `None` for any other.
    fn from_text(text: &str) -> Option<Self>;
}

/// The cursor is not one that this list gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one that this list gave")]
pub struct InvalidCursor;

impl From<InvalidCursor> for ApiError {
    fn from(error: InvalidCursor) -> Self {
        Self::invalid("?cursor", "invalid_cursor", error.to_string())
    }
}

/// Makes a cursor opaque: clients hand it back and read nothing from it.
#[must_use]
pub fn encode(cursor: &impl Cursor) -> String {
    URL_SAFE_NO_PAD.encode(cursor.to_text())
}

/// Reads a cursor that a client handed back.
///
/// # Errors
/// [`InvalidCursor`].
pub fn decode<C: Cursor>(text: &str) -> Result<C, InvalidCursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
    std::str::from_utf8(&bytes).ok().and_then(C::from_text).ok_or(InvalidCursor)
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// What to ask the next page with; null on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Shows the rows that [`Limit::with_probe`] gave; `cursor` tells a row's keys.
    pub fn new<R, C>(mut rows: Vec<R>, limit: Limit, cursor: impl Fn(&R) -> C) -> Self
    where
        T: From<R>,
        C: Cursor,
    {
        let more = rows.len() > limit.items();
        rows.truncate(limit.items());
        let last = rows.last().filter(|_| more);
        let next_cursor = last.map(|row| encode(&cursor(row)));
        Self { items: rows.into_iter().map(T::from).collect(), next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Number(i64);

    impl Cursor for Number {
        fn to_text(&self) -> String {
            self.0.to_string()
        }

        fn from_text(text: &str) -> Option<Self> {
            text.parse().ok().map(Self)
        }
    }

    fn page_of(rows: i64, limit: i64) -> Page<i64> {
        Page::new((1..=rows).collect(), Limit::try_from(limit).unwrap(), |row| Number(*row))
    }

    #[test]
    fn a_full_page_with_one_more_row_points_behind_its_last_item() {
        let page = page_of(4, 3);
        assert_eq!(page.items, [1, 2, 3]);
        assert_eq!(decode::<Number>(&page.next_cursor.unwrap()).unwrap().0, 3);
    }

    #[test]
    fn the_last_page_has_no_next_one_even_when_it_is_full() {
        assert_eq!(page_of(3, 3).next_cursor, None);
        assert_eq!(page_of(0, 3).next_cursor, None);
    }

    #[test]
    fn a_cursor_that_was_not_given_is_refused() {
        for text in ["", "12", "!", "안녕", "MTI=", &URL_SAFE_NO_PAD.encode([0xff, 0xfe])] {
            assert!(decode::<Number>(text).is_err(), "{text}");
        }
        assert_eq!(decode::<Number>(&encode(&Number(12))).unwrap().0, 12);
    }

    #[test]
    fn limits_and_positions_are_read_within_their_bounds() {
        let query = |text| actix_web::web::Query::<PageQuery>::from_query(text);
        assert_eq!(query("").unwrap().limit.items(), 50);
        assert_eq!(query("limit=200").unwrap().limit.with_probe(), 201);
        for text in
            ["limit=0", "limit=201", "limit=-1", "limit=", "limit=99999999999999999999", "page=2"]
        {
            assert!(query(text).is_err(), "{text}");
        }
        assert_eq!(Position::try_from(0).unwrap().seq(), 0);
        assert_eq!(Position::try_from(-1), Err(OutOfRange::Position));
    }
}
