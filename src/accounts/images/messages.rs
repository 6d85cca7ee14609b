//! Pictures for messages: bringing one, and clearing up behind those that were deleted or never sent.
//!
//! Invariant: as with profiles, the row comes before the file and goes after it; whoever has an address has a whole file.

use bytes::Bytes;

use super::{Images, Upload};
use crate::accounts::AccountsError;
use crate::clock;
use crate::domain::ids::{ImageId, RoomId, UserId};
use crate::domain::images::ImageName;
use crate::domain::messages::Attachment;
use crate::domain::time::Timestamp;
use crate::providers::painter::Whole;

impl Images {
    /// Makes a picture of an upload, for a message that `user` is about to send to `room`: what is given goes into its
    /// `attachments`. It is called `name`, or something plain.
    ///
    /// # Errors
    /// [`crate::domain::images::ImageError`], which says what is wrong with it.
    pub async fn keep_for_message(
        &self,
        (room, user): (RoomId, UserId),
        upload: Upload,
        body: Bytes,
        name: Option<String>,
    ) -> Result<Attachment, AccountsError> {
        let Whole { format, file, width, height } = upload.0.paint_whole(body).await?;
        let image = ImageName::new(clock::new_uuid().into(), format);
        self.store.insert_message_image(room, user, image, clock::now()).await?;
        let size_bytes = i64::try_from(file.len()).ok();
        self.blobs.put(&image.to_string(), file).await?;
        Ok(Attachment {
            url: image.path(),
            name: name.unwrap_or_else(|| format!("image.{}", format.as_str())),
            media_type: format.media_type().to_owned(),
            size_bytes,
            width: Some(width.into()),
            height: Some(height.into()),
        })
    }

    /// Clears away some pictures of messages that were deleted. What is not cleared now is cleared by
    /// [`Images::clear_of_messages`].
    pub async fn clear_of_deleted_messages(&self) {
        let cleared = self.clear_some_of_messages(None).await;
        if let Err(error) | Ok(Some(Cleared { failure: Some(error), .. })) = cleared {
            tracing::warn!(%error, "pictures of messages that were deleted are still there");
        }
    }

    /// Clears away the pictures of messages that were deleted, and those that nobody has sent in time, as of `now`; for a
    /// scheduled run. Gives how many went.
    ///
    /// # Errors
    /// The last failure; what could be cleared was.
    pub async fn clear_of_messages(&self, now: Timestamp) -> Result<u64, AccountsError> {
        self.store.drop_unsent_message_images(now).await?;
        self.clear_dropped_of_messages().await
    }

    async fn clear_dropped_of_messages(&self) -> Result<u64, AccountsError> {
        let (mut gone, mut failure, mut after) = (0, None, None);
        while let Some(cleared) = self.clear_some_of_messages(after).await? {
            gone += cleared.gone;
            failure = cleared.failure.or(failure);
            after = Some(cleared.last);
        }
        failure.map_or(Ok(gone), Err)
    }

    /// Clears away those that come after `after`, as many as one statement gives; `None` where there are none.
    async fn clear_some_of_messages(
        &self,
        after: Option<(Timestamp, ImageId)>,
    ) -> Result<Option<Cleared>, AccountsError> {
        let dropped = self.store.list_dropped_message_images(after).await?;
        let Some(last) = dropped.last().map(|(at, name)| (*at, name.id)) else {
            return Ok(None);
        };
        let (mut ids, mut failure) = (Vec::with_capacity(dropped.len()), None);
        for (_, name) in dropped {
            match self.blobs.delete(&name.to_string()).await {
                Ok(()) => ids.push(name.id),
                Err(error) => failure = Some(error.into()),
            }
        }
        let gone = match ids.is_empty() {
            true => 0,
            false => self.store.delete_dropped_message_images(ids).await?,
        };
        Ok(Some(Cleared { gone, failure, last }))
    }
}

/// What became of some pictures that had to go.
struct Cleared {
    gone: u64,
    failure: Option<AccountsError>,
    /// The last of them.
    last: (Timestamp, ImageId),
}
