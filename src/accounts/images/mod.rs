//! Pictures of profiles: uploading one, taking it away, and clearing up behind both. Those for messages are in [`messages`].
//!
//! Invariant: a profile never shows a picture whose files are not whole, and files that no profile shows go, whatever
//! crashes. The row comes before the files and goes after them; between upload and profile lies one transaction.

mod messages;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::AccountsError;
use crate::clock;
use crate::domain::accounts::{AccountError, Avatar};
use crate::domain::ids::UserId;
use crate::domain::images::{ImageError, ImageName, ImageSize};
use crate::domain::time::Timestamp;
use crate::providers::blobs::Blobs;
use crate::providers::painter::{Painted, Painter, Place};
use crate::store::accounts::{ProfileChange, User, update_profile};
use crate::store::{Store, StoreError};

/// Everything that pictures are worked on with. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    store: Store,
    painter: Painter,
    blobs: Arc<dyn Blobs>,
}

/// An upload that has a place, and whose bytes are still to come.
pub struct Upload(Place);

impl Images {
    #[must_use]
    pub fn new(store: Store, painter: Painter, blobs: Arc<dyn Blobs>) -> Self {
        Self { store, painter, blobs }
    }

    /// Takes a place for an upload of `user`, before its body is read.
    ///
    /// # Errors
    /// [`ImageError::Busy`] when there is none, or the user has as many as one may have.
    pub fn begin(&self, user: UserId) -> Result<Upload, ImageError> {
        self.painter.place(user).map(Upload)
    }

    /// Makes a picture of an upload and puts it into the profile of `user`, which is given as it is now. The picture that was
    /// there before goes.
    ///
    /// # Errors
    /// [`ImageError`], which says what is wrong with it; [`AccountError::UserNotFound`] when the account is gone.
    pub async fn show(
        &self,
        user: UserId,
        upload: Upload,
        body: Bytes,
    ) -> Result<User, AccountsError> {
        let painted = upload.0.paint(body).await?;
        let name = ImageName::new(clock::new_uuid().into(), painted.format);
        self.store.insert_image(user, name, clock::now()).await?;
        self.keep(name, painted).await?;
        let shown = self.put_into_profile(user, Some(name)).await;
        if let Err(AccountsError::Account(_) | AccountsError::Image(_)) = &shown {
            // Refused for certain, so nobody was shown it. Where that is not known, its row says what to do.
            self.delete_files(name).await?;
        }
        self.clear_of(user).await;
        shown
    }

    /// Takes the picture out of a profile, wherever it is kept.
    ///
    /// # Errors
    /// [`AccountError::UserNotFound`] when the account is gone.
    pub async fn take_away(&self, user: UserId) -> Result<(), AccountsError> {
        self.put_into_profile(user, None).await?;
        self.clear_of(user).await;
        Ok(())
    }

    /// How many bytes a picture in one size has, if there is one.
    ///
    /// # Errors
    /// [`AccountsError::Blob`].
    pub async fn size(&self, name: ImageName) -> Result<Option<u64>, AccountsError> {
        Ok(self.blobs.size(&name.to_string()).await?)
    }

    /// Some bytes of a picture that there is.
    ///
    /// # Errors
    /// [`AccountsError::Blob`].
    pub async fn read(&self, name: ImageName, bytes: Range<u64>) -> Result<Bytes, AccountsError> {
        Ok(self.blobs.read(&name.to_string(), bytes).await?)
    }

    /// Clears away what a user's profile does not show any more. What cannot be cleared now is cleared by [`Images::clear`].
    pub async fn clear_of(&self, user: UserId) {
        if let Err(error) = self.clear_dropped(Some(user)).await {
            tracing::warn!(user.id = %user, %error, "pictures that are not shown any more are still there");
        }
    }

    /// Clears away everything that no profile shows at `now`; for a scheduled run. Gives how many pictures went.
    ///
    /// # Errors
    /// The last failure; what could be cleared was.
    pub async fn clear(&self, now: Timestamp) -> Result<u64, AccountsError> {
        self.store.drop_lost_images(now).await?;
        self.clear_dropped(None).await
    }

    async fn clear_dropped(&self, user: Option<UserId>) -> Result<u64, AccountsError> {
        let (mut gone, mut failure, mut after) = (0, None, None);
        loop {
            let dropped = self.store.list_dropped_images(user, after).await?;
            let Some((at, last)) = dropped.last() else {
                return failure.map_or(Ok(gone), Err);
            };
            after = Some((*at, last.id));
            let mut ids = Vec::with_capacity(dropped.len());
            for (_, name) in dropped {
                match self.delete_files(name).await {
                    Ok(()) => ids.push(name.id),
                    Err(error) => failure = Some(error),
                }
            }
            gone += self.store.delete_dropped_images(ids).await?;
        }
    }

    async fn keep(&self, name: ImageName, painted: Painted) -> Result<(), AccountsError> {
        for (size, file) in painted.files {
            self.blobs.put(&name.in_size(size).to_string(), file).await?;
        }
        Ok(())
    }

    async fn delete_files(&self, name: ImageName) -> Result<(), AccountsError> {
        for size in ImageSize::ALL {
            self.blobs.delete(&name.in_size(size).to_string()).await?;
        }
        Ok(())
    }

    async fn put_into_profile(
        &self,
        user: UserId,
        name: Option<ImageName>,
    ) -> Result<User, AccountsError> {
        let avatar = name.map(|name| Avatar::parse(&name.path())).transpose()?;
        let change = ProfileChange { avatar: Some(avatar), ..ProfileChange::default() };
        let now = clock::now();
        let updated = self
            .store
            .write::<_, StoreError, _>(move |db| {
                Box::pin(async move { update_profile(db, user, &change, now).await })
            })
            .await;
        updated.map_err(|error| match error {
            StoreError::NotFound => AccountError::UserNotFound.into(),
            // It took so long that it was given up.
            StoreError::Constraint(_) => ImageError::Busy.into(),
            other => other.into(),
        })
    }
}
