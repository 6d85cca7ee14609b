//! Letters that are not composed any more: to addresses that are no more, and with codes that have expired.

use std::sync::Arc;

use serde_json::json;
use tokio::runtime::Handle;

use super::compose::LetterComposer;
use super::words::Words;
use crate::actors::post::{Composed, Composer as _, Ended};
use crate::clock;
use crate::config::Config;
use crate::domain::accounts::{DisplayName, EmailAddress, Handle as UserHandle, Role, Roles};
use crate::domain::deliveries::{Delivery, DeliveryEnd};
use crate::domain::ids::UserId;
use crate::domain::letters::PhoneNumber;
use crate::domain::media::Medium;
use crate::domain::templates::context::AppContext;
use crate::domain::time::Timestamp;
use crate::providers::codes::Codes;
use crate::providers::tokens::generate_pem;
use crate::store::testing::database_urls;
use crate::store::{Store, StoreError, accounts, phones};

const NUMBER: &str = "+821012345678";

struct Desk {
    store: Store,
    composer: Arc<LetterComposer>,
    codes: Arc<Codes>,
    user: UserId,
    data: std::path::PathBuf,
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

impl Desk {
    /// With one user, whose number is proven.
    async fn open(url: &str) -> Self {
        let data = std::env::temp_dir().join(format!("madang-compose-{}", clock::new_uuid()));
        std::fs::create_dir_all(&data).unwrap();
        let variables =
            [("MADANG__DATA__DIR", data.to_str().unwrap()), ("MADANG__DATABASE__URL", url)];
        let config = Config::read(None, variables).unwrap();
        let store = Store::connect(&config, Handle::current()).await.unwrap();
        store.migrate("test".to_owned()).await.unwrap();
        let app = AppContext { name: "마당".to_owned(), url: "https://chat.example".to_owned() };
        let words = Arc::new(Words::new(store.clone(), app));
        let codes = Arc::new(Codes::new(&vec![generate_pem().unwrap()]));
        let url = "https://chat.example".to_owned();
        let composer = Arc::new(LetterComposer::new(store.clone(), words, Arc::clone(&codes), url));
        let user = UserId::from(clock::new_uuid());
        let new = accounts::NewUser {
            id: user,
            handle: UserHandle::parse("jisoo").unwrap(),
            email: EmailAddress::parse("jisoo@example.com").unwrap(),
            display_name: DisplayName::parse("지수").unwrap(),
            roles: Roles::from_iter([Role::User]),
            password_hash: "none".to_owned(),
            verified_at: None,
        };
        let inserted: Result<(), StoreError> = store
            .write(move |db| {
                Box::pin(async move {
                    accounts::insert_user(db, &new, clock::now()).await?;
                    let number = PhoneNumber::parse(NUMBER).unwrap();
                    phones::insert_phone(db, user, &number, clock::now()).await
                })
            })
            .await;
        inserted.unwrap();
        Self { store, composer, codes, user, data }
    }

    fn delivery(&self, medium: Medium, kind: &str, expires_at: Timestamp) -> Delivery {
        let now = clock::now();
        let key = self.codes.key_id().unwrap();
        let data = json!({ "code_key": key, "expires_at": expires_at.millis() });
        Delivery {
            id: clock::new_uuid().into(),
            medium,
            kind: kind.to_owned(),
            user: Some(self.user),
            seq: None,
            target: None,
            digest_key: None,
            data: Some(data.to_string()),
            attempts: 1,
            created_at: now,
            first_due_at: now,
            due_at: now,
        }
    }

    /// Why it is not sent, if it is not.
    async fn suppressed(&self, delivery: &Delivery) -> Option<String> {
        match self.composer.compose(delivery).await.unwrap() {
            Composed::Letter(_) => None,
            Composed::Suppressed(reason) => Some(reason),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_code_is_not_sent_once_it_has_expired() {
    for url in database_urls().await {
        let desk = Desk::open(&url).await;
        let (past, future) = (clock::now(), clock::now().plus(std::time::Duration::from_mins(1)));
        for (medium, kind) in [(Medium::Mail, "reset_password"), (Medium::Sms, "verify_phone")] {
            let late = desk.delivery(medium, kind, past);
            assert_eq!(desk.suppressed(&late).await.as_deref(), Some("expired"), "{kind}");
            let in_time = desk.delivery(medium, kind, future);
            assert_eq!(desk.suppressed(&in_time).await, None, "{kind}");
        }
    }
}

#[tokio::test]
async fn a_number_that_has_said_stop_is_sent_codes_only() {
    for url in database_urls().await {
        let desk = Desk::open(&url).await;
        let future = clock::now().plus(std::time::Duration::from_mins(1));
        let code = desk.delivery(Medium::Sms, "verify_phone", future);
        let Composed::Letter(letter) = desk.composer.compose(&code).await.unwrap() else {
            panic!("it was suppressed")
        };
        let ended = Ended {
            delivery: code.clone(),
            letter: Some(letter),
            end: DeliveryEnd::Gone,
            reason: Some("gone".to_owned()),
            at: clock::now(),
        };
        let composer = Arc::clone(&desk.composer);
        let told: Result<(), StoreError> = desk
            .store
            .write(move |db| Box::pin(async move { composer.ended(db, &ended).await }))
            .await;
        told.unwrap();

        assert_eq!(desk.suppressed(&code).await, None);
        let news = desk.delivery(Medium::Sms, "shop.order_sent", future);
        assert_eq!(desk.suppressed(&news).await.as_deref(), Some("dead_address"));
    }
}
