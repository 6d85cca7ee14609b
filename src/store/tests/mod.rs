//! The store against real databases: a file of its own for each test, and a schema of its own on PostgreSQL.

mod audit;
mod behind;
mod deliveries;
mod devices;
mod fanouts;
mod friends;
mod guests;
mod idempotency;
mod leases;
mod leaving;
mod ledger;
mod ledger_batches;
mod letters;
mod nodes;
mod notifications;
mod notifications_changed;
mod payment_webhooks;
mod payments;
mod payouts;
mod preferences;
mod privacy;
mod relay;
mod room_log;
mod rooms;
mod sends;
mod webhooks;
mod workflows;
mod writer;

use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;

use super::room_log::Recorded;
use super::rooms::NewGroup;
use super::testing::{new_schema, new_user};
use super::{Store, StoreError, sessions};
use crate::clock;
use crate::config::Config;
use crate::domain::ids::{RoomId, SessionId, UserId};
use crate::domain::messages::{MessageDraft, NewMessage};
use crate::domain::privacy::DirectRequirement;
use crate::domain::rooms::{
    Action, Appended, Command, RoomError, RoomName, RoomRules, Seq, Visibility,
};
use crate::domain::time::Timestamp;

const RULES: RoomRules = RoomRules { member_count_max: 100, requirement: DirectRequirement::No };
const BODY_CHARS_MAX: usize = 1_000;
/// Long enough for a machine that does many other things.
const ACQUIRE_TIMEOUT_MS: &str = "60000";

/// What became of each command of a batch.
type Results = Vec<Result<Recorded, RoomError>>;

/// A store on a database that no other test sees.
struct Fixture {
    store: Store,
    /// Where PostgreSQL keeps it; `None` for SQLite.
    postgres: Option<String>,
    data: PathBuf,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// One fixture for each database.
async fn fixtures() -> [Fixture; 2] {
    [Fixture::sqlite(&[]).await, Fixture::postgres().await]
}

impl Fixture {
    /// On a new file, with `settings` as variables of the environment.
    async fn sqlite(settings: &[(&str, &str)]) -> Self {
        Self::open(None, settings).await
    }

    async fn postgres() -> Self {
        Self::open(Some(new_schema().await), &[]).await
    }

    async fn open(postgres: Option<String>, settings: &[(&str, &str)]) -> Self {
        let data = std::env::temp_dir().join(format!("madang-store-{}", clock::new_uuid()));
        std::fs::create_dir_all(&data).unwrap();
        let mut variables = vec![
            ("MADANG__DATA__DIR", data.to_str().unwrap()),
            ("MADANG__DATABASE__URL", postgres.as_deref().unwrap_or_default()),
            ("MADANG__DATABASE__ACQUIRE_TIMEOUT_MS", ACQUIRE_TIMEOUT_MS),
        ];
        variables.extend(settings);
        let config = Config::read(None, variables).unwrap();
        let store = Store::connect(&config, Handle::current()).await.unwrap();
        store.migrate("test".to_owned()).await.unwrap();
        Self { store, postgres, data }
    }

    async fn user(&self) -> UserId {
        new_user(&self.store).await
    }

    /// A login of a user, which ends at `expires_at` by itself.
    async fn session(&self, user: UserId, expires_at: Timestamp) -> SessionId {
        let id = SessionId::from(clock::new_uuid());
        let session = sessions::NewSession {
            id,
            user_id: user,
            user_agent: String::new(),
            ip: String::new(),
            refresh_hash: Sha256::digest(id.uuid()).into(),
            expires_at,
        };
        let inserted: Result<Vec<SessionId>, StoreError> = self
            .store
            .write(|db| {
                Box::pin(async move { sessions::insert_session(db, &session, clock::now()).await })
            })
            .await;
        inserted.unwrap();
        id
    }

    async fn group(&self, owner: UserId, members: &[UserId], now: Timestamp) -> RoomId {
        let id = RoomId::from(clock::new_uuid());
        let group = NewGroup {
            id,
            event: clock::new_uuid().into(),
            owner,
            name: RoomName::parse("마당").unwrap(),
            visibility: Visibility::Private,
            members: members.to_vec(),
        };
        self.store.insert_group(group, DirectRequirement::No, now).await.unwrap();
        id
    }

    async fn head(&self, room: RoomId) -> Seq {
        self.store.find_room_head(room).await.unwrap().unwrap()
    }

    async fn append(&self, room: RoomId, commands: Vec<Command>) -> Results {
        append(&self.store, room, commands, clock::now()).await
    }

    /// Appends one command that the rules allow.
    async fn done(&self, room: RoomId, command: Command) -> Appended {
        only(self.append(room, vec![command]).await).unwrap()
    }
}

async fn append(store: &Store, room: RoomId, commands: Vec<Command>, now: Timestamp) -> Results {
    let ids = [clock::new_uuid().into(), clock::new_uuid().into()];
    store.append_to_room(room, commands, RULES, ids, now).await.unwrap().unwrap().results
}

/// What became of the one command of a batch.
fn only(results: Results) -> Result<Appended, RoomError> {
    assert_eq!(results.len(), 1);
    results.into_iter().next().unwrap().map(|recorded| recorded.appended)
}

fn command(actor: UserId, action: Action) -> Command {
    Command { actor, action }
}

fn send(room: RoomId, actor: UserId, key: &str, body: &str) -> Command {
    let draft = MessageDraft { body: body.to_owned(), ..MessageDraft::default() };
    let message = NewMessage::parse(room, actor, key, draft, BODY_CHARS_MAX).unwrap();
    command(actor, Action::Send(message))
}
