//! The meaning of an answer: one table from HTTP status and code.

/// How the caller handles an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It has the data.
    Data,
    /// The vendor does not know the order.
    UnknownOrder,
    /// The call is rejected permanently.
    Rejected,
    /// The key, or the address it is used from, is refused.
    KeyRefused,
    /// Too many calls.
    SlowDown,
    /// The vendor or a gateway before it is unavailable.
    TryAgain,
    /// The answer is undocumented.
    Unreadable,
}

/// The meaning of `code`; `None` if it is undocumented (`oneclickdz-api.md`, "Envelope and errors").
pub(super) fn of_code(code: &str) -> Option<Meaning> {
    Some(match code {
        "NOT_FOUND" => Meaning::UnknownOrder,
        "ERR_VALIDATION"
        | "ERR_PHONE"
        | "DUPLICATED_REF"
        | "DUPLICATED-REF"
        | "NO_BALANCE"
        | "INSUFFICIENT_BALANCE" => Meaning::Rejected,
        "MISSING_ACCESS_TOKEN"
        | "INVALID_ACCESS_TOKEN"
        | "ERR_AUTH"
        | "IP_BLOCKED"
        | "IP_NOT_ALLOWED"
        | "API_DISABLED" => Meaning::KeyRefused,
        "RATE_LIMIT_EXCEEDED" => Meaning::SlowDown,
        "INTERNAL_ERROR" | "SERVICE_UNAVAILABLE" | "PARTNER_UNAVAILABLE" | "AUTH_UNAVAILABLE" => {
            Meaning::TryAgain
        }
        _ => return None,
    })
}

/// The meaning of an answer with HTTP status `http`. `code`: see `envelope::code_of`; `None` if there is no envelope
/// or no code in it.
///
/// A documented code decides. Without one, the HTTP status decides.
pub(super) fn of_answer(http: u16, code: Option<&str>) -> Meaning {
    let known = code.and_then(of_code);
    match (http, code) {
        _ if known.is_some() => known.unwrap_or(Meaning::Unreadable),
        (200..=299, None) => Meaning::Data,
        (200..=299, Some(_)) => Meaning::Unreadable,
        (401, _) => Meaning::KeyRefused,
        (429, _) => Meaning::SlowDown,
        // The vendor's own envelope with an undocumented code: the vendor was reached and does not know the order. A
        // gateway's 404 says nothing about the order.
        (404, Some(_)) => Meaning::UnknownOrder,
        (404, None) | (408 | 425, _) => Meaning::TryAgain,
        (400 | 403, _) | (402..=499, Some(_)) => Meaning::Rejected,
        _ => Meaning::TryAgain,
    }
}
