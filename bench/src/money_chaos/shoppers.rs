//! Who pays, who is paid, and what each of them does one after the other, as chance has it.

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::journal::{Heard, Method, Request};
use super::till::{ADMIN, Till, order_body, order_path};
use crate::chance::Chance;

/// Last digits of amounts with which something goes wrong at the provider: answers get lost before and after the effect,
/// in each of three ways; less is taken than was asked for; it is declined.
const WRONG: [i64; 8] = [911, 912, 913, 914, 915, 916, 922, 931];
/// The same for payouts: answers get lost, the bank account is refused, the payout is.
const PAYOUT_WRONG: [i64; 8] = [911, 912, 913, 914, 915, 916, 953, 954];
/// Last digits of what is given back twice and told once, or given back with less: the provider lies then, and only a
/// comparison of days finds it.
const LIES: [i64; 2] = [921, 922];
/// One amount of so many is of those that go wrong.
const WRONG_IN: i64 = 3;
const FEE_BPS: i64 = 500;
const PAUSE_MS: (i64, i64) = (0, 60);

/// Who is at the till.
#[derive(Debug, Clone, Copy)]
pub struct Shopper {
    pub payer: usize,
    pub payee: usize,
    /// Makes its orders its own.
    pub number: usize,
}

/// A payment that was begun.
struct Begun {
    id: String,
    order: String,
    provider_order: String,
    amount: i64,
}

impl Begun {
    fn confirmation(&self) -> Value {
        let payment_key = format!("fake-{}", self.provider_order);
        json!({ "payment_id": self.id, "payment_key": payment_key, "amount": self.amount })
    }
}

impl Shopper {
    /// Buys one thing after the other until then; gives how many.
    pub async fn shop(
        &self,
        till: &Till,
        chance: &mut Chance,
        until: Instant,
    ) -> anyhow::Result<usize> {
        let mut bought = 0;
        while Instant::now() < until {
            self.buy(till, chance, bought).await?;
            bought += 1;
            sleep(chance.wait_ms(PAUSE_MS.0, PAUSE_MS.1)).await;
        }
        Ok(bought)
    }

    async fn buy(&self, till: &Till, chance: &mut Chance, nth: usize) -> anyhow::Result<()> {
        let Some(begun) = self.begin(till, chance, nth).await? else { return Ok(()) };
        match chance.below(20) {
            // Nobody comes back: it expires some day.
            0 => return Ok(()),
            1 => {
                self.cancel(till, chance, &begun, None).await?;
                return Ok(());
            }
            _ => {}
        }
        till.press(&till.checkout(&begun.provider_order), "pay").await?;
        let confirmed = self.confirm(till, chance, &begun).await?;
        let status = confirmed.json()["status"].as_str().unwrap_or_default().to_owned();
        if status == "authorized" {
            return self.decide(till, chance, &begun).await;
        }
        self.look_back(till, chance, &begun).await
    }

    /// What was set aside is captured, or not.
    async fn decide(&self, till: &Till, chance: &mut Chance, begun: &Begun) -> anyhow::Result<()> {
        if chance.is_one_in(3) {
            self.cancel(till, chance, begun, None).await?;
            return Ok(());
        }
        till.post(chance, ADMIN, "capture", json!({ "payment_id": begun.id })).await?;
        self.look_back(till, chance, begun).await
    }

    /// What becomes of what was bought: kept, given back in parts or whole, earned.
    async fn look_back(
        &self,
        till: &Till,
        chance: &mut Chance,
        begun: &Begun,
    ) -> anyhow::Result<()> {
        let part = Some(third(begun.amount));
        match chance.below(8) {
            0 => {}
            1 => {
                self.cancel(till, chance, begun, None).await?;
            }
            2 => {
                self.cancel(till, chance, begun, part).await?;
                self.cancel(till, chance, begun, part).await?;
            }
            3 => {
                // Both at once; the rest afterwards, if there is any.
                let mut other = Chance::new(chance.between(0, i64::MAX - 1).unsigned_abs(), 1);
                let both = tokio::join!(
                    self.cancel(till, chance, begun, part),
                    self.cancel(till, &mut other, begun, part),
                );
                both.0?;
                both.1?;
                self.cancel(till, chance, begun, None).await?;
            }
            4 | 5 => {
                self.release(till, chance, begun).await?;
                // By the payer it is refused, once it was released.
                self.cancel(till, chance, begun, part).await?;
                let body =
                    json!({ "payment_id": begun.id, "amount": part, "reason": "it was late" });
                till.post(chance, ADMIN, "refund", body).await?;
            }
            _ => {
                self.release(till, chance, begun).await?;
            }
        }
        Ok(())
    }

    async fn begin(
        &self,
        till: &Till,
        chance: &mut Chance,
        nth: usize,
    ) -> anyhow::Result<Option<Begun>> {
        let amount = amount(chance, &WRONG);
        let capture_later = chance.is_one_in(8);
        self.begin_for(till, chance, nth, amount, capture_later).await
    }

    async fn begin_for(
        &self,
        till: &Till,
        chance: &mut Chance,
        nth: usize,
        amount: i64,
        capture_later: bool,
    ) -> anyhow::Result<Option<Begun>> {
        let order = format!("s{}-{nth}", self.number);
        let (payer, payee) = (till.account(self.payer)?.id, till.account(self.payee)?.id);
        let fee_bps = if chance.is_one_in(2) { FEE_BPS } else { 0 };
        let body = order_body(payer, payee, amount, fee_bps);
        let path = order_path(&order);
        let request = Request { account: ADMIN, method: Method::Put, path, key: None, body };
        till.ask(chance, request).await?;
        let body =
            json!({ "order_type": "job", "order_id": order, "capture_later": capture_later });
        let begun = till.post(chance, self.payer, "create", body).await?.json();
        let (Some(id), Some(url)) =
            (begun["payment_id"].as_str(), begun["client"]["checkout_url"].as_str())
        else {
            return Ok(None);
        };
        let (_, provider_order) = url.rsplit_once("/checkout/").context("no page to pay at")?;
        let provider_order = provider_order.split('?').next().unwrap_or_default().to_owned();
        Ok(Some(Begun { id: id.to_owned(), order, provider_order, amount }))
    }

    async fn confirm(
        &self,
        till: &Till,
        chance: &mut Chance,
        begun: &Begun,
    ) -> anyhow::Result<Heard> {
        till.post(chance, self.payer, "confirm", begun.confirmation()).await
    }

    async fn cancel(
        &self,
        till: &Till,
        chance: &mut Chance,
        begun: &Begun,
        amount: Option<i64>,
    ) -> anyhow::Result<Heard> {
        let mut body = json!({ "payment_id": begun.id, "reason": "changed my mind" });
        if let Some(amount) = amount {
            body["amount"] = json!(amount);
        }
        till.post(chance, self.payer, "cancel", body).await
    }

    async fn release(
        &self,
        till: &Till,
        chance: &mut Chance,
        begun: &Begun,
    ) -> anyhow::Result<Heard> {
        let path = format!("{}/release", order_path(&begun.order));
        let (method, body) = (Method::Post, Value::Null);
        till.ask(chance, Request { account: ADMIN, method, path, key: None, body }).await
    }
}

/// Begins a payment of so much and pays at the provider; gives its id, and the request that confirms it.
pub async fn begin_a_payment(
    till: &Till,
    chance: &mut Chance,
    amount: i64,
) -> anyhow::Result<(String, Request)> {
    let shopper = Shopper { payer: 1, payee: 2, number: 0 };
    let begun = shopper.begin_for(till, chance, 0, amount, false).await?;
    let begun = begun.context("no payment was begun")?;
    till.press(&till.checkout(&begun.provider_order), "pay").await?;
    let (path, key) = ("/v1/payments/confirm".to_owned(), Some(till.new_key()));
    let (account, body) = (shopper.payer, begun.confirmation());
    let request = Request { account, method: Method::Post, path, key, body };
    Ok((begun.id, request))
}

/// Somebody takes money out again and again until then, and changes their mind about some of it.
pub async fn take_out(
    till: &Till,
    payee: usize,
    bank_account: &str,
    pause: (i64, i64),
    chance: &mut Chance,
    until: Instant,
) -> anyhow::Result<usize> {
    let mut taken = 0;
    while Instant::now() < until {
        let amount = amount(chance, &PAYOUT_WRONG);
        let body = json!({ "amount": amount, "bank_account_id": bank_account });
        let asked = till.post(chance, payee, "withdraw", body).await?.json();
        taken += 1;
        if let Some(id) = asked["withdrawal_id"].as_str()
            && chance.is_one_in(6)
        {
            let path = format!("/v1/payments/withdrawals/{id}/cancel");
            let (method, body) = (Method::Post, json!({}));
            let request = Request { account: payee, method, path, key: None, body };
            till.ask(chance, request).await?;
        }
        sleep(chance.wait_ms(pause.0, pause.1)).await;
    }
    Ok(taken)
}

/// An amount, some of which go wrong.
fn amount(chance: &mut Chance, wrong: &[i64]) -> i64 {
    let thousands = chance.between(1, 9) * 1_000;
    match chance.pick(wrong) {
        Some(digits) if chance.is_one_in(WRONG_IN) => thousands + digits,
        _ => {
            let drawn = thousands + chance.between(0, 889);
            if is_lied_about(drawn) { drawn + 10 } else { drawn }
        }
    }
}

/// What is given back of an amount in parts.
fn third(amount: i64) -> i64 {
    (amount / 3).max(1)
}

/// Whether something of an amount is lied about when it is given back: a part, or what one or two parts have left.
fn is_lied_about(amount: i64) -> bool {
    let part = third(amount);
    let given = [part, amount - part, amount - 2 * part];
    given.iter().any(|given| LIES.contains(&(given % 1_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_amounts_go_wrong_in_every_way_and_most_do_not() {
        let mut chance = Chance::new(1, 1);

        let drawn: Vec<i64> = (0..2_000).map(|_| amount(&mut chance, &WRONG)).collect();

        for digits in WRONG {
            assert!(drawn.iter().any(|amount| amount % 1_000 == digits), "{digits}");
        }
        let wrong = drawn.iter().filter(|amount| *amount % 1_000 > 899).count();
        assert!((500..850).contains(&wrong), "{wrong}");
        assert!(drawn.iter().all(|amount| (1_000..10_000).contains(amount)));
    }

    #[test]
    fn nothing_that_is_given_back_is_lied_about() {
        assert!(is_lied_about(5_765), "a third of it is 1,921");

        let mut chance = Chance::new(1, 1);
        for _ in 0..20_000 {
            let drawn = amount(&mut chance, &WRONG);
            assert!(!is_lied_about(drawn), "{drawn}");
        }
        for amount in (1_000..10_000).filter(|amount| is_lied_about(*amount)) {
            assert!(!is_lied_about(amount + 10), "{amount}");
        }
    }
}
