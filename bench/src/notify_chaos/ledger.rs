//! What the providers took, from whom, and whether they said so.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::temper::{self, Deed};

/// An answer that took longer may have come too late: the other side gives up after 5 s.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Medium {
    Mail,
    Sms,
    Push,
    Webhook,
}

/// What a letter is about, as the provider reads it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// One sending, for one person.
    Sending { medium: Medium, user: usize, sending: u32 },
    /// A domain event, by its id.
    Event(String),
    /// Something that the run did not ask for, such as a welcome.
    Other(Medium),
}

/// A letter as a provider is given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub subject: Subject,
    /// What it is called by whoever gives it.
    pub id: Uuid,
    /// Who gives it; `None` where nothing says so.
    pub node: Option<usize>,
    /// Notifications that an event tells of.
    pub told: Vec<Uuid>,
}

/// A letter that a provider took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    pub letter: Given,
    pub at: Duration,
    /// When the answer left; `None` if it never did, or so late that nobody may have waited for it.
    pub answered: Option<Duration>,
}

#[derive(Debug)]
pub struct Ledger {
    seed: u32,
    started: Instant,
    /// In the order of time.
    pub takes: Vec<Take>,
    /// How often each trouble was made.
    pub troubles: BTreeMap<&'static str, usize>,
    /// What a provider was told that it must not be.
    pub complaints: Vec<String>,
    /// No more trouble is made.
    pub is_calm: bool,
    attempts: HashMap<Subject, u32>,
}

impl Ledger {
    pub fn new(seed: u32) -> Self {
        Self {
            seed,
            started: Instant::now(),
            takes: Vec::new(),
            troubles: BTreeMap::new(),
            complaints: Vec::new(),
            is_calm: false,
            attempts: HashMap::new(),
        }
    }

    /// Counts time from now on; gives that instant.
    pub fn begin(&mut self) -> Instant {
        self.started = Instant::now();
        self.started
    }

    /// Says how an attempt is met.
    pub fn meet(&mut self, subject: &Subject) -> Deed {
        let attempt = self.attempts.entry(subject.clone()).or_default();
        let drawn = temper::draw(self.seed, &subject.to_string(), *attempt);
        *attempt += 1;
        if self.is_calm || matches!(subject, Subject::Other(_)) {
            return Deed::Take(Duration::ZERO);
        }
        if let Some(trouble) = drawn.name() {
            *self.troubles.entry(trouble).or_default() += 1;
        }
        drawn
    }

    /// Notes that a letter was taken; gives its place.
    pub fn take(&mut self, letter: Given) -> usize {
        self.takes.push(Take { letter, at: self.started.elapsed(), answered: None });
        self.takes.len() - 1
    }

    /// Notes that the answer for a letter left.
    pub fn answer(&mut self, place: usize) {
        let now = self.started.elapsed();
        if let Some(take) = self.takes.get_mut(place) {
            take.answered = Some(now).filter(|now| *now <= take.at + PATIENCE);
        }
    }

    pub fn complain(&mut self, complaint: String) {
        self.complaints.push(complaint);
    }

    /// The notifications that events which were taken tell of.
    pub fn told(&self) -> HashSet<Uuid> {
        self.takes.iter().flat_map(|take| take.letter.told.iter().copied()).collect()
    }
}

impl Medium {
    pub const ALL: [Self; 4] = [Self::Mail, Self::Sms, Self::Push, Self::Webhook];
    /// Those on which people are told.
    pub const OF_USERS: [Self; 3] = [Self::Mail, Self::Sms, Self::Push];

    /// As the database calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Sms => "sms",
            Self::Push => "push",
            Self::Webhook => "webhook",
        }
    }
}

impl Subject {
    pub fn medium(&self) -> Medium {
        match self {
            Self::Sending { medium, .. } | Self::Other(medium) => *medium,
            Self::Event(_) => Medium::Webhook,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sending { medium, user, sending } => {
                write!(f, "{} to {user} of sending {sending}", medium.name())
            }
            Self::Event(id) => write!(f, "event {id}"),
            Self::Other(medium) => write!(f, "another {}", medium.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Given {
        let subject = Subject::Sending { medium: Medium::Sms, user: 1, sending: 2 };
        Given { subject, id: Uuid::from_u128(3), node: Some(0), told: vec![Uuid::from_u128(4)] }
    }

    #[test]
    fn an_answer_counts_when_it_left() {
        let mut ledger = Ledger::new(1);

        let (first, second) = (ledger.take(given()), ledger.take(given()));
        ledger.answer(second);

        let answered = |place: usize| ledger.takes.get(place).and_then(|take| take.answered);
        assert!(answered(first).is_none() && answered(second).is_some());
        assert_eq!(ledger.told().len(), 1);
    }

    #[test]
    fn a_calm_ledger_makes_no_trouble_and_one_that_is_not_counts_it() {
        let subject = |user| Subject::Sending { medium: Medium::Mail, user, sending: 1 };
        let mut ledger = Ledger::new(7);

        for user in 0..500 {
            ledger.meet(&subject(user));
        }
        let troubles: usize = ledger.troubles.values().sum();
        assert!((30..200).contains(&troubles), "{troubles}");
        ledger.is_calm = true;
        for user in 500..1_000 {
            assert_eq!(ledger.meet(&subject(user)), Deed::Take(Duration::ZERO));
        }
        assert_eq!(ledger.troubles.values().sum::<usize>(), troubles);
    }
}
