//! The oracle: what was promised, what the database says and what the providers took must be the same.
//!
//! A letter may be taken again only where nobody can have known that it had been taken: the answer was lost, or its node
//! was killed while it was on its way. And then under the same id.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::ledger::{Given, Medium, Subject, Take};
use super::providers::WORKERS;
use super::truth::{Inbox, Truth};

/// What lies between a provider's answer and the row that keeps it, and between a kill and its end, takes no longer.
const MARGIN: Duration = Duration::from_secs(2);
/// A node that is killed has no more letters on their way.
const ON_THEIR_WAY_MAX: usize = WORKERS * Medium::ALL.len();

/// Everybody is told every sending.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    pub users: usize,
    pub sendings: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// The place of the node.
    pub node: usize,
    pub at: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Somebody has no notification of a sending, or a letter was never taken.
    Lost,
    /// Somebody has several notifications of a sending, or a letter was taken again although its answer came.
    Doubled,
    /// One letter under two ids, or two under one.
    Reidentified,
    /// An inbox has a hole, or more than its head says.
    Hole,
    /// A letter has another end than that it was delivered.
    Undelivered,
    /// A provider took what the database does not know.
    Stray,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    words: String,
}

/// Why letters were taken again, where they may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repeats {
    pub after_lost_answer: usize,
    pub after_kill: usize,
}

#[derive(Debug)]
pub struct Oracle<'k> {
    promise: Promise,
    kills: &'k [Kill],
    pub violations: Vec<Violation>,
    pub repeats: Repeats,
    /// Letters that each kill excuses.
    excused: Vec<usize>,
}

impl Promise {
    pub fn notifications(&self) -> usize {
        self.users * usize::try_from(self.sendings).unwrap_or(usize::MAX)
    }

    /// Letters to people.
    pub fn letters(&self) -> usize {
        self.notifications() * Medium::OF_USERS.len()
    }
}

impl<'k> Oracle<'k> {
    pub fn new(promise: Promise, kills: &'k [Kill]) -> Self {
        let excused = vec![0; kills.len()];
        Self { promise, kills, violations: Vec::new(), repeats: Repeats::default(), excused }
    }

    /// Looks at everything. `takes` are in the order of time.
    pub fn judge(&mut self, truth: &Truth, takes: &[Take]) {
        for user in 0..self.promise.users {
            match truth.inboxes.get(user) {
                Some(inbox) => self.look_into(user, inbox),
                None => self.violate(Kind::Lost, format!("nobody knows user {user}")),
            }
        }
        let mut taken: BTreeMap<&Subject, Vec<&Take>> = BTreeMap::new();
        for take in takes.iter().filter(|take| !matches!(take.letter.subject, Subject::Other(_))) {
            taken.entry(&take.letter.subject).or_default().push(take);
        }
        self.look_for_letters(truth, &taken);
        self.look_for_events(truth, &taken);
        self.compare_ids(truth, &taken);
        for (subject, takes) in &taken {
            self.look_for_repeats(subject, takes);
        }
        self.look_at_kills();
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.violations.iter().filter(|violation| violation.kind == kind).count()
    }

    fn sendings(&self) -> impl Iterator<Item = u32> + use<> {
        1..=self.promise.sendings
    }

    /// Every sending once, and numbers without a hole.
    fn look_into(&mut self, user: usize, inbox: &Inbox) {
        let mut seqs = inbox.seqs.clone();
        seqs.sort_unstable();
        if !seqs.iter().copied().eq(1..=inbox.head) {
            self.violate(
                Kind::Hole,
                format!("the inbox of user {user} ends at {} and has {seqs:?}", inbox.head),
            );
        }
        for sending in self.sendings() {
            let of_sending = inbox.notices.iter().filter(|notice| notice.sending == Some(sending));
            match of_sending.count() {
                0 => self
                    .violate(Kind::Lost, format!("user {user} was not told of sending {sending}")),
                1 => {}
                times => {
                    let words = format!("user {user} was told {times} times of sending {sending}");
                    self.violate(Kind::Doubled, words);
                }
            }
        }
    }

    /// Everybody's letters were taken, and are known to be delivered.
    fn look_for_letters(&mut self, truth: &Truth, taken: &BTreeMap<&Subject, Vec<&Take>>) {
        for medium in Medium::OF_USERS {
            for user in 0..self.promise.users {
                for sending in self.sendings() {
                    let subject = Subject::Sending { medium, user, sending };
                    if !taken.contains_key(&subject) {
                        self.violate(Kind::Lost, format!("{subject} was never taken"));
                    }
                }
            }
        }
        for letter in &truth.letters {
            if letter.status != "delivered" {
                let (medium, reason) = (letter.medium.name(), letter.reason.as_deref());
                let words = format!(
                    "{medium} {} to {:?} is {} ({})",
                    letter.id,
                    letter.user,
                    letter.status,
                    reason.unwrap_or("no reason")
                );
                self.violate(Kind::Undelivered, words);
            }
        }
        let to_people = truth.letters.iter().filter(|letter| letter.medium != Medium::Webhook);
        let (known, promised) = (to_people.count(), self.promise.letters());
        if known != promised {
            let kind = if known < promised { Kind::Lost } else { Kind::Doubled };
            self.violate(
                kind,
                format!("the database knows {known} letters to people, not {promised}"),
            );
        }
    }

    /// Every notification is told of by exactly one event that was taken.
    fn look_for_events(&mut self, truth: &Truth, taken: &BTreeMap<&Subject, Vec<&Take>>) {
        let mut told: HashMap<Uuid, BTreeSet<&Subject>> = HashMap::new();
        for (subject, takes) in taken {
            for id in takes.iter().flat_map(|take| &take.letter.told) {
                told.entry(*id).or_default().insert(subject);
            }
            if takes.iter().any(|take| {
                takes.first().is_some_and(|first| first.letter.told != take.letter.told)
            }) {
                self.violate(
                    Kind::Reidentified,
                    format!("{subject} did not say the same each time"),
                );
            }
        }
        for (user, inbox) in truth.inboxes.iter().enumerate() {
            for notice in inbox.notices.iter().filter(|notice| notice.sending.is_some()) {
                let name = || format!("notification {} of user {user}", notice.id);
                match told.get(&notice.id).map_or(0, BTreeSet::len) {
                    0 => self.violate(Kind::Lost, format!("no event tells of {}", name())),
                    1 => {}
                    events => {
                        self.violate(Kind::Doubled, format!("{events} events tell of {}", name()));
                    }
                }
            }
        }
    }

    /// Each letter has one id, of its own, that the database has for it.
    fn compare_ids(&mut self, truth: &Truth, taken: &BTreeMap<&Subject, Vec<&Take>>) {
        let known: HashMap<Uuid, (Medium, Option<usize>)> =
            truth.letters.iter().map(|letter| (letter.id, (letter.medium, letter.user))).collect();
        let mut owners: HashMap<Uuid, &Subject> = HashMap::new();
        for (subject, takes) in taken {
            let ids: BTreeSet<Uuid> = takes.iter().map(|take| take.letter.id).collect();
            if ids.len() > 1 {
                self.violate(Kind::Reidentified, format!("{subject} was taken under {ids:?}"));
            }
            for id in ids {
                if let Some(other) = owners.insert(id, subject) {
                    let words = format!("{subject} and {other} were taken under {id}");
                    self.violate(Kind::Reidentified, words);
                }
                let addressee = match subject {
                    Subject::Sending { user, .. } => Some(*user),
                    Subject::Event(_) | Subject::Other(_) => None,
                };
                if known.get(&id) != Some(&(subject.medium(), addressee)) {
                    self.violate(
                        Kind::Stray,
                        format!("{subject} was taken as {id}, which is {:?}", known.get(&id)),
                    );
                }
            }
        }
    }

    /// Whatever was taken before the last time has an excuse.
    fn look_for_repeats(&mut self, subject: &Subject, takes: &[&Take]) {
        let Some((_, earlier)) = takes.split_last() else { return };
        for take in earlier {
            let Some(answered) = take.answered else {
                self.repeats.after_lost_answer += 1;
                continue;
            };
            match self.kill_of(&take.letter, take.at, answered) {
                Some(kill) => {
                    self.repeats.after_kill += 1;
                    if let Some(excused) = self.excused.get_mut(kill) {
                        *excused += 1;
                    }
                }
                None => {
                    let Given { id, node, .. } = take.letter;
                    let words = format!(
                        "{subject} ({id}) was taken again, although node {node:?} was answered at {answered:.1?}"
                    );
                    self.violate(Kind::Doubled, words);
                }
            }
        }
    }

    /// The kill that fell while a letter was on its way.
    fn kill_of(&self, letter: &Given, at: Duration, answered: Duration) -> Option<usize> {
        self.kills.iter().position(|kill| {
            letter.node.is_none_or(|node| node == kill.node)
                && kill.at + MARGIN >= at
                && kill.at <= answered + MARGIN
        })
    }

    fn look_at_kills(&mut self) {
        for (number, excused) in (1..).zip(self.excused.clone()) {
            if excused > ON_THEIR_WAY_MAX {
                let words = format!(
                    "kill {number} would have met {excused} letters on their way, and there are {ON_THEIR_WAY_MAX} at most"
                );
                self.violate(Kind::Doubled, words);
            }
        }
    }

    fn violate(&mut self, kind: Kind, words: String) {
        self.violations.push(Violation { kind, words });
    }
}

impl Kind {
    pub const ALL: [Self; 6] =
        [Self::Lost, Self::Doubled, Self::Reidentified, Self::Hole, Self::Undelivered, Self::Stray];

    /// As reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Reidentified => "reidentified",
            Self::Hole => "holes",
            Self::Undelivered => "undelivered",
            Self::Stray => "stray",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.words)
    }
}
