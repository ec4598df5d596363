//! Random faults.

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use fastrand::Rng;

use crate::answer::Answer;
use crate::settings::Settings;

/// A seeded random generator: the same seed gives the same faults for the same sequence of calls.
pub(crate) struct Chance {
    fraction: f64,
    rng: Rng,
}

/// A fault, and its name in the log of calls.
pub(crate) struct Fault {
    pub(crate) kind: &'static str,
    pub(crate) answer: Answer,
}

impl Chance {
    pub(crate) fn new(settings: &Settings) -> Self {
        let seed = settings.fault_seed.unwrap_or_else(|| fastrand::u64(..));
        if settings.faults > 0.0 {
            tracing::info!(faults = settings.faults, fault_seed = seed);
        }
        Self { fraction: settings.faults, rng: Rng::with_seed(seed) }
    }

    /// The fault of the next check or list call, if any. Its delays are not scaled.
    pub(crate) fn next(&mut self) -> Option<Fault> {
        if self.rng.f64() >= self.fraction {
            return None;
        }
        let (kind, answer) = match self.rng.u8(..5) {
            0 => ("429", refusal(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED", Some(1))),
            1 => ("503", refusal(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", None)),
            2 => ("not_json", page()),
            3 => ("cut", Answer::Cut),
            // 2 to 12 s: below and above a client's timeout of about 8 s.
            _ => ("slow_body", Answer::SlowBody(self.rng.f64() * 10.0 + 2.0)),
        };
        Some(Fault { kind, answer })
    }
}

fn refusal(status: StatusCode, code: &str, retry_after: Option<u64>) -> Answer {
    Answer::Status { status, code: code.to_owned(), message: "A random fault".to_owned(), retry_after }
}

fn page() -> Answer {
    Answer::Raw {
        status: StatusCode::OK,
        content_type: HeaderValue::from_static("text/html"),
        headers: HeaderMap::new(),
        body: "<!doctype html><h1>Just a moment...</h1>".to_owned(),
    }
}
