//! Settings of where files of people are kept.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A folder for what is too large for the database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobsConfig {
    /// As set; [`BlobsConfig::folder_in`] resolves an empty one.
    pub folder: PathBuf,
}

impl BlobsConfig {
    /// The folder, which is `blobs` in the data folder unless set.
    #[must_use]
    pub fn folder_in(&self, data: &Path) -> PathBuf {
        if self.folder.as_os_str().is_empty() { data.join("blobs") } else { self.folder.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_lies_in_the_data_folder_unless_it_is_set() {
        let folder = |set: &str| BlobsConfig { folder: set.into() }.folder_in(Path::new("/data"));

        assert_eq!(folder(""), Path::new("/data/blobs"));
        assert_eq!(folder("/mnt/shared"), Path::new("/mnt/shared"));
    }
}
