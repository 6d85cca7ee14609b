//! Handover: which process serves a data folder, and how the next one takes over from it without a pause.
//!
//! There are two places, each held by a file lock that ends with its process: one for whoever serves, one for whoever
//! takes over. While both are held, two processes work on one database and tell each other nothing: they look at the
//! database for what the other has done.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SERVING: &str = "serving.lock";
const SUCCESSOR: &str = "successor.lock";
const SUCCESSOR_LOOKS: u32 = 5;
const SUCCESSOR_INTERVAL: Duration = Duration::from_millis(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Why a process may not serve the data folder.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("process {0} serves this data folder; stop it first, or start with --take-over")]
    Taken(String),
    #[error("another process is already taking over from the one that serves this data folder")]
    TwoSuccessors,
    #[error("the locks in the data folder cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// Whether a successor waits for the process that serves the folder.
#[must_use]
pub fn is_awaited(folder: &Path) -> bool {
    let successor = open(folder, SUCCESSOR);
    // A lock that is given here ends with the file, at once.
    successor.is_ok_and(|successor| matches!(try_lock(&successor), Ok(false)))
}

/// A process's place in a data folder, held as long as this lives.
#[derive(Debug)]
pub struct Place {
    serving: File,
    successor: File,
    /// Who served before, until it has gone.
    predecessor: Option<String>,
}

impl Place {
    /// Takes the folder, or with `take_over` the place beside whoever has it.
    ///
    /// # Errors
    /// [`PlaceError`] when it is not free.
    pub async fn take(folder: &Path, take_over: bool) -> Result<Self, PlaceError> {
        let mut place = Self {
            serving: open(folder, SERVING)?,
            successor: open(folder, SUCCESSOR)?,
            predecessor: None,
        };
        if try_lock(&place.serving)? {
            // The one before has just gone, and somebody waits for this very place.
            if place.is_shared() {
                return Err(PlaceError::TwoSuccessors);
            }
            place.sign()?;
            return Ok(place);
        }
        let mut holder = String::new();
        place.serving.read_to_string(&mut holder)?;
        let holder = holder.trim().to_owned();
        if !take_over {
            return Err(PlaceError::Taken(holder));
        }
        // Whoever serves holds that lock too, for the moment of a look.
        let mut looks = SUCCESSOR_LOOKS;
        while !try_lock(&place.successor)? {
            looks = looks.checked_sub(1).ok_or(PlaceError::TwoSuccessors)?;
            tokio::time::sleep(SUCCESSOR_INTERVAL).await;
        }
        place.predecessor = Some(holder);
        Ok(place)
    }

    /// Whether another process works on the same folder at this moment.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        if self.predecessor.is_some() {
            return true;
        }
        match try_lock(&self.successor) {
            Ok(true) => {
                // It was free. Whoever wants it now finds it so again.
                let _ = self.successor.unlock();
                false
            }
            Ok(false) => true,
            Err(_) => false,
        }
    }

    /// Asks the predecessor, if there is one, to stop.
    pub fn relieve(&self) {
        let Some(predecessor) = &self.predecessor else { return };
        let asked = predecessor.parse().ok().map(|pid| kill(Pid::from_raw(pid), Signal::SIGTERM));
        match asked {
            Some(Ok(())) => tracing::info!(predecessor, "asked the process before to stop"),
            _ => tracing::warn!(predecessor, "the process before cannot be reached: stop it"),
        }
    }

    /// Waits until the predecessor has gone, and takes its place.
    ///
    /// # Errors
    /// When the file system refuses.
    pub async fn inherit(&mut self) -> io::Result<()> {
        while self.predecessor.is_some() {
            if try_lock(&self.serving)? {
                self.sign()?;
                self.predecessor = None;
                self.successor.unlock()?;
                tracing::info!("the process before has gone");
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    fn sign(&mut self) -> io::Result<()> {
        self.serving.set_len(0)?;
        self.serving.rewind()?;
        self.serving.write_all(std::process::id().to_string().as_bytes())
    }
}

fn open(folder: &Path, name: &str) -> io::Result<File> {
    File::options().create(true).truncate(false).read(true).write(true).open(folder.join(name))
}

fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("madang-place-{}", clock::new_uuid()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn one_serves_one_takes_over_and_nobody_else() {
        let folder = Folder::new();
        let first = Place::take(&folder.0, true).await.unwrap();
        assert!(!first.is_shared());
        assert!(matches!(Place::take(&folder.0, false).await, Err(PlaceError::Taken(_))));

        let mut second = Place::take(&folder.0, true).await.unwrap();
        assert!(first.is_shared() && second.is_shared());
        assert!(matches!(Place::take(&folder.0, true).await, Err(PlaceError::TwoSuccessors)));

        drop(first);
        assert!(matches!(Place::take(&folder.0, false).await, Err(PlaceError::TwoSuccessors)));
        second.inherit().await.unwrap();
        assert!(!second.is_shared());
        assert!(matches!(Place::take(&folder.0, false).await, Err(PlaceError::Taken(_))));
        drop(second);
        assert!(Place::take(&folder.0, false).await.is_ok());
    }
}
