//! The audit: written once, read page after page, and never changed.

use serde_json::json;

use super::super::audit::{Deed, DeedFilter, record};
use super::super::{Store, StoreError, execute};
use super::fixtures;
use crate::clock;
use crate::domain::audit::{Action, Target};
use crate::domain::ids::UserId;
use crate::domain::payments::ProviderName;
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;

async fn write_down(store: &Store, by: UserId, provider: ProviderName) {
    let written: Result<(), StoreError> = store
        .write(move |db| {
            Box::pin(async move {
                let reason = Reason::parse("it answers nobody").unwrap();
                let deed = Deed {
                    by,
                    action: Action::ProviderStopped,
                    target: Target::Provider(provider),
                    reason: Some(&reason),
                    before: json!({ "is_stopped": false }),
                    after: json!({ "is_stopped": true }),
                };
                record(db, &deed, Timestamp::from_millis(7)).await
            })
        })
        .await;
    written.unwrap();
}

#[tokio::test]
async fn a_line_is_found_by_who_and_what_and_is_never_changed() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let [one, two] = [clock::new_uuid(), clock::new_uuid()].map(UserId::from);
        for (by, provider) in
            [(one, ProviderName::Toss), (two, ProviderName::Toss), (one, ProviderName::Stripe)]
        {
            write_down(store, by, provider).await;
        }
        let list = async |by, target: Option<&str>, before| {
            let filter = DeedFilter { by, target: target.map(str::to_owned), area: None };
            store.list_audit(filter, before, 2).await.unwrap()
        };
        let first = list(None, None, None).await;
        assert_eq!(first[0].target, "provider:stripe");
        let rest = list(None, None, Some(first[1].id)).await;
        assert_eq!((rest.len(), rest[0].by), (1, one));
        assert_eq!(rest[0].before, json!({ "is_stopped": false }));
        assert_eq!(rest[0].reason.as_deref(), Some("it answers nobody"));
        assert_eq!(list(Some(one), None, None).await.len(), 2);
        assert_eq!(list(Some(one), Some("provider:toss"), None).await, rest);

        let changed: Result<u64, StoreError> = store
            .write(|db| {
                Box::pin(async move { execute!(db, "UPDATE money_audit SET reason = 'another'") })
            })
            .await;
        assert!(changed.is_err(), "{changed:?}");
        let gone: Result<u64, StoreError> = store
            .write(|db| Box::pin(async move { execute!(db, "DELETE FROM money_audit") }))
            .await;
        assert!(gone.is_err(), "{gone:?}");
        assert_eq!(list(None, None, None).await, first);
    }
}
