//! Pictures where files cannot be kept, or their node dies, at every point in between; on real databases.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use image::{DynamicImage, ImageFormat as Encoding};
use tokio::runtime::Handle;

use super::*;
use crate::config::Config;
use crate::domain::accounts::{DisplayName, EmailAddress, Handle as UserHandle, Role, Roles};
use crate::providers::blobs::BlobError;
use crate::store::accounts::{NewUser, delete_user, find_user, insert_user};
use crate::store::testing::database_urls;

/// Files in memory; the disk is full, or cannot be reached, when a test says so.
#[derive(Default)]
struct FakeBlobs {
    files: Mutex<BTreeMap<String, Bytes>>,
    /// How many files may still be written; all, unless it is set.
    room: Mutex<Option<usize>>,
    is_away: Mutex<bool>,
}

#[async_trait]
impl Blobs for FakeBlobs {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), BlobError> {
        if let Some(room) = self.room.lock().unwrap().as_mut() {
            *room = room.checked_sub(1).ok_or(BlobError::Stopped)?;
        }
        self.files.lock().unwrap().insert(name.to_owned(), bytes);
        Ok(())
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, BlobError> {
        Ok(self.files.lock().unwrap().get(name).map(|file| u64::try_from(file.len()).unwrap()))
    }

    async fn read(&self, name: &str, bytes: Range<u64>) -> Result<Bytes, BlobError> {
        let range = usize::try_from(bytes.start).unwrap()..usize::try_from(bytes.end).unwrap();
        Ok(self.files.lock().unwrap().get(name).ok_or(BlobError::Stopped)?.slice(range))
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        if *self.is_away.lock().unwrap() {
            return Err(BlobError::Stopped);
        }
        self.files.lock().unwrap().remove(name);
        Ok(())
    }
}

impl FakeBlobs {
    fn count(&self) -> usize {
        self.files.lock().unwrap().len()
    }
}

struct Fixture {
    images: Images,
    blobs: Arc<FakeBlobs>,
    store: Store,
    user: UserId,
    data: PathBuf,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// One fixture for each database.
async fn fixtures() -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for url in database_urls().await {
        fixtures.push(Fixture::new(&url).await);
    }
    fixtures
}

impl Fixture {
    async fn new(url: &str) -> Self {
        let user = UserId::from(clock::new_uuid());
        let name: String = user.uuid().simple().to_string().chars().rev().take(16).collect();
        let data = std::env::temp_dir().join(format!("madang-images-{name}"));
        std::fs::create_dir_all(&data).unwrap();
        let variables =
            [("MADANG__DATA__DIR", data.to_str().unwrap()), ("MADANG__DATABASE__URL", url)];
        let config = Config::read(None, variables).unwrap();
        let store = Store::connect(&config, Handle::current()).await.unwrap();
        store.migrate("test".to_owned()).await.unwrap();
        let account = NewUser {
            id: user,
            handle: UserHandle::parse(&name).unwrap(),
            email: EmailAddress::parse(&format!("{name}@example.com")).unwrap(),
            display_name: DisplayName::parse("지수").unwrap(),
            roles: Roles::from_iter([Role::User]),
            password_hash: "none".to_owned(),
            verified_at: None,
        };
        let inserted: Result<(), StoreError> = store
            .write(move |db| Box::pin(async move { insert_user(db, &account, clock::now()).await }))
            .await;
        inserted.unwrap();
        let blobs = Arc::new(FakeBlobs::default());
        let painter = Painter::new(&config.images, Handle::current());
        let kept: Arc<dyn Blobs> = Arc::<FakeBlobs>::clone(&blobs);
        let images = Images::new(store.clone(), painter, kept);
        Self { images, blobs, store, user, data }
    }

    async fn show(&self) -> Result<User, AccountsError> {
        let upload = self.images.begin(self.user).unwrap();
        self.images.show(self.user, upload, picture()).await
    }

    async fn avatar(&self) -> Option<String> {
        let user = self.user;
        let found: Result<Option<User>, StoreError> =
            self.store.read(move |db| Box::pin(async move { find_user(db, user).await })).await;
        found.unwrap().unwrap().avatar
    }

    async fn leave(&self) {
        let user = self.user;
        let left: Result<(), StoreError> = self
            .store
            .write(move |db| Box::pin(async move { delete_user(db, user, clock::now()).await }))
            .await;
        left.unwrap();
    }

    /// Clears what is there after `wait`.
    async fn clear_after(&self, wait: Duration) {
        self.images.clear(clock::now().plus(wait)).await.unwrap();
    }
}

fn picture() -> Bytes {
    let mut file = std::io::Cursor::new(Vec::new());
    DynamicImage::new_rgb8(300, 200).write_to(&mut file, Encoding::Png).unwrap();
    file.into_inner().into()
}

#[tokio::test]
async fn a_new_picture_takes_the_place_of_the_old_one_and_of_its_files() {
    for fixture in fixtures().await {
        let first = fixture.show().await.unwrap().avatar.unwrap();
        let second = fixture.show().await.unwrap().avatar.unwrap();

        assert_ne!(first, second);
        assert_eq!(fixture.blobs.count(), 3);
        let name = second.strip_prefix("/v1/images/").and_then(ImageName::parse).unwrap();
        assert!(fixture.images.size(name).await.unwrap().is_some());

        fixture.images.take_away(fixture.user).await.unwrap();

        assert_eq!((fixture.avatar().await, fixture.blobs.count()), (None, 0));
    }
}

#[tokio::test]
async fn an_upload_that_dies_half_way_shows_nothing_and_leaves_nothing() {
    for fixture in fixtures().await {
        let before = fixture.show().await.unwrap().avatar;
        for room in 0..3 {
            *fixture.blobs.room.lock().unwrap() = Some(room);

            assert!(fixture.show().await.is_err());

            assert_eq!(fixture.avatar().await, before);
            assert_eq!(fixture.blobs.count(), 3 + room);
            fixture.clear_after(Duration::from_mins(50)).await;
            assert_eq!(fixture.blobs.count(), 3 + room, "it may be on its way");
            fixture.clear_after(Duration::from_mins(70)).await;
            assert_eq!(fixture.blobs.count(), 3);
        }
    }
}

#[tokio::test]
async fn an_upload_that_was_given_up_meanwhile_leaves_nothing() {
    for fixture in fixtures().await {
        let name =
            ImageName::new(clock::new_uuid().into(), crate::domain::images::ImageFormat::Png);
        fixture.store.insert_image(fixture.user, name, clock::now()).await.unwrap();
        // As by another node, while this one sleeps.
        fixture.clear_after(Duration::from_mins(70)).await;

        let shown = fixture.images.put_into_profile(fixture.user, Some(name)).await;

        assert!(matches!(shown, Err(AccountsError::Image(ImageError::Busy))));
        assert_eq!(fixture.avatar().await, None);
    }
}

#[tokio::test]
async fn files_that_cannot_be_deleted_go_later() {
    for fixture in fixtures().await {
        fixture.show().await.unwrap();
        *fixture.blobs.is_away.lock().unwrap() = true;
        fixture.show().await.unwrap();
        assert_eq!(fixture.blobs.count(), 6);

        *fixture.blobs.is_away.lock().unwrap() = false;
        fixture.clear_after(Duration::ZERO).await;

        assert_eq!(fixture.blobs.count(), 3);
    }
}

#[tokio::test]
async fn whoever_leaves_takes_their_pictures_along() {
    for fixture in fixtures().await {
        fixture.show().await.unwrap();
        fixture.leave().await;

        let late = fixture.show().await;

        assert!(matches!(late, Err(AccountsError::Account(AccountError::UserNotFound))));
        fixture.images.clear_of(fixture.user).await;
        assert_eq!(fixture.blobs.count(), 0);
    }
}

#[tokio::test]
async fn a_picture_that_was_arriving_when_its_owner_left_goes_whatever_its_upload_does() {
    for fixture in fixtures().await {
        let user = fixture.user;
        let upload = fixture.images.begin(user).unwrap();
        let painted = upload.0.paint(picture()).await.unwrap();
        let name = ImageName::new(clock::new_uuid().into(), painted.format);
        fixture.store.insert_image(user, name, clock::now()).await.unwrap();
        fixture.leave().await;
        fixture.images.clear_of(user).await;

        // It dies after its last file, and before it hears that there is no such profile.
        fixture.images.keep(name, painted).await.unwrap();
        assert_eq!(fixture.blobs.count(), 3);
        fixture.clear_after(Duration::from_mins(70)).await;

        assert_eq!(fixture.blobs.count(), 0);
    }
}
