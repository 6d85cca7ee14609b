//! Preferences of many users at once, keys that are made once, and templates found by their versions.

use serde_json::Map;

use super::super::templates::{self, NewTemplate, TemplateFailure};
use super::super::{StoreError, preferences};
use super::{Fixture, fixtures};
use crate::clock;
use crate::domain::ids::UserId;
use crate::domain::locales::Locale;
use crate::domain::media::Medium;
use crate::domain::preferences::{Change, Choice, Preferences, Scope};
use crate::domain::templates::{NotificationKind, builtin};

impl Fixture {
    async fn choose(&self, user: UserId, kind: &str, choice: Choice) {
        let change = Change {
            scope: Scope::parse(kind).unwrap(),
            medium: Medium::Mail,
            choice: Some(choice),
        };
        let chosen: Result<(), StoreError> = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    let now = clock::now();
                    preferences::update_preferences(db, user, &[change], None, now).await
                })
            })
            .await;
        chosen.unwrap();
    }

    async fn preferences_for(&self, users: &[UserId], kind: &str) -> Vec<(UserId, Preferences)> {
        let (users, kind) = (users.to_vec(), kind.to_owned());
        self.store
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move { preferences::list_preferences_for(db, &users, &kind).await })
            })
            .await
            .unwrap()
    }

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
async fn many_users_are_asked_for_one_kind_at_once() {
    for fixture in fixtures().await {
        let users = [fixture.user().await, fixture.user().await, fixture.user().await];
        let [own, every, nothing] = users;
        fixture.choose(own, "welcome", Choice::Off).await;
        fixture.choose(own, "message_received", Choice::On).await;
        fixture.choose(every, "*", Choice::Digest).await;

        let mut found = fixture.preferences_for(&users, "welcome").await;
        found.sort_by_key(|(user, _)| *user);
        let mut expected = vec![(own, Choice::Off), (every, Choice::Digest)];
        expected.sort_by_key(|(user, _)| *user);
        let choices: Vec<(UserId, Choice)> = found
            .iter()
            .map(|(user, chosen)| (*user, chosen.resolve("welcome", Medium::Mail)))
            .collect();

        assert_eq!(choices, expected);
        assert_eq!(fixture.preferences_for(&[nothing], "welcome").await, []);
        assert_eq!(fixture.preferences_for(&[], "welcome").await, []);
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
