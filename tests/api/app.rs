//! A server of one's own: the real binary as a child process on a free port, with a data folder of its own.
//!
//! Dropping it kills the process and removes the folder.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use madang::providers::couriers::outward::install_tls;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::answer::Answer;
use crate::both::Settings;
use crate::database::{Database, Kind, Rows};
use crate::user::User;

/// How long anything may take before a test gives up on it: far longer than it should on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Somebody else may take a free port before the server does.
const PORTS_MAX: usize = 5;

/// Cheap password hashes, few connections, and no limits unless a test is about them.
const DEFAULTS: Settings = &[
    ("MADANG__AUTH__HASH_MEMORY_KIB", "8"),
    ("MADANG__AUTH__HASH_ITERATIONS", "1"),
    ("MADANG__AUTH__HASH_QUEUE_MAX", "1000"),
    ("MADANG__DATABASE__CONNECTIONS_MAX", "8"),
    ("MADANG__LIMITS__ENABLED", "false"),
    // Groups of people who have just met; what keeps them apart has tests of its own.
    ("MADANG__CHAT__DIRECT_REQUIRES_FRIENDSHIP", "no"),
    ("MADANG__HTTP__DEV_OUTBOX", "true"),
    ("MADANG__PUSH__ENDPOINT_HOSTS", "push.example.net"),
    ("MADANG__LOG__FORMAT", "json"),
    // What is told to everybody would be in the way of what a test is about.
    (
        "MADANG__NOTIFICATIONS__DISABLED_TYPES",
        "welcome,friend_request_received,friend_request_accepted,message_received,mention_received",
    ),
];

/// The password of everybody whom [`TestApp::register`] makes.
pub(crate) const PASSWORD: &str = "swings-under-the-zelkova-9";

pub(crate) struct TestApp {
    pub(crate) http: reqwest::Client,
    port: u16,
    child: Option<Child>,
    folder: PathBuf,
    database: Database,
    settings: Vec<(String, String)>,
    takeovers: usize,
}

impl TestApp {
    /// Starts a server on a new database and waits until it is ready.
    pub(crate) async fn start(kind: Kind, settings: Settings) -> Self {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Self::start_with(kind, settings.collect()).await
    }

    /// As [`Self::start`], with settings that are known only now.
    pub(crate) async fn start_with(kind: Kind, settings: Vec<(String, String)>) -> Self {
        Self::start_on(Database::create(kind).await, settings).await
    }

    /// Starts a server on a database that others may use as well.
    pub(crate) async fn start_on(database: Database, settings: Vec<(String, String)>) -> Self {
        let folder = std::env::temp_dir().join(format!("madang-test-{}", Uuid::now_v7()));
        fs::create_dir(&folder).unwrap();
        let defaults = DEFAULTS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut app = Self {
            http: http_client(),
            port: 0,
            takeovers: 0,
            child: None,
            settings: defaults.chain(settings).collect(),
            folder,
            database,
        };
        app.launch().await;
        app
    }

    /// Ends the server at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a running server can be killed");
            child.wait().expect("a killed server ends");
        }
    }

    /// Asks the server to stop, as an orchestrator does.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends the process a signal, such as `-STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("the server was started").id().to_string();
        let told = Command::new("kill").args([signal, &pid]).status();
        assert!(told.expect("there is a kill").success());
    }

    /// Waits until the server has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the server was started");
        eventually("the server ends", async || child.try_wait().unwrap()).await
    }

    /// Starts a second server beside this one, which takes over; ends when the first has gone.
    pub(crate) async fn take_over(&mut self) {
        let successor = self.spawn(&["serve", "--take-over"]);
        assert!(self.ended().await.success(), "{}", self.log());
        self.child = Some(successor);
        assert!(self.becomes_ready().await, "{}", self.log());
        self.takeovers += 1;
        eventually("it is the only one", async || {
            let gone = self.log().matches("the process before has gone").count();
            (gone == self.takeovers).then_some(())
        })
        .await;
    }

    /// As [`Self::take_over`], while `meanwhile` runs beside both; the first serves its connections until the end.
    pub(crate) async fn take_over_slowly(&mut self, meanwhile: impl AsyncFnOnce(&Self)) {
        let mut successor = self.spawn(&["serve", "--take-over"]);
        eventually("the first has closed its door", async || {
            assert!(successor.try_wait().unwrap().is_none(), "{}", self.log());
            self.log().contains("asked the process before to stop").then_some(())
        })
        .await;
        meanwhile(self).await;
        assert!(self.ended().await.success(), "{}", self.log());
        self.child = Some(successor);
    }

    /// Starts a second server, which must not come up; gives what it said.
    pub(crate) async fn start_another(&self, arguments: &[&str]) -> String {
        let mut another = self.spawn(arguments);
        let status =
            eventually("the other server ends", async || another.try_wait().unwrap()).await;
        assert!(!status.success());
        self.log()
    }

    /// Starts a server that has ended.
    pub(crate) async fn start_again(&mut self) {
        self.launch().await;
    }

    /// Starts another server in a folder of its own, with one setting changed, which must not come up; gives what it said.
    pub(crate) async fn start_another_with(&self, key: &str, value: &str) -> String {
        let folder = self.folder.join("another");
        let mut command = self.command(&["serve"], 0);
        let output = command
            .env("MADANG__DATA__DIR", folder)
            .env(key, value)
            .output()
            .expect("the binary can be run");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout)
    }

    /// Starts the server again on what it left.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.launch().await;
    }

    /// Starts the server again on what it left, with one setting changed.
    pub(crate) async fn restart_with(&mut self, key: &str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
        self.restart().await;
    }

    /// Ends the server and removes its database; a scenario that failed leaves the latter behind.
    pub(crate) async fn finish(mut self) {
        self.kill();
        self.database.remove().await;
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The file that the embedded database is.
    pub(crate) fn sqlite_file(&self) -> PathBuf {
        self.data().join("madang.db")
    }

    pub(crate) fn database_url(&self) -> String {
        self.database.url()
    }

    pub(crate) fn kind(&self) -> Kind {
        self.database.kind()
    }

    /// Changes the database behind the server's back: the passing of a day, or what became of something outside.
    pub(crate) async fn alter(&self, sql: &'static str) {
        self.rows().await.execute(sql, None).await;
    }

    /// As [`Self::alter`], with an id.
    pub(crate) async fn alter_with(&self, sql: &'static str, id: &Uuid) {
        self.rows().await.execute(sql, Some(*id)).await;
    }

    /// The one number that a query gives.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        self.rows().await.count(sql).await
    }

    /// The bytes in the first row that a query gives.
    pub(crate) async fn bytes(&self, sql: &'static str) -> Vec<u8> {
        self.rows().await.bytes(sql).await
    }

    /// The text in each row that a query gives.
    pub(crate) async fn texts(&self, sqlite: &'static str, postgres: &'static str) -> Vec<String> {
        self.rows().await.texts(sqlite, postgres).await
    }

    async fn rows(&self) -> Rows {
        Rows::open(&self.database, &self.sqlite_file()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.http.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.http.post(self.url(path)).json(body)).await
    }

    /// Opens an account whose handle is `name`.
    pub(crate) async fn register(&self, name: &str) -> User {
        let body = json!({
            "handle": name, "email": format!("{name}@example.com"), "password": PASSWORD,
            "display_name": name,
        });
        let grant = self.post("/v1/auth/register", &body).await.json(201);
        User::new(self, &grant)
    }

    /// Logs in once more.
    pub(crate) async fn login(&self, name: &str, password: &str) -> User {
        let body = json!({ "identifier": name, "password": password });
        let grant = self.post("/v1/auth/login", &body).await.json(200);
        User::new(self, &grant)
    }

    /// Runs another command of the program beside the server.
    pub(crate) fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.command(arguments, 0);
        command.envs(variables.iter().copied()).output().expect("the binary can be run")
    }

    /// Makes an administrator whose handle is `name`, and logs them in.
    pub(crate) async fn administrator(&self, name: &str) -> User {
        let email = format!("{name}@example.com");
        let arguments = ["admin", "create", "--handle", name, "--email", &email];
        let output = self.run(&arguments, &[("MADANG_ADMIN_PASSWORD", PASSWORD)]);
        assert!(output.status.success(), "{output:?}");
        self.login(name, PASSWORD).await
    }

    /// Writes what somebody has chosen for themselves straight into the database.
    pub(crate) async fn choose(&self, user: &User, what: &str, choice: &str) {
        self.database.choose(&self.sqlite_file(), &user.id, what, choice).await;
    }

    /// The code in the newest mail of a kind to an address, once it has been written.
    pub(crate) async fn mailed_code(&self, kind: &str, to: &str) -> String {
        let folder = self.data().join("outbox").join("mail");
        eventually("the mail is written", async || newest_code(&folder, kind, to)).await
    }

    async fn launch(&mut self) {
        for attempt in 0..PORTS_MAX {
            // One that comes back is where it was, as clients expect.
            if self.port == 0 || attempt > 0 {
                self.port = free_port();
            }
            self.child = Some(self.spawn(&["serve"]));
            if self.becomes_ready().await {
                return;
            }
        }
        panic!("the server does not start:\n{}", self.log());
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        self.command(arguments, self.port)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("the binary can be run")
    }

    fn command(&self, arguments: &[&str], port: u16) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_madang"));
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("MADANG")) {
            command.env_remove(key);
        }
        command
            .args(arguments)
            // Not where the repository's config.toml lies.
            .current_dir(&self.folder)
            .env("MADANG__HTTP__LISTEN", format!("127.0.0.1:{port}"))
            .env("MADANG__DATA__DIR", self.data())
            .env("MADANG__DATABASE__URL", self.database.url())
            .env_remove("RUST_LOG")
            .envs(self.settings.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null());
        command
    }

    /// False when the server has ended instead.
    async fn becomes_ready(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let asked = self.http.get(self.url("/readyz")).send().await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                return true;
            }
            let child = self.child.as_mut().expect("the server was started");
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            sleep(POLL_INTERVAL).await;
        }
        false
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Asks again and again until there is an answer; panics with `what` when there never is.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        sleep(POLL_INTERVAL).await;
    }
}

/// A client of its own, with connections of its own. The library brings no cryptography by itself.
pub(crate) fn http_client() -> reqwest::Client {
    install_tls();
    reqwest::Client::builder().timeout(PATIENCE).build().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn newest_code(folder: &Path, kind: &str, to: &str) -> Option<String> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mails = files.iter().rev().map(|file| fs::read(file).unwrap());
    let mut mails = mails.map(|mail| serde_json::from_slice::<Value>(&mail).unwrap());
    let mail = mails.find(|mail| mail["kind"] == kind && mail["to"] == to)?;
    let code = mail["text"].as_str()?.lines().find(|line| line.len() == 43 && !line.contains(' '));
    Some(code.expect("the mail has a code in it").to_owned())
}
