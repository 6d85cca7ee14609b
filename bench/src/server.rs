//! A server under load: a child process on a loopback port of its own, stopped on every way out.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::servers::ports::free_address;
use crate::servers::process::Process;
use crate::usage::Usage;

const STOP_LIMIT: Duration = Duration::from_secs(30);
/// One that hangs is asked again.
const READY_ANSWER_LIMIT: Duration = Duration::from_secs(5);
const LOG: &str = "server.log";

#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
}

impl Server {
    /// Starts `madang serve` on the data in `folder` and waits until it is ready.
    pub async fn madang(
        program: &Path,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        Self::madang_at(free_address()?, program, folder, settings).await
    }

    /// Starts `madang serve` as [`Self::madang`] does, on `address`: where one that was killed listened before.
    pub async fn madang_at(
        address: SocketAddr,
        program: &Path,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let program = std::path::absolute(program)?;
        let mut command = Command::new(&program);
        forget_settings(&mut command);
        command
            .arg("serve")
            .env("MADANG__HTTP__LISTEN", address.to_string())
            .env("MADANG__DATA__DIR", folder.join("data"))
            .env("MADANG__LOG__FORMAT", "json")
            .env("MADANG__LIMITS__ENABLED", "false")
            .env("MADANG__CHAT__DIRECT_REQUIRES_FRIENDSHIP", "no")
            .env("MADANG__LIMITS__CONNECTIONS_PER_USER", "100000")
            .env("MADANG__SOCKET__OPS_PER_SECOND", "1000000")
            .env("MADANG__SOCKET__OPS_BURST", "1000000")
            .envs(settings.iter().copied());
        let process = Process::start(command, folder, LOG, libc::SIGKILL).with_context(|| {
            format!("cannot start {} (cargo build --release makes it)", program.display())
        })?;
        let mut server = Self { process, address };
        let ready = format!("http://{address}/readyz");
        let http = reqwest::Client::builder().no_proxy().timeout(READY_ANSWER_LIMIT).build()?;
        server
            .process
            .wait_until(async || {
                http.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success())
            })
            .await?;
        Ok(server)
    }

    /// Starts this very program as the reference server.
    pub async fn reference(folder: &Path) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["reference", "--port", &address.port().to_string()]);
        let process = Process::start(command, folder, LOG, libc::SIGKILL)?;
        let mut server = Self { process, address };
        server.process.wait_until(async || TcpStream::connect(address).await.is_ok()).await?;
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn usage(&self) -> anyhow::Result<Usage> {
        self.process.usage()
    }

    /// The last lines the server wrote.
    pub fn log_end(&self) -> String {
        self.process.log_end()
    }

    /// Errors when the server has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.process.check()
    }

    /// Has the kernel give it no more time, as when its machine hangs; until [`Self::thaw`].
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.process.signal(libc::SIGSTOP)
    }

    pub fn thaw(&self) -> anyhow::Result<()> {
        self.process.signal(libc::SIGCONT)
    }

    /// Ends the server without a word, as `kill -9` does. Errors when it had ended by itself.
    pub async fn kill(self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    /// Asks the server to stop and waits for it; one that does not is killed, which is an error.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.process.stop(libc::SIGTERM, STOP_LIMIT).await
    }
}

/// Keeps the settings of whoever measures away from the measured: their database above all.
pub fn forget_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name == "RUST_LOG" || name.to_string_lossy().starts_with("MADANG_") {
            command.env_remove(name);
        }
    }
}
