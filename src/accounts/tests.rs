//! The use cases of accounts against real databases.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::*;
use crate::config::Config;
use crate::domain::accounts::{DisplayName, EmailAddress, Role, Roles};
use crate::domain::letters::PhoneNumber;
use crate::domain::media::Medium;
use crate::domain::settings::SettingsChange;
use crate::providers::hasher::HasherSettings;
use crate::providers::tokens::{AccessTokenSettings, generate_pem};
use crate::store::StoreError;
use crate::store::accounts::{ProfileChange, list_event_names, list_users_by_ids};
use crate::store::dead_addresses::{insert_dead_address, is_dead_address};
use crate::store::deliveries::log::{DeliveryFilter, LoggedDelivery};
use crate::store::testing::database_urls;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const GRACE: Duration = Duration::from_secs(10);
const PASSWORD: &str = "a courtyard at noon";

struct Fixture {
    accounts: Accounts,
    name: String,
    ip: IpAddr,
    data: PathBuf,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// One fixture for each database.
async fn fixtures(grace: Duration) -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for url in database_urls().await {
        fixtures.push(fixture(&url, grace).await);
    }
    fixtures
}

async fn fixture(url: &str, grace: Duration) -> Fixture {
    let name: String = clock::new_uuid().simple().to_string().chars().rev().take(16).collect();
    let data = std::env::temp_dir().join(format!("madang-accounts-{name}"));
    std::fs::create_dir_all(&data).unwrap();
    let variables = [("MADANG__DATA__DIR", data.to_str().unwrap()), ("MADANG__DATABASE__URL", url)];
    let config = Config::read(None, variables).unwrap();
    let io = Handle::current();
    let store = Store::connect(&config, io.clone()).await.unwrap();
    store.migrate("test".to_owned()).await.unwrap();
    let settings = HasherSettings {
        memory_kib: 64,
        iterations: 1,
        parallelism: 1,
        concurrency: 2,
        queue_max: 64,
    };
    let tokens = AccessTokenSettings::from(&config.auth);
    let revocations = Revocations::new(tokens.ttl);
    let keys = vec![generate_pem().unwrap()];
    let codes = Arc::new(Codes::new(&keys));
    let tokens = AccessTokens::from_pems(keys, tokens).unwrap();
    let hasher = Hasher::new(settings, io.clone()).unwrap();
    let settings =
        AccountsSettings { refresh_grace: grace, ..AccountsSettings::from(&config.auth) };
    let accounts = Accounts::new(store, hasher, Arc::new(tokens), codes, revocations, settings, io);
    let seed = clock::new_uuid().as_u128().to_be_bytes();
    let ip = IpAddr::V6(
        [0x20, 0x01, 0x0d, 0xb8, seed[12], seed[13], seed[14], seed[15], 0, 0, 0, 0, 0, 0, 0, 1]
            .into(),
    );
    Fixture { accounts, name, ip, data }
}

impl Fixture {
    fn client(&self) -> Client {
        Client::new(self.ip, "a test")
    }

    fn registration(&self) -> Registration {
        Registration {
            handle: self.name.clone(),
            email: format!("{}@example.com", self.name),
            password: PASSWORD.into(),
            display_name: "지수".to_owned(),
            settings: SettingsChange::default(),
        }
    }

    async fn register(&self) -> Grant {
        self.accounts.register(self.registration(), self.client()).await.unwrap()
    }

    async fn login(&self, identifier: &str, password: &str) -> Result<Grant, AccountsError> {
        self.accounts.login(identifier, &password.into(), self.client()).await
    }

    async fn refresh(&self, token: &SecretString) -> Result<Grant, AccountsError> {
        self.accounts.refresh(token.expose_secret(), self.client()).await
    }

    fn is_believed(&self, grant: &Grant) -> bool {
        let Accounts { tokens, revocations, .. } = &self.accounts;
        Caller::from_access_token(&grant.access_token, tokens, revocations, clock::now()).is_ok()
    }

    /// The letters of a kind that were queued for a user, the newest first.
    async fn letters(&self, user: UserId, kind: &str) -> Vec<LoggedDelivery> {
        let filter = DeliveryFilter {
            user: Some(user),
            kind: Some(kind.to_owned()),
            ..DeliveryFilter::default()
        };
        self.accounts.store.list_deliveries(filter, None, 100).await.unwrap()
    }

    /// The code in the one letter of this kind, once it is queued.
    async fn mailed_code(&self, user: UserId, kind: &str) -> String {
        for _ in 0..1_000 {
            if let [letter] = self.letters(user, kind).await.as_slice() {
                let code = self.accounts.codes.make(letter.id).unwrap();
                return code.secret.expose_secret().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not one letter: {kind}");
    }

    /// The code in the one text message that waits.
    async fn texted_code(&self, user: UserId) -> String {
        let letters = self.letters(user, "verify_phone").await;
        let codes = &self.accounts.codes;
        let code = codes.digits(codes.key_id().unwrap(), letters[0].id).unwrap();
        code.expose_secret().to_owned()
    }

    async fn note_dead(&self, medium: Medium, address: &str) {
        let key = address.to_owned();
        let noted: Result<(), StoreError> = self
            .accounts
            .store
            .write(move |db| {
                Box::pin(async move {
                    insert_dead_address(db, medium, &key, "gone", clock::now()).await
                })
            })
            .await;
        noted.unwrap();
        assert!(self.is_dead(medium, address).await);
    }

    async fn is_dead(&self, medium: Medium, address: &str) -> bool {
        let key = address.to_owned();
        let found: Result<bool, StoreError> = self
            .accounts
            .store
            .read(move |db| {
                Box::pin(async move { is_dead_address(db, medium, &key, clock::now()).await })
            })
            .await;
        found.unwrap()
    }

    async fn events(&self, user: UserId) -> Vec<String> {
        let subject = user.to_string();
        let names: Result<_, StoreError> = self
            .accounts
            .store
            .read(move |db| Box::pin(async move { list_event_names(db, &subject).await }))
            .await;
        names.unwrap()
    }
}

#[track_caller]
fn assert_refused<T>(outcome: Result<T, AccountsError>, expected: &AccountError) {
    match outcome {
        Err(AccountsError::Account(error)) => assert_eq!(&error, expected),
        Err(other) => panic!("expected {expected:?}, got {other:?}"),
        Ok(_) => panic!("expected {expected:?}, got success"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_account_logs_in_by_handle_or_address_in_any_case() {
    for fixture in fixtures(GRACE).await {
        let registered = fixture.register().await;
        let name = fixture.name.to_uppercase();

        let by_handle = fixture.login(&name, PASSWORD).await.unwrap();
        let by_email = fixture.login(&format!("{name}@EXAMPLE.com"), PASSWORD).await.unwrap();

        assert_eq!(by_handle.user, registered.user);
        assert_eq!(by_email.user.id, registered.user.id);
        assert_ne!(by_handle.session_id, by_email.session_id);
        assert!(fixture.is_believed(&by_handle));
        let events = fixture.events(registered.user.id).await;
        let first = ["UserRegistered", "UserCreated", "SessionOpened"];
        assert_eq!(events.get(..3).unwrap(), first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_name_are_answered_alike() {
    for fixture in fixtures(GRACE).await {
        fixture.register().await;

        for (identifier, password) in [
            (fixture.name.as_str(), "another password"),
            ("nobody-here", PASSWORD),
            ("?", PASSWORD),
        ] {
            let outcome = fixture.login(identifier, password).await;
            assert_refused(outcome, &AccountError::InvalidCredentials);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_or_an_address_in_use_is_the_same_conflict() {
    for fixture in fixtures(GRACE).await {
        fixture.register().await;
        let own = fixture.registration();
        let same_handle = Registration { email: format!("x{}", own.email), ..own.clone() };
        let same_email = Registration { handle: format!("x{}", own.handle), ..own };

        for registration in [same_handle, same_email] {
            let outcome = fixture.accounts.register(registration, fixture.client()).await;
            assert_refused(outcome, &AccountError::AccountExists);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserved_handle_is_for_operators() {
    let fixture = fixture("", GRACE).await;
    let registration = Registration { handle: "Admin".to_owned(), ..fixture.registration() };

    let outcome = fixture.accounts.register(registration.clone(), fixture.client()).await;
    assert_refused(outcome, &AccountError::HandleReserved);

    let roles = Roles::from_iter([Role::User, Role::Admin]);
    let admin = fixture.accounts.create(NewAccount { registration, roles }).await.unwrap();
    assert!(admin.roles.contains(Role::Admin) && admin.verified_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn five_failures_make_even_the_right_password_wait() {
    for fixture in fixtures(GRACE).await {
        fixture.register().await;
        for _ in 0..5 {
            let outcome = fixture.login(&fixture.name, "another password").await;
            assert_refused(outcome, &AccountError::InvalidCredentials);
        }

        // From another address and by the other name: it is the account that waits.
        let email = format!("{}@example.com", fixture.name);
        let elsewhere = Client::new(HOME, "a test");
        let outcome = fixture.accounts.login(&email, &PASSWORD.into(), elsewhere).await;

        let Err(AccountsError::Account(AccountError::LoginBackOff { retry_after })) = outcome
        else {
            panic!("expected a wait");
        };
        assert!(retry_after <= Duration::from_secs(1) && !retry_after.is_zero());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_guesses_gets_no_further_than_the_back_off() {
    let fixture = fixture("", GRACE).await;
    fixture.register().await;

    let guesses = (0..40).map(|_| fixture.login(&fixture.name, "another password"));
    let outcomes = futures_util::future::join_all(guesses).await;

    let is_guess = |outcome: &&Result<Grant, AccountsError>| {
        matches!(outcome, Err(AccountsError::Account(AccountError::InvalidCredentials)))
    };
    let guessed = outcomes.iter().filter(is_guess).count();
    // Five are free; the two that run at once may both have looked before either was counted.
    assert!((5..=6).contains(&guessed), "{guessed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_is_exchanged_for_a_fresh_pair() {
    for fixture in fixtures(GRACE).await {
        let first = fixture.register().await;

        let second = fixture.refresh(&first.refresh_token).await.unwrap();
        let third = fixture.refresh(&second.refresh_token).await.unwrap();

        assert_eq!(third.session_id, first.session_id);
        assert_ne!(third.refresh_token.expose_secret(), second.refresh_token.expose_secret(),);
        // A second tab with the old token, within the grace.
        assert!(fixture.refresh(&second.refresh_token).await.is_ok());
        assert!(fixture.is_believed(&third));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_comes_back_after_the_grace_ends_its_session() {
    for fixture in fixtures(Duration::ZERO).await {
        let stolen = fixture.register().await;
        let other = fixture.login(&fixture.name, PASSWORD).await.unwrap();
        let current = fixture.refresh(&stolen.refresh_token).await.unwrap();

        let reused = fixture.refresh(&stolen.refresh_token).await;

        assert_refused(reused, &AccountError::InvalidRefreshToken);
        let outcome = fixture.refresh(&current.refresh_token).await;
        assert_refused(outcome, &AccountError::InvalidRefreshToken);
        assert!(!fixture.is_believed(&current));
        assert!(fixture.refresh(&other.refresh_token).await.is_ok(), "another login is untouched");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_exchanges_at_once_one_wins() {
    for fixture in fixtures(Duration::ZERO).await {
        let grant = fixture.register().await;

        let exchanges = (0..16).map(|_| fixture.refresh(&grant.refresh_token));
        let outcomes = futures_util::future::join_all(exchanges).await;

        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_ends_the_other_sessions_only() {
    for fixture in fixtures(GRACE).await {
        let own = fixture.register().await;
        let other = fixture.login(&fixture.name, PASSWORD).await.unwrap();
        let (new, user) = ("a courtyard at midnight", own.user.id);
        let change = |current: &str, new: &str| {
            let (current, new) = (SecretString::from(current), SecretString::from(new));
            let accounts = fixture.accounts.clone();
            let (session, ip) = (own.session_id, fixture.ip);
            async move { accounts.change_password(user, session, &current, &new, ip).await }
        };

        assert_refused(change("another password", new).await, &AccountError::WrongPassword);
        assert!(change(PASSWORD, "password1").await.is_err());
        change(PASSWORD, new).await.unwrap();

        assert!(fixture.is_believed(&own) && !fixture.is_believed(&other));
        assert!(fixture.refresh(&other.refresh_token).await.is_err());
        assert!(fixture.login(&fixture.name, PASSWORD).await.is_err());
        assert!(fixture.login(&fixture.name, new).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailed_token_sets_a_password_once_and_ends_every_session() {
    for fixture in fixtures(GRACE).await {
        let before = fixture.register().await;
        let email = fixture.registration().email.to_uppercase();
        fixture.accounts.request_password_reset(&email).unwrap();
        let token = fixture.mailed_code(before.user.id, "reset_password").await;
        let (weak, new) = (SecretString::from("password1"), SecretString::from("a gate at dawn"));

        assert!(fixture.accounts.reset_password(&token, &weak).await.is_err());
        fixture.accounts.reset_password(&token, &new).await.unwrap();

        let again = fixture.accounts.reset_password(&token, &new).await;
        assert_refused(again, &AccountError::InvalidOneTimeToken);
        assert!(!fixture.is_believed(&before));
        assert!(fixture.login(&fixture.name, "a gate at dawn").await.is_ok());
        let noted = fixture.accounts.store.find_next_fanout().await.unwrap();
        assert!(noted.is_some(), "everybody who is told of it is told by every medium");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_mailed_twice_a_minute_or_without_an_account() {
    for fixture in fixtures(GRACE).await {
        let grant = fixture.register().await;
        let address = |text: &str| EmailAddress::parse(text).unwrap();
        let own = address(&grant.user.email);

        fixture.accounts.resend_verification(grant.user.id).await.unwrap();
        fixture.accounts.mail_reset_token(address("nobody@example.com")).await.unwrap();
        fixture.accounts.mail_reset_token(own.clone()).await.unwrap();
        fixture.accounts.mail_reset_token(own).await.unwrap();

        for kind in ["verify_email", "reset_password"] {
            assert_eq!(fixture.letters(grant.user.id, kind).await.len(), 1, "{kind}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_verified_by_its_token_once() {
    for fixture in fixtures(GRACE).await {
        let user = fixture.register().await.user;
        let token = fixture.mailed_code(user.id, "verify_email").await;

        fixture.accounts.verify_email(&token).await.unwrap();

        let again = fixture.accounts.verify_email(&token).await;
        assert_refused(again, &AccountError::InvalidOneTimeToken);
        assert!(fixture.accounts.user(user.id).await.unwrap().verified_at.is_some());
        assert_eq!(fixture.events(user.id).await.last().unwrap(), "UserVerified");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_whose_code_comes_back_is_no_longer_dead() {
    for fixture in fixtures(GRACE).await {
        let user = fixture.register().await.user;
        let email = EmailAddress::parse(&user.email).unwrap();
        let number = PhoneNumber::parse("+821012345678").unwrap();

        fixture.note_dead(Medium::Mail, email.key()).await;
        let token = fixture.mailed_code(user.id, "verify_email").await;
        fixture.accounts.verify_email(&token).await.unwrap();
        assert!(!fixture.is_dead(Medium::Mail, email.key()).await, "verified");

        fixture.note_dead(Medium::Mail, email.key()).await;
        fixture.accounts.request_password_reset(&user.email).unwrap();
        let token = fixture.mailed_code(user.id, "reset_password").await;
        fixture.accounts.reset_password(&token, &"a gate at dawn".into()).await.unwrap();
        assert!(!fixture.is_dead(Medium::Mail, email.key()).await, "a new password");

        fixture.note_dead(Medium::Sms, number.as_str()).await;
        fixture.accounts.request_phone_code(user.id, number.clone(), 10).await.unwrap();
        let code = fixture.texted_code(user.id).await;
        fixture.accounts.verify_phone(user.id, &code).await.unwrap();
        assert!(!fixture.is_dead(Medium::Sms, number.as_str()).await, "proven");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_worth_nothing_any_more_is_not_sent() {
    for fixture in fixtures(GRACE).await {
        let user = fixture.register().await.user;
        let number = PhoneNumber::parse("+821012345678").unwrap();
        let ask = async || {
            fixture.accounts.request_phone_code(user.id, number.clone(), 10).await.unwrap();
            fixture.letters(user.id, "verify_phone").await
        };
        let first = ask().await;
        let second = ask().await;

        assert_eq!((first.len(), second.len()), (1, 1));
        assert_ne!(first[0].id, second[0].id);
        fixture.accounts.delete_phone(user.id).await.unwrap();
        assert_eq!(fixture.letters(user.id, "verify_phone").await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_taken_once_and_not_after_its_session() {
    for fixture in fixtures(GRACE).await {
        let Grant { user, session_id, .. } = fixture.register().await;
        let accounts = &fixture.accounts;
        let ticket = accounts.issue_ticket(user.id, session_id).await.unwrap();
        let late = accounts.issue_ticket(user.id, session_id).await.unwrap();

        let caller = accounts.take_ticket(ticket.expose_secret()).await.unwrap();
        assert_eq!((caller.user_id, caller.session_id), (user.id, session_id));
        let again = accounts.take_ticket(ticket.expose_secret()).await;
        assert_refused(again, &AccountError::Unauthenticated);

        assert!(accounts.end_session(user.id, session_id).await.unwrap());
        let late = accounts.take_ticket(late.expose_secret()).await;
        assert_refused(late, &AccountError::Unauthenticated);
        let another = accounts.issue_ticket(user.id, session_id).await;
        assert_refused(another, &AccountError::Unauthenticated);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_by_their_owner_only() {
    for fixture in fixtures(GRACE).await {
        let first = fixture.register().await;
        let second = fixture.login(&fixture.name, PASSWORD).await.unwrap();
        let accounts = &fixture.accounts;
        let stranger: UserId = clock::new_uuid().into();

        assert!(!accounts.end_session(stranger, first.session_id).await.unwrap());
        assert_eq!(accounts.sessions(first.user.id).await.unwrap().len(), 2);
        assert!(accounts.end_session(first.user.id, first.session_id).await.unwrap());

        let left = accounts.sessions(first.user.id).await.unwrap();
        assert_eq!(left.iter().map(|session| session.id).collect::<Vec<_>>(), [second.session_id]);
        assert!(!fixture.is_believed(&first) && fixture.is_believed(&second));

        // A node that starts now learns what it missed.
        let revocations = Revocations::new(Duration::from_mins(15));
        let restarted = Accounts { revocations: revocations.clone(), ..accounts.clone() };
        restarted.load_revocations().await.unwrap();
        assert!(revocations.is_revoked(first.session_id));
        assert!(!revocations.is_revoked(second.session_id));

        accounts.logout_by_refresh_token(second.refresh_token.expose_secret()).await.unwrap();
        assert!(!fixture.is_believed(&second));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_changes_where_it_is_told_to() {
    for fixture in fixtures(GRACE).await {
        let user = fixture.register().await.user;
        let change = ProfileChange {
            display_name: Some(DisplayName::parse("민호").unwrap()),
            ..ProfileChange::default()
        };

        let updated = fixture.accounts.update_profile(user.id, change.clone()).await.unwrap();

        assert_eq!(updated.display_name, "민호");
        assert_eq!((updated.bio, updated.avatar), (user.bio, user.avatar));
        let events = fixture.events(user.id).await;
        assert!(events.ends_with(&["UserProfileUpdated".to_owned(), "UserUpdated".to_owned()]));
        let stranger = fixture.accounts.update_profile(clock::new_uuid().into(), change).await;
        assert_refused(stranger, &AccountError::UserNotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_is_gone_and_its_names_are_free() {
    for fixture in fixtures(GRACE).await {
        let grant = fixture.register().await;
        let (user, accounts) = (grant.user.id, &fixture.accounts);

        let wrong = accounts.delete(user, &"another password".into(), fixture.ip).await;
        assert_refused(wrong, &AccountError::WrongPassword);
        accounts.delete(user, &PASSWORD.into(), fixture.ip).await.unwrap();

        assert!(!fixture.is_believed(&grant));
        assert_refused(accounts.user(user).await, &AccountError::UserNotFound);
        let login = fixture.login(&fixture.name, PASSWORD).await;
        assert_refused(login, &AccountError::InvalidCredentials);
        assert!(fixture.refresh(&grant.refresh_token).await.is_err());
        assert_eq!(fixture.events(user).await.last().unwrap(), "UserDeleted");
        assert_ne!(fixture.register().await.user.id, user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_found_by_their_ids_together() {
    for fixture in fixtures(GRACE).await {
        let user = fixture.register().await.user;
        let ids = [clock::new_uuid().into(), user.id];

        let found: Result<_, StoreError> = fixture
            .accounts
            .store
            .read(move |db| Box::pin(async move { list_users_by_ids(db, &ids).await }))
            .await;

        assert_eq!(found.unwrap(), [user]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hundred_and_first_session_ends_the_least_recently_used() {
    let fixture = fixture("", GRACE).await;
    let first = fixture.register().await;
    for _ in 0..100 {
        fixture.login(&fixture.name, PASSWORD).await.unwrap();
    }

    assert_eq!(fixture.accounts.sessions(first.user.id).await.unwrap().len(), 100);
    assert!(!fixture.is_believed(&first));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_forgotten_and_nothing_else() {
    let fixture = fixture("", GRACE).await;
    let grant = fixture.register().await;

    assert_eq!(fixture.accounts.delete_expired().await.unwrap(), 0);
    assert!(fixture.refresh(&grant.refresh_token).await.is_ok());
}
