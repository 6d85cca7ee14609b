//! Letters behind a way that is not open are put off together, and no other.

use std::time::Duration;

use uuid::Uuid;

use super::super::deliveries::behind::{Behind, PutOff};
use super::super::deliveries::insert_all;
use super::super::deliveries::log::DeliveryFilter;
use super::super::deliveries::queue::Wanted;
use super::super::{Store, StoreError};
use super::fixtures;
use crate::clock;
use crate::domain::deliveries::NewDelivery;
use crate::domain::devices::{DeviceAddress, DeviceKind};
use crate::domain::ids::{DeliveryId, UserId};
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_795_244_400_000);
const LONG: Duration = Duration::from_secs(600);
const POINT: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

fn letter(medium: Medium, target: Uuid, due_at: Timestamp) -> NewDelivery {
    NewDelivery {
        id: clock::new_uuid().into(),
        medium,
        kind: "test".to_owned(),
        user: None,
        seq: None,
        target: Some(target),
        digest_key: None,
        data: None,
        due_at,
        suppressed: None,
    }
}

async fn queue(store: &Store, letters: &[NewDelivery]) {
    let letters = letters.to_vec();
    let queued: Result<(), StoreError> =
        store.write(move |db| Box::pin(async move { insert_all(db, &letters, NOW).await })).await;
    queued.unwrap();
}

fn put_off(medium: Medium, behind: Behind) -> PutOff {
    PutOff { medium, behind, until: NOW.plus(LONG), first_due_after: NOW.minus(2 * LONG) }
}

/// The letters that wait until the way opens.
async fn waiting(store: &Store) -> Vec<DeliveryId> {
    let all = store.list_deliveries(DeliveryFilter::default(), None, 100).await.unwrap();
    let waiting = all.iter().filter(|letter| letter.due_at == NOW.plus(LONG));
    let mut ids: Vec<DeliveryId> = waiting.map(|letter| letter.id).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn what_is_due_at_one_endpoint_is_put_off_in_pages_unless_it_is_taken_or_too_old() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let (down, up) = (clock::new_uuid(), clock::new_uuid());
        let taken = letter(Medium::Webhook, down, NOW.minus(LONG));
        queue(store, std::slice::from_ref(&taken)).await;
        let (medium, limit) = (Medium::Webhook, 10);
        let wanted = Wanted { medium, limit, party_max: limit, held: Vec::new() };
        let node = clock::new_uuid().into();
        assert_eq!(store.claim_deliveries(node, &wanted, LONG, NOW).await.unwrap().len(), 1);
        let due: Vec<_> = (0..3).map(|_| letter(medium, down, NOW.minus(LONG))).collect();
        let others = [
            letter(medium, down, NOW.plus(Duration::from_secs(1))),
            letter(medium, down, NOW.minus(3 * LONG)),
            letter(medium, up, NOW),
        ];
        queue(store, &due).await;
        queue(store, &others).await;

        let off = put_off(medium, Behind::Target(down));
        assert_eq!(store.put_off_deliveries(off.clone(), 2, NOW).await.unwrap(), 2);
        assert_eq!(store.put_off_deliveries(off, 2, NOW).await.unwrap(), 1);

        let expected: Vec<DeliveryId> = due.iter().map(|letter| letter.id).collect();
        assert_eq!(waiting(store).await, expected);
        // The one that is too old is taken, and can come to its end.
        let next = store.find_next_delivery(&wanted).await.unwrap();
        assert_eq!(next, Some(NOW.minus(3 * LONG)));
    }
}

#[tokio::test]
async fn what_goes_to_devices_of_one_service_is_put_off_whoever_it_is_for() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let device = async |user: UserId, address: Result<DeviceAddress, _>| -> Uuid {
            let session = fixture.session(user, NOW).await;
            let (id, name) = (clock::new_uuid(), "a".to_owned());
            let address = address.unwrap();
            store.insert_device(id.into(), (user, session), address, name, NOW).await.unwrap();
            id
        };
        let browser = |endpoint: &str| DeviceAddress::web_push(endpoint, POINT, AUTH);
        let (jisoo, minho) = (fixture.user().await, fixture.user().await);
        let targets = [
            device(jisoo, DeviceAddress::fcm("a")).await,
            device(minho, DeviceAddress::fcm("b")).await,
            device(jisoo, browser("https://push.example/1")).await,
            device(minho, browser("https://push.example.net/1")).await,
        ];
        let letters = targets.map(|target| letter(Medium::Push, target, NOW));
        queue(store, &letters).await;

        for (kind, prefix, expected) in [
            (DeviceKind::WebPush, "https://push.example/", &[2][..]),
            (DeviceKind::Fcm, "", &[0, 1, 2][..]),
        ] {
            let off = put_off(Medium::Push, Behind::Devices { kind, prefix: prefix.to_owned() });
            store.put_off_deliveries(off, 10, NOW).await.unwrap();
            let expected: Vec<DeliveryId> = expected.iter().map(|n| letters[*n].id).collect();
            assert_eq!(waiting(store).await, expected, "{kind:?}");
        }
    }
}
