//! Scenarios 1 and 2: what a delivery costs, in one crowded room and in many small ones, beside the reference.

use std::rc::Rc;

use clap::Args;

use crate::api::{Api, PEOPLE, Person};
use crate::folder::Folder;
use crate::load::{Load, Outcome, Room};
use crate::plan::Plan;
use crate::report::{Bound, Report, median};
use crate::server::Server;
use crate::socket::Seat;

#[derive(Debug, Default, Args)]
pub struct Options {
    #[arg(long)]
    rooms: Option<usize>,
    /// Connections in each room.
    #[arg(long)]
    members: Option<usize>,
    /// Messages in a second, all rooms together.
    #[arg(long)]
    rate: Option<u64>,
    #[arg(long)]
    body_bytes: Option<usize>,
}

impl Options {
    fn load(&self, usual: Load) -> Load {
        Load {
            rooms: self.rooms.unwrap_or(usual.rooms),
            members: self.members.unwrap_or(usual.members),
            rate: self.rate.unwrap_or(usual.rate),
            body_bytes: self.body_bytes.unwrap_or(usual.body_bytes),
        }
    }
}

/// One room of 1,000, 50 messages of 128 bytes a second.
pub async fn one_room(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let full = Load { rooms: 1, members: 1_000, rate: 50, body_bytes: 128 };
    let quick = Load { members: 100, rate: 20, ..full };
    compare("fanout", options.load(plan.pick(full, quick)), 0.65, plan, report).await
}

/// 200 rooms of 10, 2,000 messages a second in all.
pub async fn many_rooms(plan: &Plan, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let full = Load { rooms: 200, members: 10, rate: 2_000, body_bytes: 128 };
    let quick = Load { rooms: 20, members: 5, rate: 200, ..full };
    compare("rooms", options.load(plan.pick(full, quick)), 0.5, plan, report).await
}

async fn compare(
    name: &str,
    load: Load,
    bound: f64,
    plan: &Plan,
    report: &mut Report,
) -> anyhow::Result<()> {
    load.check()?;
    let (mut subject, mut reference) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds() {
        eprintln!("{name}: round {round} of {}", plan.rounds());
        subject.push(on_madang(plan, load).await?);
        reference.push(on_reference(plan, load).await?);
    }

    let middle = |of: fn(&Outcome) -> f64| {
        let medians = [&subject, &reference].map(|side| median(side.iter().map(of).collect()));
        (medians[0], medians[1])
    };
    let (ours, theirs) = middle(|outcome| outcome.deliveries_per_cpu_second);
    let figure = format!("{name}.deliveries_per_cpu_second");
    report.compare(&figure, ours, theirs, "1/s", Bound::AtLeast(bound));
    let others = [
        ("deliveries_per_second", "1/s", middle(|outcome| outcome.deliveries_per_second)),
        ("server_cpu", "s", middle(|outcome| outcome.cpu_seconds)),
        ("latency_p50", "ms", middle(|outcome| outcome.p50_ms)),
        ("latency_p99", "ms", middle(|outcome| outcome.p99_ms)),
        ("latency_max", "ms", middle(|outcome| outcome.max_ms)),
    ];
    for (part, unit, (ours, theirs)) in others {
        report.measure(&format!("{name}.{part}"), ours, Some(theirs), unit, Bound::None);
    }
    let lost = |side: &[Outcome]| side.iter().map(|outcome| outcome.lost).sum::<u64>() as f64;
    let figure = format!("{name}.lost");
    report.measure(
        &figure,
        lost(&subject),
        Some(lost(&reference)),
        "deliveries",
        Bound::AtMost(0.0),
    );

    let Load { rooms, members, rate, body_bytes } = load;
    let late_ms =
        subject.iter().chain(&reference).map(|outcome| outcome.late_ms).fold(0.0, f64::max);
    report.note(format!(
        "{name}: {rooms} room(s) of {members} connections, {rate} messages/s of {body_bytes} bytes, {} s, median \
         of {} round(s); a member is a connection, {PEOPLE} people hold them; latency holds the load client's own \
         reading, which is the reference's latency; the client was at most {late_ms:.1} ms late.",
        plan.duration().as_secs(),
        plan.rounds(),
    ));
    for outcome in &subject {
        blame(name, "madang", outcome, report);
        if outcome.acknowledged != outcome.sent {
            let Outcome { acknowledged, sent, .. } = outcome;
            report.fault(format!("{name}: madang acknowledged {acknowledged} of {sent} messages"));
        }
    }
    for outcome in &reference {
        blame(name, "the reference", outcome, report);
    }
    Ok(())
}

/// Faults for what no server may do with a load.
pub fn blame(name: &str, who: &str, outcome: &Outcome, report: &mut Report) {
    let Outcome { lost, repeated, refused, ended, complaint, .. } = outcome;
    if lost + repeated + refused + ended > 0 {
        let complaint = complaint.as_deref().unwrap_or("no complaint");
        report.fault(format!(
            "{name}: {who} lost {lost} deliveries, repeated {repeated}, refused {refused} messages, ended {ended} \
             connections ({complaint})",
        ));
    }
}

async fn on_madang(plan: &Plan, load: Load) -> anyhow::Result<Outcome> {
    let folder = Folder::new(&plan.folder())?;
    let server = Server::madang(&plan.madang, folder.path(), &[]).await?;
    let api = Api::new(server.address())?;
    let people = api.register(PEOPLE).await?;
    let mut rooms = Vec::with_capacity(load.rooms);
    for number in 0..load.rooms {
        let members: Vec<&Person> =
            people.iter().cycle().skip(number % PEOPLE).take(load.members).collect();
        let (owner, others) = (members[0], &members[1..members.len().min(PEOPLE)]);
        let id = api.create_room(&format!("bench {number}"), owner, others).await?;
        let channel = format!("room:{id}");
        let seats = members.iter().map(|person| api.seat(person, vec![channel.clone()])).collect();
        rooms.push(Room { channel, seats });
    }

    let outcome = load.drive(&[&server], &rooms, plan.duration()).await?;
    server.stop().await?;
    Ok(outcome)
}

async fn on_reference(plan: &Plan, load: Load) -> anyhow::Result<Outcome> {
    let folder = Folder::new(&plan.folder())?;
    let server = Server::reference(folder.path()).await?;
    let rooms: Vec<_> = (0..load.rooms).map(|_| reference_room(&server, load.members)).collect();

    let outcome = load.drive(&[&server], &rooms, plan.duration()).await?;
    server.stop().await?;
    Ok(outcome)
}

/// A room as long-named as madang's, so that the frames have the same length.
fn reference_room(server: &Server, members: usize) -> Room {
    let id = uuid::Uuid::new_v4();
    let seat = Seat {
        address: server.address(),
        path: format!("/?room={id}"),
        token: None::<Rc<str>>,
        hello: None,
    };
    Room { channel: format!("room:{id}"), seats: vec![seat; members] }
}
