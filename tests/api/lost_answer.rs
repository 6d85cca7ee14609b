//! A lost answer: PostgreSQL commits, but the node never hears of it.
//!
//! A proxy before the database swallows the answer to one COMMIT and cuts the connection, as a network does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::app::TestApp;
use crate::database::Kind;
use crate::socket::send;

const BODY: &str = "the answer to this one is lost";

#[tokio::test]
async fn a_message_whose_commit_was_not_heard_of_is_delivered_and_found_again() {
    Box::pin(crate::both::run(Kind::Postgres, &[], async |app: &mut TestApp| {
        let (jisoo, minho) = (app.register("jisoo").await, app.register("minho").await);
        let room = jisoo.group("마당", &[&minho]).await;
        let proxy = Proxy::start(&app.database_url()).await;
        app.restart_with("MADANG__DATABASE__URL", &proxy.url).await;
        let (jisoo, minho) = (jisoo.at(app), minho.at(app));
        let mut listener = minho.follow(&[&room]).await;
        let mut sender = jisoo.socket().await;
        sender.hello(&[]).await;

        proxy.lose_the_answer_to(BODY);
        let code = sender.refused(send(&room, "key", BODY)).await;

        assert_eq!(code, "outcome_unknown");
        assert!(proxy.has_cut(), "the proxy has seen the commit");
        let event = listener.next_event().await;
        assert_eq!(event["data"]["body"], BODY, "{event}");
        let again = sender.send(&room, "key", BODY).await;
        assert_eq!((&again["duplicate"], &again["seq"]), (&json!(true), &event["seq"]));
        sender.send(&room, "next", "and on it goes").await;
        let next = listener.next_event().await;
        assert_eq!(next["seq"].as_i64(), event["seq"].as_i64().map(|seq| seq + 1), "{next}");
        assert_eq!(listener.events_so_far().await.len(), 0, "nothing came twice");
    }))
    .await;
}

/// A way to the database that can be told to fail once.
struct Proxy {
    url: String,
    order: Arc<Mutex<Order>>,
}

/// What the proxy has been told to do.
enum Order {
    Pass,
    /// Cut the connection that carries this, after its commit.
    Cut(Vec<u8>),
    Done,
}

impl Proxy {
    async fn start(database: &str) -> Self {
        let (scheme, rest) = database.split_once("://").unwrap();
        let (login, place) = rest.rsplit_once('@').unwrap();
        let (address, name) = place.split_once('/').unwrap();
        let target: SocketAddr = address.replace("localhost", "127.0.0.1").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let order = Arc::new(Mutex::new(Order::Pass));
        let shared = Arc::clone(&order);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let order = Arc::clone(&shared);
                tokio::spawn(async move {
                    let server = TcpStream::connect(target).await.unwrap();
                    carry(client, server, &order).await;
                });
            }
        });
        let url = format!("{scheme}://{login}@127.0.0.1:{port}/{name}?sslmode=disable");
        Self { url, order }
    }

    fn lose_the_answer_to(&self, marker: &str) {
        *self.order.lock().unwrap() = Order::Cut(marker.as_bytes().to_vec());
    }

    fn has_cut(&self) -> bool {
        matches!(*self.order.lock().unwrap(), Order::Done)
    }
}

/// Carries bytes both ways until one side ends, or the order says to cut.
async fn carry(mut client: TcpStream, mut server: TcpStream, order: &Mutex<Order>) {
    let (mut said, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut is_marked = false;
    loop {
        tokio::select! {
            read = read(&mut client, &mut said) => {
                let Some(bytes) = read else { return };
                server.write_all(bytes).await.unwrap();
                is_marked |= matches!(&*order.lock().unwrap(), Order::Cut(marker) if contains(bytes, marker));
                if is_marked && contains(bytes, b"COMMIT") {
                    // The answer says that it is durable; it goes no further.
                    assert!(read_some(&mut server, &mut answered).await);
                    *order.lock().unwrap() = Order::Done;
                    return;
                }
            }
            read = read(&mut server, &mut answered) => {
                let Some(bytes) = read else { return };
                if client.write_all(bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn read<'b>(from: &mut (impl AsyncRead + Unpin), buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let length = from.read(buffer).await.ok().filter(|length| *length > 0)?;
    buffer.get(..length)
}

async fn read_some(from: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> bool {
    read(from, buffer).await.is_some()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
