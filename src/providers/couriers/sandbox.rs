//! The sandbox: takes letters of every medium and sends none; each becomes a file below `<data>/outbox/<medium>`.
//!
//! For development and tests. Invariant: a file is written whole, is read by its owner only, and is named by its letter's
//! id, so that a letter that is delivered twice is there once.

use std::fs::{self, DirEntry, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;

use super::{Courier, DeliveryError, Receipt};
use crate::clock;
use crate::domain::letters::{Content, Letter, PushTarget};
use crate::domain::media::Medium;

/// Letters of one medium that are kept; the oldest go.
const KEPT_MAX: usize = 500;
/// How many letters are written before it is looked again how many there are.
const LOOK_AFTER: usize = 50;

/// Writes and reads the files. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sandbox {
    outbox: PathBuf,
    io: Handle,
    written: Arc<AtomicUsize>,
}

impl Sandbox {
    /// Takes the data folder and the runtime whose blocking pool does the work.
    #[must_use]
    pub fn new(data: &Path, io: Handle) -> Self {
        Self { outbox: data.join("outbox"), io, written: Arc::default() }
    }

    /// What is there of a medium, or of all, the newest first, at most `limit`.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub async fn list(&self, medium: Option<Medium>, limit: usize) -> io::Result<Vec<Value>> {
        let outbox = self.outbox.clone();
        self.io.spawn_blocking(move || read(&outbox, medium, limit)).await?
    }

    fn folder(&self, medium: Medium) -> PathBuf {
        self.outbox.join(medium.as_str())
    }
}

#[async_trait]
impl Courier for Sandbox {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    fn route(&self, _: &Letter) -> String {
        "sandbox".to_owned()
    }

    async fn deliver(&self, letter: &Letter) -> Result<Receipt, DeliveryError> {
        let (folder, letter) = (self.folder(letter.medium()), letter.clone());
        let is_look_due =
            self.written.fetch_add(1, Ordering::Relaxed).checked_rem(LOOK_AFTER) == Some(0);
        let writing = self.io.spawn_blocking(move || {
            write(&folder, &letter)?;
            if is_look_due { delete_oldest(&folder) } else { Ok(()) }
        });
        let written = writing.await.map_err(io::Error::from).flatten();
        written.map_err(|error| DeliveryError::Unavailable {
            cause: format!("the outbox folder cannot be written: {}", error.kind()),
            retry_after: None,
        })?;
        Ok(Receipt::default())
    }
}

/// What the letter says, as a developer reads it: nothing is left out.
fn described(letter: &Letter) -> Value {
    let mut fields = Map::new();
    fields.insert("kind".to_owned(), json!(letter.kind));
    let said = match &letter.content {
        Content::Mail(mail) => json!({
            "to": mail.to.as_str(), "subject": mail.subject, "text": mail.text,
            "html": mail.html, "unsubscribe_url": mail.unsubscribe_url,
        }),
        Content::Sms(sms) => json!({ "to": sms.to.as_str(), "text": sms.text }),
        Content::Push(push) => json!({
            "to": match &push.target {
                PushTarget::WebPush { endpoint, .. } => endpoint.as_str(),
                PushTarget::Fcm { token } => token.expose_secret(),
            },
            "subject": push.title, "text": push.body, "data": push.data,
            "collapse_key": push.collapse_key, "ttl_s": push.ttl.as_secs(),
            "is_urgent": push.is_urgent,
        }),
        Content::Webhook(webhook) => json!({ "to": webhook.url, "text": webhook.body }),
    };
    if let Value::Object(said) = said {
        fields.extend(said);
    }
    fields.insert("at".to_owned(), json!(clock::now()));
    fields.insert("id".to_owned(), json!(letter.id));
    fields.insert("medium".to_owned(), json!(letter.medium()));
    Value::Object(fields)
}

/// Writes beside the final name first, so that whoever watches the folder never reads half a letter.
fn write(folder: &Path, letter: &Letter) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let draft = folder.join(format!(".{}.draft", clock::new_uuid()));
    let text = format!("{:#}\n", described(letter));
    private_file(&draft)?.write_all(text.as_bytes())?;
    fs::rename(&draft, folder.join(format!("{}.json", letter.id)))
}

/// A new file that only its owner reads: letters carry tokens.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn delete_oldest(folder: &Path) -> io::Result<()> {
    let mut letters = letters(folder)?;
    let surplus = letters.len().saturating_sub(KEPT_MAX);
    if surplus == 0 {
        return Ok(());
    }
    letters.sort_by_cached_key(|letter| letter.metadata().and_then(|it| it.modified()).ok());
    for letter in letters.iter().take(surplus) {
        // Somebody may have cleared the folder meanwhile.
        let _ = fs::remove_file(letter.path());
    }
    Ok(())
}

fn letters(folder: &Path) -> io::Result<Vec<DirEntry>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries.collect::<io::Result<Vec<DirEntry>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let is_letter = |entry: &DirEntry| entry.path().extension().is_some_and(|it| it == "json");
    Ok(entries.into_iter().filter(is_letter).collect())
}

fn read(outbox: &Path, medium: Option<Medium>, limit: usize) -> io::Result<Vec<Value>> {
    let mut found = Vec::new();
    for medium in Medium::OUTWARD.into_iter().filter(|it| medium.is_none_or(|only| only == *it)) {
        for entry in letters(&outbox.join(medium.as_str()))? {
            // One that was just cleared away, or that somebody has edited, is left out.
            let Ok(bytes) = fs::read(entry.path()) else { continue };
            let Ok(Value::Object(mut letter)) = serde_json::from_slice(&bytes) else { continue };
            let path = entry.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            letter.entry("id").or_insert_with(|| json!(id));
            letter.entry("medium").or_insert_with(|| json!(medium));
            found.push(letter);
        }
    }
    let key = |letter: &Map<String, Value>, name: &str| {
        letter.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    found.sort_by_cached_key(|letter| (key(letter, "at"), key(letter, "id")));
    Ok(found.into_iter().rev().take(limit).map(Value::Object).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::SecretString;
    use uuid::Uuid;

    use super::*;
    use crate::domain::accounts::EmailAddress;
    use crate::domain::letters::{
        MailContent, PhoneNumber, PushContent, SmsContent, WebhookContent,
    };
    use crate::domain::time::Timestamp;

    fn mail(id: u128, subject: &str) -> Letter {
        let content = Content::Mail(MailContent {
            to: EmailAddress::parse("jisoo@example.com").unwrap(),
            subject: subject.to_owned(),
            text: "token-7".to_owned(),
            html: Some("<p>token-7</p>".to_owned()),
            unsubscribe_url: None,
        });
        Letter { id: Uuid::from_u128(id).into(), kind: "welcome".to_owned(), content }
    }

    fn sandbox() -> (Sandbox, PathBuf) {
        let data = std::env::temp_dir().join(format!("madang-sandbox-{}", clock::new_uuid()));
        (Sandbox::new(&data, Handle::current()), data)
    }

    #[tokio::test]
    async fn a_letter_that_is_delivered_twice_is_there_once_for_its_owner_alone() {
        let (sandbox, data) = sandbox();
        sandbox.deliver(&mail(7, "first")).await.unwrap();
        sandbox.deliver(&mail(7, "again")).await.unwrap();

        let files = letters(&data.join("outbox/mail")).unwrap();
        let [file] = files.as_slice() else { panic!("{files:?}") };
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let listed = sandbox.list(None, 10).await.unwrap();
        assert_eq!(listed[0]["subject"], "again");
        assert_eq!(listed[0]["to"], "jisoo@example.com");
        assert_eq!(listed[0]["id"], json!(Uuid::from_u128(7)));
        assert_eq!(listed.len(), 1);
        fs::remove_dir_all(&data).unwrap();
    }

    #[tokio::test]
    async fn every_medium_has_a_folder_and_the_newest_comes_first() {
        let (sandbox, data) = sandbox();
        assert_eq!(sandbox.list(None, 10).await.unwrap(), Vec::<Value>::new());
        let sms = SmsContent {
            to: PhoneNumber::parse("+821012345678").unwrap(),
            text: "code 123456".to_owned(),
        };
        let push = PushContent {
            target: PushTarget::Fcm { token: SecretString::from("device-1") },
            title: "마당".to_owned(),
            body: "hello".to_owned(),
            data: json!({ "room": 1 }),
            collapse_key: None,
            ttl: Duration::from_secs(60),
            is_urgent: true,
        };
        let webhook = WebhookContent {
            url: "https://example.com/hook".to_owned(),
            keys: vec![SecretString::from("key")],
            at: Timestamp::from_millis(0),
            body: "{}".to_owned(),
        };
        let contents = [Content::Sms(sms), Content::Push(push), Content::Webhook(webhook)];
        for (id, content) in (1..).zip(contents) {
            let letter = Letter { id: Uuid::from_u128(id).into(), kind: "k".to_owned(), content };
            sandbox.deliver(&letter).await.unwrap();
        }

        let listed = sandbox.list(None, 2).await.unwrap();
        let media: Vec<&Value> = listed.iter().map(|letter| &letter["medium"]).collect();
        assert_eq!(media, ["webhook", "push"]);
        assert!(!listed[0].to_string().contains("\"key\""), "no secret of the endpoint");
        let sms = sandbox.list(Some(Medium::Sms), 10).await.unwrap();
        assert_eq!((sms.len(), &sms[0]["text"]), (1, &json!("code 123456")));
        fs::remove_dir_all(&data).unwrap();
    }

    #[test]
    fn only_so_many_are_kept() {
        let folder = std::env::temp_dir().join(format!("madang-sandbox-{}", clock::new_uuid()));
        for id in 0..KEPT_MAX + 3 {
            write(&folder, &mail(u128::try_from(id).unwrap(), "many")).unwrap();
        }
        delete_oldest(&folder).unwrap();

        assert_eq!(letters(&folder).unwrap().len(), KEPT_MAX);
        fs::remove_dir_all(&folder).unwrap();
    }
}
