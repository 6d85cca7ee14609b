//! A server under load: a child process on a loopback port of its own, stopped on every way out.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::usage::Usage;

const READY_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const LOG_LINES_SHOWN: usize = 15;
const LASTING_PORT_MIN: u16 = 20_000;
const LASTING_PORTS: u16 = 10_000;

#[derive(Debug)]
pub struct Server {
    child: Child,
    process: u32,
    address: SocketAddr,
    log: PathBuf,
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
            .env("MADANG__LIMITS__CONNECTIONS_PER_USER", "100000")
            .env("MADANG__SOCKET__OPS_PER_SECOND", "1000000")
            .env("MADANG__SOCKET__OPS_BURST", "1000000")
            .envs(settings.iter().copied());
        let mut server = Self::start(command, address, folder).with_context(|| {
            format!("cannot start {} (cargo build --release makes it)", program.display())
        })?;
        let ready = format!("http://{address}/readyz");
        let http = reqwest::Client::builder().no_proxy().build()?;
        server
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
        let mut server = Self::start(command, address, folder)?;
        server.wait_until(async || TcpStream::connect(address).await.is_ok()).await?;
        Ok(server)
    }

    fn start(mut command: Command, address: SocketAddr, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join("server.log");
        let output = File::options().create(true).append(true).open(&log)?;
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true);
        // SAFETY: prctl with PR_SET_PDEATHSIG is async-signal-safe and touches no memory of the parent. The
        // signal follows the starting thread, which is the main one and lives as long as the program.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            })
        };
        let child = command.spawn()?;
        let process = child.id().context("the server has already gone")?;

        Ok(Self { child, process, address, log })
    }

    async fn wait_until(&mut self, is_ready: impl AsyncFn() -> bool) -> anyhow::Result<()> {
        let started = Instant::now();
        while !is_ready().await {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended while starting ({status})\n{}", self.log_end());
            }
            if started.elapsed() > READY_LIMIT {
                bail!("the server was not ready after {READY_LIMIT:?}\n{}", self.log_end());
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.process).with_context(|| self.log_end())
    }

    /// The last lines the server wrote.
    pub fn log_end(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_LINES_SHOWN)..).unwrap_or_default().join("\n")
    }

    /// Ends the server without a word, as `kill -9` does. Errors when it had ended by itself.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server had ended by itself ({status})\n{}", self.log_end());
        }
        self.child.kill().await?;
        Ok(())
    }

    /// Asks the server to stop and waits for it; one that does not is killed, which is an error.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let process = i32::try_from(self.process)?;
        // SAFETY: kill takes no pointers, and the process is our child, not yet waited for.
        unsafe { libc::kill(process, libc::SIGTERM) };
        if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            self.child.kill().await?;
            bail!("the server did not stop within {STOP_LIMIT:?}\n{}", self.log_end());
        }
        Ok(())
    }
}

/// Keeps the settings of whoever measures away from the measured: their database above all.
fn forget_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name == "RUST_LOG" || name.to_string_lossy().starts_with("MADANG_") {
            command.env_remove(name);
        }
    }
}

/// A loopback address that is free now.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A loopback address below the ports that connections take for themselves: nobody sits on it between a kill and a
/// restart, and whoever calls it meanwhile does not reach themselves.
pub fn lasting_address() -> anyhow::Result<SocketAddr> {
    let start = u16::try_from(std::process::id() % u32::from(LASTING_PORTS))?;
    let ports = (0..LASTING_PORTS).map(|step| LASTING_PORT_MIN + (start + step) % LASTING_PORTS);
    let mut addresses = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    addresses
        .find(|address| std::net::TcpListener::bind(address).is_ok())
        .context("no port is free")
}
