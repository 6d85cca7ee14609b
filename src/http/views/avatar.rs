//! Pictures of people in three sizes, where they are kept here.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::images::{ImageSize, Origin, origin_of};

/// Where a picture is found in each size: squares of at most 64, 256 and 1,024 pixels.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AvatarSizes {
    small: String,
    medium: String,
    large: String,
}

impl AvatarSizes {
    /// The sizes of an avatar; `None` without one, and for one that is kept elsewhere.
    #[must_use]
    pub fn of(avatar: Option<&str>) -> Option<Self> {
        let Ok(Origin::Ours(name)) = origin_of(avatar?) else {
            return None;
        };
        Some(Self {
            small: name.in_size(ImageSize::Small).path(),
            medium: name.in_size(ImageSize::Medium).path(),
            large: name.path(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_picture_of_ours_has_sizes() {
        let path = "/v1/images/0193aaaabbbb7cccdddd0123456789ab";

        let sizes = AvatarSizes::of(Some(&format!("{path}.png"))).unwrap();

        assert_eq!(sizes.small, format!("{path}-small.png"));
        assert_eq!(sizes.large, format!("{path}.png"));
        assert_eq!(AvatarSizes::of(None), None);
        assert_eq!(AvatarSizes::of(Some("https://cdn.example.com/a.png")), None);
        assert_eq!(AvatarSizes::of(Some("/v1/images/nothing")), None);
    }
}
