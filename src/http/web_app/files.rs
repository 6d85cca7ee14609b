//! What was built from `web/`: compiled into a release, read from the folder by a debug build.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rust_embed::{Embed, EmbeddedFile};

/// The bytes of a file, and what stands for them and no others.
pub(super) struct File {
    pub(super) bytes: Cow<'static, [u8]>,
    pub(super) tag: String,
}

/// Empty where nothing was built: the server does without.
#[derive(Embed)]
#[folder = "web/dist/"]
#[allow_missing = true]
struct Built;

/// The file of that name, if there is one.
pub(super) fn find(name: &str) -> Option<File> {
    let EmbeddedFile { data, metadata } = Built::get(name)?;
    Some(File { bytes: data, tag: URL_SAFE_NO_PAD.encode(metadata.sha256_hash()) })
}
