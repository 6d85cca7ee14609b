//! Payments that are begun: what they cost, who may, and once for each request.

use std::time::Duration;

use serde_json::json;

use super::{Ground, body, code, grounds, won};
use crate::actors::payments::PaymentsError;
use crate::actors::payments::answers::Answered;
use crate::actors::payments::requests::{CreatePayment, PaymentMethod};
use crate::clock;
use crate::domain::idempotency::fingerprint;
use crate::domain::ids::UserId;
use crate::domain::money::Currency;
use crate::domain::payments::PaymentStatus;
use crate::domain::payments::orders::{FeeBps, NewOrder, OrderKey, OrderName};
use crate::providers::payments::fake::faults::{Fault, Loss, Moment, Operation};
use crate::store::testing::new_user;

fn request(payer: UserId, order: &str) -> CreatePayment {
    CreatePayment {
        payer,
        order: OrderKey::parse("job", order).unwrap(),
        method: PaymentMethod::Card,
        is_captured_later: false,
        amount: None,
    }
}

async fn create(ground: &Ground, request: CreatePayment) -> Answered {
    let call = ground.call("create", request.payer, None);
    ground.payments.create(request, call).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_has_the_orders_price_and_a_repeat_the_same_answer() {
    for ground in grounds().await {
        ground.order("1", 1_000).await;
        let payer = new_user(&ground.store).await;
        let call = ground.call("create", payer, Some("the-same-key"));

        let first = ground.payments.create(request(payer, "1"), call.clone()).await.unwrap();
        let again = ground.payments.create(request(payer, "1"), call.clone()).await.unwrap();

        let told = body(&first, 201);
        assert_eq!((&told["amount"], &told["status"]), (&json!(1_000), &json!("created")));
        assert_eq!(told["client"]["amount"], 1_000);
        assert_eq!(first.answer, again.answer);
        assert!(again.is_replayed && !first.is_replayed);
        let mut other = call;
        other.fingerprint = fingerprint(&json!({ "other": true }));
        let reused = ground.payments.create(request(payer, "1"), other).await;
        assert!(matches!(reused, Err(PaymentsError::KeyReused)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_paid_for_once_at_a_time_by_whoever_may_for_what_it_costs() {
    for ground in grounds().await {
        let payer = new_user(&ground.store).await;
        let other = UserId::from(clock::new_uuid());
        let order = |id: &str, currency: &str, payee: Option<UserId>| NewOrder {
            key: OrderKey::parse("job", id).unwrap(),
            payer: Some(payer),
            payee,
            amount: won(1_000),
            currency: currency.parse::<Currency>().unwrap(),
            name: OrderName::parse("화단 정리").unwrap(),
            fee: FeeBps::default(),
        };
        for order in
            [order("1", "KRW", None), order("2", "USD", None), order("3", "KRW", Some(payer))]
        {
            ground.store.put_order(order, ground.now()).await.unwrap();
        }

        for foreign in [request(other, "1"), request(payer, "none")] {
            let call = ground.call("create", foreign.payer, None);
            let refused = ground.payments.create(foreign, call).await;
            assert!(matches!(refused, Err(PaymentsError::NotFound)));
        }
        let dear = CreatePayment { amount: Some(won(999)), ..request(payer, "1") };
        assert_eq!(code(&create(&ground, dear).await, 422), "amount_mismatch");
        let dollars = create(&ground, request(payer, "2")).await;
        assert_eq!(code(&dollars, 422), "currency_not_supported");
        assert_eq!(code(&create(&ground, request(payer, "3")).await, 422), "payer_is_payee");
        let first = create(&ground, request(payer, "1")).await;
        let second = create(&ground, request(payer, "1")).await;
        assert_eq!(code(&second, 409), "payment_exists");
        assert_eq!(body(&second, 409)["payment_id"], body(&first, 201)["payment_id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_time_is_over_is_not_in_the_way_of_the_next() {
    for ground in grounds().await {
        let made = ground.created("1", 1_000).await;
        ground.pass(super::EXPIRES_AFTER).await;

        let next = create(&ground, request(made.payer, "1")).await;

        assert_eq!(next.answer.status, 201);
        assert_eq!(ground.payment(&made).await.status, PaymentStatus::Expired);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_not_answered_goes_on_with_the_same_payment() {
    for ground in grounds().await {
        ground.order("1", 1_000).await;
        let payer = new_user(&ground.store).await;
        let call = ground.call("create", payer, Some("the-same-key"));
        let lost = Fault::Lost(Loss::Timeout, Moment::After);
        ground.provider.plan(Operation::Prepare, [Some(lost)]);

        let create = || ground.payments.create(request(payer, "1"), call.clone());
        assert!(matches!(create().await, Err(PaymentsError::Unavailable(_))));
        assert!(matches!(create().await, Err(PaymentsError::KeyInUse)));
        let begun = ground.payments.list(payer, Default::default(), None, 9).await.unwrap();
        ground.pass(Duration::from_secs(31)).await;
        let told = body(&create().await.unwrap(), 201);

        assert_eq!(told["payment_id"], json!(begun[0].id));
        let all = ground.payments.list(payer, Default::default(), None, 9).await.unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(
            ground.payments.find(Some(payer), all[0].id).await.unwrap().as_ref(),
            Some(&all[0])
        );
        let stranger = clock::new_uuid().into();
        assert_eq!(ground.payments.find(Some(stranger), all[0].id).await.unwrap(), None);
    }
}
