//! An order's fields, each with undocumented values.

use secrecy::ExposeSecret;

use super::*;

const ID: &str = "6901616fe9e88196b4eb64b0";

/// Reads `{"_id", "status": "REFUNDED"}` with `more` fields. Returns the order and the noted fields.
fn read_with(product: Product, more: &str) -> (VendorOrder, String) {
    let text =
        format!(r#"{{"_id":"{ID}","status":"REFUNDED"{}{more}}}"#, if more.is_empty() { "" } else { "," });
    let text = super::super::json::text_of(text.as_bytes()).into_owned();
    let mut odd = Oddities::default();
    let order = read(product, &Object::document(&text).unwrap(), &mut odd).unwrap();
    (order, odd.to_string())
}

fn number(count: usize) -> String {
    "7".repeat(count)
}

#[test]
fn odd_values_seen_in_practice_are_read() {
    let long = number(23);
    // Field, value on the wire, value kept, field noted.
    let mobile: [(&str, &str, Option<&str>, &str); 24] = [
        ("MSSIDN", "778037340", Some("778037340"), ""),
        ("ref", "12345", Some("12345"), ""),
        ("created_at", "1761998400000", Some("1761998400000"), ""),
        ("plan_code", "{}", None, "plan_code: object"),
        ("refund_message", r#""x \ud83d""#, Some("x \u{fffd}"), ""),
        ("refund_message", "[1]", None, "refund_message: array"),
        ("topup_amount", r#""""#, None, "topup_amount: text"),
        ("topup_amount", r#""500""#, Some("500"), ""),
        ("topup_amount", r#"" 490.00 ""#, Some("490.00"), ""),
        ("topup_amount", "490.00", Some("490.00"), ""),
        ("topup_amount", &long, Some(&long), ""),
        ("topup_amount", r#""500 DA""#, None, "topup_amount: text"),
        ("topup_amount", r#""0500""#, None, "topup_amount: text"),
        ("topup_amount", r#""NaN""#, None, "topup_amount: text"),
        ("topup_amount", "true", None, "topup_amount: boolean"),
        ("balance_amount", "1e400", None, "balance_amount: number"),
        ("balance_amount", "-1.50E+2", Some("-1.50E+2"), ""),
        ("follow_orderid", "42", Some("42"), ""),
        ("follow_orderid", "0", None, "follow_orderid: not an order id"),
        ("retry_orderid", r#""""#, None, "retry_orderid: not an order id"),
        ("retry_orderid", r#""null""#, None, "retry_orderid: not an order id"),
        ("retry_orderid", r#""6901616fe9e88196b4eb64b1""#, Some("6901616fe9e88196b4eb64b1"), ""),
        ("suggested_offers", r#""none""#, None, "suggested_offers: text"),
        (
            "suggested_offers",
            r#"[{"amount":1e999}]"#,
            None,
            "suggested_offers: array beyond the limits of parsers",
        ),
    ];
    for (field, value, kept, noted) in mobile {
        let (VendorOrder { facts, .. }, odd) = read_with(Product::Mobile, &format!(r#""{field}":{value}"#));
        let amount = |amount: &Option<Amount>| amount.as_ref().map(|amount| amount.as_str().to_owned());
        let found = match field {
            "MSSIDN" => facts.number,
            "ref" => facts.vendor_ref,
            "created_at" => facts.created_at,
            "plan_code" => facts.plan_code,
            "refund_message" => facts.refund_message,
            "topup_amount" => amount(&facts.topup_amount),
            "balance_amount" => amount(&facts.balance_amount),
            "follow_orderid" => facts.follow_order_id,
            "retry_orderid" => facts.retry_order_id,
            "suggested_offers" => facts.suggested_offers.map(|offers| offers.get().to_owned()),
            other => panic!("{other}"),
        };
        assert_eq!((found.as_deref(), odd.as_str()), (kept, noted), "{field}: {value}");
        assert_eq!(facts.status, Some(VendorStatus::Refunded), "{field}: {value}");
    }
    let (order, odd) = read_with(
        Product::Internet,
        r#""num_trans":202511012345,"date_traitement":7,"type":4,"number":36362608"#,
    );
    let facts = order.facts;
    let kept = [facts.num_trans, facts.date_traitement, facts.kind, facts.number].map(Option::unwrap);
    assert_eq!((kept, odd.as_str()), (["202511012345", "7", "4", "36362608"].map(str::to_owned), ""));
}

#[test]
fn a_card_code_is_non_empty_text_or_digits() {
    for (value, code, noted) in [
        (r#""123456789012""#, Some("123456789012"), ""),
        (r#""0012""#, Some("0012"), ""),
        (r#"" 12 34 ""#, Some(" 12 34 "), ""),
        ("123456789012", Some("123456789012"), ""),
        ("12345678901234567890123456", Some("12345678901234567890123456"), ""),
        ("null", None, ""),
        (r#""""#, None, "card_code: text that means none"),
        (r#""   ""#, None, "card_code: text that means none"),
        (r#""\u00a0\t\u200b""#, None, "card_code: text that means none"),
        (r#""null""#, None, "card_code: text that means none"),
        (r#""Undefined""#, None, "card_code: text that means none"),
        (r#""N/A""#, None, "card_code: text that means none"),
        ("0", None, "card_code: zero"),
        ("1.5", None, "card_code: not a whole number"),
        ("1e21", None, "card_code: not a whole number"),
        ("-5", None, "card_code: not a whole number"),
        ("true", None, "card_code: boolean"),
        (r#"{"code":"123456789012"}"#, None, "card_code: object"),
        (r#"["123456789012"]"#, None, "card_code: array"),
    ] {
        let (order, odd) = read_with(Product::Internet, &format!(r#""card_code":{value}"#));
        let found = order.card_code.as_ref().map(ExposeSecret::expose_secret);
        assert_eq!((found, odd.as_str()), (code, noted), "{value}");
        assert!(!format!("{order:?}").contains("1234567"), "debug output must not contain a card code");
    }
    // KMS encrypts at most 4 KB: a longer text is not a card, but the outcome is kept.
    let (order, odd) = read_with(Product::Internet, &format!(r#""card_code":"{}""#, number(5000)));
    assert!(order.card_code.is_none() && odd == "card_code: too long", "{odd}");
}

#[test]
fn long_fields_are_cut_but_the_outcome_is_kept() {
    let (order, odd) =
        read_with(Product::Mobile, &format!(r#""refund_message":"{}""#, "\\u0001".repeat(75_000)));
    let message = order.facts.refund_message.unwrap();
    let as_json = serde_json::to_string(&message).unwrap().len() - 2;
    assert!((MAX_MESSAGE - 10..=MAX_MESSAGE).contains(&as_json) && message.ends_with("… [cut]"), "{as_json}");
    assert_eq!(odd, "refund_message: too long, cut");

    let offer = format!(r#"{{"typename":"{}","amount":5}}"#, "x".repeat(1000));
    let offers = vec![offer.as_str(); 700].join(", ");
    let (order, odd) = read_with(Product::Mobile, &format!(r#""suggested_offers":[{offers}]"#));
    let kept: Vec<serde_json::Value> =
        serde_json::from_str(order.facts.suggested_offers.as_ref().unwrap().get()).unwrap();
    assert!(
        kept.len() > 50 && order.facts.suggested_offers.unwrap().get().len() <= MAX_OFFERS,
        "{}",
        kept.len()
    );
    assert_eq!(odd, "suggested_offers: too long, cut");

    let (order, _) = read_with(Product::Mobile, &format!(r#""topup_amount":{}"#, number(65)));
    assert_eq!(order.facts.topup_amount, None);

    let text = format!(r#"{{"_id":"{ID}","status":"REFUNDED{}"}}"#, " ".repeat(300));
    let mut odd = Oddities::default();
    let order = read(Product::Mobile, &Object::document(&text).unwrap(), &mut odd).unwrap();
    assert!(matches!(order.facts.status, Some(VendorStatus::Unrecognised(text)) if text.len() <= MAX_STATUS));
    assert_eq!(odd.to_string(), "status: too long, cut");
}

#[test]
fn an_id_and_a_status_are_read_strictly() {
    let error = |text: &str| {
        let mut odd = Oddities::default();
        read(Product::Mobile, &Object::document(text).unwrap(), &mut odd).unwrap_err().to_string()
    };
    for (text, at) in [
        (r#"{"status":"REFUNDED"}"#, "_id: missing"),
        (r#"{"_id":7,"status":"REFUNDED"}"#, "_id: number"),
        (r#"{"_id":null,"status":"REFUNDED"}"#, "_id: null"),
        (r#"{"_id":"","status":"REFUNDED"}"#, "_id: not an order id"),
        (r#"{"_id":"a b","status":"REFUNDED"}"#, "_id: not an order id"),
        (r#"{"_id":"1","_id":"2","status":"REFUNDED"}"#, "_id: duplicates that differ"),
        (r#"{"_id":"1"}"#, "status: missing"),
        (r#"{"_id":"1","status":null}"#, "status: null"),
        (r#"{"_id":"1","status":["REFUNDED"]}"#, "status: array"),
        (r#"{"_id":"1","status":1}"#, "status: number"),
        (r#"{"_id":"1","status":"REFUNDED","status":"FULFILLED"}"#, "status: duplicates that differ"),
    ] {
        assert_eq!(error(text), format!("the vendor's answer cannot be read at {at}"), "{text}");
    }
    // An ObjectId in upper case and in lower case is the same order.
    let text = format!(r#"{{"_id":"{}","status":"HANDLING"}}"#, ID.to_uppercase());
    let order = read(Product::Mobile, &Object::document(&text).unwrap(), &mut Oddities::default()).unwrap();
    assert_eq!(order.id.as_str(), ID);
}

#[test]
fn an_undocumented_status_is_no_outcome() {
    for text in [
        "refunded",
        " REFUNDED",
        "REFUNDED\\n",
        "REFUNDED\\u0000",
        "ＲＥＦＵＮＤＥＤ",
        "FAILED",
        "SUCCESS",
        "",
        "\\ud83d",
    ] {
        let json = format!(r#"{{"_id":"{ID}","status":"{text}"}}"#);
        let json = super::super::json::text_of(json.as_bytes()).into_owned();
        let order =
            read(Product::Mobile, &Object::document(&json).unwrap(), &mut Oddities::default()).unwrap();
        assert!(matches!(order.facts.status, Some(VendorStatus::Unrecognised(_))), "{text}");
    }
}

#[test]
fn offers_keep_their_field_order_and_unknown_fields() {
    let offers = r#"[ {"typename":"📋 فاتورة","zebra":1,"amount":250.50,"apple":{"b":1,"a":2}} ]"#;
    let (order, odd) = read_with(Product::Mobile, &format!(r#""suggested_offers":{offers}"#));
    assert_eq!((order.facts.suggested_offers.unwrap().get(), odd.as_str()), (offers, ""));
}
