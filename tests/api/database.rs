//! A database of one's own for each test, on either backend.

use sqlx::{Connection as _, PgConnection};
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
