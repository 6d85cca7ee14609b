//! A Redis of the run's own, which keeps nothing: killed, it comes back empty.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use super::ports::lasting_address;
use super::process::Process;

/// Longer than anything that makes it wait on purpose.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug)]
pub struct Redis {
    /// `None` between a kill and a start.
    process: Option<Process>,
    folder: PathBuf,
    address: SocketAddr,
}

impl Redis {
    pub async fn start(parent: &Path) -> anyhow::Result<Self> {
        let folder = std::path::absolute(parent.join("redis"))?;
        std::fs::create_dir(&folder)?;
        let mut redis = Self { process: None, folder, address: lasting_address()? };
        redis.run().await?;
        Ok(redis)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("Redis does not run")?.kill().await.context("kill Redis")
    }

    /// Starts it again where it was.
    pub async fn run(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "Redis runs already");
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.address.port().to_string()]).args([
            "--save",
            "",
            "--appendonly",
            "no",
            "--enable-debug-command",
            "local",
        ]);
        let mut process = Process::start(command, &self.folder, "server.log", libc::SIGKILL)
            .context("cannot start redis-server")?;
        process
            .wait_until(async || self.ask("PING").await.is_ok_and(|answer| answer == "PONG"))
            .await
            .context("Redis")?;
        self.process = Some(process);
        Ok(())
    }

    /// Gives one command and takes its answer: a word, a number or a text.
    pub async fn ask(&self, command: &str) -> anyhow::Result<String> {
        let asking = async {
            let mut stream = BufReader::new(TcpStream::connect(self.address).await?);
            stream.write_all(format!("{command}\r\n").as_bytes()).await?;
            answer(&mut stream).await
        };
        let answered = timeout(ANSWER_LIMIT, asking).await.context("no answer in time")?;
        answered.with_context(|| format!("Redis was asked {command:?}"))
    }
}

/// Reads one answer (RESP 2) that is no array.
async fn answer(stream: &mut (impl AsyncBufRead + Unpin)) -> anyhow::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).context("no answer")?;
    match kind {
        "+" | ":" => Ok(rest.to_owned()),
        "$" => {
            let bytes: usize = rest.parse().with_context(|| format!("not a length: {line}"))?;
            ensure!(bytes <= ANSWER_BYTES_MAX, "an answer of {bytes} bytes");
            let mut text = vec![0; bytes];
            stream.read_exact(&mut text).await?;
            Ok(String::from_utf8(text)?)
        }
        _ => bail!("it said {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_word_a_number_or_a_text_and_an_error_is_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = |wire: &str| runtime.block_on(answer(&mut wire.as_bytes()));

        assert_eq!(read("+PONG\r\n").unwrap(), "PONG");
        assert_eq!(read(":7\r\n").unwrap(), "7");
        assert_eq!(read("$5\r\na\r\nbc\r\n").unwrap(), "a\r\nbc");
        for wire in ["-ERR no\r\n", "*1\r\n", "$-1\r\n", "$9\r\nshort", ""] {
            assert!(read(wire).is_err(), "{wire:?}");
        }
    }
}
