//! The table of settings. The functions read their configuration from it, `docs/configuration.md` is written from it, and the parameters
//! and variables of `infra/template.yaml` are compared with it (`shared/tests/settings.rs`).

use super::{
    resources::{PROCESS, RESOURCES},
    value::{Value, Values},
};

/// One setting of the functions.
#[derive(Debug)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// The parameter of the template that sets it, if there is one.
    pub parameter: Option<&'static str>,
    pub(super) value: Value,
    /// What it does.
    pub what: &'static str,
    /// When to change it; empty if there is no reason to.
    pub change: &'static str,
}

impl Setting {
    /// The default, as it would be written in the environment. `None` if there is none.
    pub fn default(&self) -> Option<String> {
        Some(self.value.write(&mut Values::default())).filter(|text| !text.is_empty())
    }

    /// Which values are allowed, with their units. Empty if any text is.
    pub fn allowed(&self) -> String {
        self.value.allowed()
    }

    /// Whether the functions do not start without it.
    pub fn is_required(&self) -> bool {
        matches!(self.value, Value::Required(_))
    }
}

/// Settings about one subject.
#[derive(Debug)]
pub struct Group {
    /// The subject.
    pub title: &'static str,
    /// What holds for all of them.
    pub about: &'static str,
    /// The settings.
    pub settings: &'static [Setting],
}

/// All settings of the functions but those of AWS, which Lambda sets.
pub static SETTINGS: [Group; 11] = [
    VENDOR,
    LIST_CHECKS,
    POLLING,
    RECHECKS,
    OVERDUE,
    FAILED_CHECKS,
    WEBHOOKS,
    TRACKING_PAGE,
    RETENTION,
    PROCESS,
    RESOURCES,
];

const VENDOR: Group = Group {
    title: "Vendor",
    about: "All functions together make at most `VENDOR_CALLS_PER_MINUTE` calls in any 60 s with one key.",
    settings: &[
        Setting {
            name: "ONECLICKDZ_BASE_URL",
            parameter: Some("OneclickdzBaseUrl"),
            value: Value::Url(|values| &mut values.base_url),
            what: "The address of the vendor's API. It ends with the version of the API.",
            change: "To use the sandbox or another version of the API.",
        },
        Setting {
            name: "VENDOR_CALLS_PER_MINUTE",
            parameter: Some("VendorCallsPerMinute"),
            value: Value::Number(|values| &mut values.calls_per_minute, 2..=u32::MAX),
            what: "The tracker's part of the key's limit, in calls per minute. It must be greater than \
                   `VENDOR_CALLS_BURST`.",
            change: "When the vendor allows your key another rate: set what the calls of your sends leave. When \
                     `no_call_reason` is often `rate_limited`: raise it as far as the vendor allows.",
        },
        Setting {
            name: "VENDOR_CALLS_BURST",
            parameter: Some("VendorCallsBurst"),
            value: Value::Number(|values| &mut values.calls_burst, 1..=10_000),
            what: "How many of these calls may be made at once. It must be less than \
                   `VENDOR_CALLS_PER_MINUTE`.",
            change: "To use all of a small budget: with `1`, calls are spaced evenly and no part of the rate is \
                     lost. Below `4`, rechecks deny pollers a permit more often.",
        },
    ],
};

const LIST_CHECKS: Group = Group {
    title: "List checks",
    about: "One call to a list of the vendor may check many orders: in rechecks always, in polls when more than a third of the rate is in use.",
    settings: &[
        Setting {
            name: "LIST_CHECKS",
            parameter: Some("ListChecks"),
            value: Value::Switch(|values| &mut values.list_checks),
            what: "Whether list checks are made. With `off`, each call checks one order.",
            change: "To check each order by its id if the vendor's lists cannot be trusted: `off`.",
        },
        Setting {
            name: "LIST_RECHECK_INTERVAL",
            parameter: Some("ListRecheckInterval"),
            value: Value::Duration(|values| &mut values.list_recheck_interval),
            what: "How often queued and uncertain orders are checked where one page of a list shows ten of them, \
                   or one whose own recheck is due. Without effect if `LIST_CHECKS` is `off`.",
            change: "To publish the outcomes of queued and uncertain orders sooner, for more calls: a shorter interval.",
        },
    ],
};

const POLLING: Group = Group {
    title: "Polling",
    about: "Orders in flight are polled. The waits of a retry schedule count from the moment when the order got in \
            flight; the last wait repeats until the deadline.",
    settings: &[
        Setting {
            name: "POLL_SCHEDULE_MOBILE",
            parameter: Some("PollScheduleMobile"),
            value: Value::Schedule(|values| &mut values.schedule.poll_mobile),
            what: "Waits between the status checks of a mobile order in flight.",
            change: "To save calls: longer waits. To publish outcomes sooner: shorter waits.",
        },
        Setting {
            name: "POLL_SCHEDULE_INTERNET",
            parameter: Some("PollScheduleInternet"),
            value: Value::Schedule(|values| &mut values.schedule.poll_internet),
            what: "Waits between the status checks of an internet order in flight.",
            change: "To save calls: longer waits. To publish outcomes sooner: shorter waits.",
        },
        Setting {
            name: "POLL_DEADLINE",
            parameter: Some("PollDeadline"),
            value: Value::PollDeadline(|values| &mut values.schedule.poll_deadline),
            what: "An order that is in flight for longer is parked as `delayed`. An execution of the state machine ends at \
                   299 s, of either type.",
            change: "To save calls: a shorter time. The recheck then checks the order after the first wait of \
                     `RECHECK_DELAYED`.",
        },
        Setting {
            name: "NOT_FOUND_GRACE",
            parameter: Some("NotFoundGrace"),
            value: Value::Duration(|values| &mut values.schedule.not_found_grace),
            what: "An order that the vendor does not know is polled like any other for this long after it was \
                   tracked. Then it is parked as `not_found`.",
            change: "When orders that exist are parked as `not_found` because the vendor shows them late.",
        },
    ],
};

const RECHECKS: Group = Group {
    title: "Rechecks",
    about: "The recheck runs every minute and checks the parked orders that are due. Each setting lists the waits \
            between the status checks of an order; the last wait repeats unless the setting says otherwise.",
    settings: &[
        Setting {
            name: "RECHECK_QUEUED",
            parameter: Some("RecheckQueued"),
            value: Value::Schedule(|values| &mut values.schedule.recheck_queued),
            what: "For an order that the vendor has queued.",
            change: "When the vendor delivers queued orders sooner or later than within 12 to 48 hours.",
        },
        Setting {
            name: "RECHECK_UNCERTAIN",
            parameter: Some("RecheckUncertain"),
            value: Value::Schedule(|values| &mut values.schedule.recheck_uncertain),
            what: "For an order with the vendor's status `UNKNOWN_ERROR`.",
            change: "To publish outcomes sooner, for more calls: shorter waits.",
        },
        Setting {
            name: "RECHECK_DELAYED",
            parameter: Some("RecheckDelayed"),
            value: Value::Schedule(|values| &mut values.schedule.recheck_delayed),
            what: "For an order that was in flight for longer than `POLL_DEADLINE`.",
            change: "To publish outcomes sooner, for more calls: shorter waits.",
        },
        Setting {
            name: "RECHECK_NOT_FOUND",
            parameter: Some("RecheckNotFound"),
            value: Value::Schedule(|values| &mut values.schedule.recheck_not_found),
            what: "For an order that the vendor does not know. After 30 days it is checked every 30 days.",
            change: "To find orders sooner that the vendor shows late: shorter waits.",
        },
        Setting {
            name: "RECHECK_CARD",
            parameter: Some("RecheckCard"),
            value: Value::Schedule(|values| &mut values.schedule.recheck_card),
            what: "For a fulfilled internet order whose card is missing. From the last wait on, each check that \
                   finds no card asks for a review.",
            change: "When cards come much later than the fulfilled status.",
        },
        Setting {
            name: "RECHECK_REFUNDED",
            parameter: Some("RecheckRefunded"),
            value: Value::Schedule(|values| &mut values.schedule.recheck_refunded),
            what: "For a refunded order, to find a retry by the vendor under another id. No check is made after \
                   the last wait.",
            change: "When the vendor retries refunded orders later: add a wait.",
        },
    ],
};

const OVERDUE: Group = Group {
    title: "Overdue orders",
    about: "A parked order that is overdue asks for a review: the event `Order Needs Review` with reason `overdue`.",
    settings: &[
        Setting {
            name: "OVERDUE_QUEUED",
            parameter: Some("OverdueQueued"),
            value: Value::Duration(|values| &mut values.schedule.overdue_queued),
            what: "How long an order may be queued.",
            change: "When reviews are asked for orders that then end normally: a longer time.",
        },
        Setting {
            name: "OVERDUE_UNCERTAIN",
            parameter: Some("OverdueUncertain"),
            value: Value::Duration(|values| &mut values.schedule.overdue_uncertain),
            what: "How long an order may be uncertain.",
            change: "When reviews are asked for orders that then end normally: a longer time.",
        },
        Setting {
            name: "OVERDUE_DELAYED",
            parameter: Some("OverdueDelayed"),
            value: Value::Duration(|values| &mut values.schedule.overdue_delayed),
            what: "How long an order may be parked as `delayed`.",
            change: "When reviews are asked for orders that then end normally: a longer time.",
        },
        Setting {
            name: "OVERDUE_NOT_FOUND",
            parameter: Some("OverdueNotFound"),
            value: Value::Duration(|values| &mut values.schedule.overdue_not_found),
            what: "How long an order may be unknown to the vendor. The first review is asked for when the order \
                   is parked as `not_found`; this is the second.",
            change: "To get the second review earlier or later.",
        },
    ],
};

const FAILED_CHECKS: Group = Group {
    title: "Failed checks",
    about: "A failed check changes no status. Some failures do not pass by themselves: an answer that cannot be \
            read, a request that the vendor rejects, an order that vanished, a record that the table refuses.",
    settings: &[
        Setting {
            name: "RETRY_AFTER_FAILURE",
            parameter: Some("RetryAfterFailure"),
            value: Value::Duration(|values| &mut values.schedule.retry_after_failure),
            what: "The wait after a recheck that failed. It doubles with each further failure, up to twelve times \
                   its length.",
            change: "To make fewer calls while the vendor is unavailable: a longer wait.",
        },
        Setting {
            name: "REVIEW_FAILURES",
            parameter: Some("ReviewFailures"),
            value: Value::Number(|values| &mut values.schedule.review_failures, 1..=u32::MAX),
            what: "How many checks in a row must fail in a way that does not pass by itself, before the order \
                   asks for a review. `REVIEW_FAILING_FOR` must have passed as well.",
            change: "When reviews are asked for failures that then pass: a greater value.",
        },
        Setting {
            name: "REVIEW_FAILING_FOR",
            parameter: Some("ReviewFailingFor"),
            value: Value::Duration(|values| &mut values.schedule.review_failing_for),
            what: "How long such failures must go on before the order asks for a review.",
            change: "When reviews are asked for failures that then pass: a greater value.",
        },
        Setting {
            name: "RECHECK_FAILING",
            parameter: Some("RecheckFailing"),
            value: Value::Duration(|values| &mut values.schedule.recheck_failing),
            what: "How often an order is checked that asked for a review because its checks fail.",
            change: "To notice sooner that the cause is gone, for more calls: a shorter interval.",
        },
    ],
};

const WEBHOOKS: Group = Group {
    title: "Webhooks",
    about: "Events as signed HTTP requests to an address of the shop, see [webhooks](events.md#webhooks). Which events are sent: \
            [`WEBHOOK_EVENTS`](#webhook_events).",
    settings: &[
        Setting {
            name: "WEBHOOK_URL",
            parameter: Some("WebhookUrl"),
            value: Value::Text(|values| &mut values.webhook_url),
            what: "The address that events are sent to: an https URL of a public host, without a user and a password. On a \
                   local stack, also any URL of loopback. Without one there are no webhooks.",
            change: "To receive events without AWS: set the address of your shop's route for them.",
        },
        Setting {
            name: "WEBHOOK_RETRY_SCHEDULE",
            parameter: Some("WebhookRetrySchedule"),
            value: Value::Schedule(|values| &mut values.webhook_retry_schedule),
            what: "Waits before an event is sent again that was not taken, each up to a fifth shorter or longer and at most \
                   12 h. After the last one the event becomes a dead letter.",
            change: "",
        },
    ],
};

const TRACKING_PAGE: Group = Group {
    title: "Tracking page",
    about: "A page for the customer of each order: [the tracking page](tracking-page.md).",
    settings: &[
        Setting {
            name: "TRACKING_PAGE",
            parameter: Some("TrackingPage"),
            value: Value::Switch(|values| &mut values.tracking_page),
            what: "Whether there is a page for each order, and its address, `tracking_url`, in the answers of the HTTP API.",
            change: "To show customers what becomes of their order: `on`.",
        },
        Setting {
            name: "TRACKING_PAGE_SHOWS_CARD",
            parameter: Some("TrackingPageShowsCard"),
            value: Value::Switch(|values| &mut values.tracking_page_shows_card),
            what: "Whether the page shows the code of a card, behind a button. Each time is an event `Card Revealed`. The page's function \
                   then may decrypt cards.",
            change: "To hand out codes by the page: `on`. Anyone with the link then gets the code.",
        },
        Setting {
            name: "TRACKING_URL_EXPIRES_AFTER",
            parameter: Some("TrackingUrlExpiresAfter"),
            value: Value::Days(|values| &mut values.tracking_url_expires_after),
            what: "How long a link opens the page, counted from the answer that it is in, rounded up to a whole day of UTC.",
            change: "To let links end sooner: fewer days. Links that were given out before keep their end.",
        },
        Setting {
            name: "TRACKING_URL_BASE",
            parameter: Some("TrackingUrlBase"),
            value: Value::UrlBase(|values| &mut values.tracking_url_base),
            what: "What the links begin with. Without it the template gives the functions `https://` and `DOMAIN_NAME`, or the API's own \
                   address.",
            change: "When customers reach the API by another address, such as one behind your own proxy.",
        },
        Setting {
            name: "SHOP_NAME",
            parameter: Some("ShopName"),
            value: Value::Name(|values| &mut values.shop_name),
            what: "The shop's name at the top of the page. Without it the page says \"Order tracking\".",
            change: "To show your name.",
        },
        Setting {
            name: "SHOP_COLOUR",
            parameter: Some("ShopColour"),
            value: Value::Colour(|values| &mut values.shop_colour),
            what: "The colour of the page's buttons and marks. White on it must have a contrast of at least 4.5. In the dark the page mixes \
                   it with white until it can be read.",
            change: "To show your colour. If it is refused, choose a darker tone of it.",
        },
        Setting {
            name: "SHOP_HELP_URL",
            parameter: Some("ShopHelpUrl"),
            value: Value::HelpUrl(|values| &mut values.shop_help_url),
            what: "Where the button \"Contact the shop\" leads. Without it there is no such button.",
            change: "To be reached: a page, a mailbox (`mailto:`) or a phone number (`tel:`).",
        },
    ],
};

const RETENTION: Group = Group {
    title: "Retention",
    about: "No order is deleted. Personal data of an order can be removed some time after its outcome: [redaction](operations.md#redaction).",
    settings: &[Setting {
        name: "REDACT_AFTER",
        parameter: Some("RedactAfter"),
        value: Value::Retention(|values| &mut values.redact_after),
        what: "How long after the outcome the number, the references, the vendor's messages and the card of an order are \
               removed, from the order and from its events. An order that still waits for its card is not checked after that.",
        change: "To keep personal data no longer than you have stated to your customers.",
    }],
};
