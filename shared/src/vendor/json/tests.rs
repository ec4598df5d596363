use super::*;

fn document(text: &str) -> Object<'_> {
    Object::document(text).unwrap()
}

#[test]
fn an_unpaired_surrogate_becomes_one_replacement_character() {
    for (json, text) in [
        (r#""x \ud83d""#, "x \u{fffd}"),
        (r#""\ude00 x""#, "\u{fffd} x"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
        (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
        (r#""\uD83D\uDE00""#, "\u{1f600}"),
        (r#""\ud83d\n""#, "\u{fffd}\n"),
        (r#""\\ud83d""#, "\\ud83d"),
        (r#""\\\ud83d""#, "\\\u{fffd}"),
        (r#""\u0041é\ud83d""#, "Aé\u{fffd}"),
    ] {
        assert_eq!(serde_json::from_str::<String>(&text_of(json.as_bytes())).unwrap(), text, "{json}");
    }
    // Text that is not JSON stays unchanged.
    for text in ["\\", "\\u", "\\ud8", "\\ud83", "\\u12é4", "é\\"] {
        assert_eq!(text_of(text.as_bytes()), text);
    }
}

#[test]
fn a_byte_order_mark_is_skipped_and_invalid_utf8_replaced() {
    assert_eq!(text_of(b"\xef\xbb\xbf{}"), "{}");
    assert_eq!(text_of(b"{\"a\":\"\xff\"}"), "{\"a\":\"\u{fffd}\"}");
    assert_eq!(text_of(b"\"\xff\\ud83d\""), "\"\u{fffd}\\ufffd\"");
}

#[test]
fn a_number_is_read_as_text_with_its_digits() {
    for (json, text, noted) in [
        (r#"{"a":"x"}"#, Some("x"), ""),
        (r#"{"a":""}"#, Some(""), ""),
        (r#"{"a":12345678901234567890123}"#, Some("12345678901234567890123"), ""),
        (r#"{"a":1e400}"#, Some("1e400"), ""),
        (r#"{"a":-0.10}"#, Some("-0.10"), ""),
        (r#"{"a":null}"#, None, ""),
        (r#"{}"#, None, ""),
        (r#"{"a":true}"#, None, "a: boolean"),
        (r#"{"a":[]}"#, None, "a: array"),
        (r#"{"a":{"b":1}}"#, None, "a: object"),
        (r#"{"a":"first","a":"last"}"#, Some("last"), ""),
    ] {
        let mut odd = Oddities::default();
        assert_eq!(document(json).text("a", 100, &mut odd).as_deref(), text, "{json}");
        assert_eq!(odd.to_string(), noted, "{json}");
    }
}

#[test]
fn strict_text_accepts_text_only() {
    for (json, read) in [
        (r#"{"a":"x"}"#, Ok("x")),
        (r#"{"a":"x","a":"x"}"#, Ok("x")),
        (r#"{"a":"x","a":"y"}"#, Err("duplicates that differ")),
        (r#"{"a":"x","a":null}"#, Err("null")),
        (r#"{"a":7}"#, Err("number")),
        (r#"{"a":null}"#, Err("null")),
        (r#"{"a":["x"]}"#, Err("array")),
        (r#"{}"#, Err("missing")),
    ] {
        let found = document(json).strict_text("a");
        let found = found.map_err(|error| match error {
            VendorError::Unreadable { path, what } => (path, what),
            other => panic!("{other:?}"),
        });
        match read {
            Ok(text) => assert_eq!(found.as_deref(), Ok(text), "{json}"),
            Err(what) => assert_eq!(found, Err(("a".to_owned(), what.to_owned())), "{json}"),
        }
    }
}

#[test]
fn counts_and_booleans_may_be_texts() {
    let read = |json: &str| {
        let mut odd = Oddities::default();
        let object = document(json);
        (object.count("n", &mut odd), object.flag("f", &mut odd), odd.to_string())
    };
    assert_eq!(read(r#"{"n":14,"f":true}"#), (Some(14), Some(true), String::new()));
    assert_eq!(read(r#"{"n":"14","f":"false"}"#), (Some(14), Some(false), String::new()));
    assert_eq!(read(r#"{"n":14.0}"#), (Some(14), None, String::new()));
    assert_eq!(read(r#"{"n":-1,"f":1}"#), (None, None, "n: number, f: number".to_owned()));
    assert_eq!(read(r#"{"n":1e400,"f":"yes"}"#), (None, None, "n: number, f: text".to_owned()));
    assert_eq!(read(r#"{"n":{},"f":[]}"#), (None, None, "n: object, f: array".to_owned()));
}

#[test]
fn a_text_is_cut_by_its_length_as_json() {
    let cut_at = |text: &str, max: usize| {
        let mut odd = Oddities::default();
        let json = serde_json::json!({"a": text}).to_string();
        (document(&json).text("a", max, &mut odd).unwrap(), odd.count())
    };
    assert_eq!(cut_at("0123456789", 10), ("0123456789".to_owned(), 0));
    let (cut, noted) = cut_at(&"\u{1}".repeat(75_000), 1024);
    assert_eq!(noted, 1);
    assert!(cut.ends_with(CUT_MARK) && json_len(&cut) <= 1024 && cut.starts_with('\u{1}'), "{}", cut.len());
    for text in
        ["\u{1}".repeat(500), "ش".repeat(500), "\"\\\n".repeat(300), "😀".repeat(200), "a".repeat(500)]
    {
        assert_eq!(json_len(&text), serde_json::to_string(&text).unwrap().len() - 2, "{text:.20}");
        let (cut, noted) = cut_at(&text, 300);
        assert_eq!(noted, 1, "{text:.20}");
        assert!(
            (290..=300).contains(&json_len(&cut)) && cut.ends_with(CUT_MARK),
            "{text:.20}: {}",
            json_len(&cut)
        );
    }
}

#[test]
fn an_unreadable_document_is_reported_without_its_content() {
    for (text, what) in [
        ("<html>swordfish</html>", "not JSON"),
        (r#"{"a":"swordfish"#, "cut off"),
        (r#"{"a":1} swordfish"#, "not JSON"),
        ("", "cut off"),
        (r#"["swordfish"]"#, "not an object"),
        (r#""swordfish""#, "not an object"),
        ("null", "not an object"),
    ] {
        let error = Object::document(text).unwrap_err();
        assert_eq!(error.to_string(), format!("the vendor's answer cannot be read at .: {what}"), "{text}");
    }
}

#[test]
fn noted_fields_are_limited() {
    let mut odd = Oddities::default();
    (0..50).for_each(|n| odd.note(&format!("data.items[{n}]"), "null"));
    assert_eq!(odd.count(), 50);
    assert!(odd.to_string().ends_with("data.items[15]: null and 34 more"), "{odd}");
}
