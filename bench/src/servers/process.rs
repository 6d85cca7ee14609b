//! A child process: what it writes goes to a log, and it ends when its owner does, whatever ends that.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use libc::c_int;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::usage::Usage;

const READY_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const LOG_LINES_SHOWN: usize = 15;

#[derive(Debug)]
pub struct Process {
    child: Child,
    id: u32,
    log: PathBuf,
    /// What it is sent when its owner is dropped or dies.
    farewell: c_int,
}

impl Process {
    /// Starts `command` in `folder`; what it writes is added to `log`.
    pub fn start(
        mut command: Command,
        folder: &Path,
        log: &str,
        farewell: c_int,
    ) -> anyhow::Result<Self> {
        let log = folder.join(log);
        let output = File::options().create(true).append(true).open(&log)?;
        command.current_dir(folder).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // SAFETY: prctl with PR_SET_PDEATHSIG is async-signal-safe and touches no memory of the parent. The
        // signal follows the starting thread, which is the main one and lives as long as the program.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, farewell);
                Ok(())
            })
        };
        let child = command.spawn()?;
        let id = child.id().context("the process has already gone")?;

        Ok(Self { child, id, log, farewell })
    }

    /// Waits until `is_ready` says so. Errors when the process ends before, or takes too long.
    pub async fn wait_until(&mut self, is_ready: impl AsyncFn() -> bool) -> anyhow::Result<()> {
        let started = Instant::now();
        while !is_ready().await {
            self.check().context("while starting")?;
            if started.elapsed() > READY_LIMIT {
                bail!("the server was not ready after {READY_LIMIT:?}\n{}", self.log_end());
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Errors when it has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => {
                bail!("the server has ended by itself ({status})\n{}", self.log_end())
            }
            None => Ok(()),
        }
    }

    pub fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.id).with_context(|| self.log_end())
    }

    /// The last lines it wrote.
    pub fn log_end(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_LINES_SHOWN)..).unwrap_or_default().join("\n")
    }

    pub fn signal(&self, signal: c_int) -> anyhow::Result<()> {
        let id = i32::try_from(self.id)?;
        ensure!(self.child.id().is_some(), "the process has gone");
        // SAFETY: kill takes no pointers, and the process is our child, not yet waited for.
        let sent = unsafe { libc::kill(id, signal) };
        ensure!(sent == 0, "cannot signal: {}", std::io::Error::last_os_error());
        Ok(())
    }

    /// Ends it without a word, as `kill -9` does. Errors when it had ended by itself.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.check()?;
        self.child.kill().await?;
        Ok(())
    }

    /// Asks it with `signal` to stop and waits for it; one that does not is killed, which is an error.
    pub async fn stop(mut self, signal: c_int, limit: Duration) -> anyhow::Result<()> {
        self.check()?;
        self.signal(signal)?;
        if timeout(limit, self.child.wait()).await.is_err() {
            self.child.kill().await?;
            bail!("the server did not stop within {limit:?}\n{}", self.log_end());
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have gone, and nobody is left to tell.
        _ = self.signal(self.farewell);
    }
}
