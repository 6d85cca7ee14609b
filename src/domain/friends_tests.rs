//! Friends, one sentence each, and what holds after whatever two people do to each other.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::privacy::Circle;

const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);
const HOUR: Duration = Duration::from_secs(60 * 60);

const LIMITS: FriendLimits = FriendLimits {
    friends_max: 10,
    requests_open_max: 5,
    requests_received_max: 6,
    requests_per_day: 4,
    new_account: Duration::from_secs(48 * 60 * 60),
    new_account_requests_per_day: 2,
    reject_cooldown: Duration::from_secs(10 * 60 * 60),
    blocks_max: 3,
};

fn user(n: u128) -> UserId {
    Uuid::from_u128(n).into()
}

fn between(tie: Tie) -> FriendFacts {
    let numbers = Numbers {
        friends: 0,
        other_friends: 0,
        requests_open: 0,
        other_requests_received: 0,
        day: None,
        account_since: Timestamp::from_millis(0),
        blocks: 0,
    };
    FriendFacts {
        actor: user(1),
        other: user(2),
        tie,
        rejected_at: None,
        has_rejected: false,
        numbers,
        privacy: Privacy::default(),
        relation: Relation::default(),
        limits: LIMITS,
    }
}

fn behind(block: Block) -> FriendFacts {
    let relation = Relation { block: Some(block), ..Relation::default() };
    FriendFacts { relation, ..between(Tie::Nothing) }
}

fn decided(action: FriendAction, facts: &FriendFacts) -> Result<FriendChange, FriendError> {
    decide(action, facts, NOW)
}

#[test]
fn requests_both_ways_are_a_friendship_at_once() {
    assert_eq!(decided(FriendAction::Request, &between(Tie::Nothing)), Ok(FriendChange::Requested));
    assert_eq!(
        decided(FriendAction::Request, &between(Tie::Incoming)),
        Ok(FriendChange::Befriended)
    );
}

#[test]
fn a_repeat_changes_nothing() {
    let rejected = FriendFacts { has_rejected: true, ..between(Tie::Nothing) };
    let blocked = behind(Block::ByActor);
    for (action, facts) in [
        (FriendAction::Request, between(Tie::Outgoing)),
        (FriendAction::Request, between(Tie::Friends)),
        (FriendAction::Accept, between(Tie::Friends)),
        (FriendAction::Reject, rejected),
        (FriendAction::Cancel, between(Tie::Nothing)),
        (FriendAction::Delete, between(Tie::Nothing)),
        (FriendAction::Block, blocked),
        (FriendAction::Unblock, between(Tie::Nothing)),
    ] {
        assert_eq!(decided(action, &facts), Ok(FriendChange::Nothing), "{action:?}");
    }
}

#[test]
fn nobody_is_their_own_friend() {
    let facts = FriendFacts { other: user(1), ..between(Tie::Nothing) };
    for action in ALL {
        assert_eq!(decided(action, &facts), Err(FriendError::Oneself));
    }
}

#[test]
fn only_who_was_asked_can_answer() {
    for tie in [Tie::Nothing, Tie::Outgoing] {
        for action in [FriendAction::Accept, FriendAction::Reject] {
            assert_eq!(decided(action, &between(tie)), Err(FriendError::RequestNotFound));
        }
    }
    for action in [FriendAction::Reject, FriendAction::Cancel] {
        assert_eq!(decided(action, &between(Tie::Friends)), Err(FriendError::AlreadyFriends));
    }
}

#[test]
fn a_request_that_was_declined_waits_and_looks_like_a_closed_door() {
    let asked = |ago| {
        let rejected_at = Some(NOW.minus(ago));
        decided(FriendAction::Request, &FriendFacts { rejected_at, ..between(Tie::Nothing) })
    };
    assert_eq!(asked(HOUR * 9), Err(FriendError::CannotBefriend));
    assert_eq!(asked(HOUR * 10), Ok(FriendChange::Requested));
    let privacy = Privacy { befriend: Circle::Nobody, ..Privacy::default() };
    let closed = FriendFacts { privacy, ..between(Tie::Nothing) };
    assert_eq!(decided(FriendAction::Request, &closed), Err(FriendError::CannotBefriend));
    // Whoever has declined may ask, and is asked by nobody's leave.
    let other_way = FriendFacts { has_rejected: true, ..between(Tie::Nothing) };
    assert_eq!(decided(FriendAction::Request, &other_way), Ok(FriendChange::Requested));
}

#[test]
fn who_asks_somebody_who_has_asked_needs_no_leave() {
    let privacy = Privacy { befriend: Circle::Nobody, ..Privacy::default() };
    let facts = FriendFacts { privacy, rejected_at: Some(NOW), ..between(Tie::Incoming) };
    assert_eq!(decided(FriendAction::Request, &facts), Ok(FriendChange::Befriended));
}

#[test]
fn a_request_needs_room_on_both_sides_once_it_is_accepted() {
    for (friends, other_friends, expected) in [
        (9, 9, Ok(FriendChange::Befriended)),
        (10, 0, Err(FriendError::TooManyFriends)),
        (0, 10, Err(FriendError::TooManyFriends)),
    ] {
        let mut facts = between(Tie::Incoming);
        facts.numbers = Numbers { friends, other_friends, ..facts.numbers };
        assert_eq!(decided(FriendAction::Accept, &facts), expected);
    }
    let mut facts = between(Tie::Nothing);
    facts.numbers.other_friends = 10;
    // How many friends the other has is not told to whoever asks.
    assert_eq!(decided(FriendAction::Request, &facts), Ok(FriendChange::Requested));
    facts.numbers.requests_open = 5;
    assert_eq!(decided(FriendAction::Request, &facts), Err(FriendError::TooManyOpenRequests));
}

#[test]
fn who_is_asked_by_many_looks_like_a_closed_door() {
    let mut facts = between(Tie::Nothing);
    facts.numbers.other_requests_received = 6;
    assert_eq!(decided(FriendAction::Request, &facts), Err(FriendError::CannotBefriend));
    facts.numbers.other_requests_received = 5;
    assert_eq!(decided(FriendAction::Request, &facts), Ok(FriendChange::Requested));
}

#[test]
fn a_new_account_asks_fewer_people_a_day() {
    let asked = |requests, began_ago, account_ago| {
        let mut facts = between(Tie::Nothing);
        facts.numbers.account_since = NOW.minus(account_ago);
        facts.numbers.day = Some(RequestDay { began_at: NOW.minus(began_ago), requests });
        decided(FriendAction::Request, &facts)
    };
    let refused = |hours: u32| Err(FriendError::TooManyRequests { retry_after: HOUR * hours });
    assert_eq!(asked(1, HOUR, HOUR * 47), Ok(FriendChange::Requested));
    assert_eq!(asked(2, HOUR, HOUR * 47), refused(23));
    assert_eq!(asked(2, HOUR, HOUR * 48), Ok(FriendChange::Requested));
    assert_eq!(asked(4, HOUR * 20, HOUR * 48), refused(4));
    assert_eq!(asked(4, HOUR * 24, HOUR * 48), Ok(FriendChange::Requested));
}

#[test]
fn a_day_begins_with_its_first_request() {
    let first = RequestDay::at(None, NOW).with_one_more();
    assert_eq!(first, RequestDay { began_at: NOW, requests: 1 });
    let second = RequestDay::at(Some(first), NOW.plus(HOUR * 23)).with_one_more();
    assert_eq!(second, RequestDay { began_at: NOW, requests: 2 });
    assert_eq!(RequestDay::at(Some(second), NOW.plus(HOUR * 24)).requests, 0);
}

#[test]
fn blocks_are_counted_too() {
    let mut facts = between(Tie::Friends);
    facts.numbers.blocks = 3;
    assert_eq!(decided(FriendAction::Block, &facts), Err(FriendError::TooManyBlocks));
}

#[test]
fn who_was_blocked_is_told_nothing_about_it() {
    let blocked = behind(Block::ByOther);
    // As where there is no account at all.
    for action in &ALL[..5] {
        assert_eq!(decided(*action, &blocked), Err(FriendError::UserNotFound), "{action:?}");
    }
    assert_eq!(
        decided(FriendAction::Block, &blocked),
        Ok(FriendChange::Blocked(Tie::Nothing)),
        "one may block back"
    );
    assert_eq!(blocked.state(), FriendState::None);
    assert_eq!(FriendChange::Blocked(Tie::Nothing).told_to_other(), None);
    assert_eq!(FriendChange::Blocked(Tie::Friends).told_to_other(), Some(FriendState::None));
    assert_eq!(FriendChange::Unblocked.told_to_other(), None);
}

const ALL: [FriendAction; 7] = [
    FriendAction::Request,
    FriendAction::Accept,
    FriendAction::Reject,
    FriendAction::Cancel,
    FriendAction::Delete,
    FriendAction::Block,
    FriendAction::Unblock,
];

/// Two people, written down as the store does: what [`decide`] allows is done to it, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Pair {
    are_friends: bool,
    /// Of each: whether a request of theirs is open, when it was declined, and whether they have blocked the other.
    asked: [bool; 2],
    declined: [Option<Timestamp>; 2],
    blocked: [bool; 2],
}

impl Pair {
    fn facts(&self, actor: usize) -> FriendFacts {
        let other = 1 - actor;
        let tie = match (self.are_friends, self.asked[actor], self.asked[other]) {
            (true, ..) => Tie::Friends,
            (false, true, _) => Tie::Outgoing,
            (false, false, true) => Tie::Incoming,
            (false, false, false) => Tie::Nothing,
        };
        let block = Block::of(self.blocked[actor], self.blocked[other]);
        FriendFacts {
            rejected_at: self.declined[actor],
            has_rejected: self.declined[other].is_some(),
            relation: Relation { block, ..Relation::default() },
            ..between(tie)
        }
    }

    fn apply(&mut self, actor: usize, change: FriendChange, now: Timestamp) {
        let other = 1 - actor;
        match change {
            FriendChange::Nothing => {}
            FriendChange::Requested => {
                self.asked[actor] = true;
                self.declined[actor] = None;
            }
            FriendChange::Befriended => {
                *self = Self { are_friends: true, blocked: self.blocked, ..Self::default() };
            }
            FriendChange::Rejected => {
                self.asked[other] = false;
                self.declined[other] = Some(now);
            }
            FriendChange::Cancelled => self.asked[actor] = false,
            FriendChange::Parted => self.are_friends = false,
            FriendChange::Blocked(_) => {
                self.are_friends = false;
                self.asked = [false; 2];
                self.blocked[actor] = true;
            }
            FriendChange::Unblocked => self.blocked[actor] = false,
        }
    }
}

proptest! {
    #[test]
    fn whatever_two_people_do_they_agree_on_what_they_are(
        actions in prop::collection::vec((0..2_usize, 0..ALL.len(), 0..20_u32), 1..60),
    ) {
        let (mut pair, mut now) = (Pair::default(), NOW);
        // What each of them was told last.
        let mut told = [FriendState::None; 2];
        for (actor, action, hours) in actions {
            now = now.plus(HOUR * hours);
            let facts = pair.facts(actor);
            let Ok(change) = decide(ALL[action], &facts, now) else { continue };
            let before = pair;
            pair.apply(actor, change, now);

            prop_assert_eq!(change == FriendChange::Nothing, before == pair);
            prop_assert!(!(pair.asked[0] && pair.asked[1]), "both have asked: {:?}", pair);
            prop_assert!(!(pair.are_friends && pair.asked.contains(&true)), "{:?}", pair);
            if pair.blocked.contains(&true) {
                prop_assert!(!pair.are_friends && pair.asked == [false; 2], "{:?}", pair);
            }
            for (person, state) in
                [(actor, change.told_to_actor()), (1 - actor, change.told_to_other())]
            {
                if let Some(state) = state {
                    told[person] = state;
                }
            }
            let states = [0, 1].map(|person| pair.facts(person).state());
            prop_assert_eq!(told, states, "{:?}", pair);
            let repeated = decide(ALL[action], &pair.facts(actor), now);
            prop_assert_eq!(repeated, Ok(FriendChange::Nothing));
        }
    }

    #[test]
    fn while_one_blocks_nothing_begins(actor in 0..2_usize, blocker in 0..2_usize, action in 0..5_usize) {
        let mut pair = Pair::default();
        pair.blocked[blocker] = true;
        pair.declined[1] = Some(NOW);
        let decided = decide(ALL[action], &pair.facts(actor), NOW);
        prop_assert!(matches!(decided, Ok(FriendChange::Nothing) | Err(_)), "{decided:?}");
    }
}
