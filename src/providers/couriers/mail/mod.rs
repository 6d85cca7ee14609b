//! Mail over SMTP: takes letters to the operator's mail server, over a few connections that are kept.

mod dkim;
mod message;
mod session;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use secrecy::ExposeSecret as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::answers::{not_ours, unavailable};
use super::outward::install_tls;
use super::{Courier, DeliveryError, OpenError, Receipt};
use crate::clock;
use crate::config::{Config, MailConfig, MailTls};
use crate::domain::letters::{Content, Letter};
use crate::secrets;

use dkim::Dkim;
use message::Composer;
use session::{Security, Server, Session};

/// What the delivery log calls it.
const NAME: &str = "smtp";
/// A connection that was not used for this long is not used again: most servers close it after 5 minutes or less.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Takes mails to one mail server.
pub struct SmtpCourier {
    server: Server,
    composer: Composer,
    /// One for each connection that may be open.
    seats: Semaphore,
    /// Connections that nobody uses, the last used at the end.
    idle: Mutex<Vec<Session>>,
    timeout: Duration,
}

impl SmtpCourier {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// [`OpenError`] for a secret that is missing, or settings that cannot be used.
    pub fn new(config: &Config) -> Result<Self, OpenError> {
        install_tls();
        let mail = &config.mail;
        let from: Mailbox = parse("mail.from", &mail.from)?;
        let reply_to = match mail.reply_to.as_str() {
            "" => None,
            address => Some(parse("mail.reply_to", address)?),
        };
        let credentials = match mail.username.as_str() {
            "" => None,
            name => {
                let password = secrets::load(config, "smtp_password")?;
                Some(Credentials::new(name.to_owned(), password.expose_secret().to_owned()))
            }
        };
        let hello_name = match mail.hello_name.as_str() {
            "" => ClientId::default(),
            name => ClientId::Domain(name.to_owned()),
        };
        let dkim = dkim(config, &from)?;
        let server = Server {
            host: mail.host.clone(),
            port: mail.port,
            security: security(mail)?,
            credentials,
            hello_name,
            timeout: mail.timeout(),
        };
        Ok(Self {
            server,
            composer: Composer { from, reply_to, dkim },
            seats: Semaphore::new(mail.connections_max),
            idle: Mutex::default(),
            timeout: mail.timeout(),
        })
    }

    async fn attempt(&self, mail: &message::Mail) -> Result<Receipt, DeliveryError> {
        let mut session = self.session().await?;
        let sent = session.send(mail).await;
        if session.is_sound {
            self.idle().push(session);
        }
        sent
    }

    /// A connection that is known to be alive, the most recently used if there is one.
    async fn session(&self) -> Result<Session, DeliveryError> {
        while let Some(mut session) = self.take_idle() {
            if session.begin_again().await {
                return Ok(session);
            }
        }
        self.server.open().await
    }

    fn take_idle(&self) -> Option<Session> {
        let mut idle = self.idle();
        idle.retain(|session| session.used_at.elapsed() < IDLE_MAX);
        idle.pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Courier for SmtpCourier {
    fn name(&self) -> &'static str {
        NAME
    }

    fn route(&self, _: &Letter) -> String {
        NAME.to_owned()
    }

    async fn deliver(&self, letter: &Letter) -> Result<Receipt, DeliveryError> {
        let Content::Mail(content) = &letter.content else {
            return Err(not_ours());
        };
        let mail = self.composer.compose(letter.id, content, clock::now())?;
        let deadline = Instant::now() + self.timeout;
        let Ok(Ok(_seat)) = timeout_at(deadline, self.seats.acquire()).await else {
            let cause = "all connections to the mail server were in use".to_owned();
            return Err(DeliveryError::Deferred { cause, retry_after: None });
        };
        // Whether the server has taken a mail that it did not answer to, nobody knows: the next attempt has the same id.
        timeout_at(deadline, self.attempt(&mail))
            .await
            .unwrap_or_else(|_| Err(unavailable("the mail server did not answer in time")))
    }
}

fn parse(key: &'static str, address: &str) -> Result<Mailbox, OpenError> {
    address.parse().map_err(|_| OpenError::Setting { key, reason: "it is no address".to_owned() })
}

fn security(mail: &MailConfig) -> Result<Security, OpenError> {
    let certificate = |reason: String| OpenError::Setting { key: "mail.root_certificate", reason };
    let tls = || {
        let mut parameters = TlsParameters::builder(mail.host.clone());
        if !mail.root_certificate.as_os_str().is_empty() {
            let pem =
                std::fs::read(&mail.root_certificate).map_err(|e| certificate(e.to_string()))?;
            let root = Certificate::from_pem(&pem).map_err(|e| certificate(e.to_string()))?;
            parameters = parameters.add_root_certificate(root);
        }
        parameters.build().map_err(|error| certificate(error.to_string()))
    };
    Ok(match mail.tls {
        MailTls::Starttls => Security::Starttls(tls()?),
        MailTls::Tls => Security::Tls(tls()?),
        MailTls::None => Security::None,
    })
}

fn dkim(config: &Config, from: &Mailbox) -> Result<Option<Dkim>, OpenError> {
    let mail = &config.mail;
    if mail.dkim_selector.is_empty() {
        return Ok(None);
    }
    let domain = match mail.dkim_domain.as_str() {
        "" => from.email.domain(),
        domain => domain,
    };
    let key = secrets::load(config, "dkim_key")?;
    let dkim = Dkim::new(&mail.dkim_selector, domain, &key);
    dkim.map(Some).map_err(|reason| OpenError::Key { name: "dkim_key", reason })
}
