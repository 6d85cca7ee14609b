//! Service keys and webhooks on several nodes.

use serde_json::json;

use super::nodes::Cluster;
use crate::app::{PASSWORD, eventually};
use crate::service::Service;

#[tokio::test]
async fn a_key_that_was_revoked_on_one_node_soon_opens_nothing_on_any() {
    let cluster = Box::pin(Cluster::start(2, &[])).await;
    let (here, there) = (cluster.node(0), cluster.node(1));
    let admin = here.administrator("gwanri").await;
    let (service, id) = Service::made_by(&admin, here, "deploy", &["webhooks:manage"]).await;
    let elsewhere = service.at(there);
    service.get("/webhooks").await.is(200);
    elsewhere.get("/webhooks").await.is(200);

    admin.delete(&format!("/admin/service-keys/{id}")).await.is(204);

    service.get("/webhooks").await.refused(401, "invalid_service_key");
    eventually("the other node has heard of it", async || {
        let answer = elsewhere.get("/webhooks").await;
        (answer.status != 200).then(|| answer.refused(401, "invalid_service_key"))
    })
    .await;
    cluster.finish().await;
}

#[tokio::test]
async fn an_endpoint_that_was_made_on_one_node_can_be_used_on_the_other() {
    let cluster = Box::pin(Cluster::start(2, &[])).await;
    let (here, there) = (cluster.node(0), cluster.node(1));
    let admin = here.administrator("gwanri").await;
    let body = json!({ "url": "https://hooks.example.com", "events": ["UserRegistered"] });
    let made = admin.post("/webhooks", &body).await.json(201);
    let one = format!("/webhooks/{}", made["id"].as_str().unwrap());

    let there_too = there.login("gwanri", PASSWORD).await;
    let rotated = there_too.post(&format!("{one}/rotate-secret"), &json!({})).await.json(200);
    assert_ne!(rotated["secret"], made["secret"]);
    there.register("jisoo").await;

    eventually("either node has queued it", async || {
        let log = admin.get(&format!("{one}/deliveries")).await.json(200);
        let log = log["items"].as_array().unwrap().clone();
        log.iter().any(|delivery| delivery["event"] == "UserRegistered").then_some(())
    })
    .await;
    cluster.finish().await;
}
