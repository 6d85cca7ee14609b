//! Telephone numbers: those that were proven, and the codes that prove them.
//!
//! Invariant: a number belongs to at most one user, the last who proved it; a code and the letter that carries it are
//! stored together, so that one that was counted goes out.

use serde_json::json;
use uuid::Uuid;

use super::accounts::{event, hold_users};
use super::dead_addresses::delete_dead_address;
use super::deliveries::queue::delete_queued;
use super::{Db, StoreError, deliveries, execute, fetch_all, fetch_one, fetch_optional, outbox};
use crate::domain::backoff::Failures;
use crate::domain::deliveries::NewDelivery;
use crate::domain::events::USER_EVENTS;
use crate::domain::ids::UserId;
use crate::domain::letters::PhoneNumber;
use crate::domain::media::Medium;
use crate::domain::phones::{COUNTED_FOR, Challenge, VERIFY_PHONE};
use crate::domain::time::Timestamp;

/// A code about to be sent.
#[derive(Debug, Clone)]
pub struct NewCode {
    pub user: UserId,
    pub number: PhoneNumber,
    pub code_hash: [u8; 32],
    pub expires_at: Timestamp,
    /// The letter that carries it.
    pub letter: NewDelivery,
}

/// A user's proven number; the one that text messages go to.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_phone(db: &mut Db, user: UserId) -> Result<Option<PhoneNumber>, StoreError> {
    let row: Option<(String,)> = fetch_optional!(
        db,
        (String,),
        "SELECT number FROM phones WHERE user_id = $1",
        user.uuid(),
    )?;
    Ok(row.and_then(|(number,)| PhoneNumber::parse(&number)))
}

/// The number that a user is about to prove, and the code that does.
///
/// The row stays locked until the transaction ends, so that tries are counted one after another. The user is held before
/// it, as whoever deletes the account locks the two.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_challenge(
    db: &mut Db,
    user: UserId,
) -> Result<Option<(PhoneNumber, Challenge)>, StoreError> {
    hold_users(db, &[user]).await?;
    let select = db.dialect(
        "SELECT number, code_hash, tries, tried_at, expires_at FROM phone_codes WHERE user_id = $1",
        "SELECT number, code_hash, tries, tried_at, expires_at FROM phone_codes WHERE user_id = $1
         FOR UPDATE",
    );
    let row: Option<(String, Vec<u8>, i64, i64, i64)> =
        fetch_optional!(db, (String, Vec<u8>, i64, i64, i64), select, user.uuid())?;
    Ok(row.and_then(|(number, code_hash, tries, tried_at, expires_at)| {
        let failures = Failures {
            count: u32::try_from(tries).unwrap_or(u32::MAX),
            last_at: Timestamp::from_millis(tried_at),
        };
        let expires_at = Timestamp::from_millis(expires_at);
        Some((PhoneNumber::parse(&number)?, Challenge { code_hash, failures, expires_at }))
    }))
}

/// The number that waits for its code, without locking anything.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_pending_phone(
    db: &mut Db,
    user: UserId,
    now: Timestamp,
) -> Result<Option<PhoneNumber>, StoreError> {
    let row: Option<(String,)> = fetch_optional!(
        db,
        (String,),
        "SELECT number FROM phone_codes WHERE user_id = $1 AND expires_at > $2",
        user.uuid(),
        now.millis(),
    )?;
    Ok(row.and_then(|(number,)| PhoneNumber::parse(&number)))
}

/// Counts one more code for a subject, and gives how many there were in its day and when that began.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn count_code(
    db: &mut Db,
    subject: &[u8],
    now: Timestamp,
) -> Result<(u32, Timestamp), StoreError> {
    let (codes, began_at): (i64, i64) = fetch_one!(
        db,
        (i64, i64),
        "INSERT INTO phone_code_counts (subject, codes, began_at)
         VALUES ($1, 1, $2)
         ON CONFLICT (subject) DO UPDATE
         SET codes = CASE WHEN phone_code_counts.began_at <= $3 THEN 1
                          ELSE phone_code_counts.codes + 1 END,
             began_at = CASE WHEN phone_code_counts.began_at <= $3 THEN $2
                             ELSE phone_code_counts.began_at END
         RETURNING codes, began_at",
        subject,
        now.millis(),
        now.minus(COUNTED_FOR).millis(),
    )?;
    Ok((u32::try_from(codes).unwrap_or(u32::MAX), Timestamp::from_millis(began_at)))
}

/// Keeps a code in the place of any earlier one, whose letter is not sent any more, and queues the letter that carries it.
///
/// # Errors
/// [`StoreError::NotFound`] when there is no such user.
pub async fn replace_code(db: &mut Db, code: &NewCode, now: Timestamp) -> Result<(), StoreError> {
    let lock = db.dialect(
        "SELECT 1 FROM users WHERE id = $1 AND deleted_at IS NULL",
        "SELECT 1::bigint FROM users WHERE id = $1 AND deleted_at IS NULL FOR SHARE",
    );
    fetch_optional!(db, (i64,), lock, code.user.uuid())?.ok_or(StoreError::NotFound)?;
    execute!(
        db,
        "INSERT INTO phone_codes (user_id, number, code_hash, tries, tried_at, expires_at)
         VALUES ($1, $2, $3, 0, $4, $5)
         ON CONFLICT (user_id) DO UPDATE
         SET number = $2, code_hash = $3, tries = 0, tried_at = $4, expires_at = $5",
        code.user.uuid(),
        code.number.as_str(),
        code.code_hash.as_slice(),
        now.millis(),
        code.expires_at.millis(),
    )?;
    delete_queued(db, code.user, Medium::Sms, VERIFY_PHONE).await?;
    deliveries::insert_all(db, std::slice::from_ref(&code.letter), now).await
}

/// Counts one more wrong try.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn insert_wrong_try(db: &mut Db, user: UserId, now: Timestamp) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE phone_codes SET tries = tries + 1, tried_at = $2 WHERE user_id = $1",
        user.uuid(),
        now.millis(),
    )
    .map(|_| ())
}

/// Gives a number to whoever has just proven it, and takes it from anybody else: `UserPhoneVerified`, and
/// `UserPhoneRemoved` where somebody lost it.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn insert_phone(
    db: &mut Db,
    user: UserId,
    number: &PhoneNumber,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(db, "DELETE FROM phone_codes WHERE user_id = $1", user.uuid())?;
    // What was sent there has arrived, whatever its owner before has said.
    delete_dead_address(db, Medium::Sms, number.as_str()).await?;
    let robbed: Vec<(Uuid,)> = fetch_all!(
        db,
        (Uuid,),
        "DELETE FROM phones
         WHERE number = $2 AND user_id <> $1
         RETURNING user_id",
        user.uuid(),
        number.as_str(),
    )?;
    for (other,) in robbed {
        publish(db, "UserPhoneRemoved", other.into(), now).await?;
    }
    execute!(
        db,
        "INSERT INTO phones (user_id, number, verified_at)
         VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE SET number = $2, verified_at = $3",
        user.uuid(),
        number.as_str(),
        now.millis(),
    )?;
    publish(db, "UserPhoneVerified", user, now).await
}

/// Forgets a user's number and any code; `UserPhoneRemoved` if there was a number.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn delete_phone(db: &mut Db, user: UserId, now: Timestamp) -> Result<(), StoreError> {
    execute!(db, "DELETE FROM phone_codes WHERE user_id = $1", user.uuid())?;
    delete_queued(db, user, Medium::Sms, VERIFY_PHONE).await?;
    if execute!(db, "DELETE FROM phones WHERE user_id = $1", user.uuid())? > 0 {
        publish(db, "UserPhoneRemoved", user, now).await?;
    }
    Ok(())
}

/// Forgets codes that are worth nothing any more, and counts of days that are over. Gives how many rows went.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn delete_expired(db: &mut Db, now: Timestamp) -> Result<u64, StoreError> {
    let codes = execute!(db, "DELETE FROM phone_codes WHERE expires_at <= $1", now.millis())?;
    let over = now.minus(COUNTED_FOR).millis();
    let counts = execute!(db, "DELETE FROM phone_code_counts WHERE began_at <= $1", over)?;
    Ok(codes + counts)
}

async fn publish(
    db: &mut Db,
    name: &'static str,
    user: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    // The number stays here: whoever reads events needs to know that there is one.
    let data = json!({ "user_id": user });
    outbox::append(db, &event(USER_EVENTS, name, user, data, now)).await
}
