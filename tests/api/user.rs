//! Somebody who is logged in, and what they do over HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::TestApp;
use crate::socket::Socket;

#[derive(Clone)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) session: String,
    pub(crate) token: String,
    pub(crate) refresh: String,
    http: reqwest::Client,
    base: String,
    port: u16,
}

impl User {
    /// Reads what registering and logging in answer.
    pub(crate) fn new(app: &TestApp, grant: &Value) -> Self {
        let text = |value: &Value| value.as_str().expect("a grant is whole").to_owned();
        Self {
            id: text(&grant["user"]["id"]),
            session: text(&grant["session_id"]),
            token: text(&grant["access_token"]),
            refresh: text(&grant["refresh_token"]),
            http: app.http.clone(),
            base: app.url("/v1"),
            port: app.port(),
        }
    }

    /// The same login with another access token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The same login, at a server that was started again.
    pub(crate) fn at(&self, app: &TestApp) -> Self {
        Self { base: app.url("/v1"), port: app.port(), ..self.clone() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::PUT, path).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::PATCH, path).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    /// With a body, such as a reason.
    pub(crate) async fn delete_with(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::DELETE, path).json(body)).await
    }

    /// Makes friends with somebody, who agrees.
    pub(crate) async fn befriend(&self, other: &Self) {
        let asked = self.post("/friends/request", &json!({ "user_id": other.id })).await;
        assert!([200, 201].contains(&asked.status), "{}", asked.text);
        if asked.json(asked.status)["state"] == "outgoing" {
            let accepted = other.post("/friends/accept", &json!({ "user_id": self.id })).await;
            assert_eq!(accepted.json(200)["state"], "friends");
        }
    }

    /// Opens the direct room with somebody, or finds it, and gives its id. Strangers become friends first.
    pub(crate) async fn direct_room(&self, other: &Self) -> String {
        self.befriend(other).await;
        let answer =
            self.post("/chat/rooms", &json!({ "kind": "direct", "user_id": other.id })).await;
        assert!([200, 201].contains(&answer.status), "{}", answer.text);
        room_id(&answer.json(answer.status))
    }

    /// Opens a private group with these members besides oneself, and gives its id.
    pub(crate) async fn group(&self, name: &str, members: &[&Self]) -> String {
        room_id(&self.open_group(name, members, "private").await)
    }

    /// Opens a channel that anybody may join, and gives its id.
    pub(crate) async fn public_channel(&self, name: &str) -> String {
        room_id(&self.open_group(name, &[], "public").await)
    }

    async fn open_group(&self, name: &str, members: &[&Self], visibility: &str) -> Value {
        let members: Vec<&str> = members.iter().map(|member| member.id.as_str()).collect();
        let body = json!({
            "kind": "group", "name": name, "member_ids": members, "visibility": visibility,
        });
        self.post("/chat/rooms", &body).await.json(201)
    }

    /// Sends a message and gives the server's answer.
    pub(crate) async fn say(&self, room: &str, key: &str, body: &str) -> Value {
        let message = json!({ "key": key, "body": body });
        self.post(&format!("/chat/rooms/{room}/messages"), &message).await.json(201)
    }

    /// A page of a room's messages.
    pub(crate) async fn messages(&self, room: &str, query: &str) -> Vec<Value> {
        let page = self.get(&format!("/chat/rooms/{room}/messages?{query}")).await.json(200);
        page["items"].as_array().expect("a page has items").clone()
    }

    /// The number of the last event of a room.
    pub(crate) async fn head(&self, room: &str) -> i64 {
        let room = self.get(&format!("/chat/rooms/{room}")).await.json(200);
        room["head"].as_i64().expect("a room has a head")
    }

    /// Opens a socket that brings the token with the handshake; hello is still to be said.
    pub(crate) async fn socket(&self) -> Socket {
        Socket::open(self.port, Some(&self.token)).await
    }

    /// As [`Self::socket`], where there may be no server, or one that is going away.
    pub(crate) async fn try_socket(&self) -> Option<Socket> {
        Socket::try_open(self.port, Some(&self.token)).await
    }

    /// Opens a socket that follows these rooms.
    pub(crate) async fn follow(&self, rooms: &[&str]) -> Socket {
        let mut socket = self.socket().await;
        let channels: Vec<String> = rooms.iter().map(|room| format!("room:{room}")).collect();
        let channels: Vec<&str> = channels.iter().map(String::as_str).collect();
        socket.hello(&channels).await;
        socket
    }
}

fn room_id(room: &Value) -> String {
    room["id"].as_str().expect("a room has an id").to_owned()
}

/// A field of each item.
pub(crate) fn pluck(items: &[Value], field: &str) -> Vec<Value> {
    items.iter().map(|item| item[field].clone()).collect()
}
