//! The page as HTML, with its content security policy.

use askama::Template;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use shared::{config::Shop, order::Order};

use crate::{
    view::{self, Fact, Offer, State, Step},
    words::{Language, Message, Words},
};

/// What every page shares: the shop, the style with its colour, the script, and the policy that allows these two and nothing else.
#[derive(Clone, Debug)]
pub struct Look {
    shop: Shop,
    style: String,
    script: &'static str,
    icon: String,
    policy: String,
}

impl Look {
    /// The look of a shop.
    pub fn new(shop: Shop) -> Self {
        let colour = shop.colour;
        let style = format!(
            ":root{{--brand:{colour}}}@media (prefers-color-scheme:dark){{:root{{--brand:{}}}}}\n{}",
            colour.on_dark(),
            include_str!("../templates/style.css"),
        );
        let script = include_str!("../templates/script.js");
        let icon = format!(
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='4' \
             fill='%23{}'/%3E%3Cpath d='M4 8.5l3 3 5-6' fill='none' stroke='%23fff' stroke-width='2'/%3E%3C/svg%3E",
            colour.to_string().trim_start_matches('#'),
        );
        let policy = format!(
            "default-src 'none'; style-src '{}'; script-src '{}'; img-src data:; connect-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
            source(&style),
            source(script),
        );
        Self { shop, style, script, icon, policy }
    }

    /// The value of `Content-Security-Policy`.
    pub fn policy(&self) -> &str {
        &self.policy
    }
}

/// A source of the policy: the hash of an inline element's text.
pub(crate) fn source(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

/// How an order's card is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card<'a> {
    /// Not at all: the settings do not allow it.
    Never,
    /// Behind a button, if there is one.
    Button,
    /// Its code, read and recorded.
    Code(&'a str),
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    words: &'static Words,
    languages: [&'static Words; 3],
    look: &'a Look,
    shop: &'a Shop,
    /// The page's own address, relative to this answer's; empty: the same.
    here: String,
    title: &'static str,
    text: String,
    more: Option<&'static str>,
    tone: &'static str,
    sign: &'static str,
    live: bool,
    steps: [Step; 3],
    refund_message: Option<String>,
    card_code: Option<&'a str>,
    card_action: Option<String>,
    offers: Vec<Offer>,
    facts: Vec<Fact>,
}

#[derive(Template)]
#[template(path = "notice.html")]
struct Notice<'a> {
    words: &'static Words,
    languages: [&'static Words; 3],
    look: &'a Look,
    shop: &'a Shop,
    here: &'static str,
    title: &'static str,
    text: &'static str,
}

/// The page of an order. `capability`: as in its address; it is printed only into the action of the card's button.
///
/// # Errors
/// If the template fails, which no content causes.
pub fn order(
    look: &Look,
    order: &Order,
    language: Language,
    card: Card<'_>,
    capability: &str,
    now: Timestamp,
) -> Result<String, askama::Error> {
    let (words, state) = (language.words(), State::of(order));
    let shows_card = card != Card::Never;
    let card_code = match card {
        Card::Code(code) => Some(code),
        Card::Never | Card::Button => None,
    };
    let (title, text, more) = view::said(order, words, shows_card, now);
    let page = Page {
        words,
        languages: Language::ALL.map(Language::words),
        look,
        shop: &look.shop,
        // The code's page has an address one level below.
        here: card_code.map(|_| format!("../{capability}")).unwrap_or_default(),
        title,
        text,
        more,
        tone: state.tone(),
        sign: state.sign(),
        live: view::is_live(order),
        steps: view::steps(order, words),
        refund_message: view::refund_message(order),
        card_code,
        card_action: (shows_card && view::has_card(order)).then(|| format!("{capability}/card")),
        offers: view::offers(order),
        facts: view::facts(order, words),
    };
    page.render()
}

/// The one page for everything that opens no order.
///
/// # Errors
/// If the template fails, which no content causes.
pub fn opens_nothing(look: &Look, language: Language) -> Result<String, askama::Error> {
    notice(look, language, &language.words().opens_nothing)
}

/// The page for an outage.
///
/// # Errors
/// If the template fails, which no content causes.
pub(crate) fn unavailable(look: &Look, language: Language) -> Result<String, askama::Error> {
    notice(look, language, &language.words().unavailable)
}

fn notice(look: &Look, language: Language, message: &Message) -> Result<String, askama::Error> {
    let (words, shop) = (language.words(), &look.shop);
    let languages = Language::ALL.map(Language::words);
    Notice { words, languages, look, shop, here: "", title: message.title, text: message.text }.render()
}
