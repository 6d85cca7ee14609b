//! Reports as rows: what members tell of messages, and what administrators decide.
//!
//! Invariant: a report is decided once, in the transaction of what is done; what the message had said is kept until then.

use serde_json::{Value, json};
use uuid::Uuid;

use super::audit::{Deed, record};
use super::messages::{ReadError, attachments_in, find_facts, require_member};
use super::{
    Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional, message_images, outbox,
};
use crate::clock;
use crate::domain::audit::{Action, Target};
use crate::domain::events::{DomainEvent, MESSAGE_EVENTS};
use crate::domain::ids::{MessageId, ReportId, RoomId, UserId};
use crate::domain::message_reports::{
    REPORTS_OPEN_MAX, Removal, ReportError, ReportOutcome, ReportStatus, may_resolve,
};
use crate::domain::messages::{Attachment, MessageRef};
use crate::domain::rooms::{MessageFacts, RoomError, RoomKind, Seq};
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;

/// What a member tells.
#[derive(Debug, Clone)]
pub struct NewReport {
    pub room: RoomId,
    pub message: MessageRef,
    pub reporter: UserId,
    pub reason: Reason,
}

/// A report as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub id: ReportId,
    pub status: ReportStatus,
    pub room: ReportedRoom,
    pub message: MessageId,
    pub seq: Seq,
    pub sender: Named,
    pub reporter: Named,
    pub reason: String,
    /// What the message had said; `None` once it is decided.
    pub body: Option<String>,
    /// What was attached to it; nothing once it is decided.
    pub attachments: Vec<Attachment>,
    pub is_deleted: bool,
    pub created_at: Timestamp,
    pub resolved: Option<Resolved>,
}

/// Where it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedRoom {
    pub id: RoomId,
    pub kind: RoomKind,
    pub name: Option<String>,
}

/// Somebody, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub id: UserId,
    pub handle: String,
    pub display_name: String,
}

/// Who has decided, when, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub at: Timestamp,
    pub by: UserId,
    pub reason: String,
}

/// Why nothing is reported or decided.
#[derive(Debug, thiserror::Error)]
pub enum ReportsError {
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for ReportsError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Room(error) => Self::Room(error),
            ReadError::Store(error) => Self::Store(error),
        }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    status: String,
    room_id: Uuid,
    kind: String,
    name: Option<String>,
    message_id: Uuid,
    seq: i64,
    sender_id: Uuid,
    sender_handle: String,
    sender_name: String,
    reporter_id: Uuid,
    reporter_handle: String,
    reporter_name: String,
    reason: String,
    body: Option<String>,
    extras: Option<String>,
    is_deleted: bool,
    created_at: i64,
    resolved_at: Option<i64>,
    resolved_by: Option<Uuid>,
    resolution: Option<String>,
}

impl Row {
    /// `None` where a later release has decided something that this one does not know.
    fn into_report(self) -> Option<Report> {
        let named = |id: Uuid, handle, display_name| Named { id: id.into(), handle, display_name };
        let resolved = match (self.resolved_at, self.resolved_by, self.resolution) {
            (Some(at), Some(by), Some(reason)) => {
                Some(Resolved { at: Timestamp::from_millis(at), by: by.into(), reason })
            }
            _ => None,
        };
        Some(Report {
            id: self.id.into(),
            status: ReportStatus::parse(&self.status)?,
            room: ReportedRoom {
                id: self.room_id.into(),
                kind: RoomKind::parse(&self.kind).unwrap_or(RoomKind::Group),
                name: self.name,
            },
            message: self.message_id.into(),
            seq: self.seq,
            sender: named(self.sender_id, self.sender_handle, self.sender_name),
            reporter: named(self.reporter_id, self.reporter_handle, self.reporter_name),
            reason: self.reason,
            body: self.body,
            attachments: attachments_in(self.extras),
            is_deleted: self.is_deleted,
            created_at: Timestamp::from_millis(self.created_at),
            resolved,
        })
    }
}

macro_rules! select_report {
    ($condition:literal) => {
        concat!(
            "SELECT r.id, r.status, r.room_id, o.kind, o.name, r.message_id, r.seq, r.sender_id,
                    s.handle AS sender_handle, s.display_name AS sender_name, r.reporter_id,
                    t.handle AS reporter_handle, t.display_name AS reporter_name, r.reason, r.body,
                    r.extras, m.deleted_at IS NOT NULL AS is_deleted, r.created_at, r.resolved_at,
                    r.resolved_by, r.resolution
             FROM message_reports r
             JOIN rooms o ON o.id = r.room_id
             JOIN users s ON s.id = r.sender_id
             JOIN users t ON t.id = r.reporter_id
             JOIN messages m ON m.room_id = r.room_id AND m.seq = r.seq
             WHERE ",
            $condition
        )
    };
}

impl Store {
    /// Takes what a member tells of a message, once; `MessageReported`. Gives when that was first told, and whether it is new.
    ///
    /// # Errors
    /// [`RoomError`] for who is no member, and for a message that is not there, deleted, or their own;
    /// [`ReportError::TooMany`].
    pub async fn insert_message_report(
        &self,
        report: NewReport,
        now: Timestamp,
    ) -> Result<(Timestamp, bool), ReportsError> {
        self.write(move |db| {
            Box::pin(async move {
                require_member(db, report.room, report.reporter).await?;
                let told = find_told(db, &report).await?.ok_or(RoomError::MessageNotFound)?;
                if let Some(before) = find_before(db, told.id, report.reporter).await? {
                    return Ok((before, false));
                }
                if told.is_deleted {
                    return Err(RoomError::MessageDeleted.into());
                }
                if told.sender == report.reporter {
                    return Err(RoomError::Oneself.into());
                }
                if count_open_of(db, report.reporter).await? >= REPORTS_OPEN_MAX {
                    return Err(ReportError::TooMany.into());
                }
                if insert(db, &report, &told, now).await? {
                    return Ok((now, true));
                }
                // The same at the same moment.
                let before = find_before(db, told.id, report.reporter).await?;
                Ok((before.unwrap_or(now), false))
            })
        })
        .await
    }

    /// Reports from before `before`, the newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_message_reports(
        &self,
        status: Option<ReportStatus>,
        before: Option<ReportId>,
        limit: i64,
    ) -> Result<Vec<Report>, StoreError> {
        let before = before.map_or(Uuid::max(), ReportId::uuid);
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    match status {
                        Some(status) => fetch_all!(
                            db,
                            Row,
                            select_report!(
                                "r.status = $1 AND r.id < $2 ORDER BY r.id DESC LIMIT $3"
                            ),
                            status.as_str(),
                            before,
                            limit,
                        ),
                        None => fetch_all!(
                            db,
                            Row,
                            select_report!("r.id < $1 ORDER BY r.id DESC LIMIT $2"),
                            before,
                            limit,
                        ),
                    }
                })
            })
            .await?;
        Ok(rows.into_iter().filter_map(Row::into_report).collect())
    }

    /// One report.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_message_report(&self, id: ReportId) -> Result<Option<Report>, StoreError> {
        let row = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(
                    async move { fetch_optional!(db, Row, select_report!("r.id = $1"), id.uuid()) },
                )
            })
            .await?;
        Ok(row.and_then(Row::into_report))
    }

    /// Decides about a report, where nothing is done to the message.
    ///
    /// # Errors
    /// [`ReportError::NotFound`], [`ReportError::Resolved`], [`ReportError::OwnDecision`].
    pub async fn resolve_message_report(
        &self,
        id: ReportId,
        outcome: ReportOutcome,
        (by, reason): (UserId, Reason),
        now: Timestamp,
    ) -> Result<(), ReportsError> {
        self.write(move |db| {
            Box::pin(async move {
                let Locked { status, sender, place } =
                    lock(db, id).await?.ok_or(ReportError::NotFound)?;
                may_resolve(status, sender, by)?;
                execute!(
                    db,
                    "UPDATE message_reports
                     SET status = $2, resolved_at = $3, resolved_by = $4, resolution = $5,
                         body = NULL, extras = NULL
                     WHERE id = $1",
                    id.uuid(),
                    outcome.status().as_str(),
                    now.millis(),
                    by.uuid(),
                    reason.as_str(),
                )?;
                message_images::drop_of_message(db, place.0, place.1, now).await?;
                let deed = deed(id, (by, &reason), json!({ "status": outcome.status().as_str() }));
                Ok(record(db, &deed, now).await?)
            })
        })
        .await
    }
}

/// Decides about every open report of the message that an administrator removes, in the transaction in which it goes. Gives
/// whether the one that they name was still open; nothing was done otherwise.
pub(super) async fn resolve_by_removal(
    db: &mut Db,
    removal: &Removal,
    (room, seq): (RoomId, Seq),
    by: UserId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let named = lock(db, removal.report).await?;
    let is_due = named.is_some_and(|named| may_resolve(named.status, named.sender, by).is_ok());
    if !is_due {
        return Ok(false);
    }
    let resolved = execute!(
        db,
        "UPDATE message_reports
         SET status = 'message_deleted', resolved_at = $3, resolved_by = $4, resolution = $5,
             body = NULL, extras = NULL
         WHERE room_id = $1 AND seq = $2 AND status = 'open'",
        room.uuid(),
        seq,
        now.millis(),
        by.uuid(),
        removal.reason.as_str(),
    )?;
    // Of one that its sender has deleted meanwhile.
    message_images::drop_of_message(db, room, seq, now).await?;
    let after = json!({
        "status": ReportStatus::MessageDeleted.as_str(),
        "room_id": room,
        "seq": seq,
        "reports": resolved,
    });
    record(db, &deed(removal.report, (by, &removal.reason), after), now).await?;
    Ok(true)
}

fn deed(id: ReportId, (by, reason): (UserId, &Reason), after: Value) -> Deed<'_> {
    Deed {
        by,
        action: Action::ReportResolved,
        target: Target::Report(id),
        reason: Some(reason),
        before: json!({ "status": ReportStatus::Open.as_str() }),
        after,
    }
}

/// A message that somebody tells of.
struct Told {
    id: MessageId,
    seq: Seq,
    sender: UserId,
    body: String,
    extras: Option<String>,
    is_deleted: bool,
}

async fn find_told(db: &mut Db, report: &NewReport) -> Result<Option<Told>, StoreError> {
    let Some(facts) = find_facts(db, report.room, report.message).await? else { return Ok(None) };
    let (id, body, extras) = fetch_one!(
        db,
        (Uuid, String, Option<String>),
        "SELECT id, body, extras FROM messages WHERE room_id = $1 AND seq = $2",
        report.room.uuid(),
        facts.seq,
    )?;
    let MessageFacts { seq, sender, deleted: is_deleted } = facts;
    Ok(Some(Told { id: id.into(), seq, sender, body, extras, is_deleted }))
}

async fn find_before(
    db: &mut Db,
    message: MessageId,
    reporter: UserId,
) -> Result<Option<Timestamp>, StoreError> {
    let row = fetch_optional!(
        db,
        (i64,),
        "SELECT created_at FROM message_reports WHERE message_id = $1 AND reporter_id = $2",
        message.uuid(),
        reporter.uuid(),
    )?;
    Ok(row.map(|(at,)| Timestamp::from_millis(at)))
}

async fn count_open_of(db: &mut Db, reporter: UserId) -> Result<i64, StoreError> {
    let (count,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM message_reports WHERE reporter_id = $1 AND status = 'open'",
        reporter.uuid(),
    )?;
    Ok(count)
}

async fn insert(
    db: &mut Db,
    report: &NewReport,
    told: &Told,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let id = ReportId::from(clock::new_uuid());
    let inserted = execute!(
        db,
        "INSERT INTO message_reports
             (id, room_id, seq, message_id, sender_id, reporter_id, reason, body, extras, status,
              created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'open', $10)
         ON CONFLICT (message_id, reporter_id) DO NOTHING",
        id.uuid(),
        report.room.uuid(),
        told.seq,
        told.id.uuid(),
        told.sender.uuid(),
        report.reporter.uuid(),
        report.reason.as_str(),
        told.body.as_str(),
        told.extras.as_deref(),
        now.millis(),
    )?;
    if inserted == 0 {
        return Ok(false);
    }
    let event = DomainEvent {
        id: clock::new_uuid().into(),
        topic: MESSAGE_EVENTS,
        name: "MessageReported",
        subject: report.room.to_string(),
        at: now,
        data: json!({
            "report_id": id, "room_id": report.room, "message_id": told.id, "seq": told.seq,
        }),
    };
    outbox::append(db, &event).await?;
    Ok(true)
}

/// A report that is locked until the transaction ends.
struct Locked {
    status: ReportStatus,
    /// Who wrote the message, and where.
    sender: UserId,
    place: (RoomId, Seq),
}

async fn lock(db: &mut Db, id: ReportId) -> Result<Option<Locked>, StoreError> {
    let select = db.dialect(
        "SELECT status, sender_id, room_id, seq FROM message_reports WHERE id = $1",
        "SELECT status, sender_id, room_id, seq FROM message_reports WHERE id = $1 FOR UPDATE",
    );
    let row = fetch_optional!(db, (String, Uuid, Uuid, i64), select, id.uuid())?;
    Ok(row.map(|(status, sender, room, seq)| Locked {
        // What this release does not know is decided.
        status: ReportStatus::parse(&status).unwrap_or(ReportStatus::Handled),
        sender: sender.into(),
        place: (room.into(), seq),
    }))
}
