//! Devices and dead addresses: an address is one device, and one that is no more is remembered without its name.

use super::super::StoreError;
use super::super::dead_addresses::{delete_dead_address, insert_dead_address, is_dead_address};
use super::super::devices::{delete_device, find_device, list_devices_of, update_device_used};
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
    let id = clock::new_uuid().into();
    fixture.store.insert_device(id, user, address, "전화".to_owned(), at(second)).await.unwrap()
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
        let known: Result<[bool; 4], StoreError> = fixture
            .store
            .write(|db| {
                Box::pin(async move {
                    for _ in 0..2 {
                        insert_dead_address(db, Medium::Mail, "A@x.kr", "gone", at(1)).await?;
                    }
                    let known = [
                        is_dead_address(db, Medium::Mail, "a@x.kr").await?,
                        is_dead_address(db, Medium::Sms, "a@x.kr").await?,
                        is_dead_address(db, Medium::Mail, "b@x.kr").await?,
                    ];
                    delete_dead_address(db, Medium::Mail, "a@X.kr").await?;
                    let after = is_dead_address(db, Medium::Mail, "a@x.kr").await?;
                    Ok([known[0], known[1], known[2], after])
                })
            })
            .await;
        assert_eq!(known.unwrap(), [true, false, false, false]);
    }
}
