//! What clients see of rooms, messages, people and letters: types of their own, so that a change of a row is not a change of
//! the contract.

mod avatar;
mod change;
mod delivery;
mod message;
mod person;
mod refusals;
mod room;

pub use avatar::AvatarSizes;
pub use change::ChangeView;
pub use delivery::{
    AttemptView, DeliveriesQuery, DeliveryDetailsView, DeliveryView, MediaView, MediumView,
    OutboxQuery, ReplayBody, ReplayedView, RouteDownView,
};
pub use message::{MarkerView, MessageView, PinsView, ReactionView, SentView};
pub use person::{FollowView, FriendStateView, FriendView, ListedView, PersonView};
pub use refusals::{ChangeRefusals, ListRefusals, ReadRefusals, RoleRefusals, WriteRefusals};
pub use room::{
    DirectRoomView, LastMessageView, MemberView, PublicRoomView, RoomDetailsView,
    RoomNotificationsView, RoomView,
};
