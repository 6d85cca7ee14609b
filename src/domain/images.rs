//! Images: how the pictures that people upload are called, and in which sizes they are kept.
//!
//! Invariant: a name is given once and never to another picture, so whoever has a picture may keep it for ever. A name
//! that parses is safe to make a path of.

use std::fmt;

use uuid::Uuid;

use super::ids::ImageId;
use super::stored_as;

/// Where images are served.
const PATH: &str = "/v1/images/";

/// What an upload can be refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("A picture is a JPEG, PNG, WebP or GIF; what is inside counts, not what it is called.")]
    TypeNotSupported,
    #[error("The picture has too many pixels.")]
    TooManyPixels,
    #[error("The picture cannot be read; it may be damaged.")]
    Unreadable,
    /// A form without the field that is asked for.
    #[error("The form has no field `image`.")]
    FieldMissing,
    /// Too many pictures are being worked on; nothing was done.
    #[error("The server is too busy.")]
    Busy,
}

/// How a picture is kept: small files where nothing shines through, everything as it was where something does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    Jpeg,
    Png,
}
stored_as!(ImageFormat { Jpeg = "jpg", Png = "png" });

impl ImageFormat {
    /// What a browser is told.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }
}

/// How large a square picture is kept. One that is smaller stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageSize {
    /// Beside a message.
    Small,
    /// In a list, or on a card.
    Medium,
    /// By itself.
    Large,
}

impl ImageSize {
    pub const ALL: [Self; 3] = [Self::Large, Self::Medium, Self::Small];

    /// The side in pixels, at most.
    #[must_use]
    pub const fn pixels(self) -> u32 {
        match self {
            Self::Small => 64,
            Self::Medium => 256,
            Self::Large => 1_024,
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Small => "-small",
            Self::Medium => "-medium",
            Self::Large => "",
        }
    }
}

/// A picture in one size, such as `0193…ab-small.jpg`. The large one has no suffix and stands for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageName {
    pub id: ImageId,
    pub format: ImageFormat,
    pub size: ImageSize,
}

impl ImageName {
    /// The picture by itself.
    #[must_use]
    pub const fn new(id: ImageId, format: ImageFormat) -> Self {
        Self { id, format, size: ImageSize::Large }
    }

    /// The same picture in another size.
    #[must_use]
    pub const fn in_size(self, size: ImageSize) -> Self {
        Self { size, ..self }
    }

    /// Reads a name as it is written; `None` for any other spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (stem, extension) = text.split_once('.')?;
        let format = ImageFormat::parse(extension)?;
        let size = ImageSize::ALL.into_iter().rev().find(|size| stem.ends_with(size.suffix()))?;
        let id = Uuid::try_parse(stem.strip_suffix(size.suffix())?).ok()?;
        let name = Self { id: id.into(), format, size };
        // A UUID has several spellings, a picture only one.
        (name.to_string() == text).then_some(name)
    }

    /// Where it is served.
    #[must_use]
    pub fn path(self) -> String {
        format!("{PATH}{self}")
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, format, size } = self;
        write!(f, "{}{}.{}", id.uuid().simple(), size.suffix(), format.as_str())
    }
}

/// What the picture of a profile is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Kept here.
    Ours(ImageName),
    /// Kept by the app, or anywhere else.
    Elsewhere,
}

/// Whose picture an avatar's address leads to.
///
/// # Errors
/// [`NoSuchImage`] for an address of ours that no profile can have.
pub fn origin_of(avatar: &str) -> Result<Origin, NoSuchImage> {
    match avatar.strip_prefix(PATH) {
        None => Ok(Origin::Elsewhere),
        Some(name) => ImageName::parse(name)
            .filter(|name| name.size == ImageSize::Large)
            .map(Origin::Ours)
            .ok_or(NoSuchImage),
    }
}

/// The address is one of ours, and there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSuchImage;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0193aaaabbbb7cccdddd0123456789ab";

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for text in [format!("{ID}.jpg"), format!("{ID}-medium.png"), format!("{ID}-small.jpg")] {
            assert_eq!(ImageName::parse(&text).unwrap().to_string(), text);
        }
        let name = ImageName::parse(&format!("{ID}.png")).unwrap();
        assert_eq!(name.in_size(ImageSize::Small).path(), format!("/v1/images/{ID}-small.png"));
    }

    #[test]
    fn what_is_no_name_leads_nowhere() {
        for text in [
            "".to_owned(),
            ID.to_owned(),
            format!("{ID}.gif"),
            format!("{ID}-large.jpg"),
            format!("{ID}-small-small.jpg"),
            format!("{}.jpg", ID.to_uppercase()),
            format!("{}.jpg", Uuid::nil()),
            format!("{ID}.jpg.png"),
            format!("../{ID}.jpg"),
            "..".to_owned(),
            "%2e%2e.jpg".to_owned(),
        ] {
            assert_eq!(ImageName::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn an_address_of_ours_names_a_whole_picture_or_nothing() {
        let name = ImageName::parse(&format!("{ID}.jpg")).unwrap();

        assert_eq!(origin_of(&name.path()), Ok(Origin::Ours(name)));
        assert_eq!(origin_of(&name.in_size(ImageSize::Small).path()), Err(NoSuchImage));
        assert_eq!(origin_of("/v1/images/"), Err(NoSuchImage));
        assert_eq!(origin_of("/v1/files/7"), Ok(Origin::Elsewhere));
        assert_eq!(origin_of("https://cdn.example.com/a.png"), Ok(Origin::Elsewhere));
    }
}
