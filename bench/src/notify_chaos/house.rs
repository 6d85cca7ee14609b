//! The nodes that tell everybody: two on PostgreSQL, or one on the embedded database. And the administrator who asks them.

use anyhow::Context as _;

use super::providers::Providers;
use crate::database::Database;
use crate::folder::Folder;
use crate::plan::Plan;
use crate::report::Report;
use crate::servers::cluster::{Cluster, Layout, Node};

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
    /// Starts the nodes; there is an administrator.
    pub async fn open(plan: &Plan, is_sqlite: bool, providers: &Providers) -> anyhow::Result<Self> {
        let arguments = ["admin", "create", "--handle", ADMIN, "--email", "admin@example.com"];
        let beside = [("MADANG_ADMIN_PASSWORD", PASSWORD)];
        if is_sqlite {
            let folder = Folder::new(&plan.folder())?;
            let mut settings = providers.settings(1);
            let told = SETTINGS.iter();
            settings.extend(told.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            let mut node = Node::alone(plan, folder.path(), settings)?;
            node.command(&arguments, &beside).await?;
            node.start().await?;
            return Ok(Self::Alone { node: Box::new(node), folder });
        }
        let layout =
            Layout { nodes: super::NODES, is_linked: true, is_proxied: false, settings: &SETTINGS };
        let cluster = Cluster::start_with(plan, layout, |node| providers.settings(node)).await?;
        let first = cluster.nodes.first().context("a cluster without nodes")?;
        first.command(&arguments, &beside).await?;
        Ok(Self::Cluster(Box::new(cluster)))
    }

    pub fn nodes(&mut self) -> &mut [Node] {
        match self {
            Self::Alone { node, .. } => std::slice::from_mut(node),
            Self::Cluster(cluster) => &mut cluster.nodes,
        }
    }

    pub fn first(&self) -> anyhow::Result<&Node> {
        match self {
            Self::Alone { node, .. } => Ok(node),
            Self::Cluster(cluster) => cluster.nodes.first().context("a cluster without nodes"),
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
