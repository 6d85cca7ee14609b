//! Batches that somebody closes before their night and pays before their day.

use std::time::Duration;

use tokio::join;

use super::{HOUR, NET, RULES, SettlementRules, TODAY, Town, somebody, towns};
use crate::actors::payments::settlements::early::EarlyError;
use crate::clock;
use crate::domain::ids::UserId;
use crate::domain::settlements::{SettlementError, SettlementStatus};
use crate::domain::workflows::Reason;
use crate::store::audit::DeedFilter;

fn reason() -> Reason {
    Reason::parse("they leave the country tonight").unwrap()
}

async fn actions(town: &Town) -> Vec<String> {
    let deeds = town.store.list_audit(DeedFilter::default(), None, 99).await.unwrap();
    deeds.into_iter().rev().map(|it| it.action).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_earned_is_closed_and_paid_at_once_and_once() {
    for town in towns(RULES).await {
        let (payee, admin): (UserId, UserId) = (somebody(), somebody());
        town.earned(payee, 10_000).await;

        let closed = town.settlements.close_now(None, admin, reason()).await.unwrap();

        let [batch] = closed.settlements.as_slice() else { panic!("{closed:?}") };
        assert_eq!((batch.payee, batch.net, batch.period_end), (payee, NET, TODAY));
        assert_eq!(town.figures(payee).await.0, NET, "it is pending");
        let own = town.settlements.pay_now(batch.id, payee, reason()).await;
        let why = SettlementError::OwnDecision;
        assert!(matches!(&own, Err(EarlyError::Settlement(it)) if *it == why), "{own:?}");
        let paid = town.settlements.pay_now(batch.id, admin, reason()).await.unwrap();
        assert_eq!(paid.status, SettlementStatus::Released);
        assert_eq!(town.figures(payee).await, (0, NET, 0));
        let again = town.settlements.pay_now(batch.id, admin, reason()).await;
        let why = SettlementError::NotClosed;
        assert!(matches!(&again, Err(EarlyError::Settlement(it)) if *it == why), "{again:?}");
        let missing = town.settlements.pay_now(clock::new_uuid().into(), admin, reason()).await;
        let why = SettlementError::NotFound;
        assert!(matches!(&missing, Err(EarlyError::Settlement(it)) if *it == why));
        assert_eq!(actions(&town).await, ["settlement_closed", "settlement_released"]);

        // Neither the night nor the day does it again; what came later today is in tomorrow's.
        town.earned(payee, 10_000).await;
        let late = town.settlements.close_now(Some(payee), admin, reason()).await.unwrap();
        assert_eq!((late.settlements.len(), late.closed_before), (0, vec![payee]));
        town.go_to(TODAY.tomorrow().unwrap(), HOUR);
        assert_eq!(town.settlements.close_due().await.unwrap(), 0);
        let tomorrow = TODAY.tomorrow().unwrap().tomorrow().unwrap();
        town.go_to(tomorrow, HOUR);
        assert_eq!(town.settlements.close_due().await.unwrap(), 1);
        assert_eq!(town.figures(payee).await, (NET, NET, 0));
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tried_out_is_in_the_wallet_at_once_and_once_a_day() {
    for town in towns(RULES).await {
        let payee = somebody();
        assert_eq!(town.settlements.settle_at_once(payee).await.unwrap(), None);
        town.earned(payee, 10_000).await;

        let paid = town.settlements.settle_at_once(payee).await.unwrap().unwrap();

        assert_eq!((paid.net, paid.pay_on, paid.status), (NET, TODAY, SettlementStatus::Released));
        assert_eq!(town.figures(payee).await, (0, NET, 0));
        town.earned(payee, 10_000).await;
        assert_eq!(town.settlements.settle_at_once(payee).await.unwrap(), None);
        assert_eq!(town.figures(payee).await, (NET, NET, 0), "it waits for the next day");
        town.go_to(TODAY.tomorrow().unwrap(), HOUR);
        assert!(town.settlements.settle_at_once(payee).await.unwrap().is_some());
        assert_eq!(town.figures(payee).await, (0, NET * 2, 0));
        assert!(actions(&town).await.is_empty(), "nobody decided anything");
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_who_close_and_pay_at_once_one_does() {
    for town in towns(RULES).await {
        let (payee, admin) = (somebody(), somebody());
        town.earned(payee, 10_000).await;
        town.go_to(TODAY.tomorrow().unwrap(), HOUR);
        let close = || town.settlements.close_now(Some(payee), admin, reason());
        // The night, and two people; whoever is first, nothing is in two batches.
        let (night, one, two) = join!(town.settlements.close_due(), close(), close());
        let by_hand = one.unwrap().settlements.len() + two.unwrap().settlements.len();
        assert_eq!(night.unwrap() + by_hand, 1);
        let batch = town.only_settlement(payee).await;
        assert_eq!(batch.net, NET);

        let pay = || town.settlements.pay_now(batch.id, admin, reason());
        let (one, two) = join!(pay(), pay());
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        assert_eq!(town.figures(payee).await, (0, NET, 0));
        let said = actions(&town).await;
        assert_eq!(said.iter().filter(|it| *it == "settlement_released").count(), 1);
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn page_after_page_everybody_is_closed_whoever_earns_again() {
    for town in towns(RULES).await {
        let admin = somebody();
        let mut payees: Vec<UserId> = (0..5).map(|_| somebody()).collect();
        payees.sort_unstable_by_key(|it| it.uuid());
        for payee in &payees {
            town.earned(*payee, 10_000).await;
        }
        town.earned(admin, 10_000).await;
        let mut closed = Vec::new();
        // Two at a time; those who come first earn again each time.
        for _ in 0..3 {
            let page = town.settlements.close_now(None, admin, reason()).await.unwrap();
            closed.extend(page.settlements.iter().map(|it| it.payee));
            assert_eq!((page.closed_before, page.has_more), (vec![], closed.len() < 5));
            for payee in &closed {
                town.earned(*payee, 10_000).await;
            }
        }
        assert_eq!(closed, payees);
        let nothing = town.settlements.close_now(None, admin, reason()).await.unwrap();
        assert_eq!((nothing.settlements, nothing.has_more), (vec![], false));
        let own = town.settlements.close_now(Some(admin), admin, reason()).await;
        let why = SettlementError::OwnDecision;
        assert!(matches!(&own, Err(EarlyError::Settlement(it)) if *it == why), "{own:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_carried_and_is_followed_by_nothing_is_closed_by_hand() {
    for town in towns(SettlementRules { minimum: NET + 1, ..RULES }).await {
        let (payee, admin) = (somebody(), somebody());
        town.earned(payee, 10_000).await;
        let tomorrow = TODAY.tomorrow().unwrap();
        town.go_to(tomorrow, HOUR);
        assert_eq!(town.settlements.close_due().await.unwrap(), 1);
        assert_eq!(town.only_settlement(payee).await.status, SettlementStatus::Carried);

        let closed = town.settlements.close_now(Some(payee), admin, reason()).await.unwrap();

        let [batch] = closed.settlements.as_slice() else { panic!("{closed:?}") };
        assert_eq!((batch.status, batch.carry_in), (SettlementStatus::Closed, NET));
        assert_eq!((batch.net, batch.period_end), (NET, tomorrow));
        let again = town.settlements.close_now(Some(payee), admin, reason()).await.unwrap();
        assert_eq!((again.settlements, again.closed_before), (vec![], vec![]));
        town.settlements.pay_now(batch.id, admin, reason()).await.unwrap();
        assert_eq!(town.figures(payee).await, (0, NET, 0));
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_night_has_closed_the_day_before_comes_first() {
    for town in towns(RULES).await {
        let (payee, admin) = (somebody(), somebody());
        town.earned(payee, 10_000).await;
        let tomorrow = TODAY.tomorrow().unwrap();
        town.go_to(tomorrow, Duration::from_mins(5));
        town.earned(payee, 10_000).await;

        let closed = town.settlements.close_now(Some(payee), admin, reason()).await.unwrap();

        let said: Vec<_> = closed.settlements.iter().map(|it| (it.period_end, it.net)).collect();
        assert_eq!(said, [(TODAY, NET), (tomorrow, NET)]);
        assert_eq!(closed.closed_before, []);
        town.go_to(tomorrow, HOUR);
        assert_eq!(town.settlements.close_due().await.unwrap(), 0);
        town.assert_books_are_right(&[payee]).await;
    }
}
