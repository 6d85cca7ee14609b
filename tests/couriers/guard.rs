//! Addresses that users give, and where they must not lead.

use madang::domain::letters::PushTarget;
use madang::domain::media::Medium;

use crate::fake::Fake;
use crate::house::{House, fate, push, webhook};

#[tokio::test]
async fn a_neighbour_is_called_only_if_the_setting_says_so() {
    let fake = Fake::start().await;
    let open = House::new().courier(Medium::Webhook);
    let port = fake.port();
    for url in [fake.url("/hook"), format!("http://localhost:{port}/hook")] {
        let delivered = open.deliver(&webhook(&url)).await;
        assert_eq!(fate(&delivered), "delivered", "{url}: {delivered:?}");
    }
    let before = fake.connections();

    // Another network is open, so that http:// is not what they are refused for.
    for networks in ["", "10.0.0.0/8"] {
        let house = House::new().with(&[("OUTWARD__ALLOWED_NETWORKS", networks)]);
        let port_too = port.to_string();
        let closed = house.with(&[("OUTWARD__PORTS", &port_too)]).courier(Medium::Webhook);
        for host in
            ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]
        {
            for scheme in ["http", "https"] {
                let delivered =
                    closed.deliver(&webhook(&format!("{scheme}://{host}:{port}/hook"))).await;
                // Where a name leads is seen when it is called, and may be otherwise the next time.
                let is_called = host == "localhost" && (scheme == "https" || !networks.is_empty());
                let expected = if is_called { "unavailable" } else { "refused" };
                assert_eq!(fate(&delivered), expected, "{scheme} {host}: {delivered:?}");
            }
        }
    }

    assert_eq!(fake.connections(), before, "somebody inside was called");
}

#[tokio::test]
async fn a_push_service_is_no_way_inside() {
    let fake = Fake::start().await;
    let house = House::new().with(&[
        ("OUTWARD__ALLOWED_NETWORKS", ""),
        ("PUSH__WEB_PUSH", "true"),
        ("PUSH__CONTACT", "mailto:push@example.com"),
    ]);
    let courier = house.courier(Medium::Push);

    for endpoint in [fake.url("/push"), "https://169.254.169.254/latest/meta-data".to_owned()] {
        let target = PushTarget::WebPush {
            endpoint,
            p256dh: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4".to_owned(),
            auth: "BTBZMqHH6r4Tts7J_aSIgg".into(),
        };
        let delivered = courier.deliver(&push(target)).await;
        assert_eq!(fate(&delivered), "refused", "{delivered:?}");
    }

    assert_eq!(fake.connections(), 0);
}
