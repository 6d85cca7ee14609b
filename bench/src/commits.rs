//! Whether the server writes to its SQLite file, seen through a connection that only reads.

use std::path::Path;

use anyhow::Context as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

use crate::seed::DATABASE;

#[derive(Debug)]
pub struct Commits {
    db: SqliteConnection,
    version: i64,
}

impl Commits {
    /// Begins to watch the database in the `data` folder.
    pub async fn watch(data: &Path) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(data.join(DATABASE))
            .create_if_missing(false)
            .read_only(true);
        let mut db = SqliteConnection::connect_with(&options).await.context("open the database")?;
        let version = version(&mut db).await?;
        Ok(Self { db, version })
    }

    /// Whether anything was committed since this was asked last.
    pub async fn has_any(&mut self) -> anyhow::Result<bool> {
        let before = std::mem::replace(&mut self.version, version(&mut self.db).await?);
        Ok(before != self.version)
    }

    pub async fn close(self) -> anyhow::Result<()> {
        Ok(self.db.close().await?)
    }
}

/// A number that is another one after every commit of somebody else.
async fn version(db: &mut SqliteConnection) -> anyhow::Result<i64> {
    let (version,): (i64,) = sqlx::query_as("PRAGMA data_version").fetch_one(db).await?;
    Ok(version)
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteJournalMode;

    use super::*;
    use crate::folder::Folder;

    #[test]
    fn a_commit_of_somebody_else_is_seen_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = Folder::new(&std::env::temp_dir()).unwrap();
            let options = SqliteConnectOptions::new()
                .filename(folder.path().join(DATABASE))
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal);
            let mut db = SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::raw_sql("CREATE TABLE numbers (number)").execute(&mut db).await.unwrap();
            let mut commits = Commits::watch(folder.path()).await.unwrap();
            assert!(!commits.has_any().await.unwrap());

            sqlx::raw_sql("INSERT INTO numbers VALUES (1)").execute(&mut db).await.unwrap();

            assert!(commits.has_any().await.unwrap());
            assert!(!commits.has_any().await.unwrap());
            commits.close().await.unwrap();
        });
    }
}
