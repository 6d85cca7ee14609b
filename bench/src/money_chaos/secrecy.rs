//! Secrecy: what nobody is to read stands in no log, in no event and nowhere in the database.
//!
//! Invariant: a search that finds nothing has found what is surely there, in the same place.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::database::{Connection, Database, rows};

/// What is looked for, by the name that a report may say.
pub type Secret = (&'static str, String);

/// How what providers call payments begins: the key with which one is confirmed.
const PAYMENT_KEY: &str = "fake-md_";
/// What is in every log and in every database of a run.
const IN_LOGS: &str = "\"level\"";
const IN_DATABASE: &str = "PaymentCompleted";
const IN_EVENTS: &str = "\"payment_id\"";

/// Everything that stands where it must not, in words that do not repeat it.
pub async fn leaks(
    folder: &Path,
    database: &Database,
    secrets: &[Secret],
) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let payment_key = ("a payment key", PAYMENT_KEY.to_owned());
    let also_keys: Vec<Secret> =
        secrets.iter().cloned().chain(std::iter::once(payment_key)).collect();
    for log in logs(folder)? {
        let text = std::fs::read(&log)?;
        found.extend(look(&text, IN_LOGS, &also_keys, &log.display().to_string())?);
    }
    let mut db = database.open().await?;
    let events = rows!(&mut db, (String,), "SELECT data FROM outbox");
    let events: String = events.into_iter().map(|(data,)| data).collect();
    found.extend(look(events.as_bytes(), IN_EVENTS, &also_keys, "an event")?);
    let dump = dump(&mut db, database).await?;
    db.close().await?;
    found.extend(look(&dump, IN_DATABASE, secrets, "the database")?);
    Ok(found)
}

/// Looks for `secrets` in `text`, where `sure` has to be found.
fn look(text: &[u8], sure: &str, secrets: &[Secret], place: &str) -> anyhow::Result<Vec<String>> {
    anyhow::ensure!(has(text, sure), "{place} is not what it was taken for");
    let found = secrets.iter().filter(|(_, secret)| has(text, secret));
    Ok(found.map(|(name, _)| format!("{name} stands in {place}")).collect())
}

fn has(text: &[u8], part: &str) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part.as_bytes())
}

/// What nodes wrote, wherever below.
fn logs(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_of_node = path.is_dir()
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("node-"));
        if is_of_node {
            logs.extend(logs_of(&path));
        }
    }
    logs.extend(logs_of(folder));
    Ok(logs)
}

fn logs_of(folder: &Path) -> Option<PathBuf> {
    Some(folder.join("server.log")).filter(|log| log.is_file())
}

/// All of the database: the bytes of its files, or every row of every table in words.
async fn dump(db: &mut Connection, database: &Database) -> anyhow::Result<Vec<u8>> {
    match (db, database) {
        (Connection::Postgres(db), _) => {
            let tables: Vec<(Option<String>,)> = sqlx::query_as(
                "SELECT query_to_xml(format('SELECT * FROM %I.%I', schemaname, tablename),
                                     FALSE, FALSE, '')::text
                 FROM pg_tables
                 WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
            )
            .fetch_all(db)
            .await
            .context("dump the database")?;
            let text: String = tables.into_iter().filter_map(|(table,)| table).collect();
            Ok(text.into_bytes())
        }
        (Connection::Sqlite(_), Database::Sqlite(data)) => {
            let mut bytes = Vec::new();
            for entry in std::fs::read_dir(data)? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if name.starts_with(crate::seed::DATABASE) {
                    bytes.extend(std::fs::read(path)?);
                }
            }
            Ok(bytes)
        }
        (Connection::Sqlite(_), Database::Postgres(_)) => anyhow::bail!("two databases"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_planted_is_found_and_is_not_told() {
        let secrets = [("an account number", "110123456789".to_owned())];
        let text = |number: &str| format!("{{\"level\":\"INFO\",\"number\":\"{number}\"}}");

        let clean = look(text("****6789").as_bytes(), IN_LOGS, &secrets, "a log").unwrap();
        let planted = look(text("110123456789").as_bytes(), IN_LOGS, &secrets, "a log").unwrap();

        assert_eq!(clean, Vec::<String>::new());
        assert_eq!(planted, ["an account number stands in a log"]);
    }

    #[test]
    fn nothing_is_found_where_nobody_looked() {
        assert!(look(b"", IN_LOGS, &[], "a log").is_err());
        assert!(!has(b"text", ""));
    }
}
