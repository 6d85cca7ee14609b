//! What can go wrong in the store, said without SQL.

/// The store's only error. A broken constraint is named alike on both databases.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A row that had to be there is not.
    #[error("row not found")]
    NotFound,
    /// A named constraint of the schema, such as `users_handle_key_key`.
    #[error("constraint `{0}` violated")]
    Constraint(String),
    /// The queue or the pool is full; nothing was done.
    #[error("the store is too busy")]
    Busy,
    /// The lease that the work needs is over, or somebody else's; nothing was done.
    #[error("the lease is over")]
    LeaseLost,
    /// The database did not answer in time; the outcome is unknown.
    #[error("the database does not answer")]
    TimedOut,
    /// The store is shutting down or its task was lost; the outcome is unknown.
    #[error("the store has stopped")]
    Stopped,
    /// The commit failed. In SQLite nothing of it is durable; a remote database may have done it all the same.
    #[error("the commit failed: {0}")]
    Commit(String),
    /// Anything else the database says.
    #[error("database error: {0}")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::RowNotFound => Self::NotFound,
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::PoolClosed => Self::Stopped,
            sqlx::Error::Database(cause) => match cause.constraint().map(str::to_owned) {
                Some(name) => Self::Constraint(name),
                None => sqlite_unique(cause.message())
                    .or_else(|| sqlite_check(cause.message()))
                    .map_or(Self::Database(error), Self::Constraint),
            },
            _ => Self::Database(error),
        }
    }
}

/// Names a unique constraint as the schema does (`table_columns_key`) from SQLite's
/// `UNIQUE constraint failed: table.a, table.b`, which names only the columns.
fn sqlite_unique(message: &str) -> Option<String> {
    let (_, columns) = message.split_once("UNIQUE constraint failed: ")?;
    let table = columns.split('.').next()?;
    let names: Vec<&str> =
        columns.split(", ").filter_map(|column| column.split('.').nth(1)).collect();
    Some(format!("{table}_{}_key", names.join("_")))
}

/// The name of a check from SQLite's `CHECK constraint failed: name`.
fn sqlite_check(message: &str) -> Option<String> {
    message.split_once("CHECK constraint failed: ").map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_constraints_get_the_names_of_the_schema() {
        assert_eq!(
            sqlite_unique("UNIQUE constraint failed: users.handle_key").as_deref(),
            Some("users_handle_key_key"),
        );
        assert_eq!(
            sqlite_unique("UNIQUE constraint failed: messages.room_id, messages.sender_id")
                .as_deref(),
            Some("messages_room_id_sender_id_key"),
        );
        assert_eq!(sqlite_unique("FOREIGN KEY constraint failed"), None);
        assert_eq!(
            sqlite_check("CHECK constraint failed: ledger_accounts_guard_check").as_deref(),
            Some("ledger_accounts_guard_check"),
        );
    }
}
