//! A server with rooms full of residents who are not there, and what its database says of their inboxes.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::Options;
use crate::api::{Api, Person};
use crate::database::{Connection, Database, rows};
use crate::folder::Folder;
use crate::load::message;
use crate::plan::Plan;
use crate::residents::{Mail, Residents};
use crate::sends::ask;
use crate::server::Server;
use crate::servers::postgres::Postgres;
use crate::socket::{self, Socket};

/// Every message of the crowded room is told to everybody in it, and nobody is held back.
const SETTINGS: [(&str, &str); 2] = [
    ("MADANG__CHAT__GROUP_MEMBERS_MAX", "100000"),
    ("MADANG__NOTIFICATIONS__EVERY_MESSAGE_MEMBERS", "100000"),
];
/// How often the inboxes are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Longer than a page of a fan-out takes.
const REST: Duration = Duration::from_secs(3);
/// A server that uses less in this time is at rest.
const STILL_LOOK: Duration = Duration::from_secs(2);
const STILL_CPU_SECONDS: f64 = 0.1;
const STILL_LIMIT: Duration = Duration::from_secs(180);
const FANOUT_LIMIT: Duration = Duration::from_secs(300);
const BODY: &str =
    "The gate of the courtyard stays open tonight: come when you like, and bring what you have.";

#[derive(Debug)]
pub struct Hall {
    // Dropped in this order: the server first, the folder last.
    pub server: Server,
    pub api: Api,
    /// Registered, and able to speak; the first of them owns every room.
    pub people: Vec<Person>,
    /// Channels of rooms that residents are members of, in the order that they were asked for.
    pub rooms: Vec<Room>,
    pub residents: Residents,
    pub database: Database,
    postgres: Option<Postgres>,
    folder: Folder,
}

#[derive(Debug)]
pub struct Room {
    pub id: Uuid,
    pub channel: String,
    /// Residents in it.
    pub members: usize,
}

/// One message that everybody in a room was told of.
#[derive(Debug)]
pub struct Told {
    pub seq: i64,
    /// From the request to the last inbox.
    pub took: Duration,
    /// The most that the server held meanwhile.
    pub resident_kib: f64,
}

impl Hall {
    /// Starts a server with so many `people`, and a room for each number of resident `members`.
    pub async fn open(
        plan: &Plan,
        options: &Options,
        people: usize,
        members: &[usize],
    ) -> anyhow::Result<Self> {
        let folder = Folder::new(&plan.folder())?;
        let postgres =
            if options.postgres { Some(Postgres::start(folder.path()).await?) } else { None };
        let database = match &postgres {
            Some(postgres) => Database::Postgres(postgres.url()),
            None => Database::Sqlite(folder.path().join("data")),
        };
        let server = start(plan, &folder, postgres.as_ref()).await?;
        let api = Api::new(server.address())?;
        let people = api.register(people).await?;
        let owner = people.first().context("a hall needs people")?;
        let mut rooms = Vec::with_capacity(members.len());
        for (number, members) in members.iter().enumerate() {
            let id = api.create_room(&format!("bench {number}"), owner, &[]).await?;
            let (channel, id) = (format!("room:{id}"), Uuid::parse_str(&id)?);
            rooms.push(Room { id, channel, members: *members });
        }
        // Rooms that are awake would not know who came in by the back door.
        server.stop().await?;
        let mut db = database.open().await?;
        let most = members.iter().copied().max().unwrap_or_default();
        let residents = Residents::settle(&mut db, most, Mail::Unverified).await?;
        for room in &rooms {
            residents.join(&mut db, room.id, 0..room.members).await?;
        }
        db.close().await?;
        let server = start(plan, &folder, postgres.as_ref()).await?;
        be_still(&server).await?;
        let api = Api::new(server.address())?;
        Ok(Self { server, api, people, rooms, residents, database, postgres, folder })
    }

    pub fn room(&self, number: usize) -> anyhow::Result<&Room> {
        self.rooms.get(number).context("no such room")
    }

    /// A connection of the owner of the rooms, which follows no channel.
    pub async fn owner(&self) -> anyhow::Result<Socket> {
        let owner = self.people.first().context("a hall needs people")?;
        self.visitor(owner).await
    }

    /// A connection of `person`, which follows no channel.
    pub async fn visitor(&self, person: &Person) -> anyhow::Result<Socket> {
        let seats = [self.api.seat(person, Vec::new())];
        let socket = socket::connect_all(&seats, 0).await?.pop();
        socket.context("a connection for one seat")
    }

    /// Says something in `room` and waits until every resident in it has been told, and nothing else happens.
    pub async fn tell(
        &self,
        db: &mut Connection,
        speaker: &mut Socket,
        room: &Room,
    ) -> anyhow::Result<Told> {
        let before = self.residents.inbox_events(db).await?;
        let wanted = before + i64::try_from(room.members)?;
        let mut resident_kib = self.server.usage()?.resident_kib;
        let said = Instant::now();
        let reply = ask(speaker, &message(0, &room.channel, BODY)).await?;
        let seq = reply.pointer("/ok/seq").and_then(Value::as_i64);
        let seq = seq.with_context(|| format!("the message was refused: {reply}"))?;
        loop {
            let events = self.residents.inbox_events(db).await?;
            let took = said.elapsed();
            resident_kib = resident_kib.max(self.server.usage()?.resident_kib);
            ensure!(
                events <= wanted,
                "{} residents were told {} times",
                room.members,
                events - before
            );
            if events == wanted {
                return Ok(Told { seq, took, resident_kib });
            }
            ensure!(
                took < FANOUT_LIMIT,
                "after {FANOUT_LIMIT:?}, {} of {} residents were told\n{}",
                events - before,
                room.members,
                self.server.log_end(),
            );
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Waits until nobody has been told anything for a while.
    pub async fn rest(&self, db: &mut Connection) -> anyhow::Result<()> {
        let mut events = self.residents.inbox_events(db).await?;
        let mut since = Instant::now();
        while since.elapsed() < REST {
            sleep(LOOK_INTERVAL).await;
            let now = self.residents.inbox_events(db).await?;
            if now != events {
                (events, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Whether exactly the residents in `room` have one notification each of its message `seq`.
    pub async fn is_told_once(
        &self,
        db: &mut Connection,
        room: &Room,
        seq: i64,
    ) -> anyhow::Result<bool> {
        let counts = rows!(
            db,
            (i64, i64),
            "SELECT COUNT(*), COUNT(DISTINCT user_id) FROM notifications
             WHERE room_id = $1 AND room_seq = $2",
            room.id,
            seq,
        );
        let members = i64::try_from(room.members)?;
        Ok(counts == [(members, members)])
    }

    pub async fn close(self) -> anyhow::Result<()> {
        let Self { server, postgres, folder, .. } = self;
        server.stop().await?;
        if let Some(postgres) = postgres {
            postgres.stop().await?;
        }
        drop(folder);
        Ok(())
    }
}

/// Waits until the server is done with what it does by itself about so many new people.
async fn be_still(server: &Server) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut before = server.usage()?.cpu_seconds;
    loop {
        sleep(STILL_LOOK).await;
        let now = server.usage()?.cpu_seconds;
        if now - before < STILL_CPU_SECONDS {
            return Ok(());
        }
        before = now;
        ensure!(started.elapsed() < STILL_LIMIT, "the server did not come to rest");
    }
}

async fn start(
    plan: &Plan,
    folder: &Folder,
    postgres: Option<&Postgres>,
) -> anyhow::Result<Server> {
    let url = postgres.map(Postgres::url);
    let mut settings = SETTINGS.to_vec();
    settings.extend(url.as_deref().map(|url| ("MADANG__DATABASE__URL", url)));
    Server::madang(&plan.madang, folder.path(), &settings).await
}
