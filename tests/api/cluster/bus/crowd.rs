//! People who talk all the time, each in a room of two, until they are told to stop or are cut off.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::TestApp;
use crate::socket::{Socket, send};

const PEOPLE: usize = 4;

pub(super) struct Crowd {
    stop: watch::Sender<bool>,
    senders: JoinSet<()>,
    acknowledged: UnboundedReceiver<()>,
}

impl Crowd {
    /// `name` tells the people of this crowd from those of another.
    pub(super) async fn gather(app: &TestApp, name: &str) -> Self {
        let (acknowledge, acknowledged) = unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let mut senders = JoinSet::new();
        let listener = app.register(&format!("{name}listener")).await;
        for n in 0..PEOPLE {
            let person = app.register(&format!("{name}{n}")).await;
            let room = person.direct_room(&listener).await;
            let socket = person.follow(&[]).await;
            senders.spawn(talk(socket, room, acknowledge.clone(), stopped.clone()));
        }
        Self { stop, senders, acknowledged }
    }

    /// Waits until so many more messages were acknowledged.
    pub(super) async fn hears(&mut self, count: usize) {
        for _ in 0..count {
            self.acknowledged.recv().await.expect("the crowd is talking");
        }
    }

    /// Lets everybody finish their sentence.
    pub(super) async fn ends(self) {
        self.stop.send_replace(true);
        self.senders.join_all().await;
    }
}

async fn talk(
    mut socket: Socket,
    room: String,
    acknowledge: UnboundedSender<()>,
    stopped: watch::Receiver<bool>,
) {
    for n in 0_u64.. {
        let Some(id) = socket.try_ask(send(&room, &n.to_string(), "and another thing")).await
        else {
            return;
        };
        let Some(reply) = socket.try_reply(id).await else {
            return;
        };
        assert!(reply["ok"]["seq"].is_i64(), "not sent: {reply}");
        if *stopped.borrow() || acknowledge.send(()).is_err() {
            return;
        }
    }
}
