//! Bulk sends: rooms share a commit, and nothing else.

use futures_util::future::join_all;

use super::super::{Db, StoreError, execute};
use super::{Fixture, RULES, fixtures, only, send};
use crate::clock;
use crate::domain::rooms::Seq;

const POISON: &str = "poison";
const ROOMS: usize = 12;

/// Makes the database refuse every message that says [`POISON`], as a broken page or a full disk would.
async fn poison(fixture: &Fixture) {
    let on_postgres = fixture.postgres.is_some();
    let planted: Result<(), StoreError> = fixture
        .store
        .write(move |db| {
            Box::pin(async move {
                if on_postgres { refuse_on_postgres(db).await } else { refuse_on_sqlite(db).await }
            })
        })
        .await;
    planted.unwrap();
}

async fn refuse_on_sqlite(db: &mut Db) -> Result<(), StoreError> {
    execute!(
        db,
        "CREATE TRIGGER poison BEFORE INSERT ON messages WHEN NEW.body = 'poison'
         BEGIN SELECT RAISE(ABORT, 'poisoned'); END",
    )
    .map(|_| ())
}

async fn refuse_on_postgres(db: &mut Db) -> Result<(), StoreError> {
    execute!(
        db,
        "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
         $body$ BEGIN RAISE EXCEPTION 'poisoned'; END $body$",
    )?;
    execute!(
        db,
        "CREATE TRIGGER poison BEFORE INSERT ON messages FOR EACH ROW
         WHEN (NEW.body = 'poison') EXECUTE FUNCTION poison()",
    )
    .map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_cannot_be_written_fails_alone() {
    for fixture in fixtures().await {
        poison(&fixture).await;
        let owner = fixture.user().await;
        let mut rooms = Vec::new();
        for _ in 0..ROOMS {
            rooms.push(fixture.group(owner, &[], clock::now()).await);
        }
        let heads = join_all(rooms.iter().map(|room| fixture.head(*room))).await;

        // All at once, so that they form groups.
        let sent = join_all(rooms.iter().enumerate().map(|(n, room)| {
            let body = if n == ROOMS / 2 { POISON } else { "안녕" };
            let ids = [clock::new_uuid().into(), clock::new_uuid().into()];
            let commands = vec![send(*room, owner, "key", body)];
            fixture.store.append_to_room(*room, commands, RULES, ids, clock::now())
        }))
        .await;

        for (n, (outcome, room)) in sent.into_iter().zip(&rooms).enumerate() {
            let before: Seq = heads[n];
            if n == ROOMS / 2 {
                assert!(outcome.is_err(), "the poisoned room is told");
                assert_eq!(fixture.head(*room).await, before);
            } else {
                let appended = only(outcome.unwrap().unwrap().results).unwrap();
                assert_eq!(appended.seq, Some(before + 1));
                assert_eq!(fixture.head(*room).await, before + 1);
            }
        }
    }
}
