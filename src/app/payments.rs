//! Payments as a node has them: providers, flows and who drives them, the webhooks that come in, and what is done every so often.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::escalate;
use super::wallets::{add_bank_file, open_settlements, open_wallets};
use crate::actors::kit::permanent::OnEscalate;
use crate::actors::ledger_check::check_ledger;
use crate::actors::nodes::Nodes;
use crate::actors::payment_webhooks::{Inspection, PaymentWebhooks};
use crate::actors::payments::desk::Desk;
use crate::actors::payments::reconciliation::{Reconciliation, ReconciliationRules};
use crate::actors::payments::settlements::Settlements;
use crate::actors::payments::wallets::Wallets;
use crate::actors::payments::{ANSWERED_WITHIN, Payments, PaymentsSettings, figures, flows};
use crate::actors::schedule::Task;
use crate::actors::workflow::engine::{Clock, Engine};
use crate::actors::workflow::supervisor::{WorkflowSettings, Workflows};
use crate::clock;
use crate::config::Config;
use crate::domain::ids::NodeId;
use crate::providers::payments::Providers;
use crate::store::Store;

/// Workflows that a node drives at once; most of the time each waits for a provider.
const WORKERS: u16 = 32;
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
const DISPUTES_INTERVAL: Duration = Duration::from_secs(3_600);
const CLEAR_INTERVAL: Duration = Duration::from_secs(3_600);
const CHECK_INTERVAL: Duration = Duration::from_secs(3_600);
/// Keys that one transaction forgets.
const KEYS_MAX: i64 = 1_000;

/// What this node does about money.
pub(super) struct Money {
    pub(super) payments: Payments,
    pub(super) webhooks: PaymentWebhooks,
    pub(super) wallets: Wallets,
    pub(super) settlements: Settlements,
    pub(super) reconciliation: Reconciliation,
    node: NodeId,
    workflows: Workflows,
    inspection: Inspection,
    stop: watch::Sender<bool>,
}

impl Money {
    /// Begins to work on what is open.
    ///
    /// # Errors
    /// When there are workflows that this release does not know.
    pub(super) async fn open(
        config: &Config,
        io: &Runtime,
        store: &Store,
        nodes: &Nodes,
        providers: Providers,
    ) -> anyhow::Result<Self> {
        for name in store.list_owing_providers().await? {
            if providers.get(&name).is_none() {
                tracing::error!(
                    payment.provider = name,
                    "payments or refunds are open with a provider that is not set up: name it in `payments.others`"
                );
            }
        }
        let clock: Clock = Arc::new(clock::now);
        let on_escalate: OnEscalate = Arc::new(escalate);
        let providers = add_bank_file(config, store, providers, &clock);
        let wallets = open_wallets(config, store, &providers, &clock).await?;
        let desk = Desk::new(store.clone(), providers.clone(), Arc::clone(&clock));
        let desk = desk.with_seal(wallets.seal());
        let settlements = open_settlements(config, store, &clock)?;
        let mut flows = flows(&desk);
        flows.push(wallets.flow());
        let engine = Engine::new(store.clone(), nodes.me(), flows, Arc::clone(&clock));
        let settings = WorkflowSettings { workers: WORKERS };
        let workflows =
            Workflows::start(io.handle(), engine.clone(), settings, &on_escalate).await?;
        let settings = PaymentsSettings {
            currency: config.payments.currency,
            expires_after: config.payments.expires_after(),
            answered_within: ANSWERED_WITHIN,
        };
        let payments = Payments::new(desk, engine, workflows.clone(), settings);
        let node = nodes.me();
        let reconciliation = {
            let (store, providers, payments) = (store.clone(), providers.clone(), payments.clone());
            Reconciliation::new(
                store,
                providers,
                payments,
                reconciliation_rules(config),
                clock,
                node,
            )
        };
        let (stop, stopped) = watch::channel(false);
        let counting = figures::count(store.clone(), Arc::new(clock::now), stopped);
        io.spawn(counting);
        let webhooks = PaymentWebhooks::new(store.clone(), providers);
        let looker = Arc::new(payments.clone());
        let inspection = Inspection::start(io.handle(), store, looker, on_escalate);
        Ok(Self {
            payments,
            webhooks,
            wallets,
            settlements,
            reconciliation,
            node,
            workflows,
            inspection,
            stop,
        })
    }

    /// Takes nothing more, and lets each that is under way come to the end of its step.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        self.inspection.stop().await;
        self.workflows.stop().await;
    }

    /// What is done every so often, on one node at a time.
    pub(super) fn tasks(&self, store: &Store) -> Vec<Task> {
        let (payments, webhooks) = (self.payments.clone(), self.webhooks.clone());
        let wallets = self.wallets.clone();
        let (keys, books) = (store.clone(), store.clone());
        let sweep = move || {
            let payments = payments.clone();
            done(async move {
                payments.sweep().await.map(|swept| {
                    tracing::debug!(?swept, "payments that had waited were looked at");
                })
            })
        };
        let looking = self.payments.clone();
        let look = move || {
            let payments = looking.clone();
            done(async move {
                payments.look_for_disputes().await.map(|news| {
                    tracing::debug!(news, "the providers were asked for disputes");
                })
            })
        };
        let watch = move || {
            let wallets = wallets.clone();
            done(async move { wallets.watch().await })
        };
        let forget_keys = move || {
            let keys = keys.clone();
            done(async move {
                while keys.delete_expired_idempotency_keys(clock::now(), KEYS_MAX).await? > 0 {}
                Ok::<_, crate::store::StoreError>(())
            })
        };
        let forget_webhooks = move || {
            let webhooks = webhooks.clone();
            done(async move { webhooks.sweep(clock::now()).await })
        };
        let node = self.node;
        let check = move || {
            let books = books.clone();
            done(async move { check_ledger(&books, node, clock::now()).await.map(|_| ()) })
        };
        let mut tasks = self.settlements.tasks();
        tasks.push(self.reconciliation.task());
        tasks.extend([
            Task { name: "withdrawals", every: SWEEP_INTERVAL, run: Arc::new(watch) },
            Task { name: "payments", every: SWEEP_INTERVAL, run: Arc::new(sweep) },
            Task { name: "disputes", every: DISPUTES_INTERVAL, run: Arc::new(look) },
            Task { name: "idempotency keys", every: CLEAR_INTERVAL, run: Arc::new(forget_keys) },
            Task {
                name: "payment webhooks",
                every: CLEAR_INTERVAL,
                run: Arc::new(forget_webhooks),
            },
            Task { name: "ledger", every: CHECK_INTERVAL, run: Arc::new(check) },
        ]);
        tasks
    }
}

fn reconciliation_rules(config: &Config) -> ReconciliationRules {
    let (payments, is_production) = (&config.payments, config.is_production());
    let fee = |name| payments.fee_bps(name).map(|fee_bps| (name, fee_bps));
    ReconciliationRules {
        lag: payments.reconciliation.lag(),
        settled_within_days: payments.reconciliation.settled_within_days,
        fees: payments.used(is_production).into_iter().filter_map(fee).collect(),
    }
}

/// A task as the schedule has it: what went wrong is a sentence for the log.
fn done<E: std::fmt::Display>(
    work: impl Future<Output = Result<(), E>> + Send + 'static,
) -> BoxFuture<'static, Result<(), String>> {
    async move { work.await.map_err(|error| error.to_string()) }.boxed()
}
