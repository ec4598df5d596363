//! HTTP answers: pages, with the headers that keep them private.

use aws_lambda_events::{
    apigw::ApiGatewayV2httpResponse,
    encodings::Body,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};

use crate::{
    render::{self, Look},
    words::Language,
};

/// Seconds after which a page that is not available may be asked for again.
const RETRY_AFTER: u64 = 60;

/// An answer to be sent.
pub(crate) enum Answer {
    /// 200: the page of an order.
    Order(String),
    /// 303: to the page at this address.
    SeeOther(String),
    /// 404: the one page for everything that opens no order.
    OpensNothing,
    /// 503: the table, the secret or the card's key is not available.
    Unavailable,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Order(_) => 200,
            Self::SeeOther(_) => 303,
            Self::OpensNothing => 404,
            Self::Unavailable => 503,
        }
    }

    pub(crate) fn into_response(self, look: &Look, language: Language) -> ApiGatewayV2httpResponse {
        let mut response = ApiGatewayV2httpResponse::default();
        response.status_code = i64::from(self.status());
        response.headers = headers(look, language);
        let html = match self {
            Self::Order(html) => html,
            Self::SeeOther(address) => {
                if let Ok(address) = HeaderValue::from_str(&address) {
                    response.headers.insert(header::LOCATION, address);
                }
                String::new()
            }
            Self::OpensNothing => render::opens_nothing(look, language).unwrap_or_default(),
            Self::Unavailable => {
                response.headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
                render::unavailable(look, language).unwrap_or_default()
            }
        };
        response.body = Some(Body::Text(html));
        response
    }
}

/// The headers of every answer.
fn headers(look: &Look, language: Language) -> HeaderMap {
    let fixed: [(HeaderName, &'static str); 7] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
        (header::VARY, "accept-language"),
        (header::CONTENT_LANGUAGE, language.words().tag),
    ];
    let fixed = fixed.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value)));
    let policy =
        HeaderValue::from_str(look.policy()).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    fixed.chain([(header::CONTENT_SECURITY_POLICY, policy)]).collect()
}
