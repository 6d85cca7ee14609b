//! Which page of a room's history is wanted, and how it becomes an answer that names the next one.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::rooms::Seq;
use crate::error::{ApiError, ApiResult};
use crate::http::page::{Cursor, Limit, Page, Position, decode, encode};
use crate::http::views::MessageView;
use crate::store::messages::{ChatMessage, Page as Start};

/// Where a page of history begins; without any of the three, at the newest message.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// The messages just below this `seq`.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 9223372036854775807i64)]
    before: Option<Position>,
    /// The messages just above this `seq`.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 9223372036854775807i64)]
    after: Option<Position>,
    /// The `next_cursor` of the page before: goes on in the same direction.
    cursor: Option<String>,
    /// How many messages at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    pub(super) limit: Limit,
}

impl HistoryQuery {
    /// The one place that the query names.
    ///
    /// # Errors
    /// 422 for more than one place, or for a cursor that history did not give.
    pub(super) fn start(&self) -> ApiResult<Start> {
        match (&self.cursor, self.before, self.after) {
            (None, before, None) => Ok(Start::Before(before.map(Position::seq))),
            (None, None, Some(after)) => Ok(Start::After(after.seq())),
            (Some(cursor), None, None) => Ok(decode(cursor)?),
            _ => Err(ApiError::invalid(
                "",
                "conflicting_parameters",
                "only one of before, after and cursor can be given",
            )),
        }
    }
}

/// Shows the rows that [`Limit::with_probe`] gave: the row too many is at the far end of the direction.
pub(super) fn page(mut rows: Vec<ChatMessage>, start: Start, limit: Limit) -> Page<MessageView> {
    let excess = rows.len().saturating_sub(limit.items());
    let next = match start {
        Start::Before(_) => {
            rows.drain(..excess);
            rows.first().map(|oldest| Start::Before(Some(oldest.seq)))
        }
        Start::After(_) => {
            rows.truncate(limit.items());
            rows.last().map(|newest| Start::After(newest.seq))
        }
    };
    let next_cursor = next.filter(|_| excess > 0).map(|next| encode(&next));
    Page { items: rows.into_iter().map(MessageView::from).collect(), next_cursor }
}

impl Cursor for Start {
    fn to_text(&self) -> String {
        match self {
            Self::Before(seq) => format!("before:{}", seq.unwrap_or(Seq::MAX)),
            Self::After(seq) => format!("after:{seq}"),
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        let (direction, seq) = text.split_once(':')?;
        let seq = Position::try_from(seq.parse::<Seq>().ok()?).ok()?.seq();
        match direction {
            "before" => Some(Self::Before(Some(seq))),
            "after" => Some(Self::After(seq)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::web::Query;
    use uuid::Uuid;

    use super::*;
    use crate::domain::time::Timestamp;

    fn message(seq: Seq) -> ChatMessage {
        ChatMessage {
            id: Uuid::from_u128(u128::try_from(seq).unwrap()).into(),
            seq,
            key: seq.to_string(),
            from: Uuid::nil().into(),
            body: "안녕".to_owned(),
            at: Timestamp::from_millis(seq),
            edited_at: None,
            deleted_at: None,
            reply_to: None,
            mentions: Vec::new(),
            attachments: Vec::new(),
            reactions: Vec::new(),
        }
    }

    fn shown(seqs: impl Iterator<Item = Seq>, start: Start) -> (Vec<Seq>, Option<Start>) {
        let page = page(seqs.map(message).collect(), start, Limit::try_from(3).unwrap());
        let next = page.next_cursor.map(|cursor| decode(&cursor).unwrap());
        (page.items.iter().map(|message| message.seq).collect(), next)
    }

    fn asked(query: &str) -> ApiResult<Start> {
        Query::<HistoryQuery>::from_query(query).unwrap().start()
    }

    #[test]
    fn going_back_drops_the_oldest_row_and_goes_on_below_the_page() {
        let (seqs, next) = shown(6..=9, Start::Before(Some(10)));
        assert_eq!((seqs, next), (vec![7, 8, 9], Some(Start::Before(Some(7)))));
        let (seqs, next) = shown(1..=3, Start::Before(None));
        assert_eq!((seqs, next), (vec![1, 2, 3], None));
    }

    #[test]
    fn going_forward_drops_the_newest_row_and_goes_on_above_the_page() {
        let (seqs, next) = shown(6..=9, Start::After(5));
        assert_eq!((seqs, next), (vec![6, 7, 8], Some(Start::After(8))));
        assert_eq!(shown(0..0, Start::After(5)), (Vec::new(), None));
    }

    #[test]
    fn a_query_names_at_most_one_place() {
        assert_eq!(asked("").unwrap(), Start::Before(None));
        assert_eq!(asked("before=7&limit=2").unwrap(), Start::Before(Some(7)));
        assert_eq!(asked("after=0").unwrap(), Start::After(0));
        let cursor = encode(&Start::After(8));
        assert_eq!(asked(&format!("cursor={cursor}")).unwrap(), Start::After(8));
        for query in ["before=1&after=1".to_owned(), format!("cursor={cursor}&after=1")] {
            assert_eq!(asked(&query).unwrap_err().status_and_code().0.as_u16(), 422, "{query}");
        }
    }

    #[test]
    fn a_cursor_of_another_list_or_out_of_range_is_refused() {
        for text in ["7", "before:", "before:-1", "after:99999999999999999999", "around:7"] {
            assert_eq!(Start::from_text(text), None, "{text}");
        }
        assert_eq!(asked("cursor=nonsense").unwrap_err().status_and_code().0.as_u16(), 422);
        for query in ["before=-1", "after=x", "before=99999999999999999999", "around=7"] {
            assert!(Query::<HistoryQuery>::from_query(query).is_err(), "{query}");
        }
    }
}
