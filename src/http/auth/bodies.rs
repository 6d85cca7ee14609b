//! What the endpoints of logins take and give, as JSON.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::Grant;
use crate::domain::ids::SessionId;
use crate::domain::time::Timestamp;
use crate::http::users::ProfileView;
use crate::store::sessions::Session;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterBody {
    /// Unique, without case: Latin letters, Hangul syllables, digits, `_`, `.` and `-`.
    #[schema(min_length = 2, max_length = 32, example = "jisoo")]
    pub(super) handle: String,
    #[schema(max_length = 254, format = Email, example = "jisoo@example.com")]
    pub(super) email: String,
    /// Any characters; not a common password, and without the handle or address in it.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 128)]
    pub(super) password: SecretString,
    #[schema(min_length = 1, max_length = 50, example = "지수")]
    pub(super) display_name: String,
    /// A language tag (BCP 47), in which mails are written from the first on.
    #[schema(max_length = 35, example = "ko-KR")]
    pub(super) locale: Option<String>,
    /// A name of the IANA database.
    #[schema(max_length = 64, example = "Asia/Seoul")]
    pub(super) time_zone: Option<String>,
    /// Whether the browser keeps the refresh token, in a cookie that no script can read: for pages of this origin.
    #[serde(default)]
    pub(super) cookie: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginBody {
    /// The handle or the e-mail address.
    #[schema(max_length = 254, example = "jisoo")]
    pub(super) identifier: String,
    #[schema(value_type = String, format = Password, max_length = 128)]
    pub(super) password: SecretString,
    /// Whether the browser keeps the refresh token, in a cookie that no script can read: for pages of this origin.
    #[serde(default)]
    pub(super) cookie: bool,
}

/// What is exchanged: one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshBody {
    #[schema(value_type = Option<String>, min_length = 43, max_length = 43)]
    pub(super) refresh_token: Option<SecretString>,
    /// Takes the token from the cookie, for pages of this origin.
    #[serde(default)]
    pub(super) cookie: bool,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogoutBody {
    /// Names the session where no access token does.
    #[schema(value_type = Option<String>)]
    pub(super) refresh_token: Option<SecretString>,
    /// Ends the session that the cookie names, and clears the cookies, for pages of this origin.
    #[serde(default)]
    pub(super) cookie: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangePasswordBody {
    #[schema(value_type = String, format = Password, max_length = 128)]
    pub(super) current_password: SecretString,
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 128)]
    pub(super) new_password: SecretString,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyEmailBody {
    /// From the mail.
    #[schema(value_type = String, min_length = 43, max_length = 43)]
    pub(super) token: SecretString,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestResetBody {
    #[schema(max_length = 254, format = Email)]
    pub(super) email: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetPasswordBody {
    /// From the mail.
    #[schema(value_type = String, min_length = 43, max_length = 43)]
    pub(super) token: SecretString,
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 128)]
    pub(super) new_password: SecretString,
}

/// A login: who, and the tokens to act with.
#[derive(Serialize, ToSchema)]
pub(super) struct AuthView {
    pub(super) user: ProfileView,
    pub(super) session_id: SessionId,
    /// A JWT for `Authorization: Bearer`.
    pub(super) access_token: String,
    /// Good for one exchange. Null where the browser keeps it.
    pub(super) refresh_token: Option<String>,
    #[schema(example = "Bearer")]
    pub(super) token_type: &'static str,
    /// Seconds until the access token ends.
    pub(super) expires_in: u64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SessionView {
    pub(super) id: SessionId,
    /// Whether this request came from it.
    pub(super) current: bool,
    pub(super) user_agent: String,
    pub(super) ip: String,
    pub(super) created_at: Timestamp,
    pub(super) last_used_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SessionsView {
    pub(super) items: Vec<SessionView>,
    /// Always null: a user has at most 100 sessions.
    pub(super) next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct TicketView {
    /// Opens one socket.
    pub(super) ticket: String,
    /// Seconds until it is worthless.
    pub(super) expires_in: u64,
}

impl AuthView {
    /// Tells the refresh token to those who keep it themselves.
    pub(super) fn new(grant: Grant, refresh_token: Option<String>) -> Self {
        Self {
            user: grant.user.into(),
            session_id: grant.session_id,
            access_token: grant.access_token,
            refresh_token,
            token_type: "Bearer",
            expires_in: grant.expires_in.as_secs(),
        }
    }
}

impl SessionView {
    pub(super) fn new(session: Session, current: SessionId) -> Self {
        Self {
            current: session.id == current,
            id: session.id,
            user_agent: session.user_agent,
            ip: session.ip,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at,
        }
    }
}
