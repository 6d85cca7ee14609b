//! What the checkout page says, in Korean and in English.

use actix_web::HttpRequest;
use actix_web::http::header::ACCEPT_LANGUAGE;

use crate::domain::money::{Amount, Currency};
use crate::providers::payments::ChargeStatus;

pub(super) struct Words {
    pub(super) language: &'static str,
    pub(super) title: &'static str,
    pub(super) warning: &'static str,
    pub(super) order: &'static str,
    pub(super) pay: &'static str,
    pub(super) transfer: &'static str,
    pub(super) decline: &'static str,
    pub(super) cancel: &'static str,
    pub(super) deposit: &'static str,
    pub(super) key: &'static str,
    pub(super) unknown: &'static str,
}

const EN: Words = Words {
    language: "en",
    title: "Checkout (fake provider)",
    warning: "This is a rehearsal: nobody's money moves.",
    order: "Order",
    pay: "Pay by card",
    transfer: "Pay by bank transfer",
    decline: "Have the card declined",
    cancel: "Cancel",
    deposit: "The transfer arrives",
    key: "Payment key",
    unknown: "There is no such order.",
};
const KO: Words = Words {
    language: "ko",
    title: "결제하기 (모의 결제)",
    warning: "연습용 결제입니다. 실제로 돈이 오가지 않습니다.",
    order: "주문번호",
    pay: "카드로 결제하기",
    transfer: "가상계좌로 결제하기",
    decline: "카드 거절 시키기",
    cancel: "취소하기",
    deposit: "입금하기",
    key: "결제 키",
    unknown: "없는 주문입니다.",
};

/// The words for whoever asks: those of the first language that there are words for.
pub(super) fn of(request: &HttpRequest) -> &'static Words {
    let asked = request.headers().get(ACCEPT_LANGUAGE).and_then(|it| it.to_str().ok());
    let mut languages = asked.unwrap_or_default().split(',').map(str::trim_start);
    languages
        .find_map(|it| match it.get(..2) {
            Some("ko") => Some(&KO),
            Some("en") => Some(&EN),
            _ => None,
        })
        .unwrap_or(&KO)
}

impl Words {
    fn is_korean(&self) -> bool {
        self.language == KO.language
    }

    /// How the order stands.
    pub(super) fn status(&self, status: ChargeStatus, has_paid: bool) -> &'static str {
        let (ko, en) = match status {
            ChargeStatus::Open if has_paid => {
                ("결제 정보를 받았습니다. 승인을 기다립니다.", "Paid; waits to be confirmed.")
            }
            ChargeStatus::Open => ("결제를 기다립니다.", "Waits for you to pay."),
            ChargeStatus::AwaitingDeposit => ("입금을 기다립니다.", "Waits for your transfer."),
            ChargeStatus::Authorized => ("승인되었습니다.", "Authorised."),
            ChargeStatus::Captured => ("결제가 완료되었습니다.", "Paid."),
            ChargeStatus::Failed => ("결제가 거절되었습니다.", "Declined."),
            ChargeStatus::Canceled => ("결제가 취소되었습니다.", "Canceled."),
        };
        if self.is_korean() { ko } else { en }
    }

    /// An amount as people write it; a currency with cents in whole cents.
    pub(super) fn amount(&self, amount: Amount, currency: Currency) -> String {
        let digits = amount.to_string();
        let mut grouped = String::new();
        for (n, digit) in digits.chars().enumerate() {
            if n > 0 && digits.len().saturating_sub(n) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        if self.is_korean() && currency == Currency::KRW {
            format!("{grouped}원")
        } else {
            format!("{currency} {grouped}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_written_as_people_write_it() {
        let won = |minor| Amount::new(minor).unwrap();
        for (minor, ko, en) in [
            (1, "1원", "KRW 1"),
            (999, "999원", "KRW 999"),
            (1_000, "1,000원", "KRW 1,000"),
            (1_234_567, "1,234,567원", "KRW 1,234,567"),
        ] {
            assert_eq!(KO.amount(won(minor), Currency::KRW), ko);
            assert_eq!(EN.amount(won(minor), Currency::KRW), en);
        }
        assert_eq!(KO.amount(won(1_000), "USD".parse().unwrap()), "USD 1,000");
    }
}
