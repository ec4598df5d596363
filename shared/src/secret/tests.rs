use super::*;

const TOKENS: &str = r#"{"api_tokens":[
    {"token":"orders-only-0123456789","scopes":["orders"]},
    {"token":"everything-0123456789","scopes":["orders","cards"]}]}"#;

#[test]
fn a_token_has_exactly_its_own_scopes() {
    let secrets = parse::<ApiTokens>("s", TOKENS).unwrap();
    assert_eq!(secrets.scopes_of("orders-only-0123456789"), Some([Scope::Orders].as_slice()));
    assert_eq!(secrets.scopes_of("everything-0123456789"), Some([Scope::Orders, Scope::Cards].as_slice()));
    for wrong in ["", "orders-only", "orders-only-01234567890", "vendor-key"] {
        assert_eq!(secrets.scopes_of(wrong), None, "{wrong:?}");
    }
}

#[test]
fn debug_output_hides_secrets() {
    let key: VendorSecret = parse("s", r#"{"oneclickdz_api_key":"vendor-key"}"#).unwrap();
    let printed = format!("{key:?} {:?}", parse::<ApiTokens>("s", TOKENS).unwrap());
    for secret in ["vendor-key", "orders-only", "everything"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[test]
fn an_invalid_token_entry_does_not_affect_the_others() {
    for bad in [
        r#"{"token":"too-short","scopes":["orders"]}"#,
        r#"{"token":"a-token-of-all-0123456789","scopes":["all"]}"#,
        r#"{"token":"a-token-of-all-0123456789","scopes":"orders"}"#,
        r#"{"token":4711471147114711,"scopes":["orders"]}"#,
        r#"{"scopes":["orders"]}"#,
        "7",
        "null",
        "[]",
    ] {
        let text = TOKENS.replacen('[', &format!("[{bad},"), 1);
        let secrets: ApiTokens = parse("s", &text).unwrap();
        assert_eq!(secrets.scopes_of("orders-only-0123456789"), Some([Scope::Orders].as_slice()), "{bad}");
        assert_eq!(secrets.scopes_of("a-token-of-all-0123456789"), None, "{bad}");
        assert_eq!(secrets.api_tokens.len(), 2, "{bad}");
    }
}

#[test]
fn an_invalid_secret_is_refused_with_the_field_but_not_the_value() {
    let refused = |text: &str| {
        let tokens = parse::<ApiTokens>("s", text).unwrap_err().to_string();
        [parse::<VendorSecret>("s", text).unwrap_err().to_string(), tokens]
    };
    for (text, key, tokens) in [
        ("", ".", "."),
        ("swordfish", ".", "."),
        (r#"{"oneclickdz_api_key":7}"#, "oneclickdz_api_key", "."),
        (r#"{"oneclickdz_api_key":"","api_tokens":"swordfish"}"#, "oneclickdz_api_key", "api_tokens"),
        (r#"{"api_tokens":{"token":"swordfish-0123456789"}}"#, ".", "api_tokens"),
    ] {
        for (error, path) in refused(text).into_iter().zip([key, tokens]) {
            assert!(error.contains(&format!(": {path} is wrong")), "{text}: {error}");
            assert!(!error.contains("swordfish"), "{error}");
        }
    }
}
