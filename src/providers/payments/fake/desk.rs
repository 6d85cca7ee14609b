//! Serves calls at the fake provider: which fault strikes, whether a call was made before, and what comes back.

use std::path::Path;
use std::time::Duration;

use super::books::Books;
use super::diary::{Diary, DiaryError, Entry, Line};
use super::faults::{Fault, Faults, Moment, Operation};
use super::kept::Kept;
use super::wire::{IN_PROGRESS, Reply, Request, unanswered};
use crate::domain::time::Timestamp;
use crate::domain::workflows::EffectKey;
use crate::providers::payments::{Capabilities, LookUp, SettlementPage};

/// Answers that are remembered; the oldest go.
const ANSWERS_MAX: usize = 50_000;
/// Calls that wait to be done; any more are never done.
const LATE_MAX: usize = 10_000;

pub(super) struct Desk {
    pub(super) books: Books,
    pub(super) faults: Faults,
    /// How long a call is known by its key; `None` where keys mean nothing.
    idempotent_for: Option<Duration>,
    answers: Kept<(Operation, EffectKey), (Timestamp, Reply)>,
    late: Vec<Late>,
    /// Where everything that changes something is written down before it is done.
    diary: Option<Diary>,
}

/// A call that nobody has answered, and that is done when it is due.
struct Late {
    due: Timestamp,
    request: Request,
    key: EffectKey,
    /// Whether look-ups show that it is under way.
    is_shown: bool,
}

impl Desk {
    pub(super) fn new(capabilities: Capabilities, faults: Faults) -> Self {
        Self {
            books: Books::new(capabilities),
            faults,
            idempotent_for: capabilities.idempotent_for,
            answers: Kept::new(ANSWERS_MAX),
            late: Vec::new(),
            diary: None,
        }
    }

    /// Does again what a diary says, and goes on writing there.
    pub(super) fn keep(&mut self, path: &Path) -> Result<(), DiaryError> {
        self.diary = Some(Diary::open(path, |line| self.replay(line))?);
        Ok(())
    }

    /// Serves a call; `fault` strikes it, or else what is planned.
    pub(super) fn serve(
        &mut self,
        request: &Request,
        key: &EffectKey,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Reply {
        self.catch_up(now);
        let amount = self.books.amount_of(request).map(|amount| (amount, key));
        let fault = fault.or_else(|| self.faults.next(request.operation(), amount));
        let entry = Entry::Call { request: request.clone(), key: key.as_str().to_owned(), fault };
        if !self.write(entry, now) {
            return Reply::ServerError;
        }
        self.act(request, key, fault, now)
    }

    /// Writes down what is about to be done. Without a diary there is nothing to do.
    pub(super) fn write(&mut self, entry: Entry, now: Timestamp) -> bool {
        let Some(diary) = &mut self.diary else { return true };
        let written = diary.write(&Line { at: now.millis(), entry });
        if let Err(error) = &written {
            tracing::error!(%error, "the fake provider cannot write its diary");
        }
        written.is_ok()
    }

    fn replay(&mut self, line: Line) {
        let now = Timestamp::from_millis(line.at);
        self.catch_up(now);
        // What came of it was told then, or nobody was there to hear it.
        match line.entry {
            Entry::Call { request, key, fault } => {
                let Some(key) = EffectKey::parse(&key) else { return };
                if fault.is_some() {
                    self.faults.remember(request.operation(), &key);
                }
                let _ = self.act(&request, &key, fault, now);
            }
            Entry::Paid { order, is_by_deposit } => {
                let _ = self.books.pay(&order, is_by_deposit, now);
            }
            Entry::Refused { order, code } => {
                let _ = self.books.refuse_payer(&order, code, now);
            }
            Entry::Deposited { order } => {
                let _ = self.books.deposit(&order, now);
            }
            Entry::Disputed { order, amount } => {
                let _ = self.books.dispute(&order, amount, None, now);
            }
            Entry::Decided { dispute, status } => {
                let _ = self.books.decide(&dispute, status, now);
            }
            Entry::Told { count } => self.books.forget_webhooks(count),
        }
    }

    fn act(
        &mut self,
        request: &Request,
        key: &EffectKey,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Reply {
        match fault {
            Some(Fault::Lost(loss, Moment::Before)) => Reply::lost(loss),
            Some(Fault::Misconfigured) => Reply::Unauthorized,
            Some(Fault::Late(wait)) => {
                self.put_off(request, key, (now.plus(wait), false));
                Reply::Silence
            }
            Some(Fault::Slow(wait)) => {
                self.put_off(request, key, (now.plus(wait), true));
                Reply::Refused(IN_PROGRESS)
            }
            Some(Fault::Declined(code)) => {
                self.once(request, key, now, |books| books.refuse(request, code, now))
            }
            fault => self.perform(request, key, fault, now),
        }
    }

    /// Answers a question that changes nothing.
    pub(super) fn look_up<T>(
        &mut self,
        now: Timestamp,
        find: impl FnOnce(&Books) -> LookUp<T>,
    ) -> LookUp<T> {
        self.catch_up(now);
        match self.faults.next(Operation::LookUp, None) {
            Some(_) => unanswered(),
            None => find(&self.books),
        }
    }

    /// Does what was put off until now.
    pub(super) fn catch_up(&mut self, now: Timestamp) {
        let mut due: Vec<Late> = self.late.extract_if(.., |late| late.due <= now).collect();
        due.sort_by_key(|late| late.due);
        for Late { due, request, key, .. } in due {
            self.once(&request, &key, due, |books| books.perform(&request, &key, None, due));
        }
        self.books.decide_due(now);
    }

    /// What is paid on a day, but for what nobody answers.
    pub(super) fn settle(
        &mut self,
        day: &str,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<SettlementPage, String> {
        self.catch_up(now);
        if self.faults.next(Operation::List, None).is_some() {
            return Err("the provider did not answer in time".to_owned());
        }
        let mut page = self.books.journal.settled(day, cursor)?;
        page.items = page.items.into_iter().filter_map(|it| self.faults.settled(it)).collect();
        Ok(page)
    }

    fn perform(
        &mut self,
        request: &Request,
        key: &EffectKey,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Reply {
        let before = self.books.before(request);
        let reply = self.once(request, key, now, |books| books.perform(request, key, fault, now));
        match fault {
            Some(Fault::Lost(loss, _)) => Reply::lost(loss),
            Some(Fault::Hidden(wait)) => {
                self.books.hide(request, before, now.plus(wait));
                Reply::Silence
            }
            Some(Fault::Mute(wait)) => {
                self.books.mute(request, now.plus(wait));
                Reply::Silence
            }
            Some(_) | None => reply,
        }
    }

    /// Does a call, unless it is known by its key.
    fn once(
        &mut self,
        request: &Request,
        key: &EffectKey,
        now: Timestamp,
        act: impl FnOnce(&mut Books) -> Reply,
    ) -> Reply {
        let known = request.known_by(key);
        if let Some(term) = self.idempotent_for {
            if let Some((at, reply)) = self.answers.get(&known)
                && now.since(*at) < term
            {
                return reply.clone();
            }
            if self.is_put_off(request, key) {
                return Reply::Refused(IN_PROGRESS);
            }
        }
        let reply = act(&mut self.books);
        self.answers.insert(known, (now, reply.clone()));
        reply
    }

    /// Whether a charge is being given back, and look-ups show it.
    pub(super) fn is_giving_back(&self, provider_key: &str) -> bool {
        let is_it = |it: &Request| it.operation() == Operation::Cancel;
        let of_it = |it: &Request| it.charge().is_some_and(|key| key == provider_key);
        self.late.iter().any(|late| late.is_shown && is_it(&late.request) && of_it(&late.request))
    }

    fn put_off(&mut self, request: &Request, key: &EffectKey, (due, is_shown): (Timestamp, bool)) {
        let is_known = self.idempotent_for.is_some()
            && (self.answers.get(&request.known_by(key)).is_some()
                || self.is_put_off(request, key));
        if !is_known && self.late.len() < LATE_MAX {
            let (request, key) = (request.clone(), key.clone());
            self.late.push(Late { due, request, key, is_shown });
        }
    }

    fn is_put_off(&self, request: &Request, key: &EffectKey) -> bool {
        let known = request.known_by(key);
        self.late.iter().any(|late| late.request.known_by(&late.key) == known)
    }
}
