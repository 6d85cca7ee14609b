//! `doctor`: whether this machine and these settings can serve, one line for each thing that could keep them from it.

use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{io_runtime, out, resources};
use crate::app::seals::check_seals;
use crate::app::wallets::read_calendar;
use crate::clock;
use crate::config::{Backend, Config, ConfigError, Payouts};
use crate::domain::calendar::{DAYS_LEFT_MIN, day_of};
use crate::domain::time::Timestamp;
use crate::providers::payments::Providers;
use crate::secrets;
use crate::store::Store;

/// 2026-01-01: a clock before that was never set.
const EARLIEST: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// What the file system's clock may be off before times in files and rows disagree noticeably.
const SKEW_MAX: Duration = Duration::from_secs(5);
/// Files besides sockets: the database, logs, outward connections.
const OPEN_FILES_RESERVE: u64 = 1_024;

/// What an examination found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Ok,
    /// Serves, but not as it could.
    Warn,
    /// Does not serve.
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}

/// One line of the report.
#[derive(Debug)]
struct Finding {
    subject: &'static str,
    verdict: Verdict,
    detail: String,
}

impl Finding {
    fn new(subject: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { subject, verdict, detail: detail.into() }
    }
}

/// Prints every finding; exits with 0 unless something failed.
///
/// # Errors
/// When the report itself cannot be written.
pub(super) fn examine(config: Result<Config, ConfigError>) -> anyhow::Result<ExitCode> {
    let findings = match config {
        Ok(config) => findings(&config),
        Err(error) => vec![
            Finding::new("settings", Verdict::Fail, error.to_string().replace('\n', "; ")),
            clock_set(),
        ],
    };

    for Finding { subject, verdict, detail } in &findings {
        out::say(format_args!("{verdict:<4}  {subject:<12}  {detail}"))?;
    }
    let worst = findings.iter().map(|finding| finding.verdict).max();

    Ok(if worst == Some(Verdict::Fail) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn findings(config: &Config) -> Vec<Finding> {
    vec![
        settings(config),
        data_dir(&config.data.dir),
        secret_files(config),
        database(config),
        open_files(config),
        clock_set(),
        clock_skew(&config.data.dir),
        calendar(config, clock::now()),
        payments(config),
    ]
}

fn settings(config: &Config) -> Finding {
    if config.is_production() && config.http.public_url.is_empty() {
        let detail = format!(
            "http.public_url is empty: links in mails will point to {}",
            config.http.base_url()
        );
        return Finding::new("settings", Verdict::Warn, detail);
    }

    Finding::new(
        "settings",
        Verdict::Ok,
        format!("node {}, mode {:?}", config.node.name, config.mode).to_lowercase(),
    )
}

fn data_dir(dir: &Path) -> Finding {
    const SUBJECT: &str = "data folder";
    let shown = dir.display();
    let Ok(metadata) = fs::metadata(dir) else {
        return Finding::new(
            SUBJECT,
            Verdict::Warn,
            format!("{shown} does not exist yet; the first start makes it"),
        );
    };
    if let Err(error) = Probe::write(dir) {
        return Finding::new(SUBJECT, Verdict::Fail, format!("{shown} cannot be written: {error}"));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let detail =
            format!("{shown} is open to other users (mode {mode:o}): run `chmod 700 {shown}`");
        return Finding::new(SUBJECT, Verdict::Warn, detail);
    }

    Finding::new(SUBJECT, Verdict::Ok, format!("{shown} can be written"))
}

fn secret_files(config: &Config) -> Finding {
    const SUBJECT: &str = "secrets";
    match secrets::load_signing_keys(config) {
        Ok(keys) if !keys.is_empty() => {
            Finding::new(SUBJECT, Verdict::Ok, format!("{} signing keys", keys.len()))
        }
        Ok(_) if config.is_production() => Finding::new(
            SUBJECT,
            Verdict::Fail,
            "there is no signing key: run `madang secrets generate`",
        ),
        Ok(_) => Finding::new(
            SUBJECT,
            Verdict::Warn,
            "there is no signing key yet; the first start makes one",
        ),
        Err(error) => Finding::new(SUBJECT, Verdict::Fail, error.to_string()),
    }
}

fn database(config: &Config) -> Finding {
    const SUBJECT: &str = "database";
    let backend = config.backend();
    // Connecting would make the file.
    if let Backend::Sqlite(file) = &backend
        && !file.exists()
    {
        return Finding::new(
            SUBJECT,
            Verdict::Warn,
            format!("{backend} does not exist yet; the first start makes it"),
        );
    }

    match look_at_database(config) {
        Ok(Looked { pending: 0, seals: Err(error) }) => {
            Finding::new(SUBJECT, Verdict::Fail, format!("{error:#}"))
        }
        Ok(Looked { pending: 0, .. }) => {
            Finding::new(SUBJECT, Verdict::Ok, format!("{backend} answers and is up to date"))
        }
        Ok(Looked { pending, .. }) => {
            let detail = format!("{backend} lacks {pending} migrations: run `madang migrate`");
            Finding::new(SUBJECT, Verdict::Warn, detail)
        }
        Err(error) => Finding::new(SUBJECT, Verdict::Fail, format!("{backend}: {error:#}")),
    }
}

/// What was found in a database.
struct Looked {
    pending: usize,
    /// Whether a node could open what lies sealed there.
    seals: anyhow::Result<()>,
}

fn look_at_database(config: &Config) -> anyhow::Result<Looked> {
    let io = io_runtime()?;
    io.block_on(async {
        let store = Store::connect(config, io.handle().clone()).await?;
        let pending = store.pending_migrations().await?;
        // A database of before may not have what is sealed.
        let seals = if pending == 0 { check_seals(config, &store).await } else { Ok(()) };
        store.close().await;
        Ok(Looked { pending, seals })
    })
}

fn open_files(config: &Config) -> Finding {
    const SUBJECT: &str = "open files";
    let limit =
        match resources::raise_open_files_limit().and_then(|_| resources::open_files_limit()) {
            Ok(limit) => limit,
            Err(error) => {
                return Finding::new(
                    SUBJECT,
                    Verdict::Warn,
                    format!("the limit is not known: {error}"),
                );
            }
        };
    let sockets = u64::try_from(config.limits.connections_max).unwrap_or(u64::MAX);
    if limit < sockets.saturating_add(OPEN_FILES_RESERVE) {
        let detail = format!(
            "the limit is {limit}, too few for limits.connections_max = {sockets}: raise `ulimit -n`"
        );
        return Finding::new(SUBJECT, Verdict::Warn, detail);
    }

    Finding::new(SUBJECT, Verdict::Ok, format!("the limit is {limit}"))
}

fn clock_set() -> Finding {
    let now = clock::now();
    if now < EARLIEST {
        return Finding::new(
            "clock",
            Verdict::Fail,
            format!("it is {now}, so the clock was never set: tokens would fail"),
        );
    }

    Finding::new("clock", Verdict::Ok, format!("it is {now}"))
}

/// Over a day that it does not know, payees are not paid.
fn calendar(config: &Config, now: Timestamp) -> Finding {
    const SUBJECT: &str = "calendar";
    let left = read_calendar(config).and_then(|it| Ok(it.days_left(day_of(now)?)));
    match left {
        Ok(left) if left < DAYS_LEFT_MIN => {
            let detail = format!(
                "it knows {left} more days, and then payees are not paid: add the next year to \
                 payments.settlements.calendar, or take a release that has it"
            );
            Finding::new(SUBJECT, Verdict::Warn, detail)
        }
        Ok(left) => Finding::new(SUBJECT, Verdict::Ok, format!("it knows {left} more days")),
        Err(error) => Finding::new(SUBJECT, Verdict::Fail, format!("{error:#}")),
    }
}

/// Whoever takes payments has to be opened, and somebody has to pay out.
fn payments(config: &Config) -> Finding {
    const SUBJECT: &str = "payments";
    let providers = match Providers::open(config, Arc::new(clock::now), None) {
        Ok(providers) => providers,
        Err(error) => return Finding::new(SUBJECT, Verdict::Fail, error.to_string()),
    };
    let Some(provider) = providers.preferred() else {
        return Finding::new(SUBJECT, Verdict::Ok, "nobody takes any");
    };
    let name = provider.name();
    let detail = match (config.payments.payouts, providers.paying_out()) {
        (Payouts::BankFile, _) => format!("{name} takes them, and users are paid by bank file"),
        (Payouts::Provider, Some(_)) => format!("{name} takes them, and pays users"),
        (Payouts::Provider, None) => {
            let detail = format!(
                "{name} takes them, and nobody pays users: set payments.payouts to \"bank_file\""
            );
            return Finding::new(SUBJECT, Verdict::Warn, detail);
        }
    };
    Finding::new(SUBJECT, Verdict::Ok, detail)
}

/// A network file system has a clock of its own.
fn clock_skew(dir: &Path) -> Finding {
    const SUBJECT: &str = "file clock";
    let skew = Probe::write(dir).and_then(|probe| probe.written_at()).map(|written| {
        let now = clock::now();
        now.since(written).max(written.since(now))
    });
    match skew {
        Ok(skew) if skew > SKEW_MAX => {
            let detail = format!("times of files are off by {} s", skew.as_secs());
            Finding::new(SUBJECT, Verdict::Warn, detail)
        }
        Ok(_) => Finding::new(SUBJECT, Verdict::Ok, "agrees with the clock"),
        Err(_) => Finding::new(
            SUBJECT,
            Verdict::Warn,
            "not known without a data folder that can be written",
        ),
    }
}

/// A file that proves a folder can be written. Dropping it removes the file.
struct Probe(PathBuf);

impl Probe {
    fn write(dir: &Path) -> std::io::Result<Self> {
        let probe = Self(dir.join(format!(".doctor-{}", clock::new_uuid())));
        let mut file = File::create_new(&probe.0)?;
        file.write_all(b"doctor")?;
        file.sync_all()?;

        Ok(probe)
    }

    /// When the file system says it was written.
    fn written_at(&self) -> std::io::Result<Timestamp> {
        let age = self.0.metadata()?.modified()?.duration_since(SystemTime::UNIX_EPOCH);

        Ok(Timestamp::from_millis(0).plus(age.unwrap_or_default()))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::payments::ProviderName;

    fn config(dir: &Path, mode: &str) -> Config {
        Config::read(None, [("MADANG__DATA__DIR", dir.to_str().unwrap()), ("MADANG__MODE", mode)])
            .unwrap()
    }

    #[test]
    fn an_empty_place_can_serve_in_development_but_not_in_production() {
        let dir = std::env::temp_dir().join(format!("madang-doctor-{}", clock::new_uuid()));
        let worst = |mode| {
            findings(&config(&dir, mode)).iter().map(|finding| finding.verdict).max().unwrap()
        };

        assert_eq!(worst("development"), Verdict::Warn);
        assert_eq!(worst("production"), Verdict::Fail);
        assert!(!dir.exists(), "a check leaves nothing behind");
    }

    #[test]
    fn a_folder_open_to_others_is_a_warning() {
        let dir = std::env::temp_dir().join(format!("madang-doctor-{}", clock::new_uuid()));
        fs::create_dir(&dir).unwrap();

        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(data_dir(&dir).verdict, Verdict::Warn);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(data_dir(&dir).verdict, Verdict::Ok);
        assert_eq!(clock_skew(&dir).verdict, Verdict::Ok);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);

        fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn a_calendar_that_ends_soon_is_a_warning() {
        let dir = std::env::temp_dir().join(format!("madang-doctor-{}", clock::new_uuid()));
        fs::create_dir(&dir).unwrap();
        let file = dir.join("days.txt");
        let mut config = config(&dir, "development");
        config.payments.settlements.calendar = file.clone();
        // 2026-11-22 at noon in Seoul.
        let now = Timestamp::from_millis(1_795_316_400_000);
        assert_eq!(calendar(&config, now).verdict, Verdict::Fail, "there is none");
        for (text, verdict) in [
            ("year 2026", Verdict::Warn),
            ("year 2026\nyear 2027", Verdict::Ok),
            ("year next", Verdict::Fail),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(calendar(&config, now).verdict, verdict, "{text}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_provider_that_pays_nobody_is_a_warning_without_bank_files() {
        let dir = std::env::temp_dir().join(format!("madang-doctor-{}", clock::new_uuid()));
        let mut config = config(&dir, "development");
        assert_eq!(payments(&config).verdict, Verdict::Ok);
        config.payments.provider = Some(ProviderName::Toss);
        assert_eq!(payments(&config).verdict, Verdict::Fail, "its secret is not there");
        fs::create_dir_all(dir.join("secrets")).unwrap();
        fs::write(dir.join("secrets/toss_secret_key"), "test_sk_1").unwrap();
        assert_eq!(payments(&config).verdict, Verdict::Warn);
        config.payments.payouts = Payouts::BankFile;
        assert_eq!(payments(&config).verdict, Verdict::Ok);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn verdicts_line_up() {
        assert_eq!(format!("{:<4}|{:<4}", Verdict::Ok, Verdict::Fail), "ok  |fail");
    }
}
