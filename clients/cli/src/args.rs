//! The arguments.

use clap::{Parser, Subcommand};
use reqwest::Url;

const PRODUCTS: [&str; 2] = ["mobile", "internet"];

const SETTINGS: &str = "\
Settings, read from the environment:
  TRACKER_URL     address of the API; without it API_URL, as in .local/stack.env
  TRACKER_TOKEN   token of the API; without it API_TOKEN. `card` needs the scope `cards`, all else `orders`.
  WEBHOOK_SECRET  secret with which `listen` signs; without it a new one at each start

Examples, with a local stack:
  set -a; . .local/stack.env; set +a
  tracker track mobile 6901616fe9e88196b4eb64b0 --ref order-12345
  tracker events --follow --types 'Order Fulfilled,Order Refunded'
  tracker listen --forward http://localhost:8000/hook

Exit codes: 0 done; 1 refused or failed; 2 wrong usage, or a setting is missing.";

/// Follows top-ups: the HTTP API of the top-up tracker.
#[derive(Debug, Parser)]
#[command(name = "tracker", version, after_help = SETTINGS)]
pub(crate) struct Args {
    /// Address of the API, instead of TRACKER_URL
    #[arg(long, global = true, value_parser = web_url)]
    pub(crate) url: Option<Url>,
    /// Prints JSON, one value on each line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Call(Call),
    /// Prints the completions of a shell
    #[command(
        after_help = "Example: tracker completions bash > ~/.local/share/bash-completion/completions/tracker"
    )]
    Completions { shell: clap_complete::Shell },
}

/// The commands that call the API.
#[derive(Debug, Subcommand)]
pub(crate) enum Call {
    /// Tracks an order from now on
    #[command(after_help = "Example: tracker track mobile 6901616fe9e88196b4eb64b0 --ref order-12345")]
    Track {
        #[command(flatten)]
        order: Order,
        /// Your own reference of the order
        #[arg(long = "ref")]
        reference: Option<String>,
    },
    /// Shows an order, checked at the vendor if need be
    #[command(after_help = "Example: tracker show mobile 6901616fe9e88196b4eb64b0")]
    Show(Order),
    /// Lists the events of an order
    #[command(after_help = "Example: tracker history mobile 6901616fe9e88196b4eb64b0 --json | tail -n 1")]
    History(Order),
    /// Shows the card code of an order; this adds an event to the order
    #[command(after_help = "Example: tracker card internet 6901616fe9e88196b4eb64b2")]
    Card(Order),
    /// Finds an order by your reference and tracks it
    #[command(after_help = "Example: tracker lookup mobile --ref order-12345")]
    Lookup {
        #[arg(value_parser = PRODUCTS)]
        product: String,
        /// Your own reference of the order
        #[arg(long = "ref")]
        reference: String,
    },
    /// Lists orders in one phase, those with your reference, or those with an open review
    #[command(
        override_usage = "tracker orders --phase <PHASE> [--older-than <DURATION>]\n       tracker orders --parked-as <WHY> [--older-than <DURATION>]\n       tracker orders --ref <REF>\n       tracker orders --review",
        after_help = "Each list begins with the oldest. No order is checked for it. Examples:
  tracker orders --review
  tracker orders --parked-as uncertain --older-than 24h
  tracker orders --ref order-12345"
    )]
    Orders(Orders),
    /// Has an order checked again, or closes its open reviews; the history keeps who did it and why
    #[command(after_help = "Nobody sets a status: only the vendor states an outcome. Examples:
  tracker review mobile 6901616fe9e88196b4eb64b0 --actor Amina --reason 'the vendor says it is settled' --recheck
  tracker review mobile 6901616fe9e88196b4eb64b0 --actor Amina --reason 'refunded, as the vendor confirmed' --close")]
    Review(Review),
    /// Prints the events of all orders, in one order that never changes
    #[command(
        after_help = "Example: tracker events --follow --json --cursor-file ~/.tracker-cursor | ./handle-events"
    )]
    Events(Events),
    /// Posts new events to a local URL, signed as webhooks
    #[command(
        after_help = "Each event is posted once: a webhook of the tracker's own would be tried again. Examples:
  tracker listen --forward http://localhost:8000/hook
  tracker listen --forward http://localhost:8000/hook --resend 'mobile/6901616fe9e88196b4eb64b0#2'"
    )]
    Listen(Listen),
    /// Lists deliveries of webhooks, with their last attempt
    #[command(
        override_usage = "tracker deliveries <PRODUCT> <ID>\n       tracker deliveries --failed | --retrying"
    )]
    #[command(after_help = "Examples:
  tracker deliveries mobile 6901616fe9e88196b4eb64b0
  tracker deliveries --failed")]
    Deliveries(Deliveries),
    /// Sends the webhook of an event again
    #[command(after_help = "Example: tracker resend 'mobile/6901616fe9e88196b4eb64b0#2'")]
    Resend {
        #[arg(value_name = "EVENT_ID")]
        event: EventId,
    },
    /// Checks a window of the vendor's list again, and finds orders that nobody registered
    #[command(subcommand)]
    Resync(Resync),
}

/// The commands about resyncs.
#[derive(Debug, Subcommand)]
pub(crate) enum Resync {
    /// Starts a resync; the same window again shows the one that runs
    #[command(
        after_help = "Example: tracker resync start mobile --from 2026-11-01T00:00:00Z --to 2026-11-02T00:00:00Z"
    )]
    Start {
        #[arg(value_parser = PRODUCTS)]
        product: String,
        /// The first creation time (RFC 3339)
        #[arg(long)]
        from: String,
        /// The last creation time (RFC 3339), at most 31 days later
        #[arg(long)]
        to: String,
        /// Tracks the orders that nobody registered, instead of listing them only
        #[arg(long)]
        track: bool,
    },
    /// Lists all resyncs, newest first
    #[command(after_help = "Example: tracker resync list")]
    List,
    /// Shows how far a resync is
    #[command(after_help = "Example: tracker resync show mobile-1793491200000-1793577600000")]
    Show {
        #[arg(value_parser = order_id)]
        id: String,
    },
    /// Lists the orders that a resync found and nobody had registered
    #[command(after_help = "Example: tracker resync unregistered mobile-1793491200000-1793577600000")]
    Unregistered {
        #[arg(value_parser = order_id)]
        id: String,
    },
    /// Stops a resync
    #[command(after_help = "Example: tracker resync stop mobile-1793491200000-1793577600000")]
    Stop {
        #[arg(value_parser = order_id)]
        id: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Order {
    #[arg(value_parser = PRODUCTS)]
    product: String,
    /// The vendor's id of the order (topupId)
    #[arg(value_parser = order_id)]
    id: String,
}

impl Order {
    /// The path of the order, or of the part of it that is named.
    pub(crate) fn path<'a>(&'a self, part: Option<&'a str>) -> Vec<&'a str> {
        ["orders", &self.product, &self.id].into_iter().chain(part).collect()
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Orders {
    /// Only those in this phase, the one that changed longest ago first
    #[arg(long, value_parser = ["in_flight", "parked", "final"], required_unless_present_any = ["parked_as", "reference", "review"])]
    phase: Option<String>,
    /// Only parked orders that are parked so
    #[arg(long, value_name = "WHY", value_parser = ["queued", "uncertain", "delayed", "not_found"])]
    parked_as: Option<String>,
    /// Only those whose status or phase did not change for so long, such as 90m, 24h or 3days
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["reference", "review"])]
    older_than: Option<String>,
    /// Only those with your own reference
    #[arg(long = "ref", value_name = "REF", conflicts_with_all = ["phase", "parked_as", "review"])]
    reference: Option<String>,
    /// Only those with an open review, the oldest review first
    #[arg(long, conflicts_with_all = ["phase", "parked_as"])]
    review: bool,
    /// Only those of this product
    #[arg(long, value_parser = PRODUCTS)]
    product: Option<String>,
}

impl Orders {
    /// The parameters of the list.
    pub(crate) fn query(&self) -> Vec<(&'static str, &str)> {
        let given = [
            ("phase", self.phase.as_deref()),
            ("parked_as", self.parked_as.as_deref()),
            ("older_than", self.older_than.as_deref()),
            ("ref", self.reference.as_deref()),
            ("review", self.review.then_some("open")),
            ("product", self.product.as_deref()),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Review {
    #[command(flatten)]
    pub(crate) order: Order,
    /// Your name, for the history: at most 100 characters
    #[arg(long)]
    pub(crate) actor: String,
    /// Why, for the history: at most 500 characters
    #[arg(long)]
    pub(crate) reason: String,
    /// Has the order checked at the vendor within a minute or so
    #[arg(long, required_unless_present = "close")]
    pub(crate) recheck: bool,
    /// Closes all open reviews of the order; of one that is not settled yet, nothing asks for a review for the same reason again
    #[arg(long, conflicts_with = "recheck")]
    close: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Waits for new events instead of ending
    #[arg(long)]
    pub(crate) follow: bool,
    /// Begins after this cursor (or "latest": now); without it at the oldest event
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<String>,
    /// Only events of these types, separated by commas
    #[arg(long)]
    pub(crate) types: Option<String>,
    /// Begins with the last N events; this reads the whole feed
    #[arg(long, value_name = "N", conflicts_with_all = ["after", "cursor_file"])]
    pub(crate) last: Option<usize>,
    /// Keeps the cursor in this file; goes on from there the next time, whatever --after says
    #[arg(long, value_name = "FILE")]
    pub(crate) cursor_file: Option<std::path::PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Listen {
    /// The URL to which each event is posted
    #[arg(long, value_name = "URL", value_parser = web_url)]
    pub(crate) forward: Url,
    /// Only events of these types, separated by commas; without it all
    #[arg(long)]
    pub(crate) types: Option<String>,
    /// Posts the last N events first; this reads the whole feed
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) last: usize,
    /// Posts this one event again, then ends
    #[arg(long, value_name = "EVENT_ID", conflicts_with_all = ["types", "last"])]
    pub(crate) resend: Option<EventId>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Deliveries {
    #[arg(value_parser = PRODUCTS, requires = "id", required_unless_present_any = ["failed", "retrying"])]
    product: Option<String>,
    /// The vendor's id of the order (topupId)
    #[arg(value_parser = order_id)]
    id: Option<String>,
    /// Those of all orders that failed for good, oldest first
    #[arg(long, conflicts_with_all = ["product", "retrying"])]
    failed: bool,
    /// Those of all orders that will be tried again, oldest first
    #[arg(long, conflicts_with = "product")]
    retrying: bool,
}

impl Deliveries {
    /// Path, query, and the name of the query's parameter for the next page.
    pub(crate) fn list(&self) -> (Vec<&str>, Vec<(&str, &str)>, &str) {
        match (&self.product, &self.id) {
            (Some(product), Some(id)) => (vec!["orders", product, id, "deliveries"], vec![], "after"),
            _ => {
                let state = if self.failed { "failed" } else { "retrying" };
                (vec!["deliveries"], vec![("state", state)], "cursor")
            }
        }
    }
}

/// The id of an event: `{product}/{id}#{seq}`, or `vendor/{key}#{seq}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventId {
    pub(crate) text: String,
    pub(crate) product: String,
    pub(crate) id: String,
    /// From 1.
    pub(crate) seq: u32,
}

impl std::str::FromStr for EventId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = || {
            let (about, seq) = text.rsplit_once('#')?;
            let (product, id) = about.split_once('/')?;
            let seq = seq.parse().ok().filter(|seq| *seq > 0)?;
            (product == "vendor" || PRODUCTS.contains(&product)).then_some(())?;
            let (id, product) = (order_id(id).ok()?, product.to_owned());
            Some(Self { text: text.to_owned(), product, id, seq })
        };
        parts().ok_or_else(|| "it must be like mobile/6901616fe9e88196b4eb64b0#2".to_owned())
    }
}

/// An order's id, by the API's rule: no id changes the path of a URL.
fn order_id(text: &str) -> Result<String, String> {
    let known = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    if (1..=64).contains(&text.len()) && text.chars().all(known) {
        Ok(text.to_owned())
    } else {
        Err("it must be 1 to 64 characters of A-Z, a-z, 0-9, _ and -".to_owned())
    }
}

/// A URL with the scheme `http` or `https`.
pub(crate) fn web_url(text: &str) -> Result<Url, String> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| "it must be a URL that begins with http:// or https://".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn fails(words: &str) -> bool {
        Args::try_parse_from(words.split(' ')).is_err()
    }

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_refused() {
        for wrong in [
            "tracker",
            "tracker show mobile",
            "tracker show fixed 690",
            "tracker show mobile ..",
            "tracker show mobile a/b",
            "tracker lookup mobile",
            "tracker deliveries",
            "tracker deliveries mobile",
            "tracker deliveries mobile 690 --failed",
            "tracker deliveries --failed --retrying",
            "tracker resend mobile/690",
            "tracker resend mobile/690#0",
            "tracker resend other/690#1",
            "tracker listen",
            "tracker resync",
            "tracker resync start mobile --from 2026-11-01T00:00:00Z",
            "tracker resync show ../x",
            "tracker listen --forward localhost:8000/hook",
            "tracker listen --forward http://localhost/ --last 1 --resend mobile/690#1",
            "tracker --url ftp://example.org show mobile 690",
        ] {
            assert!(fails(wrong), "{wrong}");
        }
        for right in [
            "tracker show internet 690 --json --url http://127.0.0.1:1",
            "tracker deliveries mobile 690",
            "tracker deliveries --retrying",
            "tracker resync start mobile --from 2026-11-01T00:00:00Z --to 2026-11-02T00:00:00Z --track",
            "tracker resync stop mobile-1-2",
            "tracker listen --forward http://localhost:8000/hook --last 3",
        ] {
            assert!(!fails(right), "{right}");
        }
    }

    #[test]
    fn a_list_of_orders_and_an_act_need_one_kind() {
        for wrong in [
            "tracker orders",
            "tracker orders --older-than 24h",
            "tracker orders --phase lost",
            "tracker orders --phase parked --ref a",
            "tracker orders --review --older-than 24h",
            "tracker orders --review --ref a",
            "tracker review mobile 690 --actor a --reason b",
            "tracker review mobile 690 --actor a --reason b --recheck --close",
            "tracker review mobile 690 --actor a --close",
        ] {
            assert!(fails(wrong), "{wrong}");
        }
        for right in [
            "tracker orders --parked-as uncertain --older-than 24h --product mobile",
            "tracker orders --review --json",
            "tracker orders --ref a --product internet",
            "tracker review mobile 690 --actor a --reason b --close",
        ] {
            assert!(!fails(right), "{right}");
        }
    }

    #[test]
    fn an_event_id_is_read() {
        let read: EventId = "vendor/1f2e#12".parse().unwrap();
        let (product, id) = ("vendor".to_owned(), "1f2e".to_owned());
        assert_eq!(read, EventId { text: "vendor/1f2e#12".to_owned(), product, id, seq: 12 });
    }
}
