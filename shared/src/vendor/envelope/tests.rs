//! One row per HTTP status and code, with and without an envelope.

use super::*;

const KEY: [&str; 6] = [
    "MISSING_ACCESS_TOKEN",
    "INVALID_ACCESS_TOKEN",
    "ERR_AUTH",
    "IP_BLOCKED",
    "IP_NOT_ALLOWED",
    "API_DISABLED",
];
const CALL: [&str; 6] =
    ["ERR_VALIDATION", "ERR_PHONE", "DUPLICATED_REF", "DUPLICATED-REF", "NO_BALANCE", "INSUFFICIENT_BALANCE"];
const UNAVAILABLE: [&str; 4] =
    ["INTERNAL_ERROR", "SERVICE_UNAVAILABLE", "PARTNER_UNAVAILABLE", "AUTH_UNAVAILABLE"];
const HTTP: [u16; 13] = [200, 201, 400, 401, 403, 404, 405, 422, 429, 500, 502, 503, 504];

fn in_short(http: u16, text: &str) -> String {
    let head = Head { http: StatusCode::from_u16(http).unwrap(), retry_after: Some(Duration::from_secs(7)) };
    match open(&head, text, &mut Oddities::default()) {
        Ok(Opened::Data(_)) => "data".to_owned(),
        Ok(Opened::UnknownOrder { .. }) => "unknown order".to_owned(),
        Err(VendorError::Throttled { retry_after }) => format!("slow down {retry_after:?}"),
        Err(VendorError::KeyRefused { code }) => format!("key refused {code}"),
        Err(VendorError::Rejected { http, code }) => format!("rejected {http} {code}"),
        Err(VendorError::Unavailable { what, retry_after }) => format!("try again {what} {retry_after:?}"),
        Err(VendorError::Unreadable { path, what }) => format!("unreadable {path}: {what}"),
    }
}

fn envelope(code: &str) -> String {
    format!(
        r#"{{"success":false,"error":{{"code":"{code}","message":"m","details":{{"a":1}}}},"requestId":"r"}}"#
    )
}

/// The meaning of each documented code, with any HTTP status.
fn meaning_of(http: u16, code: &str) -> String {
    let pause = if http == 503 { "Some(7s)" } else { "None" };
    match code {
        "NOT_FOUND" => "unknown order".to_owned(),
        "RATE_LIMIT_EXCEEDED" => "slow down Some(7s)".to_owned(),
        code if KEY.contains(&code) => format!("key refused {code}"),
        code if CALL.contains(&code) => format!("rejected {http} {code}"),
        code if UNAVAILABLE.contains(&code) => format!("try again HTTP {http} {code} {pause}"),
        other => panic!("{other} has no expected meaning"),
    }
}

#[test]
fn a_documented_code_decides_in_every_form_of_answer() {
    let codes = [&["NOT_FOUND", "RATE_LIMIT_EXCEEDED"][..], &KEY, &CALL, &UNAVAILABLE].concat();
    let mut rows = 0;
    for http in HTTP {
        for code in &codes {
            let expected = meaning_of(http, code);
            let forms = [
                envelope(code),
                format!("\u{20}{}\n", envelope(code)),
                format!(r#"{{"success":false,"error":{{"code":"{code}"}},"requestId":4711,"meta":7}}"#),
                format!(r#"{{"success":"no","error":{{"code":"{code}","message":{{}}}},"data":null}}"#),
                format!(r#"{{"code":"{code}","statusCode":{http}}}"#),
                format!(r#"{{"error":"{code}","message":"m","statusCode":{http}}}"#),
                // Data next to an error code are ignored.
                format!(
                    r#"{{"success":true,"data":{{"_id":"1","status":"REFUNDED"}},"error":{{"code":"{code}"}}}}"#
                ),
            ];
            for form in forms {
                assert_eq!(in_short(http, &form), expected, "{http} {form}");
                rows += 1;
            }
        }
    }
    crate::vendor::tests::print_past_harness(&format!("{rows} rows of HTTP status, envelope and code"));
    assert_eq!(rows, HTTP.len() * 18 * 7);
}

#[test]
fn without_a_documented_code_the_http_status_decides() {
    let new = envelope("NEW_CODE");
    let gateway = r#"{"message":"Cannot GET","error":"Not Found","statusCode":404}"#;
    let rows = [
        (200, "{}", "data"),
        (201, "{}", "data"),
        (200, &new, "unreadable error.code: an undocumented code with a success status"),
        (200, "<html>", "unreadable .: not JSON"),
        (200, "[]", "unreadable .: not an object"),
        (400, &new, "rejected 400 NEW_CODE"),
        (400, "<html>", "rejected 400 "),
        (401, &new, "key refused NEW_CODE"),
        (401, "<html>", "key refused "),
        (401, r#"{"success":false,"error":{"code":["IP_BLOCKED"]}}"#, "key refused "),
        (403, &new, "rejected 403 NEW_CODE"),
        (403, "<html>", "rejected 403 "),
        (404, &new, "unknown order"),
        (404, gateway, "try again HTTP 404 None"),
        (404, "<html>", "try again HTTP 404 None"),
        (404, "", "try again HTTP 404 None"),
        (404, r#"{"success":false,"error":{"code":""}}"#, "try again HTTP 404 None"),
        (405, &new, "rejected 405 NEW_CODE"),
        (405, "<html>", "try again HTTP 405 None"),
        (408, &new, "try again HTTP 408 NEW_CODE None"),
        (422, &new, "rejected 422 NEW_CODE"),
        (429, &new, "slow down Some(7s)"),
        (429, "<html>", "slow down Some(7s)"),
        (500, &new, "try again HTTP 500 NEW_CODE None"),
        (502, "<html>", "try again HTTP 502 None"),
        (503, "<html>", "try again HTTP 503 Some(7s)"),
        (302, "", "try again HTTP 302 None"),
    ];
    for (http, text, meaning) in rows {
        assert_eq!(in_short(http, text), meaning, "{http} {text}");
    }
}

#[test]
fn a_long_code_is_cut() {
    let long = in_short(400, &envelope(&"X".repeat(100_000)));
    assert!(long.len() < 100, "{long}");
}
