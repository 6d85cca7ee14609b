//! A PostgreSQL of the run's own: fresh data, a free port, a password that nobody else knows. It can be restarted as
//! after a power cut.

use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sqlx::{Connection as _, PgConnection};
use tokio::process::Command;
use uuid::Uuid;

use super::ports::lasting_address;
use super::process::Process;

const STOP_LIMIT: Duration = Duration::from_secs(30);
const USER: &str = "madang";
/// Who runs it where we are root, as whom it refuses to run; Debian's package makes this user.
const OWNER: &str = "postgres";
const DEBIAN: &str = "/usr/lib/postgresql";

#[derive(Debug)]
pub struct Postgres {
    /// `None` between a stop and a start.
    process: Option<Process>,
    programs: PathBuf,
    folder: PathBuf,
    owner: Option<Owner>,
    address: SocketAddr,
    password: String,
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

impl Postgres {
    /// Makes an empty database below `parent` and starts the server.
    pub async fn start(parent: &Path) -> anyhow::Result<Self> {
        // SAFETY: geteuid takes no pointers and cannot fail.
        let is_root = unsafe { libc::geteuid() } == 0;
        let mut postgres = Self {
            process: None,
            programs: programs()?,
            folder: std::path::absolute(parent.join("postgres"))?,
            owner: if is_root { Some(Owner::find()?) } else { None },
            address: lasting_address()?,
            password: Uuid::new_v4().simple().to_string(),
        };
        std::fs::create_dir(&postgres.folder)?;
        postgres.give_away(&postgres.folder)?;
        postgres.initialise().await?;
        postgres.run().await?;
        Ok(postgres)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        self.url_through(self.address)
    }

    /// The URL for whoever reaches it at `address`.
    pub fn url_through(&self, address: SocketAddr) -> String {
        format!("postgres://{USER}:{}@{address}/postgres", self.password)
    }

    /// Stops it without a clean end, and starts it again: it recovers from its log.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.end().await?;
        self.run().await
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.end().await
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        let process = self.process.take().context("PostgreSQL does not run")?;
        // What `pg_ctl stop -m immediate` sends.
        process.stop(libc::SIGQUIT, STOP_LIMIT).await.context("stop PostgreSQL")
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.folder.join("data"))
            .args(["-p", &self.address.port().to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", "max_connections=200", "-c", "fsync=on"]);
        let mut process = Process::start(command, &self.folder, "server.log", libc::SIGQUIT)?;
        let url = self.url();
        process
            .wait_until(async || match PgConnection::connect(&url).await {
                Ok(db) => db.close().await.is_ok(),
                Err(_) => false,
            })
            .await
            .context("PostgreSQL")?;
        self.process = Some(process);
        Ok(())
    }

    async fn initialise(&self) -> anyhow::Result<()> {
        let file = self.folder.join("password");
        let mut options = std::fs::File::options();
        let mut written = options.write(true).create_new(true).mode(0o600).open(&file)?;
        std::io::Write::write_all(&mut written, self.password.as_bytes())?;
        self.give_away(&file)?;
        // An ICU collation as the default: whatever forgets COLLATE "C" sorts differently from SQLite and is found.
        let made = self
            .command("initdb")
            .arg("-D")
            .arg(self.folder.join("data"))
            .args(["-U", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            .args(["--locale-provider=icu", "--icu-locale=und", "--pwfile"])
            .arg(file)
            .current_dir(&self.folder)
            .output()
            .await
            .context("run initdb")?;
        ensure!(
            made.status.success(),
            "initdb failed: {}{}",
            String::from_utf8_lossy(&made.stdout),
            String::from_utf8_lossy(&made.stderr)
        );
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        if let Some(owner) = self.owner {
            command.uid(owner.user).gid(owner.group);
        }
        command
    }

    fn give_away(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(owner) = self.owner {
            chown(path, Some(owner.user), Some(owner.group))?;
        }
        Ok(())
    }
}

impl Owner {
    fn find() -> anyhow::Result<Self> {
        let users = std::fs::read_to_string("/etc/passwd")?;
        Self::read(&users).with_context(|| format!("needs the user '{OWNER}'"))
    }

    /// The line of the user, as passwd(5) describes it.
    fn read(users: &str) -> Option<Self> {
        let line = users.lines().find(|line| line.split(':').next() == Some(OWNER))?;
        let mut numbers = line.split(':').skip(2);
        Some(Self { user: numbers.next()?.parse().ok()?, group: numbers.next()?.parse().ok()? })
    }
}

/// Where `initdb` and `postgres` are: in Debian's newest, which are not links, or in PATH.
fn programs() -> anyhow::Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .collect();
    found.sort();
    found.reverse();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path));
    let both =
        |folder: &PathBuf| ["initdb", "postgres"].iter().all(|name| folder.join(name).is_file());
    found.into_iter().find(both).context("cannot find PostgreSQL's initdb and postgres")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_found_by_the_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/bash\npostgresx:x:1:1:::\npostgres:x:105:110:,,,:/var:/bin/bash\n";

        let owner = Owner::read(users).unwrap();

        assert_eq!((owner.user, owner.group), (105, 110));
        assert!(Owner::read("root:x:0:0:root:/root:/bin/bash\n").is_none());
    }
}
