//! Scenario `notify`: one message to ten thousand people who are away, notifications that somebody watches, and what chat
//! feels of them.
//!
//! Each part has a server and data of its own. Read `hall` (a room with residents), then `fanout`, `live` and `chat`.

mod chat;
mod fanout;
mod hall;
mod live;
mod watcher;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::plan::Plan;
use crate::report::Report;

#[derive(Debug, Default, Args)]
pub struct Options {
    /// Measures only this.
    #[arg(long)]
    part: Option<Part>,
    /// Members of the crowded room.
    #[arg(long)]
    members: Option<usize>,
    /// Notifications in a second, of those that are watched.
    #[arg(long)]
    rate: Option<u64>,
    /// On a PostgreSQL of its own instead of the embedded database.
    #[arg(long)]
    postgres: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One message in a crowded room, with nobody there.
    Fanout,
    /// Notifications for people who watch their inboxes.
    Live,
    /// Chat in other rooms while the crowded one is notified again and again.
    Chat,
}

pub async fn run(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let is_wanted = |part| options.part.is_none_or(|only| only == part);
    if is_wanted(Part::Fanout) {
        fanout::run(plan, options, report).await.context("fanout")?;
    }
    if is_wanted(Part::Live) {
        live::run(plan, options, report).await.context("live")?;
    }
    if is_wanted(Part::Chat) {
        chat::run(plan, options, report).await.context("chat")?;
    }
    Ok(())
}

impl Options {
    fn members(&self, plan: &Plan) -> usize {
        self.members.unwrap_or(plan.pick(10_000, 500))
    }

    /// As notes call what it runs on.
    fn store(&self) -> &'static str {
        if self.postgres { "PostgreSQL" } else { "SQLite" }
    }
}
