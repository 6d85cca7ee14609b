//! Text messages: what they cost in segments and bytes, and how one that is too long is cut.
//!
//! Abroad a message is sent in segments of 140 bytes, in GSM 7-bit letters if they suffice and in UCS-2 if not (3GPP TS
//! 23.038, 23.040). In Korea it is an SMS of up to 90 bytes of EUC-KR, or an LMS of up to 2,000.

use encoding_rs::EUC_KR;
use unicode_normalization::UnicodeNormalization as _;

/// Bytes of EUC-KR in a Korean SMS.
pub const SMS_BYTES_MAX: usize = 90;
/// Bytes of EUC-KR in a Korean LMS.
pub const LMS_BYTES_MAX: usize = 2_000;

/// 160 letters of 7 bits fill the 140 bytes of one segment; 7 go to a header where there are several.
const GSM_ALONE: usize = 160;
const GSM_SEGMENT: usize = 153;
/// 70 units of 16 bits fill them; 3 go to the header.
const UCS_ALONE: usize = 70;
const UCS_SEGMENT: usize = 67;

/// What one letter of 7 bits can say (3GPP TS 23.038, 6.2.1), besides what begins with an escape.
const GSM_LETTERS: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                           ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// What takes two letters, the first of them an escape (6.2.1.1).
const GSM_ESCAPED: &str = "\u{c}^{}\\[~]|€";

/// How a message is written on the air.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    Gsm7,
    Ucs2,
}

/// What a message takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    pub alphabet: Alphabet,
    pub count: usize,
}

/// Which kind of message a Korean carrier is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KoreanKind {
    Sms,
    Lms,
}

/// The text as it can be sent: letters put together as one writes them, no control characters but line breaks, and
/// nothing at the ends.
#[must_use]
pub fn tidy(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace('\t', " ");
    let sound: String = lines.nfc().filter(|c| *c == '\n' || !c.is_control()).collect();
    sound.trim().to_owned()
}

/// What the text takes abroad. An empty one takes one segment, as any message does.
#[must_use]
pub fn segments(text: &str) -> Segments {
    let alphabet = if text.chars().all(|c| gsm_letters(c).is_some()) {
        Alphabet::Gsm7
    } else {
        Alphabet::Ucs2
    };
    let (alone, segment) = match alphabet {
        Alphabet::Gsm7 => (GSM_ALONE, GSM_SEGMENT),
        Alphabet::Ucs2 => (UCS_ALONE, UCS_SEGMENT),
    };
    let units = |c: char| match alphabet {
        Alphabet::Gsm7 => gsm_letters(c).unwrap_or(0),
        Alphabet::Ucs2 => c.len_utf16(),
    };
    if text.chars().map(units).sum::<usize>() <= alone {
        return Segments { alphabet, count: 1 };
    }
    let (mut count, mut taken) = (1_usize, 0_usize);
    for units in text.chars().map(units) {
        // What takes two stands in one segment as a whole.
        if taken.saturating_add(units) > segment {
            (count, taken) = (count.saturating_add(1), 0);
        }
        taken = taken.saturating_add(units);
    }
    Segments { alphabet, count }
}

/// The longest beginning of the text that takes no more than `segments_max`, at least 1, and says with `…` that there
/// was more. A text that fits stays as it is.
#[must_use]
pub fn cut_to_segments(text: &str, segments_max: usize) -> String {
    // Three dots, where one letter would make every letter of the message wider.
    let more = match segments(text).alphabet {
        Alphabet::Gsm7 => "...",
        Alphabet::Ucs2 => "…",
    };
    cut(text, more, |text| segments(text).count <= segments_max)
}

/// The text in what EUC-KR can write, with `?` for everything else, such as pictures.
#[must_use]
pub fn in_euc_kr(text: &str) -> String {
    text.chars().map(|c| if euc_kr_bytes_of(c).is_some() { c } else { '?' }).collect()
}

/// Bytes of the text in EUC-KR, as Korean carriers count them; `None` if it cannot be written so.
#[must_use]
pub fn euc_kr_bytes(text: &str) -> Option<usize> {
    text.chars().map(euc_kr_bytes_of).sum()
}

/// What kind of message the text needs in Korea; `None` for one that is longer than any, or not in EUC-KR.
#[must_use]
pub fn korean_kind(text: &str) -> Option<KoreanKind> {
    let bytes = euc_kr_bytes(text)?;
    if bytes <= SMS_BYTES_MAX {
        return Some(KoreanKind::Sms);
    }
    (bytes <= LMS_BYTES_MAX).then_some(KoreanKind::Lms)
}

/// The longest beginning of the text that takes no more than `bytes_max` bytes of EUC-KR, and says with `..` that there
/// was more. A text that fits stays as it is; one with something that is not in EUC-KR ends before it.
#[must_use]
pub fn cut_to_euc_kr(text: &str, bytes_max: usize) -> String {
    cut(text, "..", |text| euc_kr_bytes(text).is_some_and(|bytes| bytes <= bytes_max))
}

/// Letters of 7 bits that a character takes, if it can be written so.
fn gsm_letters(c: char) -> Option<usize> {
    if GSM_LETTERS.contains(c) {
        return Some(1);
    }
    GSM_ESCAPED.contains(c).then_some(2)
}

fn euc_kr_bytes_of(c: char) -> Option<usize> {
    let mut buffer = [0; 4];
    let (bytes, _, had_unmappable) = EUC_KR.encode(c.encode_utf8(&mut buffer));
    (!had_unmappable).then_some(bytes.len())
}

/// `fits` must hold for each beginning of a text that it holds for.
fn cut(text: &str, more: &str, fits: impl Fn(&str) -> bool) -> String {
    if fits(text) {
        return text.to_owned();
    }
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let shortened = |end: &usize| format!("{}{more}", text.get(..*end).unwrap_or("").trim_end());
    let fitting = ends.partition_point(|end| fits(&shortened(end)));
    ends.get(..fitting).and_then(<[usize]>::last).map(shortened).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(text: &str) -> (Alphabet, usize) {
        let Segments { alphabet, count } = segments(text);
        (alphabet, count)
    }

    #[test]
    fn letters_of_seven_bits_are_counted_by_160_and_153() {
        assert_eq!(taken(""), (Alphabet::Gsm7, 1));
        assert_eq!(taken(&"a".repeat(160)), (Alphabet::Gsm7, 1));
        assert_eq!(taken(&"a".repeat(161)), (Alphabet::Gsm7, 2));
        assert_eq!(taken(&"a".repeat(306)), (Alphabet::Gsm7, 2));
        assert_eq!(taken(&"a".repeat(307)), (Alphabet::Gsm7, 3));
        assert_eq!(taken("@£$¥èéùìòÇØøÅåΔΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà\n"), (Alphabet::Gsm7, 1));
    }

    #[test]
    fn what_needs_an_escape_counts_twice() {
        assert_eq!(taken(&"€".repeat(80)), (Alphabet::Gsm7, 1));
        assert_eq!(taken(&format!("{}a", "€".repeat(80))), (Alphabet::Gsm7, 2));
        // 306 letters would fill two segments, but the escape that would be split begins a third.
        assert_eq!(
            taken(&format!("{}{{{}", "a".repeat(152), "a".repeat(152))),
            (Alphabet::Gsm7, 3)
        );
        assert_eq!(
            taken(&format!("{}{{{}", "a".repeat(151), "a".repeat(153))),
            (Alphabet::Gsm7, 2)
        );
    }

    #[test]
    fn one_wide_letter_makes_all_of_them_wide() {
        assert_eq!(taken(&"가".repeat(70)), (Alphabet::Ucs2, 1));
        assert_eq!(taken(&"가".repeat(71)), (Alphabet::Ucs2, 2));
        assert_eq!(taken(&"가".repeat(134)), (Alphabet::Ucs2, 2));
        assert_eq!(taken(&"가".repeat(135)), (Alphabet::Ucs2, 3));
        assert_eq!(taken(&format!("{}’", "a".repeat(69))), (Alphabet::Ucs2, 1));
        assert_eq!(taken(&format!("{}’", "a".repeat(70))), (Alphabet::Ucs2, 2));
        assert_eq!(taken("`"), (Alphabet::Ucs2, 1));
    }

    #[test]
    fn a_picture_takes_two_units_and_is_not_split() {
        assert_eq!(taken(&"🙂".repeat(35)), (Alphabet::Ucs2, 1));
        assert_eq!(taken(&"🙂".repeat(36)), (Alphabet::Ucs2, 2));
        // 33 in each segment of 67: the 34th would be split.
        assert_eq!(taken(&"🙂".repeat(66)), (Alphabet::Ucs2, 2));
        assert_eq!(taken(&"🙂".repeat(67)), (Alphabet::Ucs2, 3));
    }

    #[test]
    fn korean_letters_take_two_bytes_and_others_one() {
        assert_eq!(euc_kr_bytes("abc 가나다\n"), Some(11));
        assert_eq!(euc_kr_bytes("뷁"), Some(2));
        assert_eq!(euc_kr_bytes("🙂"), None);
        assert_eq!(in_euc_kr("안녕 🙂!"), "안녕 ?!");
    }

    #[test]
    fn ninety_bytes_are_an_sms_and_one_more_is_an_lms() {
        assert_eq!(korean_kind(&"가".repeat(45)), Some(KoreanKind::Sms));
        assert_eq!(korean_kind(&format!("{}a", "가".repeat(45))), Some(KoreanKind::Lms));
        assert_eq!(korean_kind(&"가".repeat(1_000)), Some(KoreanKind::Lms));
        assert_eq!(korean_kind(&"가".repeat(1_001)), None);
        assert_eq!(korean_kind("🙂"), None);
    }

    #[test]
    fn a_long_text_is_cut_where_a_letter_ends_and_says_so() {
        assert_eq!(cut_to_segments("hello", 1), "hello");
        let cut = cut_to_segments(&"a".repeat(161), 1);
        assert_eq!(cut, format!("{}...", "a".repeat(157)));
        let cut = cut_to_segments(&"가".repeat(71), 1);
        assert_eq!(cut, format!("{}…", "가".repeat(69)));
        let cut = cut_to_euc_kr(&"가".repeat(46), SMS_BYTES_MAX);
        assert_eq!(cut, format!("{}..", "가".repeat(44)));
        assert_eq!(cut_to_euc_kr("가🙂나", SMS_BYTES_MAX), "가..");
    }

    #[test]
    fn a_text_is_put_together_and_freed_of_what_no_telephone_shows() {
        assert_eq!(tidy("\u{1112}\u{1161}\u{11ab} e\u{301}\u{0}\u{7}\r\n\tb\u{1b} "), "한 é\n b");
    }

    proptest! {
        #[test]
        fn a_cut_text_fits_and_begins_like_the_whole(text in ".{0,400}", segments_max in 1_usize..4) {
            let cut = cut_to_segments(&text, segments_max);
            prop_assert!(segments(&cut).count <= segments_max);
            let kept = cut.trim_end_matches('…').trim_end_matches("...");
            prop_assert!(text.starts_with(kept));
        }

        #[test]
        fn a_cut_korean_text_fits(text in "[가-힣a-z \\n]{0,200}", bytes_max in 10_usize..200) {
            let cut = cut_to_euc_kr(&text, bytes_max);
            prop_assert!(euc_kr_bytes(&cut).unwrap() <= bytes_max);
            prop_assert!(text.starts_with(cut.trim_end_matches("..")));
        }

        #[test]
        fn more_text_never_takes_less(text in ".{0,300}", more in ".{0,20}") {
            let longer = format!("{text}{more}");
            prop_assert!(segments(&text).count <= segments(&longer).count);
        }
    }
}
