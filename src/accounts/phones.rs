//! Telephone numbers of users: a code goes to the number, and whoever brings it back has the number.

use secrecy::ExposeSecret as _;
use serde_json::json;

use super::login::{Subject, subject};
use super::{Accounts, AccountsError};
use crate::clock;
use crate::domain::accounts::AccountError;
use crate::domain::deliveries::NewDelivery;
use crate::domain::ids::UserId;
use crate::domain::letters::PhoneNumber;
use crate::domain::media::Medium;
use crate::domain::phones::{CODE_CHARS, CODE_TTL, COUNTED_FOR, PhoneError, VERIFY_PHONE, judge};
use crate::domain::time::Timestamp;
use crate::providers::codes::hash_of;
use crate::store::phones::{
    NewCode, count_code, delete_phone, find_challenge, find_pending_phone, find_phone,
    insert_phone, insert_wrong_try, replace_code,
};
use crate::store::{Db, StoreError};

/// What two users break who prove one number at the same moment.
const NUMBER_TAKEN: &str = "phones_number_key";

/// Where a user's telephone number stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneState {
    /// Proven; text messages go there.
    pub number: Option<PhoneNumber>,
    /// Waits for the code that was sent to it.
    pub pending: Option<PhoneNumber>,
}

impl Accounts {
    /// Where the caller's telephone number stands.
    ///
    /// # Errors
    /// Only what the store fails with.
    pub async fn phone(&self, user: UserId) -> Result<PhoneState, AccountsError> {
        let now = clock::now();
        self.store
            .read::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    let number = find_phone(db, user).await?;
                    let pending = find_pending_phone(db, user, now).await?;
                    Ok(PhoneState { number, pending })
                })
            })
            .await
    }

    /// Sends a code to a number that `user` says is theirs. The number that they had proven stays until this one is.
    ///
    /// # Errors
    /// [`PhoneError::TooManyCodes`] when `codes_max` were sent to this number or for this user within a day.
    pub async fn request_phone_code(
        &self,
        user: UserId,
        number: PhoneNumber,
        codes_max: u32,
    ) -> Result<(), AccountsError> {
        let now = clock::now();
        let code = self.new_code(user, number, now)?;
        let requested = self
            .store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    // The user first: whoever has one number waits for nobody who has another.
                    let subjects = [
                        subject("user", user.uuid().as_bytes()),
                        subject("number", code.number.as_str().as_bytes()),
                    ];
                    for subject in subjects {
                        count_within(db, &subject, codes_max, now).await?;
                    }
                    Ok(replace_code(db, &code, now).await?)
                })
            })
            .await;
        requested.map_err(|error| match error {
            AccountsError::Store(StoreError::NotFound) => AccountError::UserNotFound.into(),
            other => other,
        })
    }

    /// Takes the code that was sent to a number, which is the user's from then on.
    ///
    /// # Errors
    /// [`PhoneError::CodeInvalid`], which was counted, or [`PhoneError::CodeBackOff`].
    pub async fn verify_phone(&self, user: UserId, code: &str) -> Result<(), AccountsError> {
        let is_code = code.len() == CODE_CHARS && code.bytes().all(|b| b.is_ascii_digit());
        if !is_code {
            return Err(PhoneError::CodeInvalid.into());
        }
        let (code, now) = (code.to_owned(), clock::now());
        let judged = self
            .store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move {
                    let Some((number, challenge)) = find_challenge(db, user).await? else {
                        return Ok(Err(PhoneError::CodeInvalid));
                    };
                    let judged = judge(&challenge, &hash(user, &number, &code), now);
                    match judged {
                        Ok(()) => insert_phone(db, user, &number, now).await?,
                        Err(PhoneError::CodeInvalid) => insert_wrong_try(db, user, now).await?,
                        Err(_) => {}
                    }
                    Ok(judged)
                })
            })
            .await;
        match judged {
            // Refused only now: an error inside would have taken the wrong try back.
            Ok(judged) => Ok(judged?),
            Err(AccountsError::Store(StoreError::Constraint(name))) if name == NUMBER_TAKEN => {
                Err(StoreError::Busy.into())
            }
            Err(other) => Err(other),
        }
    }

    /// A code for one user and one number, with the letter that carries it.
    fn new_code(
        &self,
        user: UserId,
        number: PhoneNumber,
        now: Timestamp,
    ) -> Result<NewCode, AccountError> {
        let id = clock::new_uuid().into();
        let key_id = self.codes.key_id().ok_or(AccountError::Crypto)?;
        let code = self.codes.digits(key_id, id).ok_or(AccountError::Crypto)?;
        // The letter names its number: by the time it is sent, the user may have asked for another.
        let expires_at = now.plus(CODE_TTL);
        let data = json!({
            "code_key": key_id,
            "to": number.as_str(),
            "expires_at": expires_at.millis(),
        });
        let letter = NewDelivery {
            id,
            medium: Medium::Sms,
            kind: VERIFY_PHONE.to_owned(),
            user: Some(user),
            seq: None,
            target: None,
            digest_key: None,
            data: Some(data.to_string()),
            due_at: now,
            suppressed: None,
        };
        let code_hash = hash(user, &number, code.expose_secret());
        Ok(NewCode { user, number, code_hash, expires_at, letter })
    }

    /// Forgets the user's number, and any code that is on its way.
    ///
    /// # Errors
    /// Only what the store fails with.
    pub async fn delete_phone(&self, user: UserId) -> Result<(), AccountsError> {
        let now = clock::now();
        self.store
            .write::<_, AccountsError, _>(move |db| {
                Box::pin(async move { Ok(delete_phone(db, user, now).await?) })
            })
            .await
    }
}

fn hash(user: UserId, number: &PhoneNumber, code: &str) -> [u8; 32] {
    hash_of(code, &[user.uuid().as_bytes(), number.as_str().as_bytes()])
}

async fn count_within(
    db: &mut Db,
    subject: &Subject,
    codes_max: u32,
    now: Timestamp,
) -> Result<(), AccountsError> {
    let (codes, began_at) = count_code(db, subject, now).await?;
    if codes <= codes_max {
        return Ok(());
    }
    // The transaction is undone, and with it the count.
    let retry_after = began_at.plus(COUNTED_FOR).since(now);
    Err(PhoneError::TooManyCodes { retry_after }.into())
}
