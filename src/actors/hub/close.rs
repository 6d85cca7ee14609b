//! Close codes as data: the hundreds tell the client what to do; `docs/api.md` has the table.

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// 40xx: reconnect at once and resume.
    Draining,
    /// 41xx: back off with full jitter.
    Internal,
    SlowReader,
    NoPong,
    RateLimited,
    Overloaded,
    NoHello,
    /// 42xx: get new credentials.
    TokenExpired,
    Revoked,
    /// 43xx: stop.
    BadFrame,
    FrameTooBig,
    TooManyConnections,
    AccountDisabled,
    /// 1000: the client said bye.
    Normal,
}

impl CloseCode {
    /// The number in the close frame.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::Draining => 4000,
            Self::Internal => 4100,
            Self::SlowReader => 4101,
            Self::NoPong => 4102,
            Self::RateLimited => 4103,
            Self::Overloaded => 4104,
            Self::NoHello => 4105,
            Self::TokenExpired => 4200,
            Self::Revoked => 4202,
            Self::BadFrame => 4302,
            Self::FrameTooBig => 4304,
            Self::TooManyConnections => 4306,
            Self::AccountDisabled => 4307,
        }
    }

    /// The stable word beside it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Normal => "bye",
            Self::Draining => "draining",
            Self::Internal => "internal",
            Self::SlowReader => "slow_reader",
            Self::NoPong => "no_pong",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::NoHello => "no_hello",
            Self::TokenExpired => "token_expired",
            Self::Revoked => "revoked",
            Self::BadFrame => "bad_frame",
            Self::FrameTooBig => "frame_too_big",
            Self::TooManyConnections => "too_many_connections",
            Self::AccountDisabled => "account_disabled",
        }
    }

    /// How long the client should wait before it comes back, in milliseconds.
    #[must_use]
    pub const fn after_ms(self) -> Option<u64> {
        match self.number() {
            4000..=4099 => Some(0),
            4100..=4199 => Some(1_000),
            _ => None,
        }
    }
}
