//! Revocations: the sessions and users whose access tokens are refused although they have not expired.
//!
//! An access token lives at most minutes, so only what ended within that time needs to be known: a small set in
//! memory, filled from the store at start-up. Sockets subscribe, to be cut at once. Invariant: an entry outlives every
//! access token it refuses; that of a user refuses the sessions of until then, and none that is opened when they may come back.
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
    ended: RwLock<Ended>,
    announcements: broadcast::Sender<Announcement>,
    kept_for: Duration,
}

/// What ended, and until when that must be known.
struct Ended {
    sessions: HashMap<SessionId, Timestamp>,
    users: HashMap<UserId, UserEnd>,
    prune_at: Timestamp,
}

/// When every session of a user had ended.
#[derive(Clone, Copy)]
struct UserEnd {
    at: Timestamp,
    known_until: Timestamp,
}

impl Revocations {
    /// An empty set for access tokens that live for `access_ttl`.
    #[must_use]
    pub fn new(access_ttl: Duration) -> Self {
        Self(Arc::new(Inner {
            ended: RwLock::new(Ended {
                sessions: HashMap::new(),
                users: HashMap::new(),
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

    /// Whether tokens of this session of this user are refused.
    #[must_use]
    pub fn is_revoked(&self, session: SessionId, user: UserId) -> bool {
        let ended = self.0.ended.read().unwrap_or_else(PoisonError::into_inner);
        let user_end = ended.users.get(&user);
        ended.sessions.contains_key(&session)
            || user_end.is_some_and(|end| opened_at(session).is_none_or(|opened| opened <= end.at))
    }

    /// Refuses the tokens of one session from now on, and says so.
    pub fn revoke_session(&self, session: SessionId, now: Timestamp) {
        self.insert(Revoked::Session(session), now);
        self.announce(Revoked::Session(session), true);
    }

    /// Refuses every token of a user who is gone or suspended from now on, and says so. Sessions that are opened later, as
    /// when they were let in again, are not meant.
    pub fn revoke_user(&self, user: UserId, now: Timestamp) {
        self.insert(Revoked::User(user), now);
        self.announce(Revoked::User(user), true);
    }

    /// Refuses from now on what has ended elsewhere; told again, it changes nothing.
    pub fn learn(&self, revoked: Revoked, now: Timestamp) {
        if self.insert(revoked, now) {
            self.announce(revoked, false);
        }
    }

    /// Hears of everything that ends from here on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Announcement> {
        self.0.announcements.subscribe()
    }

    /// Whether it was new.
    fn insert(&self, revoked: Revoked, now: Timestamp) -> bool {
        let mut ended = self.0.ended.write().unwrap_or_else(PoisonError::into_inner);
        if now >= ended.prune_at {
            ended.sessions.retain(|_, known_until| *known_until > now);
            ended.users.retain(|_, end| end.known_until > now);
            ended.prune_at = now.plus(PRUNE_INTERVAL);
        }
        let known_until = now.plus(self.0.kept_for);
        match revoked {
            Revoked::Session(session) => ended.sessions.insert(session, known_until).is_none(),
            Revoked::User(user) => {
                let before = ended.users.insert(user, UserEnd { at: now, known_until });
                before.is_none_or(|before| before.at < now)
            }
        }
    }

    fn announce(&self, revoked: Revoked, is_news: bool) {
        // Nobody listening is fine.
        let _ = self.0.announcements.send(Announcement { revoked, is_news });
    }
}

/// When a session was opened, as its id says.
fn opened_at(session: SessionId) -> Option<Timestamp> {
    let (seconds, nanos) = session.uuid().get_timestamp()?.to_unix();
    let opened = Duration::new(seconds, nanos);
    Some(Timestamp::from_millis(i64::try_from(opened.as_millis()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const NOW: Timestamp = Timestamp::from_millis(1_795_244_400_000);

    /// Of now.
    fn ids() -> (SessionId, UserId) {
        (opened(NOW), clock::new_uuid().into())
    }

    fn opened(at: Timestamp) -> SessionId {
        let millis = u64::try_from(at.millis()).unwrap();
        let random = clock::new_uuid().into_bytes()[6..].try_into().unwrap();
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().into()
    }

    #[test]
    fn a_revoked_session_takes_only_its_own_tokens() {
        let revocations = Revocations::new(Duration::from_mins(15));
        let ((ended, user), (other, _)) = (ids(), ids());

        revocations.clone().revoke_session(ended, NOW);

        assert!(revocations.is_revoked(ended, user));
        assert!(!revocations.is_revoked(other, user));
    }

    #[test]
    fn a_revoked_user_takes_every_session() {
        let revocations = Revocations::new(Duration::from_mins(15));
        let ((one, user), (two, other)) = (ids(), ids());

        revocations.revoke_user(user, NOW);

        assert!(revocations.is_revoked(one, user) && revocations.is_revoked(two, user));
        assert!(!revocations.is_revoked(one, other));
    }

    #[test]
    fn a_session_that_is_opened_later_is_not_meant() {
        let revocations = Revocations::new(Duration::from_mins(15));
        let (session, user) = ids();
        let later = NOW.plus(Duration::from_millis(1));
        revocations.revoke_user(user, NOW);

        assert!(revocations.is_revoked(session, user));
        assert!(!revocations.is_revoked(opened(later), user), "they were let in again");
        revocations.revoke_user(user, later);
        assert!(revocations.is_revoked(opened(later), user));
        assert!(revocations.is_revoked(uuid::Uuid::nil().into(), user), "of no time");
    }

    #[test]
    fn an_entry_outlives_the_tokens_and_then_goes() {
        let revocations = Revocations::new(Duration::from_mins(15));
        let ((first, user), (second, _), (third, _)) = (ids(), ids(), ids());
        revocations.revoke_session(first, NOW);

        revocations.revoke_session(second, NOW.plus(Duration::from_mins(15)));
        assert!(revocations.is_revoked(first, user));

        revocations.revoke_session(third, NOW.plus(Duration::from_mins(17)));
        assert!(!revocations.is_revoked(first, user) && revocations.is_revoked(second, user));
    }

    #[tokio::test]
    async fn listeners_hear_what_ends() {
        let revocations = Revocations::new(Duration::from_mins(15));
        let mut listener = revocations.subscribe();
        let (session, user) = ids();

        revocations.revoke_session(session, NOW);
        revocations.revoke_user(user, NOW);

        let news = |revoked| Announcement { revoked, is_news: true };
        assert_eq!(listener.recv().await.unwrap(), news(Revoked::Session(session)));
        assert_eq!(listener.recv().await.unwrap(), news(Revoked::User(user)));
    }

    #[tokio::test]
    async fn what_was_learned_is_refused_and_told_once() {
        let revocations = Revocations::new(Duration::from_mins(15));
        let mut listener = revocations.subscribe();
        let (session, user) = ids();

        revocations.learn(Revoked::Session(session), NOW);
        revocations.learn(Revoked::Session(session), NOW);
        revocations.learn(Revoked::User(user), NOW);

        assert!(revocations.is_revoked(session, user));
        let learned = |revoked| Announcement { revoked, is_news: false };
        assert_eq!(listener.recv().await.unwrap(), learned(Revoked::Session(session)));
        assert_eq!(listener.recv().await.unwrap(), learned(Revoked::User(user)));
    }
}
