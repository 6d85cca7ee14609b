//! A database of one's own for each test, on either backend.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use uuid::Uuid;

const POSTGRES_URL: &str = "MADANG_TEST_POSTGRES_URL";

/// Which backend a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// Where a server keeps its facts. The PostgreSQL one stays behind when a test fails, to be looked at.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    /// The file in the data folder.
    Sqlite,
    Postgres(Postgres),
}

/// One database on the server that the tests were given.
#[derive(Debug, Clone)]
pub(crate) struct Postgres {
    server: String,
    name: String,
}

impl Database {
    pub(crate) async fn create(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self::Sqlite,
            Kind::Postgres => Self::Postgres(Postgres::create().await),
        }
    }

    /// What `database.url` has to be.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite => String::new(),
            Self::Postgres(postgres) => postgres.url(),
        }
    }

    /// Sets a column of a user's settings; `file` is where the embedded database is.
    pub(crate) async fn choose(&self, file: &Path, user: &str, what: &str, choice: &str) {
        // A column's name cannot be bound; this one is written in a test.
        let upsert = |user: &str| {
            sqlx::AssertSqlSafe(format!(
                "INSERT INTO user_settings (user_id, {what}, updated_at) VALUES ({user}, $2, 0)
                 ON CONFLICT (user_id) DO UPDATE SET {what} = excluded.{what}"
            ))
        };
        match self {
            Self::Sqlite => {
                let options = SqliteConnectOptions::new().filename(file);
                let mut db = SqliteConnection::connect_with(&options).await.unwrap();
                let upsert = upsert("unhex(replace($1, '-', ''))");
                sqlx::query(upsert).bind(user).bind(choice).execute(&mut db).await.unwrap();
            }
            Self::Postgres(postgres) => {
                let mut db = PgConnection::connect(&postgres.url()).await.unwrap();
                let upsert = upsert("$1::uuid");
                sqlx::query(upsert).bind(user).bind(choice).execute(&mut db).await.unwrap();
            }
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Sqlite => Kind::Sqlite,
            Self::Postgres(_) => Kind::Postgres,
        }
    }

    pub(crate) async fn remove(&self) {
        if let Self::Postgres(postgres) = self {
            postgres.administer("DROP DATABASE", "WITH (FORCE)").await;
        }
    }
}

impl Postgres {
    async fn create() -> Self {
        let server = std::env::var(POSTGRES_URL).unwrap_or_else(|_| {
            panic!("these tests need a PostgreSQL server in {POSTGRES_URL}: run `make test`")
        });
        let name = format!("madang_test_{}", Uuid::now_v7().simple());
        let postgres = Self { server, name };
        postgres.administer("CREATE DATABASE", "").await;
        postgres
    }

    fn url(&self) -> String {
        let (address, _) = self.server.rsplit_once('/').expect("the URL names a database");
        format!("{address}/{}", self.name)
    }

    async fn administer(&self, what: &str, how: &str) {
        // A database's name cannot be bound; this one is made here, of letters and digits.
        let sql = sqlx::AssertSqlSafe(format!("{what} {} {how}", self.name));
        let mut server = PgConnection::connect(&self.server).await.expect("PostgreSQL answers");
        sqlx::query(sql).execute(&mut server).await.expect("PostgreSQL obeys");
        server.close().await.expect("PostgreSQL says goodbye");
    }
}

/// A look into a database from outside, and a hand.
pub(crate) enum Rows {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Rows {
    /// `file` is where the embedded database is.
    pub(crate) async fn open(database: &Database, file: &Path) -> Self {
        match database {
            Database::Sqlite => {
                let options = SqliteConnectOptions::new().filename(file);
                Self::Sqlite(SqliteConnection::connect_with(&options).await.unwrap())
            }
            Database::Postgres(postgres) => {
                let connection = PgConnection::connect(&postgres.url()).await;
                Self::Postgres(connection.expect("PostgreSQL answers"))
            }
        }
    }

    pub(crate) async fn execute(self, sql: &'static str, id: Option<Uuid>) {
        match self {
            Self::Sqlite(mut db) => {
                let query = id.into_iter().fold(sqlx::query(sql), sqlx::query::Query::bind);
                query.execute(&mut db).await.map(|_| ())
            }
            Self::Postgres(mut db) => {
                let query = id.into_iter().fold(sqlx::query(sql), sqlx::query::Query::bind);
                query.execute(&mut db).await.map(|_| ())
            }
        }
        .unwrap();
    }

    pub(crate) async fn count(self, sql: &'static str) -> i64 {
        match self {
            Self::Sqlite(mut db) => sqlx::query_scalar(sql).fetch_one(&mut db).await,
            Self::Postgres(mut db) => sqlx::query_scalar(sql).fetch_one(&mut db).await,
        }
        .unwrap()
    }

    pub(crate) async fn bytes(self, sql: &'static str) -> Vec<u8> {
        match self {
            Self::Sqlite(mut db) => sqlx::query_scalar(sql).fetch_one(&mut db).await,
            Self::Postgres(mut db) => sqlx::query_scalar(sql).fetch_one(&mut db).await,
        }
        .unwrap()
    }

    pub(crate) async fn texts(self, sqlite: &'static str, postgres: &'static str) -> Vec<String> {
        match self {
            Self::Sqlite(mut db) => sqlx::query_scalar(sqlite).fetch_all(&mut db).await,
            Self::Postgres(mut db) => sqlx::query_scalar(postgres).fetch_all(&mut db).await,
        }
        .unwrap()
    }
}
