//! The nodes of a run: some on PostgreSQL, or one on the embedded database. And the administrator who asks them.

use std::path::Path;

use anyhow::Context as _;

use crate::database::Database;
use crate::folder::Folder;
use crate::plan::Plan;
use crate::report::Report;
use crate::servers::cluster::{Cluster, Layout, Node, Settings};
use crate::servers::postgres::Postgres;

pub const ADMIN: &str = "bench_admin";
pub const PASSWORD: &str = "courtyard-load-7f3a9c21-evening";
/// Nobody holds a connection that a long farewell would be for.
const SETTINGS: [(&str, &str); 2] =
    [("MADANG__HTTP__DRAIN_WINDOW_S", "1"), ("MADANG__HTTP__SHUTDOWN_TIMEOUT_S", "20")];

#[derive(Debug)]
pub enum House {
    // The node is dropped first.
    Alone { node: Box<Node>, folder: Folder },
    Cluster(Box<Cluster>),
}

impl House {
    /// Starts one node on the embedded database; there is an administrator.
    pub async fn alone(plan: &Plan, settings: Settings) -> anyhow::Result<Self> {
        let folder = Folder::new(&plan.folder())?;
        let mut settings = settings;
        let told = SETTINGS.iter();
        settings.extend(told.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut node = Node::alone(plan, folder.path(), settings)?;
        make_administrator(&node).await?;
        node.start().await?;
        Ok(Self::Alone { node: Box::new(node), folder })
    }

    /// Starts so many nodes on PostgreSQL; `of_node` gives the settings of each, by its number from 1. There is an
    /// administrator.
    pub async fn of_nodes(
        plan: &Plan,
        nodes: usize,
        of_node: impl Fn(usize) -> Settings,
    ) -> anyhow::Result<Self> {
        let layout = Layout { nodes, is_linked: true, is_proxied: false, settings: &SETTINGS };
        let cluster = Cluster::start_with(plan, layout, of_node).await?;
        make_administrator(cluster.nodes.first().context("a cluster without nodes")?).await?;
        Ok(Self::Cluster(Box::new(cluster)))
    }

    pub fn nodes(&mut self) -> &mut [Node] {
        match self {
            Self::Alone { node, .. } => std::slice::from_mut(node),
            Self::Cluster(cluster) => &mut cluster.nodes,
        }
    }

    /// The nodes, and the PostgreSQL that they share.
    pub fn parts(&mut self) -> (&mut [Node], Option<&mut Postgres>) {
        match self {
            Self::Alone { node, .. } => (std::slice::from_mut(node), None),
            Self::Cluster(cluster) => {
                let Cluster { nodes, postgres, .. } = &mut **cluster;
                (nodes, Some(postgres))
            }
        }
    }

    pub fn first(&self) -> anyhow::Result<&Node> {
        match self {
            Self::Alone { node, .. } => Ok(node),
            Self::Cluster(cluster) => cluster.nodes.first().context("a cluster without nodes"),
        }
    }

    /// Where data and logs are.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Alone { folder, .. } => folder.path(),
            Self::Cluster(cluster) => cluster.folder(),
        }
    }

    pub fn database(&self) -> Database {
        match self {
            Self::Alone { node, .. } => Database::Sqlite(node.data()),
            Self::Cluster(cluster) => Database::Postgres(cluster.postgres.url()),
        }
    }

    /// Stops everything; where there were faults, data and logs stay for whoever looks into them.
    pub async fn leave(self, name: &str, report: &mut Report) -> anyhow::Result<()> {
        let has_faults = !report.faults().is_empty();
        let kept = match self {
            Self::Alone { mut node, folder } => {
                node.stop().await?;
                has_faults.then(|| folder.keep())
            }
            Self::Cluster(cluster) if has_faults => Some(cluster.stop_and_keep().await?),
            Self::Cluster(cluster) => {
                cluster.stop().await?;
                None
            }
        };
        if let Some(folder) = kept {
            let folder = folder.display();
            report.note(format!("{name}: data and logs of the servers are in {folder}"));
        }
        Ok(())
    }
}

async fn make_administrator(node: &Node) -> anyhow::Result<()> {
    let arguments = ["admin", "create", "--handle", ADMIN, "--email", "admin@example.com"];
    node.command(&arguments, &[("MADANG_ADMIN_PASSWORD", PASSWORD)]).await
}
