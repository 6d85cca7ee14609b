//! The oracle: every client's journals and acknowledgements must equal the database.
//!
//! The only jumps that it accepts are those that the server announced.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use uuid::Uuid;

use super::journal::{Entry, Gap, Heard, Journal};
use super::record::{Acknowledgement, Record};

/// A room's log as the database has it.
#[derive(Debug)]
pub struct Log {
    pub head: i64,
    pub entries: HashMap<i64, Entry>,
}

#[derive(Debug)]
pub struct Oracle<'l> {
    /// By room.
    logs: &'l [Log],
    /// What was answered to each key first.
    answers: HashMap<String, (usize, i64, Uuid)>,
    pub violations: Vec<Violation>,
    /// Announced gaps, with the client and the room.
    pub gaps: Vec<(usize, usize, Gap)>,
    pub delivered: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In the database, and never delivered to a client that followed the room.
    Lost,
    /// Delivered a second time.
    Doubled,
    /// Delivered after a later one.
    OutOfOrder,
    /// Delivered, and not what the database has there.
    Altered,
    /// Acknowledged, and not in the database exactly once in that place; or acknowledged in two places.
    Unkept,
    /// The database itself has a hole, or more than its head says.
    Hole,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    /// `None` where no client is concerned.
    client: Option<usize>,
    room: usize,
    seq: i64,
    key: Option<String>,
}

impl<'l> Oracle<'l> {
    /// Looks at the logs themselves.
    pub fn new(logs: &'l [Log]) -> Self {
        let mut oracle = Self {
            logs,
            answers: HashMap::new(),
            violations: Vec::new(),
            gaps: Vec::new(),
            delivered: 0,
        };
        let mut keys = BTreeSet::new();
        for (room, log) in logs.iter().enumerate() {
            for seq in (1..=log.head).filter(|seq| !log.entries.contains_key(seq)) {
                oracle.violate(Kind::Hole, None, room, seq);
            }
            for (seq, entry) in &log.entries {
                if !(1..=log.head).contains(seq) {
                    oracle.violate(Kind::Hole, None, room, *seq);
                }
                if let Entry::Message { key, .. } = entry
                    && !keys.insert(key)
                {
                    oracle.violate_key(Kind::Unkept, None, room, *seq, key);
                }
            }
        }
        oracle
    }

    /// Compares what one client knows with the logs.
    pub fn judge(&mut self, record: &Record) {
        for journal in &record.journals {
            self.follow(record.client, journal);
        }
        for acknowledgement in &record.acknowledged {
            self.hold(record.client, acknowledgement);
        }
    }

    /// Keys that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.answers.len()
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.violations.iter().filter(|violation| violation.kind == kind).count()
    }

    fn follow(&mut self, client: usize, journal: &Journal) {
        let (logs, room) = (self.logs, journal.room);
        // A client that was never told a position has been promised nothing.
        let (Some(log), Some(begin)) = (logs.get(room), journal.begin) else {
            return;
        };
        let mut position = begin;
        let mut missing: BTreeSet<i64> = BTreeSet::new();
        for heard in &journal.heard {
            match heard {
                Heard::Gap(gap) => {
                    // It excuses what follows the position that it names, and nothing before.
                    missing.extend(position.saturating_add(1)..=gap.have.min(log.head));
                    position = position.max(gap.head);
                    self.gaps.push((client, room, *gap));
                }
                Heard::Event { seq, entry } => {
                    self.delivered += 1;
                    if *seq > position {
                        missing.extend(position + 1..(*seq).min(log.head + 1));
                        position = *seq;
                    } else if missing.remove(seq) {
                        self.violate(Kind::OutOfOrder, Some(client), room, *seq);
                    } else {
                        self.violate(Kind::Doubled, Some(client), room, *seq);
                    }
                    if log.entries.get(seq) != Some(entry) {
                        self.violate(Kind::Altered, Some(client), room, *seq);
                    }
                }
            }
        }
        missing.extend(position.saturating_add(1)..=log.head);
        for seq in missing {
            self.violate(Kind::Lost, Some(client), room, seq);
        }
    }

    fn hold(&mut self, client: usize, answer: &Acknowledgement) {
        let Acknowledgement { key, room, seq, id } = answer;
        let place = (*room, *seq, *id);
        let first = *self.answers.entry(key.clone()).or_insert(place);
        let promised = Entry::Message { id: *id, key: key.as_str().into() };
        let kept = self.logs.get(*room).and_then(|log| log.entries.get(seq));
        if first != place || kept != Some(&promised) {
            self.violate_key(Kind::Unkept, Some(client), *room, *seq, key);
        }
    }

    fn violate(&mut self, kind: Kind, client: Option<usize>, room: usize, seq: i64) {
        self.violations.push(Violation { kind, client, room, seq, key: None });
    }

    fn violate_key(&mut self, kind: Kind, client: Option<usize>, room: usize, seq: i64, key: &str) {
        let key = Some(key.to_owned());
        self.violations.push(Violation { kind, client, room, seq, key });
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind)?;
        if let Some(client) = self.client {
            write!(f, "client {client}, ")?;
        }
        write!(f, "room {}, seq {}", self.room, self.seq)?;
        if let Some(key) = &self.key {
            write!(f, ", key {key}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::OutOfOrder => "out of order",
            Self::Altered => "not what the database has",
            Self::Unkept => "acknowledged, but not stored once in one place",
            Self::Hole => "the log has a hole or goes beyond its head",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: usize = 17;
    const HEAD: i64 = 6;

    fn entry(seq: i64) -> Entry {
        let id = Uuid::from_u128(seq.unsigned_abs().into());
        // The first event of a room is no message.
        if seq == 1 { Entry::Other } else { Entry::Message { id, key: format!("k{seq}").into() } }
    }

    fn logs() -> Vec<Log> {
        let entries = (1..=HEAD).map(|seq| (seq, entry(seq))).collect();
        vec![Log { head: HEAD, entries }]
    }

    fn event(seq: i64) -> Heard {
        Heard::Event { seq, entry: entry(seq) }
    }

    /// A client that began after the first event.
    fn record(heard: impl IntoIterator<Item = Heard>) -> Record {
        let mut journal = Journal::new(0, "room:x");
        journal.begin = Some(1);
        journal.heard = heard.into_iter().collect();
        Record::new(CLIENT, vec![journal])
    }

    fn acknowledgement(key: i64, seq: i64) -> Acknowledgement {
        let id = Uuid::from_u128(key.unsigned_abs().into());
        Acknowledgement { key: format!("k{key}"), room: 0, seq, id }
    }

    fn found(logs: &[Log], record: &Record) -> Vec<(Kind, i64)> {
        let mut oracle = Oracle::new(logs);
        oracle.judge(record);
        oracle.violations.iter().map(|violation| (violation.kind, violation.seq)).collect()
    }

    fn found_in(heard: impl IntoIterator<Item = i64>) -> Vec<(Kind, i64)> {
        found(&logs(), &record(heard.into_iter().map(event)))
    }

    #[test]
    fn a_client_that_was_given_everything_once_in_order_is_content() {
        let logs = logs();
        let mut record = record((2..=HEAD).map(event));
        record.acknowledged = vec![acknowledgement(3, 3), acknowledgement(3, 3)];

        let mut oracle = Oracle::new(&logs);
        oracle.judge(&record);

        assert_eq!(oracle.violations, []);
        assert_eq!((oracle.delivered, oracle.acknowledged(), oracle.gaps.len()), (5, 1, 0));
    }

    #[test]
    fn what_is_missing_in_the_middle_or_at_the_end_is_lost() {
        assert_eq!(found_in([2, 3, 5, 6]), [(Kind::Lost, 4)]);
        assert_eq!(found_in([2, 3]), [(Kind::Lost, 4), (Kind::Lost, 5), (Kind::Lost, 6)]);
    }

    #[test]
    fn what_comes_twice_is_doubled_and_what_comes_late_is_out_of_order() {
        assert_eq!(found_in([2, 3, 4, 3, 5, 6]), [(Kind::Doubled, 3)]);
        assert_eq!(found_in([1, 2, 3, 4, 5, 6]), [(Kind::Doubled, 1)]);
        assert_eq!(found_in([2, 4, 3, 5, 6]), [(Kind::OutOfOrder, 3)]);
        let late_twice = [(Kind::OutOfOrder, 3), (Kind::Doubled, 3)];
        assert_eq!(found_in([2, 4, 3, 3, 5, 6]), late_twice);
    }

    #[test]
    fn a_jump_is_accepted_only_as_far_as_it_was_announced() {
        let gap = |have, head| Heard::Gap(Gap { have, first: 1, head });

        let announced = record([event(2), gap(2, 5), event(6)]);
        assert_eq!(found(&logs(), &announced), []);

        let too_far = record([event(2), gap(2, 4), event(6)]);
        assert_eq!(found(&logs(), &too_far), [(Kind::Lost, 5)]);

        let of_another_position = record([event(2), gap(4, 5), event(6)]);
        let before = [(Kind::Lost, 3), (Kind::Lost, 4)];
        assert_eq!(found(&logs(), &of_another_position), before);
    }

    #[test]
    fn an_event_that_is_not_the_databases_is_found() {
        let mut heard: Vec<_> = (2..=HEAD).map(event).collect();
        heard[1] = Heard::Event { seq: 3, entry: entry(9) };
        assert_eq!(found(&logs(), &record(heard)), [(Kind::Altered, 3)]);

        assert_eq!(found_in(2..=HEAD + 1), [(Kind::Altered, HEAD + 1)]);
        assert_eq!(found_in([2, 3, 4, 5, 6, i64::MAX]), [(Kind::Altered, i64::MAX)]);
    }

    #[test]
    fn an_acknowledged_send_must_be_stored_where_it_was_said_to_be() {
        let acknowledged = |acknowledged: &[(i64, i64)]| {
            let mut record = record((2..=HEAD).map(event));
            record.acknowledged =
                acknowledged.iter().map(|(key, seq)| acknowledgement(*key, *seq)).collect();
            found(&logs(), &record)
        };

        assert_eq!(acknowledged(&[(4, 4)]), []);
        assert_eq!(acknowledged(&[(9, 9)]), [(Kind::Unkept, 9)]);
        assert_eq!(acknowledged(&[(4, 5)]), [(Kind::Unkept, 5)]);
        assert_eq!(acknowledged(&[(4, 4), (4, 5)]), [(Kind::Unkept, 5)]);
    }

    #[test]
    fn a_log_with_a_hole_or_a_key_stored_twice_is_found() {
        let nobody = Record::new(CLIENT, Vec::new());
        let mut logs = logs();
        logs[0].entries.remove(&4);
        assert_eq!(found(&logs, &nobody), [(Kind::Hole, 4)]);

        logs[0].entries.insert(4, Entry::Other);
        logs[0].entries.insert(HEAD + 1, Entry::Other);
        assert_eq!(found(&logs, &nobody), [(Kind::Hole, HEAD + 1)]);

        logs[0].entries.remove(&(HEAD + 1));
        logs.push(Log { head: 1, entries: HashMap::from([(1, entry(3))]) });
        assert_eq!(found(&logs, &nobody), [(Kind::Unkept, 1)]);
    }

    #[test]
    fn a_violation_names_client_room_and_number() {
        let logs = logs();
        let mut oracle = Oracle::new(&logs);
        oracle.judge(&record([2, 3, 4, 6].map(event)));

        let told: Vec<_> = oracle.violations.iter().map(ToString::to_string).collect();

        assert_eq!(told, ["lost: client 17, room 0, seq 5"]);
        assert_eq!((oracle.count(Kind::Lost), oracle.count(Kind::Doubled)), (1, 0));
    }
}
