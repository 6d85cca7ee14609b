//! Keys that are made once, and templates found by their versions.

use serde_json::Map;

use super::super::templates::{self, NewTemplate, TemplateFailure};
use super::super::{StoreError, preferences};
use super::{Fixture, fixtures};
use crate::clock;
use crate::domain::ids::UserId;
use crate::domain::locales::Locale;
use crate::domain::templates::{NotificationKind, builtin};

impl Fixture {
    async fn key(&self, user: UserId, new_key: [u8; 32]) -> [u8; 32] {
        self.store
            .write::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let now = clock::now();
                    preferences::get_or_insert_unsubscribe_key(db, user, new_key, now).await
                })
            })
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_once_and_found_with_it() {
    for fixture in fixtures().await {
        let (user, other) = (fixture.user().await, fixture.user().await);

        assert_eq!(fixture.key(user, [1; 32]).await, [1; 32]);
        assert_eq!(fixture.key(user, [2; 32]).await, [1; 32]);
        assert_eq!(fixture.key(other, [3; 32]).await, [3; 32]);
        let found = fixture
            .store
            .read::<_, StoreError, _>(move |db| Box::pin(preferences::find_unsubscriber(db, user)))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((found.key, found.locale.as_str()), ([1; 32], "en"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_found_by_its_number_after_others_were_written() {
    for fixture in fixtures().await {
        let by = fixture.user().await;
        let kind = NotificationKind::parse("welcome").unwrap();
        for title in ["One", "Two"] {
            let mut parts = builtin::find("welcome", "ko").unwrap();
            parts.title = title.to_owned();
            let locale = Locale::parse("ko").unwrap();
            let new = NewTemplate { kind: kind.clone(), locale, parts, sample: Map::new(), by };
            let inserted: Result<_, TemplateFailure> = fixture
                .store
                .write(move |db| {
                    Box::pin(
                        async move { templates::insert_template(db, &new, clock::now()).await },
                    )
                })
                .await;
            inserted.unwrap();
        }

        let (first, active, missing) = fixture
            .store
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let ko = Locale::parse("ko").ok_or(StoreError::NotFound)?;
                    Ok((
                        templates::get_template(db, &kind, &ko, 1).await?,
                        templates::list_active_templates(db, &kind).await?,
                        templates::get_template(db, &kind, &ko, 3).await.is_err(),
                    ))
                })
            })
            .await
            .unwrap();

        assert_eq!((first.parts.title.as_str(), first.is_active), ("One", false));
        let [active] = active.as_slice() else { panic!("{active:?}") };
        assert_eq!((active.version, active.parts.title.as_str()), (2, "Two"));
        assert!(missing);
    }
}
