//! Runs one scenario on each database, as two tests.

use crate::app::TestApp;
use crate::database::Kind;

/// Settings as the environment gives them.
pub(crate) type Settings = &'static [(&'static str, &'static str)];

/// Makes two tests of each scenario, an `async fn(app: &mut TestApp)` in scope, one for each database.
macro_rules! on_both_databases {
    (with $settings:expr; $($scenario:ident),+ $(,)?) => {$(
        mod $scenario {
            #[tokio::test]
            async fn on_sqlite() {
                let kind = crate::database::Kind::Sqlite;
                crate::both::run(kind, $settings, super::$scenario).await;
            }

            #[tokio::test]
            async fn on_postgres() {
                let kind = crate::database::Kind::Postgres;
                crate::both::run(kind, $settings, super::$scenario).await;
            }
        }
    )+};
    ($($scenario:ident),+ $(,)?) => {
        on_both_databases!(with &[]; $($scenario),+);
    };
}

/// Starts a server with `settings`, plays the scenario against it, and clears away what it left.
pub(crate) async fn run(kind: Kind, settings: Settings, scenario: impl AsyncFnOnce(&mut TestApp)) {
    let mut app = Box::pin(TestApp::start(kind, settings)).await;
    Box::pin(scenario(&mut app)).await;
    app.finish().await;
}
