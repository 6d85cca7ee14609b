//! Madang nodes that share one PostgreSQL, one Redis and one signing key, each with its own data folder and port.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use super::ports::lasting_address;
use super::postgres::Postgres;
use super::proxy::Proxy;
use super::redis::Redis;
use crate::api::Api;
use crate::folder::Folder;
use crate::plan::Plan;
use crate::server::{Server, forget_settings};

const REDIS_URL: &str = "MADANG__CLUSTER__REDIS_URL";

/// Names and values of a node's environment.
pub type Settings = Vec<(String, String)>;

/// What a cluster is made of.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub nodes: usize,
    /// Whether Redis links them; only one node can do without.
    pub is_linked: bool,
    /// Whether each node reaches PostgreSQL and Redis by a wire that can be cut.
    pub is_proxied: bool,
    pub settings: &'static [(&'static str, &'static str)],
}

#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: the nodes first, the folder last.
    pub nodes: Vec<Node>,
    pub redis: Redis,
    pub postgres: Postgres,
    folder: Folder,
}

#[derive(Debug)]
pub struct Node {
    pub name: String,
    /// `None` while it is down.
    server: Option<Server>,
    address: SocketAddr,
    program: PathBuf,
    folder: PathBuf,
    settings: Settings,
    /// Its wires, if it has any.
    wires: Option<Wires>,
}

/// How one node reaches what all of them share.
#[derive(Debug)]
pub struct Wires {
    pub postgres: Proxy,
    pub redis: Proxy,
}

impl Cluster {
    /// Starts PostgreSQL, Redis and the nodes, and waits until all are ready.
    pub async fn start(plan: &Plan, layout: Layout) -> anyhow::Result<Self> {
        Self::start_with(plan, layout, |_| Vec::new()).await
    }

    /// As [`Self::start`]; `of_node` gives settings of one node beside those of all, by its number from 1.
    pub async fn start_with(
        plan: &Plan,
        layout: Layout,
        of_node: impl Fn(usize) -> Settings,
    ) -> anyhow::Result<Self> {
        let folder = Folder::new(&plan.folder())?;
        let postgres = Postgres::start(folder.path()).await?;
        let redis = Redis::start(folder.path()).await?;
        let key = make_key(&plan.madang, folder.path()).await?;
        let mut cluster = Self { nodes: Vec::with_capacity(layout.nodes), redis, postgres, folder };
        for number in 1..=layout.nodes {
            // One after the other: the first of them brings the schema.
            let mut node = cluster.prepare(plan, layout, number, &key).await?;
            node.settings.extend(of_node(number));
            node.start().await?;
            cluster.nodes.push(node);
        }
        Ok(cluster)
    }

    /// Where everything of it is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the nodes listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// Each node's REST interface.
    pub fn apis(&self) -> anyhow::Result<Vec<Api>> {
        self.nodes.iter().map(|node| Api::new(node.address)).collect()
    }

    /// The nodes that run.
    pub fn servers(&self) -> Vec<&Server> {
        self.nodes.iter().filter_map(|node| node.server.as_ref()).collect()
    }

    /// Stops all in order; what did not stop is an error.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self { nodes, redis, postgres, folder } = self;
        let mut stopped = Ok(());
        for mut node in nodes {
            if node.server.is_some() {
                stopped = stopped.and(node.stop().await);
            }
        }
        stopped = stopped.and(postgres.stop().await);
        drop((redis, folder));
        stopped
    }

    /// Leaves the folder where it is, for whoever wants to look into it, and ends the rest; gives the folder's path.
    pub async fn stop_and_keep(self) -> anyhow::Result<PathBuf> {
        let Self { nodes, redis, postgres, folder } = self;
        drop((nodes, redis));
        let folder = folder.keep();
        postgres.stop().await?;
        Ok(folder)
    }

    async fn prepare(
        &self,
        plan: &Plan,
        layout: Layout,
        number: usize,
        key: &Path,
    ) -> anyhow::Result<Node> {
        let name = format!("node-{number}");
        let folder = self.folder.path().join(&name);
        std::fs::create_dir(&folder)?;
        let (postgres, redis) = (self.postgres.address(), self.redis.address());
        let wires = if layout.is_proxied {
            let (postgres, redis) = (Proxy::start(postgres).await?, Proxy::start(redis).await?);
            Some(Wires { postgres, redis })
        } else {
            None
        };
        let (postgres, redis) = wires
            .as_ref()
            .map_or((postgres, redis), |wires| (wires.postgres.address(), wires.redis.address()));
        let mut settings = vec![
            ("MADANG__NODE__NAME".to_owned(), name.clone()),
            ("MADANG__DATABASE__URL".to_owned(), self.postgres.url_through(postgres)),
            ("MADANG_SECRET_JWT_KEY_FILE".to_owned(), key.display().to_string()),
        ];
        if layout.is_linked {
            settings.push((REDIS_URL.to_owned(), format!("redis://{redis}/")));
        }
        let told = layout.settings.iter();
        settings.extend(told.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));

        let (address, program) = (lasting_address()?, plan.madang.clone());
        Ok(Node { name, server: None, address, program, folder, settings, wires })
    }
}

impl Node {
    /// One that shares nothing with others and keeps its data in `folder`; it is down.
    pub fn alone(plan: &Plan, folder: &Path, settings: Settings) -> anyhow::Result<Self> {
        let (address, program) = (lasting_address()?, plan.madang.clone());
        let (name, folder) = ("node-1".to_owned(), folder.to_owned());
        Ok(Self { name, server: None, address, program, folder, settings, wires: None })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder that holds its data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Has its program do something else than serve, with its settings and those in `beside`.
    pub async fn command(&self, arguments: &[&str], beside: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut command = Command::new(std::path::absolute(&self.program)?);
        forget_settings(&mut command);
        command
            .args(arguments)
            .env("MADANG__DATA__DIR", std::path::absolute(self.data())?)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .envs(beside.iter().copied())
            .current_dir(&self.folder);
        let done = command.output().await.with_context(|| format!("run {arguments:?}"))?;
        let complaint = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{arguments:?} failed: {complaint}");
        Ok(())
    }

    pub fn server(&self) -> anyhow::Result<&Server> {
        self.server.as_ref().with_context(|| format!("{} is down", self.name))
    }

    pub fn wires(&self) -> anyhow::Result<&Wires> {
        self.wires.as_ref().context("a node without wires of its own")
    }

    /// Starts it where it was, and waits until it is ready.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let settings = self.settings.iter();
        let settings: Vec<_> =
            settings.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let started = Server::madang_at(self.address, &self.program, &self.folder, &settings);
        self.server = Some(started.await.with_context(|| format!("start {}", self.name))?);
        Ok(())
    }

    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.take()?.kill().await.with_context(|| format!("kill {}", self.name))
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.take()?.stop().await.with_context(|| format!("stop {}", self.name))
    }

    /// Errors when it has ended by itself; then it is down, and can be started again.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let mut server = self.take()?;
        server.check().with_context(|| self.name.clone())?;
        self.server = Some(server);
        Ok(())
    }

    fn take(&mut self) -> anyhow::Result<Server> {
        self.server.take().with_context(|| format!("{} is down", self.name))
    }
}

/// Has madang make the signing key that all nodes share; gives its file.
async fn make_key(program: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let data = std::path::absolute(folder.join("key"))?;
    let mut command = Command::new(std::path::absolute(program)?);
    forget_settings(&mut command);
    command.args(["secrets", "generate"]).env("MADANG__DATA__DIR", &data).current_dir(folder);
    let made = command.output().await.with_context(|| format!("run {}", program.display()))?;
    let complaint = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "no signing key was made: {complaint}");
    let mut files = std::fs::read_dir(data.join("secrets").join("jwt"))?;
    let file = files.next().context("no signing key was made")??;
    Ok(file.path())
}
