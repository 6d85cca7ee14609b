//! The end of an access token: when a client hears that it is near, and when its connection ends with it.

use std::cell::Cell;
use std::time::Duration;

use crate::domain::time::Timestamp;

/// How long before its end a client hears that its token expires.
const NOTICE: Duration = Duration::from_secs(60);

/// What to do about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLook {
    /// Look again then.
    Later(Duration),
    /// Say that it ends in so long, and look again then.
    Tell(Duration),
    /// It has ended.
    Over,
}

/// What one client has been told of its tokens.
#[derive(Debug, Default)]
pub struct TokenEnd {
    told: Cell<Option<Timestamp>>,
}

impl TokenEnd {
    /// Looks at a token that ends at `expires_at`; each is told of once.
    pub fn look(&self, expires_at: Timestamp, now: Timestamp) -> TokenLook {
        let left = expires_at.since(now);
        if left.is_zero() {
            TokenLook::Over
        } else if left > NOTICE {
            TokenLook::Later(left.saturating_sub(NOTICE))
        } else if self.told.replace(Some(expires_at)) == Some(expires_at) {
            TokenLook::Later(left)
        } else {
            TokenLook::Tell(left)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_is_told_of_once_and_ends() {
        let end = TokenEnd::default();
        let now = Timestamp::from_millis(1_000_000);
        let at = |seconds| now.plus(Duration::from_secs(seconds));
        let wait = Duration::from_secs;
        assert_eq!(end.look(at(900), now), TokenLook::Later(wait(840)));
        assert_eq!(end.look(at(60), now), TokenLook::Tell(wait(60)));
        assert_eq!(end.look(at(60), at(10)), TokenLook::Later(wait(50)));
        assert_eq!(end.look(at(70), at(10)), TokenLook::Tell(wait(60)), "a fresh one");
        assert_eq!(end.look(at(70), at(70)), TokenLook::Over);
    }
}
