//! The post as a node has it: who composes the letters of each medium, and who delivers them.

use std::sync::Arc;

use tokio::runtime::Runtime;

use super::escalate;
use crate::actors::kit::permanent::OnEscalate;
use crate::actors::nodes::Nodes;
use crate::actors::notify::compose::LetterComposer;
use crate::actors::post::{Composer, Composers, Couriers, Post, PostSettings};
use crate::actors::webhooks::Webhooks;
use crate::config::Config;
use crate::domain::media::Medium;
use crate::providers::couriers;
use crate::store::Store;

/// Opens the desks of this node.
pub(super) fn open_post(
    config: &Config,
    io: &Runtime,
    store: &Store,
    nodes: &Nodes,
    couriers: &couriers::Couriers,
    composers: Composers,
) -> Post {
    let on_escalate: OnEscalate = Arc::new(escalate);
    let couriers: Couriers = Medium::OUTWARD
        .into_iter()
        .filter_map(|medium| Some((medium, Arc::clone(couriers.get(medium)?))))
        .collect();
    let settings = PostSettings::from(&config.delivery);
    Post::start(io.handle(), store, nodes, composers, couriers, &settings, &on_escalate)
}

/// Who composes what: letters to users, and events for other systems.
pub(super) fn composers(letters: LetterComposer, webhooks: &Webhooks) -> Composers {
    let letters: Arc<dyn Composer> = Arc::new(letters);
    let webhooks: Arc<dyn Composer> = Arc::new(webhooks.clone());
    [
        (Medium::Mail, Arc::clone(&letters)),
        (Medium::Sms, Arc::clone(&letters)),
        (Medium::Push, letters),
        (Medium::Webhook, webhooks),
    ]
    .into()
}
