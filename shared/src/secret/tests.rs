use super::*;

const SECRET: &str = r#"{"oneclickdz_api_key":"vendor-key","api_tokens":[
    {"token":"orders-only-0123456789","scopes":["orders"]},
    {"token":"everything-0123456789","scopes":["orders","cards"]}]}"#;

#[test]
fn a_token_has_exactly_its_own_scopes() {
    let secrets = Secrets::parse("s", SECRET).unwrap();
    assert_eq!(secrets.scopes_of("orders-only-0123456789"), Some([Scope::Orders].as_slice()));
    assert_eq!(secrets.scopes_of("everything-0123456789"), Some([Scope::Orders, Scope::Cards].as_slice()));
    for wrong in ["", "orders-only", "orders-only-01234567890", "vendor-key"] {
        assert_eq!(secrets.scopes_of(wrong), None, "{wrong:?}");
    }
}

#[test]
fn debug_output_hides_secrets() {
    let printed = format!("{:?}", Secrets::parse("s", SECRET).unwrap());
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
        let text = SECRET.replacen('[', &format!("[{bad},"), 1);
        let secrets = Secrets::parse("s", &text).unwrap();
        assert_eq!(secrets.scopes_of("orders-only-0123456789"), Some([Scope::Orders].as_slice()), "{bad}");
        assert_eq!(secrets.scopes_of("a-token-of-all-0123456789"), None, "{bad}");
        assert_eq!(secrets.api_tokens.len(), 2, "{bad}");
    }
}

#[test]
fn an_invalid_secret_is_refused_with_the_field_but_not_the_value() {
    for (text, path) in [
        ("", "."),
        ("swordfish", "."),
        (r#"{"oneclickdz_api_key":7}"#, "oneclickdz_api_key"),
        (r#"{"oneclickdz_api_key":""}"#, "oneclickdz_api_key"),
        (r#"{"oneclickdz_api_key":"k","api_tokens":"swordfish"}"#, "api_tokens"),
        (r#"{"oneclickdz_api_key":"k","api_tokens":{"token":"swordfish-0123456789"}}"#, "api_tokens"),
    ] {
        let error = Secrets::parse("s", text).unwrap_err().to_string();
        assert!(error.contains(&format!(": {path}")), "{text}: {error}");
        assert!(!error.contains("swordfish"), "{error}");
    }
}
