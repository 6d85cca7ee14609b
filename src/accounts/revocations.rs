//! Revocations: the sessions whose access tokens are refused although they have not expired.
//!
//! An access token lives at most minutes, so only what ended within that time needs to be known: a small set in
//! memory, filled from the store at start-up. Sockets subscribe, to be cut at once. Invariant: an entry outlives every
//! access token it refuses. Where an account is over, each of its sessions is; one that is opened when it is restored is
//! another one, whatever the clocks say.
//!
//! On several nodes, what ends on one is learned by the others: at once from what it says, and soon from the store.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::domain::ids::{SessionId, UserId};
use crate::domain::time::Timestamp;

/// Announcements a slow listener may be behind. One that hears `Lagged` asks [`Revocations::is_revoked`] for all it holds.
const ANNOUNCEMENTS_MAX: usize = 1_024;
/// Added to the life of a token, for clocks that differ.
const MARGIN: Duration = Duration::from_mins(1);
const PRUNE_INTERVAL: Duration = Duration::from_mins(1);

/// Something ended before its tokens did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    Session(SessionId),
    /// The account is gone or suspended. Its sessions, which have ended for that, are announced after it.
    User(UserId),
}

/// What listeners hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    pub revoked: Revoked,
    /// Whether it ended on this node; the others know it already if not.
    pub is_news: bool,
}

/// The set and its announcements. Cheap to clone; clones are the same set.
#[derive(Clone)]
pub struct Revocations(Arc<Inner>);

struct Inner {
    ended: RwLock<EndedSessions>,
    announcements: broadcast::Sender<Announcement>,
    kept_for: Duration,
}

/// What ended, and until when that must be known.
struct EndedSessions {
    known_until: HashMap<SessionId, Timestamp>,
    prune_at: Timestamp,
}

impl Revocations {
    /// An empty set for access tokens that live for `access_ttl`.
    #[must_use]
    pub fn new(access_ttl: Duration) -> Self {
        Self(Arc::new(Inner {
            ended: RwLock::new(EndedSessions {
                known_until: HashMap::new(),
                prune_at: Timestamp::from_millis(0),
            }),
            announcements: broadcast::Sender::new(ANNOUNCEMENTS_MAX),
            kept_for: access_ttl.saturating_add(MARGIN),
        }))
    }

    /// How far back a starting node has to look in the store.
    #[must_use]
    pub fn kept_for(&self) -> Duration {
        self.0.kept_for
    }

    /// Whether tokens of this session are refused.
    #[must_use]
    pub fn is_revoked(&self, session: SessionId) -> bool {
        let ended = self.0.ended.read().unwrap_or_else(PoisonError::into_inner);
        ended.known_until.contains_key(&session)
    }

    /// Refuses the tokens of one session from now on, and says so.
    pub fn revoke_session(&self, session: SessionId, now: Timestamp) {
        self.insert(session, now);
        self.announce(Revoked::Session(session), true);
    }

    /// Refuses the tokens of an account that is gone or suspended from now on, and says so: of these sessions, all it had.
    pub fn revoke_account(&self, user: UserId, sessions: &[SessionId], now: Timestamp) {
        // First, so that live connections hear why.
        self.announce(Revoked::User(user), true);
        for session in sessions {
            self.revoke_session(*session, now);
        }
    }

    /// Hears what has ended elsewhere, and refuses it from now on. A session that is told again changes nothing.
    pub fn learn(&self, revoked: Revoked, now: Timestamp) {
        let is_new = match revoked {
            Revoked::Session(session) => self.insert(session, now),
            Revoked::User(_) => true,
        };
        if is_new {
            self.announce(revoked, false);
        }
    }

    /// Hears of everything that ends from here on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Announcement> {
        self.0.announcements.subscribe()
    }

    /// Whether it was new.
    fn insert(&self, session: SessionId, now: Timestamp) -> bool {
        let mut ended = self.0.ended.write().unwrap_or_else(PoisonError::into_inner);
        if now >= ended.prune_at {
            ended.known_until.retain(|_, known_until| *known_until > now);
            ended.prune_at = now.plus(PRUNE_INTERVAL);
        }
        ended.known_until.insert(session, now.plus(self.0.kept_for)).is_none()
    }

    fn announce(&self, revoked: Revoked, is_news: bool) {
        // Nobody listening is fine.
        let _ = self.0.announcements.send(Announcement { revoked, is_news });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const NOW: Timestamp = Timestamp::from_millis(1_795_244_400_000);

    fn session() -> SessionId {
        clock::new_uuid().into()
    }

    #[test]
    fn a_revoked_session_takes_only_its_own_tokens() {
        let revocations = Revocations::new(Duration::from_mins(15));
        let (ended, other) = (session(), session());

        revocations.clone().revoke_session(ended, NOW);

        assert!(revocations.is_revoked(ended) && !revocations.is_revoked(other));
    }

    #[test]
    fn an_account_that_is_over_takes_the_sessions_it_had_and_none_that_is_opened_later() {
        let revocations = Revocations::new(Duration::from_mins(15));
        let (one, two) = (session(), session());
        let user = clock::new_uuid().into();

        revocations.revoke_account(user, &[one, two], NOW);
        // On another node, whose clock is ahead.
        revocations.learn(Revoked::User(user), NOW.plus(Duration::from_secs(10)));

        assert!(revocations.is_revoked(one) && revocations.is_revoked(two));
        assert!(!revocations.is_revoked(session()), "they were let in again");
    }

    #[test]
    fn an_entry_outlives_the_tokens_and_then_goes() {
        let revocations = Revocations::new(Duration::from_mins(15));
        let (first, second, third) = (session(), session(), session());
        revocations.revoke_session(first, NOW);

        revocations.revoke_session(second, NOW.plus(Duration::from_mins(15)));
        assert!(revocations.is_revoked(first));

        revocations.revoke_session(third, NOW.plus(Duration::from_mins(17)));
        assert!(!revocations.is_revoked(first) && revocations.is_revoked(second));
    }

    #[tokio::test]
    async fn listeners_hear_what_ends_and_first_why() {
        let revocations = Revocations::new(Duration::from_mins(15));
        let mut listener = revocations.subscribe();
        let (first, second, user) = (session(), session(), clock::new_uuid().into());

        revocations.revoke_session(first, NOW);
        revocations.revoke_account(user, &[second], NOW);

        for revoked in [Revoked::Session(first), Revoked::User(user), Revoked::Session(second)] {
            assert_eq!(listener.recv().await.unwrap(), Announcement { revoked, is_news: true });
        }
    }

    #[tokio::test]
    async fn what_was_learned_is_refused_and_told_once() {
        let revocations = Revocations::new(Duration::from_mins(15));
        let mut listener = revocations.subscribe();
        let (session, user) = (session(), clock::new_uuid().into());

        revocations.learn(Revoked::User(user), NOW);
        revocations.learn(Revoked::Session(session), NOW);
        revocations.learn(Revoked::Session(session), NOW);
        revocations.learn(Revoked::User(user), NOW);

        assert!(revocations.is_revoked(session));
        for revoked in [Revoked::User(user), Revoked::Session(session), Revoked::User(user)] {
            assert_eq!(listener.recv().await.unwrap(), Announcement { revoked, is_news: false });
        }
    }
}
