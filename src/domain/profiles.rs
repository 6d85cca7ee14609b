//! Profiles: how much of a person somebody else is shown.

use super::settings::ProfileVisibility;

/// Who looks at a profile, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewer {
    pub is_self: bool,
    pub is_friend: bool,
}

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Portrait {
    /// Everything that a profile says.
    Whole,
    /// What stands beside a message anyway: handle, display name and picture.
    NameOnly,
}

/// What `viewer` is shown of a profile.
#[must_use]
pub const fn portrait(profile: ProfileVisibility, viewer: Viewer) -> Portrait {
    match profile {
        ProfileVisibility::Public => Portrait::Whole,
        ProfileVisibility::Private if viewer.is_self || viewer.is_friend => Portrait::Whole,
        ProfileVisibility::Private => Portrait::NameOnly,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_profile_is_whole_for_oneself_and_friends_only() {
        let seen = |profile, is_self, is_friend| portrait(profile, Viewer { is_self, is_friend });

        assert_eq!(seen(ProfileVisibility::Private, false, false), Portrait::NameOnly);
        assert_eq!(seen(ProfileVisibility::Private, true, false), Portrait::Whole);
        assert_eq!(seen(ProfileVisibility::Private, false, true), Portrait::Whole);
        assert_eq!(seen(ProfileVisibility::Public, false, false), Portrait::Whole);
    }
}
