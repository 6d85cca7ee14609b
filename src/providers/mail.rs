//! Mail: what madang writes to people, and the trait that delivers it.
//!
//! The development default writes each mail into a folder. Invariant: no log line carries an address or a token;
//! only the mail itself does.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde_json::json;
use tokio::runtime::Handle;

use crate::clock;
use crate::domain::accounts::EmailAddress;

/// Why a mail is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailKind {
    VerifyEmail,
    ResetPassword,
    PasswordChanged,
}

impl MailKind {
    /// The stable name in files and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ResetPassword => "reset_password",
            Self::PasswordChanged => "password_changed",
        }
    }
}

/// One mail to one person.
#[derive(Clone)]
pub struct Mail {
    pub to: EmailAddress,
    pub subject: String,
    pub text: String,
    pub kind: MailKind,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error("the mail could not be written: {0}")]
    Io(#[from] io::Error),
    #[error("the runtime that sends mail has stopped")]
    Stopped,
}

/// Delivers mail. `Ok` means the mail has been taken over, not that it was read.
#[async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// # Errors
    /// [`MailError`] when the mail was not taken over; the caller may try again.
    async fn send(&self, mail: Mail) -> Result<(), MailError>;
}

/// Writes each mail as a JSON file into `<data>/outbox/mail`, for development and tests.
#[derive(Debug, Clone)]
pub struct FileMailer {
    folder: PathBuf,
    io: Handle,
}

impl FileMailer {
    /// Takes the data folder and the runtime whose blocking pool writes the files.
    #[must_use]
    pub fn new(data: &Path, io: Handle) -> Self {
        Self { folder: data.join("outbox").join("mail"), io }
    }
}

#[async_trait]
impl Mailer for FileMailer {
    async fn send(&self, mail: Mail) -> Result<(), MailError> {
        let folder = self.folder.clone();
        let kind = mail.kind.name();
        self.io
            .spawn_blocking(move || write(&folder, &mail))
            .await
            .map_err(|_| MailError::Stopped)??;
        tracing::info!(mail.kind = kind, "a mail was written to the outbox folder");
        Ok(())
    }
}

/// Writes beside the final name first, so that whoever watches the folder never reads half a mail.
fn write(folder: &Path, mail: &Mail) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let at = clock::now();
    // A UUIDv7 sorts by time, and so do the files.
    let name = clock::new_uuid();
    let draft = folder.join(format!(".{name}.draft"));
    let letter = json!({
        "kind": mail.kind.name(),
        "to": mail.to.as_str(),
        "subject": mail.subject,
        "text": mail.text,
        "at": at,
    });
    private_file(&draft)?.write_all(format!("{letter:#}\n").as_bytes())?;
    std::fs::rename(&draft, folder.join(format!("{name}.json")))
}

/// A new file that only its owner reads: mails carry tokens.
fn private_file(path: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail() -> Mail {
        Mail {
            to: EmailAddress::parse("jisoo@example.com").unwrap(),
            subject: "Confirm your address".to_owned(),
            text: "token-7".to_owned(),
            kind: MailKind::VerifyEmail,
        }
    }

    #[tokio::test]
    async fn a_mail_becomes_one_whole_file() {
        let data = std::env::temp_dir().join(format!("madang-mail-{}", clock::new_uuid()));
        FileMailer::new(&data, Handle::current()).send(mail()).await.unwrap();

        let files: Vec<_> =
            std::fs::read_dir(data.join("outbox/mail")).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len(), 1);
        let letter: serde_json::Value =
            serde_json::from_slice(&std::fs::read(files[0].path()).unwrap()).unwrap();
        assert_eq!(letter["to"], "jisoo@example.com");
        assert_eq!(letter["kind"], "verify_email");
        std::fs::remove_dir_all(&data).unwrap();
    }

    #[test]
    fn a_mail_in_a_log_names_nobody() {
        let debug = format!("{:?}", mail());

        assert!(!debug.contains("jisoo") && !debug.contains("token-7"));
    }
}
