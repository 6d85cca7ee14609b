//! The three-way match: a provider's movements, our rows and the ledger's entries, order by order.
//!
//! Pure: what is compared comes in as three lists, and may be of one order or of a thousand. A break is told where its
//! moment lies in the window; what lies outside is there to be found. Invariant: a movement is matched or a break, and
//! never both for the same reason.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Break, Bucket};
use crate::domain::stored_as;
use crate::domain::time::Timestamp;

/// What was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// From a payer to us.
    Charge,
    /// Back to a payer.
    Refund,
    /// To somebody's bank.
    Payout,
}

stored_as!(Kind { Charge = "charge", Refund = "refund", Payout = "payout" });

/// A line of a provider's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    pub kind: Kind,
    /// Our order, as the provider knows it; of a payout our reference.
    pub order: String,
    pub key: String,
    pub amount: i64,
    /// 0 where the list does not tell.
    pub fee: i64,
    pub at: Timestamp,
}

/// How something stands in our rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Done,
    /// Somebody takes care of it.
    UnderWay,
    /// Nothing will come of it.
    Over,
}

/// A row of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    pub kind: Kind,
    pub order: String,
    /// Of the payment, the refund or the withdrawal.
    pub id: String,
    /// The provider's, as far as we know it.
    pub key: Option<String>,
    pub amount: i64,
    pub standing: Standing,
    /// When it came to that.
    pub at: Timestamp,
}

/// What an entry of the ledger is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A row of ours, by its id.
    Row(String),
    /// A charge that was not agreed, set aside: by the provider's key, or `None` for the one of the order.
    Aside(Option<String>),
    /// It was given back, by the key of the entry.
    GivenBack(String),
    /// A payer's bank has taken it, by the key of the entry.
    TakenBack(String),
}

/// An entry of the ledger that moves what a provider owes us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    pub kind: Kind,
    pub order: String,
    pub subject: Subject,
    pub amount: i64,
    pub at: Timestamp,
}

/// What is looked at, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Breaks are of this time: from the first moment to before the second.
    pub from: Timestamp,
    pub until: Timestamp,
    /// The provider's list is whole until then.
    pub remote_until: Timestamp,
    /// Our rows are whole until then.
    pub local_until: Timestamp,
    /// How long either side may take to hear of what the other has done.
    pub lag: Duration,
    /// What the provider keeps of a charge, in hundredths of a percent; `None` where that is not compared.
    pub fee_bps: Option<u16>,
    /// Whether the provider's list has what payers' banks take.
    pub lists_chargebacks: bool,
}

/// What came of comparing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// Movements of the window with which everything is as it should be, and what they come to: charges less refunds
    /// and payouts.
    pub matched: i64,
    pub matched_sum: i64,
    /// Movements of the window, and what they come to.
    pub remote: i64,
    pub remote_sum: i64,
    pub breaks: Vec<Break>,
}

/// By how much a fee may be another than was agreed: some round each of its parts.
const ROUNDED_MAX: u64 = 1;

/// What a provider keeps of an amount, rounded down.
#[must_use]
pub fn fee_of(amount: i64, bps: u16) -> i64 {
    let fee = i128::from(amount).saturating_mul(bps.into()) / 10_000;
    i64::try_from(fee).unwrap_or(i64::MAX)
}

/// Whether a provider keeps what was agreed, however it rounds.
#[must_use]
pub const fn is_agreed(fee: i64, agreed: i64) -> bool {
    fee.abs_diff(agreed) <= ROUNDED_MAX
}

/// Compares three lists. Every line about an order has to be in them, of whatever day.
#[must_use]
pub fn reconcile(remote: &[Remote], local: &[Local], booked: &[Booked], terms: &Terms) -> Compared {
    reconcile_without(None, remote, local, booked, terms)
}

/// The same without the rule of one bucket: what would not be found then.
pub(super) fn reconcile_without(
    without: Option<Bucket>,
    remote: &[Remote],
    local: &[Local],
    booked: &[Booked],
    terms: &Terms,
) -> Compared {
    let mut orders: BTreeMap<&str, Order<'_>> = BTreeMap::new();
    for line in remote {
        orders.entry(&line.order).or_default().remote.push(line);
    }
    for row in local {
        orders.entry(&row.order).or_default().local.push(row);
    }
    for entry in booked {
        orders.entry(&entry.order).or_default().booked.push(entry);
    }
    let mut compared = Compared::default();
    for order in orders.values_mut() {
        order.remote.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
        Judge { order, terms, without, compared: &mut compared }.judge();
    }
    compared
}

#[derive(Default)]
struct Order<'l> {
    remote: Vec<&'l Remote>,
    local: Vec<&'l Local>,
    booked: Vec<&'l Booked>,
}

struct Judge<'o, 'l> {
    order: &'o Order<'l>,
    terms: &'o Terms,
    without: Option<Bucket>,
    compared: &'o mut Compared,
}

/// What became of a movement.
enum Fate<'l> {
    /// It is this row's.
    Row(&'l Local),
    /// It is known as not agreed, with what the ledger says that it was.
    Aside(&'l Booked),
    Twin,
    Stranger,
}

impl<'l> Judge<'_, 'l> {
    fn judge(&mut self) {
        // Rows and set-aside charges whose movement was found, by their place in the list.
        let (mut rows, mut asides) = (BTreeSet::new(), BTreeSet::new());
        for kind in [Kind::Charge, Kind::Refund, Kind::Payout] {
            let lines: Vec<&'l Remote> =
                self.order.remote.iter().copied().filter(|line| line.kind == kind).collect();
            let mut fates: Vec<Option<Fate<'l>>> = lines.iter().map(|_| None).collect();
            // Those that are certain first: a key belongs to one row.
            for (line, fate) in lines.iter().zip(&mut fates) {
                *fate = self.by_key(line, &mut rows, &mut asides);
            }
            for (line, fate) in lines.iter().zip(&mut fates) {
                if fate.is_none() {
                    *fate = self.by_order(line, &mut rows, &mut asides);
                }
            }
            let known: Vec<&Remote> = lines
                .iter()
                .zip(&fates)
                .filter(|(_, fate)| fate.is_some())
                .map(|(line, _)| *line)
                .collect();
            for (line, fate) in lines.iter().zip(fates) {
                // Charges and payouts are one an order; an order may have several refunds.
                let is_twin = |it: &&Remote| kind != Kind::Refund || it.amount == line.amount;
                let fate = fate.unwrap_or_else(|| {
                    if known.iter().any(is_twin) { Fate::Twin } else { Fate::Stranger }
                });
                self.movement(line, &fate);
            }
        }
        self.unfound(&rows, &asides);
        self.ledger();
    }

    fn by_key(
        &self,
        line: &Remote,
        rows: &mut BTreeSet<usize>,
        asides: &mut BTreeSet<usize>,
    ) -> Option<Fate<'l>> {
        let row = |row: &&Local| row.kind == line.kind && row.key.as_ref() == Some(&line.key);
        if let Some(fate) = self.row(row, rows) {
            // What was given up, and set aside under the same key, is known by that.
            let is_done = matches!(fate, Fate::Row(row) if row.standing == Standing::Done);
            let aside = self.aside(line, asides);
            return if is_done { Some(fate) } else { aside.or(Some(fate)) };
        }
        let aside = |it: &&Booked| {
            matches!(&it.subject, Subject::Aside(Some(key)) if *key == line.key)
                && it.kind == line.kind
        };
        self.booked(aside, asides)
    }

    fn by_order(
        &self,
        line: &Remote,
        rows: &mut BTreeSet<usize>,
        asides: &mut BTreeSet<usize>,
    ) -> Option<Fate<'l>> {
        if let Some(fate) = self.aside(line, asides) {
            return Some(fate);
        }
        let is_alike = |row: &&Local| {
            let may_be = row.key.is_none() || row.kind == Kind::Charge && !row.is_done();
            row.kind == line.kind
                && may_be
                && (line.kind != Kind::Refund || row.amount == line.amount)
        };
        // One that is waited for, rather than one that was given up.
        self.row(|row| is_alike(row) && row.standing != Standing::Over, rows)
            .or_else(|| self.row(is_alike, rows))
            .or_else(|| {
                let is_open =
                    |row: &&Local| row.key.is_none() && row.standing == Standing::UnderWay;
                self.row(|row| row.kind == line.kind && is_open(row), rows)
            })
    }

    /// The charge of an order that was set aside, or what was given back of such a one.
    fn aside(&self, line: &Remote, asides: &mut BTreeSet<usize>) -> Option<Fate<'l>> {
        let is_it = |it: &&Booked| match &it.subject {
            Subject::Aside(key) => {
                line.kind == Kind::Charge && key.as_ref().is_none_or(|key| *key == line.key)
            }
            Subject::GivenBack(_) | Subject::TakenBack(_) => {
                line.kind == Kind::Refund && it.amount == line.amount
            }
            Subject::Row(_) => false,
        };
        self.booked(is_it, asides)
    }

    fn row(
        &self,
        is_it: impl Fn(&&Local) -> bool,
        found: &mut BTreeSet<usize>,
    ) -> Option<Fate<'l>> {
        let mut rows = self.order.local.iter().copied().enumerate();
        let (n, row) = rows.find(|(n, row)| !found.contains(n) && is_it(row))?;
        found.insert(n);
        Some(Fate::Row(row))
    }

    fn booked(
        &self,
        is_it: impl Fn(&&Booked) -> bool,
        found: &mut BTreeSet<usize>,
    ) -> Option<Fate<'l>> {
        let mut entries = self.order.booked.iter().copied().enumerate();
        let (n, entry) = entries.find(|(n, it)| !found.contains(n) && is_it(it))?;
        found.insert(n);
        Some(Fate::Aside(entry))
    }

    /// A movement of the provider's, and what is ours of it.
    fn movement(&mut self, line: &Remote, fate: &Fate<'_>) {
        if !self.is_of_window(line.at) {
            return;
        }
        let signed = if line.kind == Kind::Charge { line.amount } else { -line.amount };
        self.compared.remote += 1;
        self.compared.remote_sum = self.compared.remote_sum.saturating_add(signed);
        let before = self.compared.breaks.len();
        match fate {
            Fate::Row(row) if row.standing == Standing::Done => {
                self.amounts(line, Some(&row.id), row.amount);
                // Of another amount another fee is kept: that is said already.
                if line.amount == row.amount {
                    self.fee(line, Some(&row.id));
                }
            }
            Fate::Row(row) => self.behind(line, row),
            Fate::Aside(entry) => self.amounts(line, None, entry.amount),
            Fate::Twin => {
                let says = "the provider has moved it once more than we have asked for";
                self.found(line, Bucket::Duplicate, None, None, says);
            }
            Fate::Stranger => self.stranger(line, None, "we know nothing of it"),
        }
        if self.compared.breaks.len() == before {
            self.compared.matched += 1;
            self.compared.matched_sum = self.compared.matched_sum.saturating_add(signed);
        }
    }

    fn amounts(&mut self, line: &Remote, id: Option<&str>, amount: i64) {
        if line.amount != amount {
            let says = "the provider has moved another amount than we know of";
            self.found(line, Bucket::Amount, id, Some(amount), says);
        }
    }

    fn fee(&mut self, line: &Remote, id: Option<&str>) {
        let (Some(bps), Kind::Charge) = (self.terms.fee_bps, line.kind) else { return };
        let agreed = fee_of(line.amount, bps);
        if line.fee != 0 && !is_agreed(line.fee, agreed) {
            let says = "the provider keeps another fee than was agreed";
            self.tell(Break {
                remote_amount: Some(line.fee),
                local_amount: Some(agreed),
                ..of_line(line, Bucket::Fee, id, says)
            });
        }
    }

    /// The provider has moved what is not done here.
    fn behind(&mut self, line: &Remote, row: &Local) {
        if self.is_late(line.at, self.terms.local_until) {
            return self.found(line, Bucket::Timing, Some(&row.id), Some(row.amount), HEARD_LATE);
        }
        if row.standing == Standing::Over && row.kind == Kind::Charge {
            return self.stranger(line, Some(row), "the payment is over");
        }
        if row.kind != Kind::Charge && row.amount != line.amount {
            return self.amounts(line, Some(&row.id), row.amount);
        }
        let says = match row.standing {
            Standing::Over => "the provider has moved it, and here it was given up",
            Standing::UnderWay | Standing::Done => "the provider has moved it, and here it is open",
        };
        self.found(line, Bucket::Status, Some(&row.id), Some(row.amount), says);
    }

    fn stranger(&mut self, line: &Remote, row: Option<&Local>, says: &str) {
        let id = row.map(|row| row.id.as_str());
        if self.is_late(line.at, self.terms.local_until) {
            self.found(line, Bucket::Timing, id, None, HEARD_LATE);
        } else {
            self.found(line, Bucket::MissingLocal, id, None, says);
        }
    }

    fn found(
        &mut self,
        line: &Remote,
        bucket: Bucket,
        id: Option<&str>,
        local_amount: Option<i64>,
        says: &str,
    ) {
        self.tell(Break { local_amount, ..of_line(line, bucket, id, says) });
    }

    /// What we say was moved, and the provider does not.
    fn unfound(&mut self, rows: &BTreeSet<usize>, asides: &BTreeSet<usize>) {
        let order = self.order;
        for (n, row) in order.local.iter().enumerate() {
            if row.is_done() && !rows.contains(&n) {
                let id = Some(row.id.as_str());
                self.missing_remote(row.kind, &row.order, &row.id, id, row.amount, row.at);
            }
        }
        for (n, entry) in order.booked.iter().enumerate() {
            if asides.contains(&n) {
                continue;
            }
            let what = match &entry.subject {
                Subject::Row(_) => continue,
                // Nobody has told of it, and nobody will.
                Subject::TakenBack(_) if !self.terms.lists_chargebacks => continue,
                Subject::Aside(Some(key)) => format!("aside:{key}"),
                Subject::Aside(None) => "aside".to_owned(),
                Subject::GivenBack(key) => format!("given_back:{key}"),
                Subject::TakenBack(key) => format!("taken_back:{key}"),
            };
            let name = format!("{what}:{}", entry.order);
            // The name has the provider's key, which is nobody's to see.
            self.missing_remote(entry.kind, &entry.order, &name, None, entry.amount, entry.at);
        }
    }

    fn missing_remote(
        &mut self,
        kind: Kind,
        order: &str,
        name: &str,
        id: Option<&str>,
        amount: i64,
        at: Timestamp,
    ) {
        if !self.is_of_window(at) {
            return;
        }
        let (bucket, says) = if self.is_late(at, self.terms.remote_until) {
            (Bucket::Timing, "the provider may list it tomorrow")
        } else {
            (Bucket::MissingRemote, "the provider does not list it")
        };
        let found = of_ours(kind, order, name, bucket, Some(amount), says);
        self.tell(Break { local_ref: id.map(str::to_owned), ..found });
    }

    /// Our rows and our books.
    fn ledger(&mut self) {
        let order = self.order;
        for row in &order.local {
            let sums = order.booked.iter().filter(|it| it.is_of(row)).map(|it| it.amount);
            let booked: i64 = sums.sum();
            if self.is_of_window(row.at) && row.is_done() && booked != row.amount {
                let says = "it is done here, and the ledger says something else";
                let (kind, amount) = (row.kind, Some(row.amount));
                let found = of_ours(kind, &row.order, &row.id, Bucket::Ledger, amount, says);
                self.tell(Break { remote_amount: Some(booked), ..found });
            }
        }
        for entry in &order.booked {
            let Subject::Row(id) = &entry.subject else { continue };
            let is_done = order.local.iter().any(|row| row.is_done() && entry.is_of(row));
            if self.is_of_window(entry.at) && !is_done {
                let says = "it is in the ledger, and not done here";
                let found = of_ours(entry.kind, &entry.order, id, Bucket::Ledger, None, says);
                self.tell(Break { remote_amount: Some(entry.amount), ..found });
            }
        }
    }

    fn tell(&mut self, found: Break) {
        if self.without != Some(found.bucket) {
            self.compared.breaks.push(found);
        }
    }

    fn is_of_window(&self, at: Timestamp) -> bool {
        (self.terms.from..self.terms.until).contains(&at)
    }

    /// Whether the other side, which is whole until then, may not have heard of it.
    fn is_late(&self, at: Timestamp, whole_until: Timestamp) -> bool {
        at.plus(self.terms.lag) > whole_until
    }
}

const HEARD_LATE: &str = "we may hear of it yet";

impl Local {
    fn is_done(&self) -> bool {
        self.standing == Standing::Done
    }
}

impl Booked {
    fn is_of(&self, row: &Local) -> bool {
        self.kind == row.kind && matches!(&self.subject, Subject::Row(id) if *id == row.id)
    }
}

fn of_line(line: &Remote, bucket: Bucket, id: Option<&str>, says: &str) -> Break {
    Break {
        bucket,
        subject: format!("{}:{}", line.kind.as_str(), line.key),
        order: line.order.clone(),
        local_ref: id.map(str::to_owned),
        remote_ref: Some(line.key.clone()),
        local_amount: None,
        remote_amount: Some(line.amount),
        says: says.to_owned(),
    }
}

fn of_ours(
    kind: Kind,
    order: &str,
    id: &str,
    bucket: Bucket,
    local_amount: Option<i64>,
    says: &str,
) -> Break {
    Break {
        bucket,
        subject: format!("{}:{id}", kind.as_str()),
        order: order.to_owned(),
        local_ref: Some(id.to_owned()),
        remote_ref: None,
        local_amount,
        remote_amount: None,
        says: says.to_owned(),
    }
}
