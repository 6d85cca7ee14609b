//! Identifiers: UUIDv7 values that cannot be mistaken for one another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, format = Uuid)]
        pub struct $name(Uuid);

        impl $name {
            /// The bare UUID, as the store binds it.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

ids! {
    /// A person with an account.
    UserId,
    /// A direct room, a group or a public channel.
    RoomId,
    /// A chat message, wherever its number in the room.
    MessageId,
    /// One login of one user.
    SessionId,
    /// One live socket.
    ConnectionId,
    /// One life of one process that serves; another start is another node.
    NodeId,
    /// One domain event in the outbox; consumers drop repeats by it.
    EventId,
    /// One notification of one user, the same however often its cause is looked at.
    NotificationId,
    /// One letter on its way to one address; what goes out carries it, so that receivers can drop repeats.
    DeliveryId,
    /// A browser or an app that takes push messages for a user.
    DeviceId,
    /// An address that domain events are posted to.
    EndpointId,
    /// A key with which another server calls.
    ServiceKeyId,
    /// A picture that somebody uploaded, in all its sizes.
    ImageId,
    /// One account of the ledger; follows from its name and currency.
    AccountId,
    /// Something that happened to money: transfers that stand together. Follows from its key.
    EntryId,
    /// One movement of money from one account to another.
    TransferId,
    /// Work of many steps, in one of its runs.
    WorkflowId,
    /// One try to be paid for an order, with all that becomes of it.
    PaymentId,
    /// A payment as its provider sees it.
    AttemptId,
    /// Money that goes back to a payer, whole or in part.
    RefundId,
    /// Money that a payer's bank wants back.
    DisputeId,
    /// Where a user is paid out to.
    BankAccountId,
    /// Money that a user takes out.
    WithdrawalId,
    /// What was taken out at once to be paid by a bank.
    PayoutFileId,
    /// What a payee has earned in a while, summed up.
    SettlementId,
    /// One line of what people did about money by hand.
    DeedId,
    /// What somebody has seen at a provider of a payment that is conflicted.
    ProposalId,
    /// Money that two people move out of suspense, or into it.
    JournalEntryId,
    /// One comparison of one provider's day.
    ReconRunId,
    /// Something that did not agree, however often it was found.
    ReconBreakId,
    /// What a member has told the administrators of a message.
    ReportId,
}
