//! Devices and dead addresses: an address is one device, and one that is no more is remembered without its name.

use futures_util::future::BoxFuture;

use super::super::dead_addresses::{delete_dead_address, insert_dead_address, is_dead_address};
use super::super::devices::{delete_device, find_device, list_devices_of, update_device_used};
use super::super::sessions::{delete_expired, revoke_session, revoke_sessions};
use super::super::{Db, StoreError, execute};
use super::{Fixture, fixtures};
use crate::clock;
use crate::domain::devices::{DEVICES_MAX, Device, DeviceAddress};
use crate::domain::ids::UserId;
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(second * 1_000)
}

async fn register(fixture: &Fixture, user: UserId, token: &str, second: i64) -> (Device, bool) {
    let address = DeviceAddress::fcm(token).unwrap();
    let session = fixture.session(user, Timestamp::from_millis(i64::MAX)).await;
    let (id, name) = (clock::new_uuid().into(), "전화".to_owned());
    fixture.store.insert_device(id, (user, session), address, name, at(second)).await.unwrap()
}

/// The names of what a user has registered.
async fn names(fixture: &Fixture, user: UserId) -> Vec<String> {
    let devices = fixture.store.list_devices(user).await.unwrap();
    let mut names: Vec<String> = devices.into_iter().map(|device| device.name).collect();
    names.sort_unstable();
    names
}

async fn write<T: Send + 'static>(
    fixture: &Fixture,
    work: impl for<'c> FnOnce(&'c mut Db) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
) -> T {
    fixture.store.write(work).await.unwrap()
}

#[tokio::test]
async fn a_device_ends_with_the_session_that_registered_it() {
    for fixture in fixtures().await {
        let jisoo = fixture.user().await;
        let mut sessions = Vec::new();
        for (name, ends_at) in [("out", 900), ("old", 100), ("kept", 900), ("moved", 900)] {
            let session = fixture.session(jisoo, at(ends_at)).await;
            sessions.push(session);
            let address = DeviceAddress::fcm(&format!("token-{name}")).unwrap();
            let (id, owner) = (clock::new_uuid().into(), (jisoo, session));
            let inserted =
                fixture.store.insert_device(id, owner, address, name.to_owned(), at(1)).await;
            inserted.unwrap();
        }
        let [out, _, kept, moved] = sessions[..] else { panic!() };
        // Registered again, it is the other session's.
        let address = DeviceAddress::fcm("token-moved").unwrap();
        let id = clock::new_uuid().into();
        let again =
            fixture.store.insert_device(id, (jisoo, kept), address, "moved".to_owned(), at(2));
        assert!(!again.await.unwrap().1);
        assert_eq!(names(&fixture, jisoo).await, ["kept", "moved", "old", "out"]);

        write(&fixture, move |db| Box::pin(revoke_session(db, jisoo, out, at(3)))).await;
        assert_eq!(names(&fixture, jisoo).await, ["kept", "moved", "old"]);
        write(&fixture, move |db| Box::pin(revoke_session(db, jisoo, moved, at(3)))).await;
        assert_eq!(names(&fixture, jisoo).await, ["kept", "moved", "old"]);
        write(&fixture, |db| Box::pin(delete_expired(db, at(100)))).await;
        assert_eq!(names(&fixture, jisoo).await, ["kept", "moved"]);

        let address = DeviceAddress::fcm("token-late").unwrap();
        let id = clock::new_uuid().into();
        let late = fixture.store.insert_device(id, (jisoo, out), address, "a".to_owned(), at(4));
        assert!(matches!(late.await, Err(StoreError::NotFound)), "its login has ended");
    }
}

#[tokio::test]
async fn when_all_other_sessions_end_nothing_is_left_of_them_nor_of_none() {
    for fixture in fixtures().await {
        let jisoo = fixture.user().await;
        let kept = fixture.session(jisoo, at(900)).await;
        register(&fixture, jisoo, "other", 1).await;
        register(&fixture, jisoo, "before", 1).await;
        let address = DeviceAddress::fcm("mine").unwrap();
        let (id, mine) = (clock::new_uuid().into(), "mine".to_owned());
        fixture.store.insert_device(id, (jisoo, kept), address, mine, at(1)).await.unwrap();
        // As the release before has registered it.
        write(&fixture, |db| {
            Box::pin(async move {
                let update = "UPDATE devices SET session_id = NULL WHERE address = 'before'";
                execute!(db, update)
            })
        })
        .await;

        write(&fixture, move |db| Box::pin(revoke_sessions(db, jisoo, Some(kept), at(2)))).await;
        assert_eq!(names(&fixture, jisoo).await, ["mine"]);
        write(&fixture, move |db| Box::pin(revoke_sessions(db, jisoo, None, at(2)))).await;
        assert_eq!(names(&fixture, jisoo).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_longest_address_fits_into_its_index() {
    for fixture in fixtures().await {
        let jisoo = fixture.user().await;
        // Not to be made smaller by any compression.
        let token: String =
            std::iter::repeat_with(|| clock::new_uuid().simple().to_string()).take(64).collect();
        assert_eq!(token.len(), 2_048);
        register(&fixture, jisoo, &token, 1).await;
        assert!(DeviceAddress::fcm(&format!("{token}x")).is_err());
    }
}

#[tokio::test]
async fn an_address_is_one_device_of_whoever_registered_it_last() {
    for fixture in fixtures().await {
        let (jisoo, minho) = (fixture.user().await, fixture.user().await);
        let (first, is_new) = register(&fixture, jisoo, "token", 1).await;
        assert!(is_new);
        let (again, is_new) = register(&fixture, jisoo, "token", 2).await;
        assert_eq!((again.id, again.last_used_at, is_new), (first.id, at(2), false));
        assert_eq!(again.created_at, at(1));

        let (moved, is_new) = register(&fixture, minho, "token", 3).await;

        assert!(!is_new);
        assert_ne!(moved.id, first.id, "what waits for the other's device goes nowhere");
        assert_eq!(fixture.store.list_devices(jisoo).await.unwrap(), []);
        assert_eq!(fixture.store.list_devices(minho).await.unwrap(), vec![moved.clone()]);
        assert!(!fixture.store.delete_device_of(jisoo, moved.id).await.unwrap());
        assert!(fixture.store.delete_device_of(minho, moved.id).await.unwrap());
    }
}

#[tokio::test]
async fn the_least_used_device_makes_room() {
    for fixture in fixtures().await {
        let jisoo = fixture.user().await;
        let first = register(&fixture, jisoo, "token-0", 0).await.0;
        for n in 1..i64::try_from(DEVICES_MAX).unwrap() {
            register(&fixture, jisoo, &format!("token-{n}"), n).await;
        }
        let used: Result<(), StoreError> = fixture
            .store
            .write(move |db| {
                Box::pin(async move { update_device_used(db, first.id, at(500)).await })
            })
            .await;
        used.unwrap();

        register(&fixture, jisoo, "one-more", 600).await;

        let devices = fixture.store.list_devices(jisoo).await.unwrap();
        assert_eq!(devices.len(), DEVICES_MAX);
        let keys: Vec<&str> = devices.iter().map(|device| device.address.key()).collect();
        assert_eq!(keys[..2], ["one-more", "token-0"]);
        assert!(!keys.contains(&"token-1"));
    }
}

#[tokio::test]
async fn the_devices_of_many_are_one_question() {
    for fixture in fixtures().await {
        let users = [fixture.user().await, fixture.user().await, fixture.user().await];
        let (one, _) = register(&fixture, users[0], "a", 1).await;
        let (other, _) = register(&fixture, users[2], "b", 1).await;
        let asked = users;
        let found: Result<Vec<Device>, StoreError> = fixture
            .store
            .read(move |db| Box::pin(async move { list_devices_of(db, &asked).await }))
            .await;
        assert_eq!(found.unwrap(), [one.clone(), other]);

        let gone: Result<Option<Device>, StoreError> = fixture
            .store
            .write(move |db| {
                Box::pin(async move {
                    assert!(find_device(db, one.id).await?.is_some());
                    delete_device(db, one.id).await?;
                    find_device(db, one.id).await
                })
            })
            .await;
        assert_eq!(gone.unwrap(), None);
    }
}

#[tokio::test]
async fn a_dead_address_is_known_by_its_medium_until_it_lives_again() {
    for fixture in fixtures().await {
        let known: [bool; 4] = write(&fixture, |db| {
            Box::pin(async move {
                for _ in 0..2 {
                    insert_dead_address(db, Medium::Mail, "A@x.kr", "gone", at(1)).await?;
                }
                let known = [
                    is_dead_address(db, Medium::Mail, "a@x.kr", at(2)).await?,
                    is_dead_address(db, Medium::Sms, "a@x.kr", at(2)).await?,
                    is_dead_address(db, Medium::Mail, "b@x.kr", at(2)).await?,
                ];
                delete_dead_address(db, Medium::Mail, "a@X.kr").await?;
                let after = is_dead_address(db, Medium::Mail, "a@x.kr", at(2)).await?;
                Ok([known[0], known[1], known[2], after])
            })
        })
        .await;
        assert_eq!(known, [true, false, false, false]);
    }
}

#[tokio::test]
async fn no_address_is_dead_for_longer_than_thirty_days_after_the_last_word() {
    const DAY: i64 = 24 * 3_600;
    for fixture in fixtures().await {
        let is_dead = async |second: i64| -> bool {
            write(&fixture, move |db| {
                Box::pin(is_dead_address(db, Medium::Mail, "a@x.kr", at(second)))
            })
            .await
        };
        for day in [0, 20] {
            write(&fixture, move |db| {
                Box::pin(insert_dead_address(db, Medium::Mail, "a@x.kr", "gone", at(day * DAY)))
            })
            .await;
        }
        assert!(is_dead(50 * DAY - 1).await);
        assert!(!is_dead(50 * DAY).await);

        assert_eq!(fixture.store.delete_old_dead_addresses(at(49 * DAY)).await.unwrap(), 0);
        assert_eq!(fixture.store.delete_old_dead_addresses(at(50 * DAY)).await.unwrap(), 1);
        assert!(!is_dead(0).await);
    }
}
