//! What an answer means for the caller: one table from HTTP status and code.

/// What is to be done about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It holds what was asked for.
    Data,
    /// The vendor does not know the order.
    UnknownOrder,
    /// The call is rejected for good.
    Rejected,
    /// The key, or the address it is used from, is refused.
    KeyRefused,
    /// Too many calls.
    SlowDown,
    /// The vendor, or what stands before it, is not well.
    TryAgain,
    /// Nothing that is documented.
    Unreadable,
}

/// What `code` means, wherever it stands; `None`: it is not documented (`oneclickdz-api.md`, "Envelope and errors").
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

/// What an answer with HTTP status `http` means. `code` is that of the vendor's envelope: `None` if there is no envelope, or it names none.
///
/// A documented code decides, wherever it stands. Of any other, and of an answer without one, the HTTP status decides.
pub(super) fn of_answer(http: u16, code: Option<&str>) -> Meaning {
    let known = code.and_then(of_code);
    match (http, code) {
        _ if known.is_some() => known.unwrap_or(Meaning::Unreadable),
        (200..=299, None) => Meaning::Data,
        (200..=299, Some(_)) => Meaning::Unreadable,
        (401, _) => Meaning::KeyRefused,
        (429, _) => Meaning::SlowDown,
        // The vendor's own envelope, under another code: it is there, and does not know the order. A gateway's 404 says nothing of it.
        (404, Some(_)) => Meaning::UnknownOrder,
        (404, None) | (408 | 425, _) => Meaning::TryAgain,
        (400 | 403, _) | (402..=499, Some(_)) => Meaning::Rejected,
        _ => Meaning::TryAgain,
    }
}
