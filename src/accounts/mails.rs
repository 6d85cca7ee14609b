//! The mails that accounts send, in words. Each carries at most one token, and no link: which app answers is not ours.

use secrecy::{ExposeSecret, SecretString};

use crate::domain::accounts::EmailAddress;
use crate::providers::mail::{Mail, MailKind};

pub(super) fn verify_email(to: EmailAddress, token: &SecretString) -> Mail {
    Mail {
        to,
        subject: "Confirm your e-mail address".to_owned(),
        text: format!(
            "Somebody, most likely you, opened an account with this address.\n\
             To confirm it, enter this code in the app within 24 hours:\n\n{}\n\n\
             If it was not you, ignore this mail.\n",
            token.expose_secret(),
        ),
        kind: MailKind::VerifyEmail,
    }
}

pub(super) fn reset_password(to: EmailAddress, token: &SecretString) -> Mail {
    Mail {
        to,
        subject: "Choose a new password".to_owned(),
        text: format!(
            "Somebody, most likely you, asked for a new password for this address.\n\
             To choose one, enter this code in the app within 30 minutes:\n\n{}\n\n\
             If it was not you, ignore this mail: your password stays as it is.\n",
            token.expose_secret(),
        ),
        kind: MailKind::ResetPassword,
    }
}

pub(super) fn password_changed(to: EmailAddress) -> Mail {
    Mail {
        to,
        subject: "Your password was changed".to_owned(),
        text: "The password of your account was changed, and other devices were logged out.\n\
               If it was not you, ask for a new password in the app at once.\n"
            .to_owned(),
        kind: MailKind::PasswordChanged,
    }
}
