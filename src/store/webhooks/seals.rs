//! The signing secrets of endpoints, as they lie sealed in the store.
//!
//! Invariant: all of them are sealed under the one key whose mark is in `meta`.

use serde_json::json;

use super::{Kept, SealedSecret, publish};
use crate::domain::ids::EndpointId;
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, execute, fetch_one, fetch_optional};

/// Where the mark of the key is kept.
const SEAL: &str = "webhook_seal";

impl Store {
    /// Gives an endpoint a new secret; `WebhookSecretRotated`. The one it had signs as well until `old_until`; the one
    /// before that does no more.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn rotate_webhook_secret(
        &self,
        id: EndpointId,
        secret: SealedSecret,
        old_until: Option<Timestamp>,
        by: String,
        now: Timestamp,
    ) -> Result<Kept, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                if !is_seal(db, &secret.mark).await? {
                    return Ok(Kept::OtherSeal);
                }
                let rotated = execute!(
                    db,
                    "UPDATE webhook_endpoints
                     SET old_secret = CASE WHEN $3 IS NULL THEN NULL ELSE secret END,
                         old_secret_until = $3,
                         secret = $2,
                         updated_at = $4
                     WHERE id = $1",
                    id.uuid(),
                    secret.bytes,
                    old_until.map(Timestamp::millis),
                    now.millis(),
                )?;
                if rotated == 0 {
                    return Ok(Kept::NotFound);
                }
                let data = json!({ "endpoint_id": id, "by": by });
                publish(db, "WebhookSecretRotated", id, data, now).await?;
                Ok(Kept::Done)
            })
        })
        .await
    }

    /// The mark of the key under which all secrets are sealed; `None` before the first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_webhook_seal(&self) -> Result<Option<String>, StoreError> {
        let mark: Option<(String,)> = self
            .read(|db| {
                Box::pin(async move {
                    fetch_optional!(db, (String,), "SELECT value FROM meta WHERE name = $1", SEAL)
                })
            })
            .await?;
        Ok(mark.map(|(mark,)| mark))
    }

    /// Forgets the key that secrets were sealed under, and gives every endpoint a secret under another, without the one
    /// it had.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn replace_webhook_secrets(
        &self,
        mark: String,
        secrets: Vec<(EndpointId, Vec<u8>)>,
        by: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                execute!(db, "DELETE FROM meta WHERE name = $1", SEAL)?;
                is_seal(db, &mark).await?;
                for (id, secret) in secrets {
                    execute!(
                        db,
                        "UPDATE webhook_endpoints
                         SET secret = $2, old_secret = NULL, old_secret_until = NULL,
                             updated_at = $3
                         WHERE id = $1",
                        id.uuid(),
                        secret,
                        now.millis(),
                    )?;
                    let data = json!({ "endpoint_id": id, "by": by });
                    publish(db, "WebhookSecretRotated", id, data, now).await?;
                }
                Ok(())
            })
        })
        .await
    }
}

/// Whether secrets are sealed under the key with this mark; the first one settles it.
pub(super) async fn is_seal(db: &mut Db, mark: &str) -> Result<bool, StoreError> {
    execute!(
        db,
        "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        SEAL,
        mark,
    )?;
    let (settled,) = fetch_one!(db, (String,), "SELECT value FROM meta WHERE name = $1", SEAL)?;
    Ok(settled == mark)
}
