//! Push messages: what is left out of one that is too large, and the names under which later ones replace earlier ones.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The longest that a topic may be (RFC 8030, 5.4).
const TOPIC_CHARS: usize = 32;
/// What a device shows at the end of a text that goes on.
const MORE: &str = "…";

/// What a device is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    pub title: String,
    pub body: String,
    /// For the app.
    pub data: Map<String, Value>,
}

impl Shown {
    /// `data` that is no object is none.
    #[must_use]
    pub fn new(title: &str, body: &str, data: &Value) -> Self {
        let data = data.as_object().cloned().unwrap_or_default();
        Self { title: title.to_owned(), body: body.to_owned(), data }
    }

    /// As much of it as weighs no more than `bytes_max`: first without the data, then with less and less of the body,
    /// then of the title. `None` if not even an empty message does.
    #[must_use]
    pub fn fit(self, bytes_max: usize, weigh: impl Fn(&Self) -> usize) -> Option<Self> {
        if weigh(&self) <= bytes_max {
            return Some(self);
        }
        let bare = Self { data: Map::new(), ..self };
        if weigh(&bare) <= bytes_max {
            return Some(bare);
        }
        let with_body = |body| Self { body, ..bare.clone() };
        if let Some(body) = cut(&bare.body, |body| weigh(&with_body(body)) <= bytes_max) {
            return Some(with_body(body));
        }
        let with_title = |title| Self { title, body: String::new(), data: Map::new() };
        if weigh(&with_title(bare.title.clone())) <= bytes_max {
            return Some(with_title(bare.title));
        }
        cut(&bare.title, |title| weigh(&with_title(title)) <= bytes_max).map(with_title)
    }
}

/// A name for the key that fits into a header and tells nobody what it stands for.
#[must_use]
pub fn topic(collapse_key: &str) -> String {
    let mut name = URL_SAFE_NO_PAD.encode(Sha256::digest(collapse_key.as_bytes()));
    name.truncate(TOPIC_CHARS);
    name
}

/// The longest beginning of the text that fits with [`MORE`] behind it.
fn cut(text: &str, fits: impl Fn(String) -> bool) -> Option<String> {
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let shortened = |end: usize| format!("{}{MORE}", text.get(..end).unwrap_or("").trim_end());
    let fitting = ends.partition_point(|end| fits(shortened(*end)));
    ends.get(..fitting).and_then(<[usize]>::last).copied().map(shortened)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn weigh(shown: &Shown) -> usize {
        json!({ "title": shown.title, "body": shown.body, "data": shown.data }).to_string().len()
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let shown = Shown::new("지수", "안녕", &json!({ "room": "a" }));

        assert_eq!(shown.clone().fit(4_000, weigh), Some(shown));
    }

    #[test]
    fn the_data_goes_first_then_the_end_of_the_body_then_that_of_the_title() {
        let data = json!({ "blob": "x".repeat(200) });
        let shown = Shown::new("title", &"가".repeat(100), &data);

        let without_data = shown.clone().fit(400, weigh).unwrap();
        assert_eq!((without_data.body.chars().count(), without_data.data.len()), (100, 0));

        let cut = shown.clone().fit(200, weigh).unwrap();
        assert_eq!(cut.title, "title");
        assert!(cut.body.ends_with("가…") && cut.body.chars().count() < 100, "{cut:?}");

        let long = Shown::new(&"t".repeat(300), "body", &data).fit(200, weigh).unwrap();
        assert_eq!(long.body, "");
        assert!(long.title.ends_with("t…"), "{long:?}");

        assert_eq!(shown.fit(10, weigh), None);
    }

    #[test]
    fn a_topic_is_a_short_word_that_tells_nothing() {
        let name = topic("room:0193");

        assert_eq!(name.len(), 32);
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')));
        assert_eq!(name, topic("room:0193"));
        assert_ne!(name, topic("room:0194"));
    }

    proptest! {
        #[test]
        fn whatever_is_left_fits(title in ".{0,40}", body in ".{0,200}", bytes_max in 60_usize..400) {
            let data = json!({ "a": [1, 2, 3], "b": "c" });
            let left = Shown::new(&title, &body, &data).fit(bytes_max, weigh);
            prop_assert!(left.is_some_and(|left| weigh(&left) <= bytes_max));
        }
    }
}
