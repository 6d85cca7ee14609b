//! The people who are told, and how each is reached; and the words that they are told in.
//!
//! Invariant: whatever a provider is given says for whom it is, and in which sending.

use serde_json::{Value, json};

use crate::database::{Connection, execute};
use crate::residents::{Mail, Residents, id};

/// The kind of notification that is sent.
pub const KIND: &str = "announcement";
/// What every medium is told begins so; then comes the number of the sending.
const TITLE: &str = "Announcement ";
/// A block of Korean numbers.
const PHONES: &str = "+8210";
const DEVICES: &str = "device-";
const MAILS: &str = "@example.com";
const SINCE: i64 = 0x0190_0000_0000;

/// Writes so many people, who are reached on every medium and want that, into the database.
pub async fn settle(db: &mut Connection, count: usize) -> anyhow::Result<Residents> {
    let residents = Residents::settle(db, count, Mail::Verified).await?;
    execute!(db, "BEGIN");
    for (number, user) in residents.ids().enumerate() {
        execute!(
            db,
            "INSERT INTO phones (user_id, number, verified_at) VALUES ($1, $2, $3)",
            user,
            phone(number),
            SINCE,
        );
        execute!(
            db,
            "INSERT INTO devices (id, user_id, kind, address, name, created_at, last_used_at)
             VALUES ($1, $2, 'fcm', $3, 'A telephone', $4, $4)",
            // A device is never taken for a user, and may have the same number.
            id(number),
            user,
            device(number),
            SINCE,
        );
        for medium in ["inbox", "mail", "sms", "push"] {
            execute!(
                db,
                "INSERT INTO notification_preferences (user_id, kind, medium, choice)
                 VALUES ($1, $2, $3, 'on')",
                user,
                KIND,
                medium,
            );
        }
    }
    execute!(db, "COMMIT");
    Ok(residents)
}

/// The words of every medium; `data.number` is the sending's.
pub fn words() -> Value {
    let title = format!("{TITLE}{{{{ data.number }}}}");
    json!({
        "title": title,
        "body": "The water is off in the courtyard until noon.",
        "sms": title,
        "mail_subject": title,
    })
}

fn phone(number: usize) -> String {
    format!("{PHONES}{number:08}")
}

fn device(number: usize) -> String {
    format!("{DEVICES}{number}")
}

/// Whose telephone number it is.
pub fn of_phone(text: &str) -> Option<usize> {
    text.strip_prefix(PHONES)?.parse().ok()
}

/// Whose device it is.
pub fn of_device(text: &str) -> Option<usize> {
    text.strip_prefix(DEVICES)?.parse().ok()
}

/// Whose mail address it is.
pub fn of_address(text: &str) -> Option<usize> {
    text.strip_suffix(MAILS)?.strip_prefix("resident")?.parse().ok()
}

/// Which sending has this title.
pub fn of_title(text: &str) -> Option<u32> {
    text.strip_prefix(TITLE)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::residents::address;

    #[test]
    fn every_address_says_whose_it_is() {
        for number in [0, 7, 999] {
            assert_eq!(of_phone(&phone(number)), Some(number));
            assert_eq!(of_device(&device(number)), Some(number));
            assert_eq!(of_address(&address(number)), Some(number));
        }
        assert_eq!(of_phone("+15005550006").or(of_device("token")).or(of_address("a@b.c")), None);
    }

    #[test]
    fn every_medium_is_told_which_sending_it_is() {
        let words = words();

        for part in ["title", "sms", "mail_subject"] {
            let told = words[part].as_str().unwrap().replace("{{ data.number }}", "12");
            assert_eq!(of_title(&told), Some(12), "{part}");
        }
        assert_eq!(of_title("Welcome"), None);
    }
}
