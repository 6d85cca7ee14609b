//! What clients see of rooms and messages: types of their own, so that a change of a row is not a change of the contract.

mod change;
mod message;
mod refusals;
mod room;

pub use change::ChangeView;
pub use message::{MarkerView, MessageView, PinsView, ReactionView, SentView};
pub use refusals::{ChangeRefusals, ReadRefusals, WriteRefusals};
pub use room::{
    DirectRoomView, LastMessageView, MemberView, PublicRoomView, RoomDetailsView, RoomView,
};
