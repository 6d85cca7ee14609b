//! Blobs: files that are too large for the database, by name, behind a trait that any object store can serve.
//!
//! The default is a folder. Invariant: a name is written once, by one writer, so that a file is whole or not there; one
//! that was taken over is on the disk.

use std::io;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt as _};
use tokio::runtime::Handle;

/// The folder that all of them lie in.
const FOLDER: &str = "images";
/// A file is written beside its place first, at the first of `name#1`, `name#2` … that is free; the others are free too.
const DRAFTS_MAX: usize = 2;

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("the folder for blobs cannot be used: {0}")]
    Folder(#[from] io::Error),
    #[error("a blob could not be kept, read or deleted: {0}")]
    Store(#[from] Error),
    #[error("the runtime that keeps blobs has stopped")]
    Stopped,
}

/// Keeps files by name. Names are made here, of letters, digits, `-` and `.`.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Keeps a file. `Ok` means that it survives a crash.
    ///
    /// # Errors
    /// [`BlobError`]; a part of it may be left, until the name is deleted.
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), BlobError>;

    /// How many bytes a file has, if there is one.
    ///
    /// # Errors
    /// [`BlobError`].
    async fn size(&self, name: &str) -> Result<Option<u64>, BlobError>;

    /// Some bytes of a file that there is.
    ///
    /// # Errors
    /// [`BlobError`].
    async fn read(&self, name: &str, bytes: Range<u64>) -> Result<Bytes, BlobError>;

    /// Deletes a file and whatever an interrupted [`Blobs::put`] left of it; one that is not there is as good as deleted.
    ///
    /// # Errors
    /// [`BlobError`].
    async fn delete(&self, name: &str) -> Result<(), BlobError>;
}

/// Files in a folder, which may be a mount that several nodes share.
#[derive(Debug, Clone)]
pub struct FolderBlobs {
    files: Arc<LocalFileSystem>,
    io: Handle,
}

impl FolderBlobs {
    /// Makes the folder unless it exists, for its owner only; `io` is the runtime whose blocking pool does the work.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn open(folder: &FilePath, io: Handle) -> Result<Self, BlobError> {
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(folder.join(FOLDER))?;
        let files = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self { files: Arc::new(files), io })
    }

    /// Runs `work` where the blocking pool is the shared one.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, BlobError>> + Send + 'static,
    ) -> Result<T, BlobError> {
        self.io.spawn(work).await.map_err(|_| BlobError::Stopped)?
    }
}

#[async_trait]
impl Blobs for FolderBlobs {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), BlobError> {
        let (files, place) = (Arc::clone(&self.files), place_of(name));
        self.run(async move {
            files.put(&place, bytes.into()).await?;
            Ok(())
        })
        .await
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, BlobError> {
        let (files, place) = (Arc::clone(&self.files), place_of(name));
        self.run(async move {
            match files.head(&place).await {
                Ok(found) => Ok(Some(found.size)),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    async fn read(&self, name: &str, bytes: Range<u64>) -> Result<Bytes, BlobError> {
        let (files, place) = (Arc::clone(&self.files), place_of(name));
        self.run(async move { Ok(files.get_range(&place, bytes).await?) }).await
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        let (files, place, io) = (Arc::clone(&self.files), place_of(name), self.io.clone());
        self.run(async move {
            let path = files.path_to_filesystem(&place)?;
            io.spawn_blocking(move || remove(&path)).await.map_err(|_| BlobError::Stopped)??;
            Ok(())
        })
        .await
    }
}

fn place_of(name: &str) -> Path {
    Path::from_iter([FOLDER, name])
}

/// Drafts first: while one is there, the file may yet come to be.
fn remove(path: &FilePath) -> io::Result<()> {
    let drafts = (1..=DRAFTS_MAX).map(|number| {
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!("#{number}"));
        PathBuf::from(draft)
    });
    for file in drafts.chain([path.to_owned()]) {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("madang-blobs-{}", clock::new_uuid())))
        }

        fn blobs(&self) -> FolderBlobs {
            FolderBlobs::open(&self.0, Handle::current()).unwrap()
        }

        fn files(&self) -> Vec<String> {
            let files = std::fs::read_dir(self.0.join(FOLDER)).unwrap();
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn what_was_put_is_there_until_it_is_deleted() {
        let folder = Folder::new();
        let blobs = folder.blobs();

        blobs.put("a-small.jpg", Bytes::from_static(b"courtyard")).await.unwrap();

        let again = folder.blobs();
        assert_eq!(again.size("a-small.jpg").await.unwrap(), Some(9));
        assert_eq!(again.read("a-small.jpg", 5..9).await.unwrap(), "yard");
        assert_eq!(folder.files(), ["a-small.jpg"]);
        again.delete("a-small.jpg").await.unwrap();
        again.delete("a-small.jpg").await.unwrap();
        assert_eq!(again.size("a-small.jpg").await.unwrap(), None);
        assert!(folder.files().is_empty());
    }

    #[tokio::test]
    async fn what_a_crash_left_half_written_goes_with_its_name() {
        let folder = Folder::new();
        let blobs = folder.blobs();
        let mut upload = blobs.files.put_multipart(&place_of("a.jpg")).await.unwrap();
        upload.put_part(Bytes::from_static(b"half").into()).await.unwrap();
        // As after `kill -9`: nobody finishes it, nobody cleans up.
        std::mem::forget(upload);
        assert_eq!(folder.files(), ["a.jpg#1"]);
        assert_eq!(blobs.size("a.jpg").await.unwrap(), None);

        blobs.delete("a.jpg").await.unwrap();

        assert!(folder.files().is_empty());
    }
}
