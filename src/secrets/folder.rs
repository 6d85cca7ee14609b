//! The secrets folder: readable by its owner only, each file written whole or not at all.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::{SecretError, usable};
use crate::clock;
use crate::config::Config;

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const OTHERS: u32 = 0o077;

/// A folder of secret files; it exists once something was written.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// `data.dir/secrets`.
    pub(super) fn of(config: &Config) -> Self {
        Self(config.data.dir.join("secrets"))
    }

    /// A folder within this one.
    pub(super) fn inner(&self, name: &str) -> Self {
        Self(self.0.join(name))
    }

    /// Where `name` is or would be.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Reads `name`, if it exists. A `strict` reader refuses a file that other users can read.
    pub(super) fn read(
        &self,
        name: &str,
        strict: bool,
    ) -> Result<Option<SecretString>, SecretError> {
        let path = self.path(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(SecretError::Io { path, cause }),
        };
        if strict && mode(&path)? & OTHERS != 0 {
            return Err(SecretError::Exposed { path });
        }

        usable(&text, || path.display().to_string()).map(Some)
    }

    /// Writes `name` durably unless it exists; says whether it did.
    pub(super) fn write_new(&self, name: &str, secret: &SecretString) -> Result<bool, SecretError> {
        self.create()?;
        let draft = self.path(&format!(".{}", clock::new_uuid()));
        let path = self.path(name);

        let written = write_draft(&draft, secret).and_then(|()| std::fs::hard_link(&draft, &path));
        let removed = std::fs::remove_file(&draft);
        match written {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(cause) => return Err(SecretError::Io { path, cause }),
        }
        removed
            .and_then(|()| std::fs::File::open(&self.0)?.sync_all())
            .map_err(|cause| self.failed(cause))?;

        Ok(true)
    }

    /// The names of the files with `extension`, in order; none if the folder does not exist.
    pub(super) fn names(&self, extension: &str) -> Result<Vec<String>, SecretError> {
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(self.failed(cause)),
        };

        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|cause| self.failed(cause))?.file_name();
            if let Some(name) = name
                .to_str()
                .filter(|name| Path::new(name).extension().is_some_and(|e| e == extension))
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();

        Ok(names)
    }

    fn create(&self) -> Result<(), SecretError> {
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(&self.0)
            // A folder that was there already may be wider.
            .and_then(|()| std::fs::set_permissions(&self.0, Permissions::from_mode(FOLDER_MODE)))
            .map_err(|cause| self.failed(cause))
    }

    fn failed(&self, cause: io::Error) -> SecretError {
        SecretError::Io { path: self.0.clone(), cause }
    }
}

fn write_draft(draft: &Path, secret: &SecretString) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(draft)?;
    file.write_all(secret.expose_secret().as_bytes())?;
    file.sync_all()
}

fn mode(path: &Path) -> Result<u32, SecretError> {
    let metadata =
        path.metadata().map_err(|cause| SecretError::Io { path: path.to_owned(), cause })?;

    Ok(metadata.permissions().mode())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A data folder that goes away with its test.
    pub(in crate::secrets) struct Scratch(PathBuf);

    impl Scratch {
        pub(in crate::secrets) fn new() -> Self {
            let path = std::env::temp_dir().join(format!("madang-secrets-{}", clock::new_uuid()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        pub(in crate::secrets) fn path(&self) -> &Path {
            &self.0
        }

        pub(in crate::secrets) fn config(&self, mode: &str) -> Config {
            let dir = self.0.to_str().unwrap();
            Config::read(None, [("MADANG__DATA__DIR", dir), ("MADANG__MODE", mode)]).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn of_two_writers_one_wins_and_leaves_no_draft() {
        let scratch = Scratch::new();
        let folder = Folder::of(&scratch.config("development"));

        assert!(folder.write_new("name", &"first".into()).unwrap());
        assert!(!folder.write_new("name", &"second".into()).unwrap());

        assert_eq!(folder.read("name", true).unwrap().unwrap().expose_secret(), "first");
        assert_eq!(std::fs::read_dir(scratch.path().join("secrets")).unwrap().count(), 1);
    }
}
