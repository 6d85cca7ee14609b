//! One SQL text for two databases: the connection enum and the macros that dispatch a literal to either driver.
//!
//! `execute!(db, "SQL", binds…)`, `fetch_all!(db, Row, "SQL", binds…)`, `fetch_optional!`, `fetch_one!`. Binds are
//! `$1`, `$2` …, of types both drivers know. Where the databases truly differ: `db.dialect(sqlite, postgres)`.

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};

use super::StoreError;

/// A connection to either database, inside or outside a transaction.
pub struct Db(Inner);

enum Inner {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
    PostgresTx(Transaction<'static, Postgres>),
}

/// The driver's own connection, for the macros below.
pub(crate) enum Backend<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl Db {
    pub(super) fn sqlite(connection: PoolConnection<Sqlite>) -> Self {
        Self(Inner::Sqlite(connection))
    }

    pub(super) fn postgres(connection: PoolConnection<Postgres>) -> Self {
        Self(Inner::Postgres(connection))
    }

    pub(super) fn transaction(tx: Transaction<'static, Postgres>) -> Self {
        Self(Inner::PostgresTx(tx))
    }

    /// Commits the transaction it holds, if it holds one.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        match self.0 {
            Inner::PostgresTx(tx) => {
                tx.commit().await.map_err(|cause| StoreError::Commit(cause.to_string()))
            }
            Inner::Sqlite(_) | Inner::Postgres(_) => Ok(()),
        }
    }

    /// Undoes the transaction it holds, if it holds one. Where that fails, the connection is gone, and the transaction with it.
    pub(super) async fn undo(self) {
        if let Inner::PostgresTx(tx) = self.0
            && let Err(error) = tx.rollback().await
        {
            tracing::debug!(%error, "a transaction ended with its connection");
        }
    }

    /// Runs several statements without binds in one call.
    pub(super) async fn execute_script(&mut self, script: &'static str) -> Result<(), StoreError> {
        match self.backend() {
            Backend::Sqlite(connection) => {
                sqlx::raw_sql(script).execute(connection).await.map(|_| ())
            }
            Backend::Postgres(connection) => {
                sqlx::raw_sql(script).execute(connection).await.map(|_| ())
            }
        }
        .map_err(StoreError::from)
    }

    pub(crate) fn backend(&mut self) -> Backend<'_> {
        match &mut self.0 {
            Inner::Sqlite(connection) => Backend::Sqlite(connection),
            Inner::Postgres(connection) => Backend::Postgres(connection),
            Inner::PostgresTx(tx) => Backend::Postgres(tx),
        }
    }

    /// Whether several transactions may be at work at once: with PostgreSQL, never with SQLite.
    #[must_use]
    pub const fn is_networked(&self) -> bool {
        match self.0 {
            Inner::Sqlite(_) => false,
            Inner::Postgres(_) | Inner::PostgresTx(_) => true,
        }
    }

    /// Chooses between two literals, where one text cannot serve both databases.
    pub(crate) fn dialect(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self.0 {
            Inner::Sqlite(_) => sqlite,
            Inner::Postgres(_) | Inner::PostgresTx(_) => postgres,
        }
    }
}

/// Runs a statement; gives the number of rows it touched.
macro_rules! execute {
    ($db:expr, $sql:expr $(, $bind:expr)* $(,)?) => {{
        let sql: &'static str = $sql;
        match $db.backend() {
            $crate::store::Backend::Sqlite(connection) => sqlx::query::<sqlx::Sqlite>(sql)
                $(.bind($bind))*.execute(connection).await.map(|done| done.rows_affected()),
            $crate::store::Backend::Postgres(connection) => sqlx::query::<sqlx::Postgres>(sql)
                $(.bind($bind))*.execute(connection).await.map(|done| done.rows_affected()),
        }
        .map_err($crate::store::StoreError::from)
    }};
}

macro_rules! fetch {
    ($method:ident, $db:expr, $row:ty, $sql:expr $(, $bind:expr)*) => {{
        let sql: &'static str = $sql;
        match $db.backend() {
            $crate::store::Backend::Sqlite(connection) => sqlx::query_as::<sqlx::Sqlite, $row>(sql)
                $(.bind($bind))*.$method(connection).await,
            $crate::store::Backend::Postgres(connection) => sqlx::query_as::<sqlx::Postgres, $row>(sql)
                $(.bind($bind))*.$method(connection).await,
        }
        .map_err($crate::store::StoreError::from)
    }};
}

/// Every row, in order.
macro_rules! fetch_all {
    ($db:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::sql::fetch!(fetch_all, $db, $row, $sql $(, $bind)*)
    };
}

/// The first row, if there is one.
macro_rules! fetch_optional {
    ($db:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::sql::fetch!(fetch_optional, $db, $row, $sql $(, $bind)*)
    };
}

/// The first row, or [`StoreError::NotFound`].
macro_rules! fetch_one {
    ($db:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::sql::fetch!(fetch_one, $db, $row, $sql $(, $bind)*)
    };
}

pub(crate) use {execute, fetch, fetch_all, fetch_one, fetch_optional};
