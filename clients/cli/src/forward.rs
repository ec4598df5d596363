//! Webhooks for local work: `tracker listen`.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use reqwest::{Client, Url, header::CONTENT_TYPE};
use ring::rand::{SystemRandom, generate};
use serde::{Deserialize, Serialize};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use tokio::time::Instant;

use crate::{
    api::{Api, Failure, Page, cause, client, setting},
    args::{EventId, Listen},
    feed::Feed,
    output::{FORWARDED, Output, remark},
};

/// A receiver answers within 10 s, as for the tracker's own webhooks.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The types of events that no order's history has.
const VENDOR_TYPES: &str = "Vendor List Degraded,Vendor Resumed,Vendor Suspended";

/// An event in EventBridge's envelope, as it is on the bus.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Envelope<'a> {
    version: &'a str,
    id: String,
    detail_type: &'a str,
    source: &'a str,
    account: &'a str,
    time: Timestamp,
    region: &'a str,
    resources: [&'a str; 0],
    detail: &'a RawValue,
}

#[derive(Deserialize)]
struct Detail {
    event_id: String,
    detail_type: String,
    occurred_at: Timestamp,
}

/// Posts events, signed by Standard Webhooks.
struct Forward {
    client: Client,
    url: Url,
    webhook: Webhook,
}

/// Posts new events to the local URL until it is interrupted; with `--resend` one event.
pub(crate) async fn listen(api: &Api, options: Listen, out: &mut Output) -> Result<(), Failure> {
    let webhook = Webhook::from_bytes(key(setting("WEBHOOK_SECRET"))?)
        .map_err(|error| Failure::Failed(format!("nothing can be signed: {error}")))?;
    let forward = Forward { client: client(&options.forward, TIMEOUT)?, url: options.forward, webhook };
    if let Some(id) = options.resend {
        let delivered = forward.post(&find(api, &id).await?, out).await?;
        return delivered
            .then_some(())
            .ok_or_else(|| Failure::Failed(format!("{} was not accepted", id.text)));
    }
    let mut feed = Feed::new(api, options.types, Some("latest".to_owned()).filter(|_| options.last == 0));
    let mut events = match options.last {
        // This call finds the place of now.
        0 => feed.next(false).await?.unwrap_or_default(),
        last => feed.last(last).await?.into(),
    };
    remark(&format!("posting events to {}; --resend EVENT_ID posts one again", forward.url));
    loop {
        for event in events {
            forward.post(&event, out).await?;
        }
        events = feed.next(true).await?.unwrap_or_default();
    }
}

/// The secret as bytes: that of the setting, or a new one, which is shown.
fn key(secret: Option<String>) -> Result<Vec<u8>, Failure> {
    let Some(secret) = secret else {
        let key = generate::<[u8; 24]>(&SystemRandom::new())
            .map_err(|_| Failure::Failed("the system gives no random numbers".to_owned()))?
            .expose();
        remark(&format!("signing with a new secret: WEBHOOK_SECRET=whsec_{}", BASE64_STANDARD.encode(key)));
        return Ok(key.to_vec());
    };
    let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(&secret));
    key.ok().filter(|key| key.len() >= 24).ok_or_else(|| {
        Failure::Usage("WEBHOOK_SECRET must be whsec_ and the base64 of 24 bytes or more".to_owned())
    })
}

/// Reads one event: of an order from its history, of the vendor's key from the feed.
async fn find(api: &Api, id: &EventId) -> Result<Box<RawValue>, Failure> {
    let is_it =
        |raw: &RawValue| serde_json::from_str(raw.get()).is_ok_and(|it: Detail| it.event_id == id.text);
    let found = if id.product == "vendor" {
        let mut feed = Feed::new(api, Some(VENDOR_TYPES.to_owned()), None);
        feed.last(usize::MAX).await?.into_iter().find(|event| is_it(event))
    } else {
        let after = id.seq.saturating_sub(1).to_string();
        let path = ["orders", &id.product, &id.id, "history"];
        let page: Page = api.get(&path, &[("after", &after), ("limit", "1")]).await?;
        page.events.into_iter().find(|event| is_it(event))
    };
    found.ok_or_else(|| Failure::Failed(format!("there is no event {}", id.text)))
}

impl Forward {
    /// Posts the event once and prints how it went; returns whether the receiver accepted it.
    async fn post(&self, event: &RawValue, out: &mut Output) -> Result<bool, Failure> {
        let detail: Detail = serde_json::from_str(event.get())?;
        #[allow(clippy::disallowed_methods, reason = "a receiver compares it with its own clock")]
        let now = Timestamp::now();
        let body = envelope(&detail, event, now)?;
        let signature = self.webhook.sign(&detail.event_id, now.as_second(), body.as_bytes());
        let signature =
            signature.map_err(|error| Failure::Failed(format!("the event cannot be signed: {error}")))?;
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, &detail.event_id)
            .header(HEADER_WEBHOOK_TIMESTAMP, now.as_second())
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
            .body(body);
        let started = Instant::now();
        let answer = request.send().await;
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let status = answer.as_ref().ok().map(reqwest::Response::status);
        let attempt = json!({
            "event_id": detail.event_id,
            "detail_type": detail.detail_type,
            "status": status.map(|status| status.as_u16()),
            "milliseconds": milliseconds,
            "error": answer.err().map(|error| cause(&error)),
        });
        out.row(FORWARDED, &to_raw_value(&attempt)?)?;
        Ok(status.is_some_and(|status| status.is_success()))
    }
}

fn envelope(detail: &Detail, event: &RawValue, now: Timestamp) -> Result<String, Failure> {
    Ok(serde_json::to_string(&Envelope {
        version: "0",
        // Like a random UUID, and another one each time.
        id: format!("00000000-0000-4000-8000-{:012x}", now.as_microsecond() & 0xffff_ffff_ffff),
        detail_type: &detail.detail_type,
        source: "topup-tracker",
        account: "000000000000",
        time: Timestamp::from_second(detail.occurred_at.as_second()).unwrap_or(detail.occurred_at),
        region: "local",
        resources: [],
        detail: event,
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_at_least_24_bytes() {
        let secret = |bytes: usize| Some(format!("whsec_{}", BASE64_STANDARD.encode(vec![7; bytes])));
        assert_eq!(key(secret(24)).unwrap(), [7; 24]);
        assert_eq!(key(secret(64).map(|secret| secret.replace("whsec_", ""))).unwrap(), [7; 64]);
        for wrong in [secret(23), secret(0), Some("no base64".to_owned())] {
            assert!(matches!(key(wrong), Err(Failure::Usage(text)) if text.contains("WEBHOOK_SECRET")));
        }
        assert_ne!(key(None).unwrap(), key(None).unwrap());
    }
}
