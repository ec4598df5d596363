use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::Value;

use super::*;

/// The one place that writes a card code, and it is in the tests.
pub(super) fn write_card<S: serde::Serializer>(
    code: &Option<SecretString>,
    to: S,
) -> Result<S::Ok, S::Error> {
    code.as_ref().map(ExposeSecret::expose_secret).serialize(to)
}

fn sample(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../events/vendor/{name}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn there_and_back<T: for<'a> Deserialize<'a> + Serialize>(text: &str) {
    let parsed: Envelope<T> = read(text.as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(&parsed).unwrap(), serde_json::from_str::<Value>(text).unwrap());
}

#[test]
fn every_sample_of_the_two_pages_is_read_whole() {
    for name in ["mobile-fulfilled", "mobile-refunded", "mobile-refunded-suggested-offers"] {
        there_and_back::<MobileOrder>(&sample(name));
    }
    for name in ["internet-handling", "internet-fulfilled", "internet-queued"] {
        there_and_back::<InternetOrder>(&sample(name));
    }
}

#[test]
fn every_field_of_the_mobile_page_is_read() {
    there_and_back::<MobileOrder>(
        r#"{"success":true,"data":{"_id":"1","ref":"API-+213665983439-abc","status":"SOMETHING NEW","plan_code":"P",
        "MSSIDN":"0778037340","topup_amount":500,"balance_amount":490.25,"created_at":"c","refund_message":"رسالة",
        "suggested_offers":[{"z":1,"a":{"new":true}}],"follow_orderid":"2","retry_orderid":"3"},
        "meta":{"timestamp":"t"},"requestId":"r"}"#,
    );
}

#[test]
fn offers_keep_their_order_and_what_we_do_not_know() {
    let offers = r#"[ {"typename":"📋 فاتورة","zebra":1,"amount":250.50,"apple":{"b":1,"a":2}} ]"#;
    let body =
        format!(r#"{{"success":true,"data":{{"_id":"1","status":"REFUNDED","suggested_offers":{offers}}}}}"#);
    let parsed: Envelope<MobileOrder> = read(body.as_bytes()).unwrap();
    assert_eq!(parsed.data.unwrap().suggested_offers.unwrap().get(), offers);
}

#[test]
fn what_cannot_be_read_is_told_by_path_and_never_by_content() {
    for (body, path, what) in [
        (
            r#"{"success":true,"data":{"card_code":{"secret":"swordfish"}}}"#,
            "data.card_code",
            "not the documented type",
        ),
        (
            r#"{"success":true,"data":{"topup_amount":"swordfish"}}"#,
            "data.topup_amount",
            "not the documented type",
        ),
        (r#"{"success":true,"data":{"card_code":"swordfish"#, "data", "cut off"),
        ("<html>swordfish</html>", ".", "not JSON"),
        (r#"{"success":true,"data":{}} swordfish"#, ".", "not JSON"),
        ("", ".", "cut off"),
    ] {
        let error = read::<Envelope<InternetOrder>>(body.as_bytes()).unwrap_err();
        let VendorError::Unreadable { path: at, what: kind } = &error else { panic!("{error:?}") };
        assert!(at.starts_with(path), "{body}: {at}");
        assert_eq!(kind, what, "{body}");
        assert!(!format!("{error} {error:?}").contains("swordfish"));
    }
}

#[test]
fn a_card_code_does_not_print() {
    let parsed: Envelope<InternetOrder> = read(sample("internet-fulfilled").as_bytes()).unwrap();
    assert!(!format!("{parsed:?}").contains("123456789012"));
}
