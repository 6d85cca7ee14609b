//! Another server that calls with a service key.

use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::app::TestApp;
use crate::user::User;

#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) key: String,
    http: reqwest::Client,
    base: String,
}

impl Service {
    pub(crate) fn new(app: &TestApp, name: &str, key: &str) -> Self {
        let (name, key) = (name.to_owned(), key.to_owned());
        Self { name, key, http: app.http.clone(), base: app.url("/v1") }
    }

    /// Has an administrator make a key for a service of this name; gives the id of the key as well.
    pub(crate) async fn made_by(
        admin: &User,
        app: &TestApp,
        name: &str,
        scopes: &[&str],
    ) -> (Self, String) {
        let body = json!({ "name": name, "scopes": scopes });
        let made = admin.post("/admin/service-keys", &body).await.json(201);
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        (Self::new(app, name, &text("key")), text("id"))
    }

    /// The same service at another server, or at one that was started again.
    pub(crate) fn at(&self, app: &TestApp) -> Self {
        Self { base: app.url("/v1"), ..self.clone() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        request.header("x-api-key", &self.key).header("x-service-name", &self.name)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::PATCH, path).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }
}
