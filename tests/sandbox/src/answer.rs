//! Scripted answers, which tests set to replace the vendor's normal answers.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;

use axum::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Scale;
use crate::reply::{Envelope, Reply};

/// A scripted answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Normal,
    NotFound,
    Status { status: StatusCode, code: String, message: String, retry_after: Option<u64> },
    Raw { status: StatusCode, content_type: HeaderValue, headers: HeaderMap, body: String },
    Data(Box<RawValue>),
    Slow(f64),
    SlowBody(f64),
    Cut,
}

impl Answer {
    /// Gives this answer. `normal`: the vendor's normal answer.
    pub(crate) async fn play(
        self,
        by: &str,
        scale: Scale,
        envelope: Envelope,
        normal: impl Future<Output = Reply>,
    ) -> Reply {
        let (kind, mut reply) = match self {
            Self::Normal => return normal.await,
            Self::NotFound => ("not_found", envelope.not_found()),
            Self::Status { status, code, message, retry_after } => {
                ("status", envelope.failure(status, &code, &message).retry_after(retry_after))
            }
            Self::Raw { status, content_type, headers, body } => {
                let mut reply = Reply::new(status, content_type, "", body);
                reply.headers.extend(headers);
                ("raw", reply)
            }
            Self::Data(data) => ("data", envelope.success("", data)),
            Self::Slow(seconds) => {
                tokio::time::sleep(scale.seconds(seconds)).await;
                ("slow", normal.await)
            }
            Self::SlowBody(seconds) => ("slow_body", normal.await.in_halves(scale.seconds(seconds))),
            Self::Cut => ("cut", normal.await.cut()),
        };
        reply.answered = format!("{by}:{kind} {}", reply.answered).trim_end().to_owned();
        reply
    }
}

/// Scripted answers for the next checks of one order, the next sends or the next lists.
#[derive(Default)]
pub(crate) struct Script(VecDeque<(Answer, Left)>);

#[derive(Clone, Copy)]
enum Left {
    Times(u32),
    Forever,
}

impl Script {
    pub(crate) fn next(&mut self) -> Option<Answer> {
        let (answer, left) = self.0.front_mut()?;
        let answer = answer.clone();
        match left {
            Left::Forever => {}
            Left::Times(times) if *times > 1 => *times -= 1,
            Left::Times(_) => drop(self.0.pop_front()),
        }
        Some(answer)
    }
}

/// A scripted answer in the control API. Flat, because serde buffers the members of tagged enums, which loses the order
/// of `data`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    kind: String,
    http: Option<u16>,
    code: Option<String>,
    message: Option<String>,
    retry_after: Option<u64>,
    body: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    seconds: Option<f64>,
    data: Option<Box<RawValue>>,
    repeat: Option<Repeat>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Repeat {
    Times(u32),
    Word(String),
}

impl TryFrom<Vec<Written>> for Script {
    type Error = String;

    fn try_from(written: Vec<Written>) -> Result<Self, String> {
        let one = |written: Written| {
            let left = match &written.repeat {
                None => Left::Times(1),
                Some(Repeat::Times(times)) if *times > 0 => Left::Times(*times),
                Some(Repeat::Word(word)) if word == "forever" => Left::Forever,
                Some(_) => return Err("`repeat` must be a number from 1 or \"forever\"".to_owned()),
            };
            Ok((Answer::try_from(written)?, left))
        };
        written.into_iter().map(one).collect::<Result<_, _>>().map(Self)
    }
}

impl TryFrom<Written> for Answer {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let seconds = || {
            let fits = written.seconds.filter(|seconds| (0.0..=86_400.0).contains(seconds));
            fits.ok_or_else(|| format!("`{}` needs `seconds` from 0 to 86400", written.kind))
        };
        let status = || {
            let code = written.http.and_then(|code| StatusCode::from_u16(code).ok());
            code.filter(|code| code.as_u16() >= 200)
                .ok_or_else(|| format!("`{}` needs `http`, a status from 200", written.kind))
        };
        Ok(match written.kind.as_str() {
            "normal" => Self::Normal,
            "not_found" => Self::NotFound,
            "cut" => Self::Cut,
            "slow" => Self::Slow(seconds()?),
            "slow_body" => Self::SlowBody(seconds()?),
            "data" => Self::Data(written.data.ok_or("`data` needs `data`")?),
            "status" => Self::Status {
                status: status()?,
                code: written.code.unwrap_or_else(|| usual_code(written.http).to_owned()),
                message: written.message.unwrap_or_else(|| "Scripted by a test".to_owned()),
                retry_after: written.retry_after,
            },
            "raw" => Self::Raw {
                status: status()?,
                content_type: value(written.content_type.as_deref().unwrap_or("text/html"))?,
                headers: headers(&written.headers)?,
                body: written.body.unwrap_or_default(),
            },
            other => return Err(format!("unknown kind of answer: `{other}`")),
        })
    }
}

fn usual_code(http: Option<u16>) -> &'static str {
    match http {
        Some(400) => "ERR_VALIDATION",
        Some(401) => "INVALID_ACCESS_TOKEN",
        Some(403) => "IP_BLOCKED",
        Some(404) => "NOT_FOUND",
        Some(429) => "RATE_LIMIT_EXCEEDED",
        Some(503) => "SERVICE_UNAVAILABLE",
        _ => "INTERNAL_ERROR",
    }
}

fn headers(written: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, text) in written {
        let name: HeaderName = name.parse().map_err(|_| format!("invalid header name: `{name}`"))?;
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
            return Err(format!("the sandbox sets its own `{name}`; for a wrong length use the kind `cut`"));
        }
        headers.insert(name, value(text)?);
    }
    Ok(headers)
}

fn value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| format!("invalid header value: `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(json: &str) -> Result<Script, String> {
        Script::try_from(serde_json::from_str::<Vec<Written>>(json).map_err(|error| error.to_string())?)
    }

    #[test]
    fn answers_repeat_as_often_as_scripted() {
        let mut script = script(
            r#"[{"kind":"not_found","repeat":2},{"kind":"cut"},{"kind":"normal","repeat":"forever"}]"#,
        )
        .unwrap();
        let said: Vec<_> = (0..5).map(|_| format!("{:?}", script.next().unwrap())).collect();
        assert_eq!(said, ["NotFound", "NotFound", "Cut", "Normal", "Normal"]);
    }

    #[test]
    fn invalid_scripts_are_rejected() {
        for (json, complaint) in [
            (r#"[{"kind":"slow"}]"#, "needs `seconds`"),
            (r#"[{"kind":"status"}]"#, "needs `http`"),
            (r#"[{"kind":"status","http":99}]"#, "needs `http`"),
            (r#"[{"kind":"data"}]"#, "needs `data`"),
            (r#"[{"kind":"cut","repeat":0}]"#, "`repeat`"),
            (r#"[{"kind":"cut","repeat":"twice"}]"#, "`repeat`"),
            (r#"[{"kind":"raw","http":200,"headers":{"content-length":"5"}}]"#, "own"),
            (r#"[{"kind":"drop"}]"#, "unknown kind"),
            (r#"[{"kind":"cut","htttp":1}]"#, "unknown field"),
        ] {
            let said = script(json).err().unwrap_or_default();
            assert!(said.contains(complaint), "{json}: {said}");
        }
    }
}
