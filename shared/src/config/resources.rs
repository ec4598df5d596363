//! Settings about a function as a process, and about the resources of the stack.

use super::{
    settings::{Group, Setting},
    value::Value,
};

pub(super) const PROCESS: Group = Group {
    title: "Process",
    about: "Logging and connections of each function. What each log line means: [logging](logging.md).",
    settings: &[
        Setting {
            name: "RUST_LOG",
            parameter: Some("LogLevel"),
            value: Value::Level(|values| &mut values.log_level),
            what: "The least severe level of the tracker's own log lines. Libraries log warnings and errors only. \
                   Summary lines, and so all metrics, are written at every level.",
            change: "To write fewer log lines: `warn` or `error`.",
        },
        Setting {
            name: "EXTRA_CA_CERTS",
            parameter: None,
            value: Value::Text(|values| &mut values.extra_ca_certs),
            what: "The path of a PEM file with root certificates that are trusted besides Mozilla's.",
            change: "To run in a network that inspects TLS, or with a stand-in for the vendor or AWS.",
        },
        Setting {
            name: "CONNECT_AHEAD_TIMEOUT",
            parameter: None,
            value: Value::Duration(|values| &mut values.connect_ahead_timeout),
            what: "How long a start waits for its first request to the table, which opens the connection that the \
                   first call needs.",
            change: "",
        },
    ],
};

pub(super) const RESOURCES: Group = Group {
    title: "Resources",
    about: "The template sets the first nine to resources of the stack. `make up` does not take any of them from its \
            environment for the functions.",
    settings: &[
        Setting {
            name: "ORDERS_TABLE",
            parameter: None,
            value: Value::Required(|values| &mut values.orders_table),
            what: "The DynamoDB table of the orders.",
            change: "",
        },
        Setting {
            name: "EVENT_BUS",
            parameter: None,
            value: Value::Required(|values| &mut values.event_bus),
            what: "The EventBridge bus that events are published to.",
            change: "",
        },
        Setting {
            name: "CARD_KEY_ID",
            parameter: None,
            value: Value::Required(|values| &mut values.card_key_id),
            what: "The KMS key that encrypts card codes.",
            change: "",
        },
        Setting {
            name: "SECRET_ID",
            parameter: None,
            value: Value::Text(|values| &mut values.secret_id),
            what: "The secret in Secrets Manager with the vendor's key, see [The secrets](#the-secrets). Required, unless \
                   `ONECLICKDZ_API_KEY` is set.",
            change: "",
        },
        Setting {
            name: "TOKENS_SECRET_ID",
            parameter: None,
            value: Value::Text(|values| &mut values.tokens_secret_id),
            what: "The secret in Secrets Manager with the tokens of the HTTP API, see [The secrets](#the-secrets). Required in \
                   `status`, unless `API_TOKENS` is set. No other function can read it.",
            change: "",
        },
        Setting {
            name: "WEBHOOK_SECRET_ID",
            parameter: None,
            value: Value::Text(|values| &mut values.webhook_secret_id),
            what: "The secret in Secrets Manager that webhooks are signed with. Required in `notify`.",
            change: "",
        },
        Setting {
            name: "WEBHOOK_QUEUE_URL",
            parameter: None,
            value: Value::Text(|values| &mut values.webhook_queue_url),
            what: "The queue of events that `notify` sends. Required in `notify`.",
            change: "",
        },
        Setting {
            name: "WEBHOOK_DEAD_LETTERS_URL",
            parameter: None,
            value: Value::Text(|values| &mut values.webhook_dead_letters_url),
            what: "The queue of events that `notify` has given up on. Required in `notify`.",
            change: "",
        },
        Setting {
            name: "PAGE_SECRET_ID",
            parameter: None,
            value: Value::Text(|values| &mut values.page_secret_id),
            what: "The secret in Secrets Manager that links to the tracking page are signed with. Required in `page`.",
            change: "",
        },
        Setting {
            name: "ONECLICKDZ_API_KEY",
            parameter: None,
            value: Value::Text(|values| &mut values.api_key),
            what: "The vendor's key, for a function that runs without a secret. Ignored if `SECRET_ID` is set.",
            change: "",
        },
        Setting {
            name: "API_TOKENS",
            parameter: None,
            value: Value::Text(|values| &mut values.api_tokens),
            what: "Tokens with all scopes, with commas between them, for a function that runs without a secret. Ignored if \
                   `TOKENS_SECRET_ID` is set.",
            change: "",
        },
    ],
};
