//! The letters that accounts send: queued in the transaction that they tell of, so that none is lost with a crash.
//!
//! Words are the templates' own. A code is not part of a queued letter: it is made again when the letter goes out.

use serde_json::{Map, json};
use uuid::Uuid;

use super::{Accounts, AccountsError};
use crate::clock;
use crate::domain::accounts::AccountError;
use crate::domain::deliveries::NewDelivery;
use crate::domain::ids::{DeliveryId, UserId};
use crate::domain::media::Medium;
use crate::domain::notifications::{Audience, Occasion};
use crate::domain::time::Timestamp;
use crate::providers::opaque::TokenHash;
use crate::store::notifications::fanouts;
use crate::store::sessions::Purpose;
use crate::store::{Db, deliveries};

pub(super) const VERIFY_EMAIL: &str = "verify_email";
pub(super) const RESET_PASSWORD: &str = "reset_password";
const PASSWORD_CHANGED: &str = "password_changed";

/// A letter with a code in it, and what the store keeps of the code.
pub(super) struct CodeLetter {
    pub(super) hash: TokenHash,
    pub(super) letter: NewDelivery,
}

impl Accounts {
    /// A letter that carries the code for a purpose to the user's own address; of no use from `expires_at` on.
    pub(super) fn code_letter(
        &self,
        user: UserId,
        purpose: Purpose,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<CodeLetter, AccountError> {
        let kind = match purpose {
            Purpose::VerifyEmail => VERIFY_EMAIL,
            Purpose::ResetPassword => RESET_PASSWORD,
            // A ticket is handed out, never sent.
            Purpose::Ticket => return Err(AccountError::Crypto),
        };
        let id = clock::new_uuid().into();
        let code = self.codes.make(id)?;
        let data =
            json!({ "code_key": code.key_id, "expires_at": expires_at.millis() }).to_string();
        Ok(CodeLetter { hash: code.hash, letter: letter(id, kind, user, Some(data), now) })
    }
}

/// Tells a user that their password was changed, in the app and by letter, in the transaction that changes it.
pub(super) async fn tell_password_changed(
    db: &mut Db,
    user: UserId,
    id: Uuid,
    now: Timestamp,
) -> Result<(), AccountsError> {
    let occasion = Occasion {
        id,
        kind: PASSWORD_CHANGED.to_owned(),
        audience: Audience::Users { users: vec![user] },
        actor: None,
        params: Map::new(),
        media: None,
        group_key: None,
        message: None,
        first_seq: None,
        messages: 0,
        at: now,
    };
    Ok(fanouts::insert_all(db, &[occasion], now).await?)
}

/// Queues a letter.
pub(super) async fn queue(
    db: &mut Db,
    letter: NewDelivery,
    now: Timestamp,
) -> Result<(), crate::store::StoreError> {
    deliveries::insert_all(db, &[letter], now).await
}

fn letter(
    id: DeliveryId,
    kind: &str,
    user: UserId,
    data: Option<String>,
    now: Timestamp,
) -> NewDelivery {
    NewDelivery {
        id,
        medium: Medium::Mail,
        kind: kind.to_owned(),
        user: Some(user),
        seq: None,
        target: None,
        digest_key: None,
        data,
        due_at: now,
        suppressed: None,
    }
}
