//! The socket: `GET /v1/chat/socket`, subprotocol `madang.v1.json`.
//!
//! Read [`protocol`] (what is said), [`outbox`] (what waits to be written), [`transport`]
//! (how a TCP stream becomes a socket), [`connection`] (one client's life) and [`operations`] (what it may ask for).

pub mod connection;
pub mod operations;
pub mod outbox;
pub mod protocol;
pub mod transport;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::accounts::Accounts;
use crate::accounts::revocations::Revocations;
use crate::actors::room::Rooms;
use crate::config::Config;
use crate::http::gateway::Limiters;
use crate::http::server::load::Load;
use crate::http::server::seats::Seats;
use crate::providers::tokens::AccessTokens;
use crate::store::Store;

/// What every connection of the node needs; shared by all of them.
pub struct SocketDeps {
    pub config: Arc<Config>,
    pub accounts: Arc<Accounts>,
    pub tokens: Arc<AccessTokens>,
    pub revocations: Revocations,
    pub rooms: Rooms,
    pub store: Store,
    /// False once the node is on its way out: new sockets are refused.
    pub accepting: Arc<AtomicBool>,
    pub seats: Seats,
    /// What this worker carries: a socket goes on counting where its request ends.
    pub load: Load,
    /// Those of the gateway: a handshake is a request like any other.
    pub limiters: Limiters,
}
