//! Random days on which everything agrees, and breaks of every kind that are planted in them: all are found, each in its
//! bucket, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::Bucket;
use super::matching::{
    Booked, Kind, Local, Remote, Standing, Subject, Terms, fee_of, reconcile, reconcile_without,
};
use crate::domain::time::Timestamp;

const DAY_MS: i64 = 24 * 3_600 * 1_000;
const FROM: i64 = 1_795_273_200_000;
const LAG: Duration = Duration::from_hours(1);
const FEE_BPS: u16 = 280;
/// Breaks of each bucket.
const PLANTED: usize = 100;
/// Days among which they are spread.
const DAYS: usize = 10;

fn terms() -> Terms {
    Terms {
        from: Timestamp::from_millis(FROM),
        until: Timestamp::from_millis(FROM + DAY_MS),
        remote_until: Timestamp::from_millis(FROM + DAY_MS),
        local_until: Timestamp::from_millis(FROM + DAY_MS + 6 * 3_600 * 1_000),
        lag: LAG,
        fee_bps: Some(FEE_BPS),
        lists_chargebacks: true,
    }
}

/// A day: what each side has.
struct Day {
    dice: StdRng,
    made: usize,
    remote: Vec<Remote>,
    local: Vec<Local>,
    booked: Vec<Booked>,
    /// What is wrong, by order.
    planted: BTreeSet<(Bucket, String)>,
}

impl Day {
    fn new(seed: u64) -> Self {
        let (remote, local, booked) = (Vec::new(), Vec::new(), Vec::new());
        let dice = StdRng::seed_from_u64(seed);
        Self { dice, made: 0, remote, local, booked, planted: BTreeSet::new() }
    }

    /// Not so late that somebody may not have heard of it.
    fn moment(&mut self) -> Timestamp {
        Timestamp::from_millis(FROM + self.dice.random_range(0..DAY_MS - 2 * 3_600 * 1_000))
    }

    fn order(&mut self) -> String {
        self.made += 1;
        format!("md_{}", self.made)
    }

    /// Something that every side has, in the order of its name; gives where it is in the three lists.
    fn agreed(&mut self, kind: Kind, order: &str, amount: i64) -> usize {
        self.made += 1;
        let (id, at) = (format!("{}-{}", kind.as_str(), self.made), self.moment());
        let key = format!("key-{id}");
        let fee = if kind == Kind::Charge { fee_of(amount, FEE_BPS) } else { 0 };
        let order = order.to_owned();
        // We hear of it a little later; now and then on the next day.
        let heard = at.plus(Duration::from_secs(self.dice.random_range(0..7_000)));
        let (standing, subject) = (Standing::Done, Subject::Row(id.clone()));
        self.remote.push(Remote { kind, order: order.clone(), key: key.clone(), amount, fee, at });
        self.booked.push(Booked { kind, order: order.clone(), subject, amount, at: heard });
        self.local.push(Local { kind, order, id, key: Some(key), amount, standing, at: heard });
        self.local.len() - 1
    }

    fn amount(&mut self) -> i64 {
        self.dice.random_range(1_000..1_000_000)
    }

    /// A charge with a few refunds, or a payout, or something that was not agreed and is set aside.
    fn ordinary(&mut self) {
        let (order, amount) = (self.order(), self.amount());
        match self.dice.random_range(0..10) {
            0 => {
                self.agreed(Kind::Payout, &order, amount);
            }
            1 => self.set_aside(&order, amount),
            2 => {
                // Begun, and not paid.
                let at = self.moment();
                let (id, standing) = (format!("open-{order}"), Standing::UnderWay);
                self.local.push(Local {
                    kind: Kind::Charge,
                    order,
                    id,
                    key: None,
                    amount,
                    standing,
                    at,
                });
            }
            _ => {
                self.agreed(Kind::Charge, &order, amount);
                for _ in 0..self.dice.random_range(0..3) {
                    self.agreed(Kind::Refund, &order, amount / 4);
                }
            }
        }
    }

    /// Taken for a payment that is over, and given back: the ledger has both.
    fn set_aside(&mut self, order: &str, amount: i64) {
        let (at, key) = (self.moment(), format!("late-{order}"));
        let row = |kind, key: &str| Remote {
            kind,
            order: order.to_owned(),
            key: key.to_owned(),
            amount,
            fee: 0,
            at,
        };
        let entry = |kind, subject| Booked { kind, order: order.to_owned(), subject, amount, at };
        self.remote.push(row(Kind::Charge, &key));
        self.remote.push(row(Kind::Refund, &format!("{key}-back")));
        let aside = self.dice.random_bool(0.5).then(|| key.clone());
        self.booked.push(entry(Kind::Charge, Subject::Aside(aside)));
        let back = Subject::GivenBack(format!("conflict_back:{order}"));
        self.booked.push(entry(Kind::Refund, back));
        self.local.push(Local {
            kind: Kind::Charge,
            order: order.to_owned(),
            id: format!("over-{order}"),
            key: Some(key),
            amount: amount + 1,
            standing: Standing::Over,
            at,
        });
    }

    fn plant(&mut self, bucket: Bucket) {
        let (order, amount) = (self.order(), self.amount());
        let kinds = [Kind::Charge, Kind::Refund, Kind::Payout];
        let kind = kinds[self.dice.random_range(0..3)];
        if kind == Kind::Refund {
            self.agreed(Kind::Charge, &order, amount * 2);
        }
        let kind = if bucket == Bucket::Fee { Kind::Charge } else { kind };
        let n = self.agreed(kind, &order, amount);
        let late = Timestamp::from_millis(FROM + DAY_MS - 1_000);
        match bucket {
            Bucket::MissingLocal => self.forget_local(n, kind, &order),
            Bucket::MissingRemote => {
                self.remote.pop();
                (self.local[n].at, self.booked.last_mut().unwrap().at) =
                    (late_enough(), late_enough());
            }
            Bucket::Amount => self.remote.last_mut().unwrap().amount += 1,
            Bucket::Status => {
                self.local[n].standing = Standing::UnderWay;
                if self.dice.random_bool(0.5) {
                    self.local[n].key = None;
                }
                self.booked.pop();
            }
            Bucket::Duplicate => {
                let twin = self.remote.last().unwrap().clone();
                let key = format!("{}+2", twin.key);
                self.remote.push(Remote { key, ..twin });
            }
            Bucket::Fee => self.remote.last_mut().unwrap().fee += 2,
            Bucket::Timing => {
                self.remote.pop();
                (self.local[n].at, self.booked.last_mut().unwrap().at) = (late, late);
            }
            Bucket::Ledger => {
                (self.local[n].at, self.booked.last_mut().unwrap().at) =
                    (late_enough(), late_enough());
                if self.dice.random_bool(0.5) {
                    self.booked.pop();
                } else {
                    self.booked.last_mut().unwrap().amount += 7;
                }
            }
        }
        self.planted.insert((bucket, order));
    }

    /// A row that was never there, or a payment that is over.
    fn forget_local(&mut self, n: usize, kind: Kind, order: &str) {
        self.booked.pop();
        if kind == Kind::Charge && self.dice.random_bool(0.5) {
            self.local[n].standing = Standing::Over;
            return;
        }
        self.local.remove(n);
        // One that nothing looks like: no twin of it.
        let stranger = self.remote.last_mut().unwrap();
        stranger.amount += 13;
        assert_eq!(stranger.order, order);
    }

    fn found(&self, without: Option<Bucket>) -> BTreeMap<(Bucket, String), usize> {
        let (remote, local, booked) = (&self.remote, &self.local, &self.booked);
        let compared = reconcile_without(without, remote, local, booked, &terms());
        let mut found = BTreeMap::new();
        for it in compared.breaks {
            *found.entry((it.bucket, it.order)).or_default() += 1;
        }
        found
    }
}

/// Long before the end of the day.
const fn late_enough() -> Timestamp {
    Timestamp::from_millis(FROM + 1_000)
}

fn day(seed: u64, buckets: &[Bucket]) -> Day {
    let mut day = Day::new(seed);
    for _ in 0..200 {
        day.ordinary();
    }
    for bucket in buckets {
        for _ in 0..PLANTED / DAYS {
            day.plant(*bucket);
            day.ordinary();
        }
    }
    day
}

#[test]
fn a_day_on_which_everything_agrees_has_no_breaks() {
    for seed in 0..100 {
        let day = day(seed, &[]);
        let compared = reconcile(&day.remote, &day.local, &day.booked, &terms());
        assert_eq!(compared.breaks, [], "seed {seed}");
        assert_eq!(compared.matched, compared.remote);
        assert_eq!(compared.matched_sum, compared.remote_sum);
        assert_eq!(compared.remote, i64::try_from(day.remote.len()).unwrap());
    }
}

#[test]
fn every_planted_break_is_found_in_its_bucket_and_nothing_else_is() {
    let mut found_in: BTreeMap<Bucket, usize> = BTreeMap::new();
    for seed in 0..u64::try_from(DAYS).unwrap() {
        let day = day(seed, &Bucket::ALL);
        let found = day.found(None);
        let expected: BTreeMap<_, _> = day.planted.iter().cloned().map(|it| (it, 1)).collect();
        assert_eq!(found, expected, "seed {seed}");
        for (bucket, _) in found.into_keys() {
            *found_in.entry(bucket).or_default() += 1;
        }
    }
    assert_eq!(found_in, Bucket::ALL.map(|bucket| (bucket, PLANTED)).into());
}

#[test]
fn without_its_rule_no_break_of_a_bucket_is_found() {
    for bucket in Bucket::ALL {
        let day = day(7, &Bucket::ALL);
        let found = day.found(Some(bucket));
        let missed = day.planted.iter().filter(|it| !found.contains_key(it)).count();
        assert_eq!(missed, PLANTED / DAYS, "{bucket:?}");
    }
}

#[test]
fn what_may_yet_come_is_missing_once_it_has_had_its_time() {
    let mut day = Day::new(1);
    day.plant(Bucket::Timing);
    let later = Terms { remote_until: terms().until.plus(LAG), ..terms() };
    let compared = reconcile(&day.remote, &day.local, &day.booked, &later);
    assert_eq!(compared.breaks.len(), 1);
    assert_eq!(compared.breaks[0].bucket, Bucket::MissingRemote);
    // It is listed on the next day: outside the window, and found.
    let row = day.local.iter().find(|row| day.planted.iter().any(|(_, it)| *it == row.order));
    let Local { kind, order, key, amount, .. } = row.unwrap().clone();
    let (key, at) = (key.unwrap(), terms().until.plus(Duration::from_secs(1)));
    day.remote.push(Remote { kind, order, key, amount, fee: 0, at });
    assert_eq!(reconcile(&day.remote, &day.local, &day.booked, &later).breaks, []);
}

/// An order of which two banks have taken a part, of which the provider has told once.
fn taken_back() -> Day {
    let mut day = Day::new(3);
    day.agreed(Kind::Charge, "md_1", 10_000);
    let (kind, amount, at) = (Kind::Refund, 1_000, late_enough());
    for nth in ["first", "second"] {
        let (order, key) = ("md_1".to_owned(), format!("dispute_lost:{nth}"));
        day.booked.push(Booked { kind, order, subject: Subject::TakenBack(key), amount, at });
    }
    let (order, key) = ("md_1".to_owned(), "dispute".to_owned());
    day.remote.push(Remote { kind, order, key, amount, fee: 0, at });
    day
}

#[test]
fn what_a_bank_has_taken_is_missing_only_where_the_provider_lists_it() {
    let mut day = taken_back();
    let silent = Terms { lists_chargebacks: false, ..terms() };
    assert_eq!(reconcile(&day.remote, &day.local, &day.booked, &silent).breaks, []);
    let compared = reconcile(&day.remote, &day.local, &day.booked, &terms());
    let found: Vec<_> = compared.breaks.iter().map(|it| it.bucket).collect();
    assert_eq!(found, [Bucket::MissingRemote]);
    // Each is something of its own.
    day.remote.pop();
    let compared = reconcile(&day.remote, &day.local, &day.booked, &terms());
    let subjects: BTreeSet<_> = compared.breaks.iter().map(|it| it.subject.clone()).collect();
    assert_eq!(subjects.len(), 2);
}

#[test]
fn a_refund_made_at_the_provider_is_found_whatever_it_comes_to() {
    let mut day = Day::new(2);
    day.agreed(Kind::Charge, "md_1", 10_000);
    day.agreed(Kind::Refund, "md_1", 1_000);
    let at = late_enough();
    for (key, amount) in [("by-hand", 10_000), ("again", 1_000)] {
        let (order, key) = ("md_1".to_owned(), key.to_owned());
        day.remote.push(Remote { kind: Kind::Refund, order, key, amount, fee: 0, at });
    }
    let found: Vec<_> = day.found(None).into_keys().map(|(bucket, _)| bucket).collect();
    assert_eq!(found, [Bucket::MissingLocal, Bucket::Duplicate]);
}
