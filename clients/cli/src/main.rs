//! `tracker`: the HTTP API of the top-up tracker on the command line. See `clients/cli/README.md`.

use std::{io, process::ExitCode};

use clap::{CommandFactory, Parser};
use reqwest::Method;
use serde_json::json;

use api::{Api, Failure};
use args::{Args, Call, Command, Resync};
use output::{Output, remark};

mod api;
mod args;
mod feed;
mod forward;
mod output;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = Output::new(args.json);
    let done = match args.command {
        Command::Completions { shell } => out.line(&completions(shell)),
        Command::Call(call) => match Api::open(args.url) {
            Ok(api) => run(&api, call, &mut out).await,
            Err(failure) => Err(failure),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has read enough, such as `head`.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let red = anstyle::AnsiColor::Red.on_default().bold();
            remark(&format!("{red}error:{red:#} {failure}"));
            ExitCode::from(if matches!(failure, Failure::Usage(_)) { 2 } else { 1 })
        }
    }
}

async fn run(api: &Api, call: Call, out: &mut Output) -> Result<(), Failure> {
    let object = match call {
        Call::Track { order, reference } => {
            api.call(Method::PUT, &order.path(None), &[], Some(json!({ "ref": reference }))).await?
        }
        Call::Show(order) => api.call(Method::GET, &order.path(None), &[], None).await?,
        Call::Card(order) => api.call(Method::GET, &order.path(Some("card")), &[], None).await?,
        Call::Lookup { product, reference } => {
            let path = ["orders", &product, "lookup"];
            api.call(Method::POST, &path, &[], Some(json!({ "ref": reference }))).await?
        }
        Call::Review(review) => {
            let action = if review.recheck { "recheck" } else { "close" };
            let act = json!({"actor": review.actor, "reason": review.reason, "action": action});
            api.call(Method::POST, &review.order.path(Some("review")), &[], Some(act)).await?
        }
        Call::Orders(which) => {
            return api
                .each(&["orders"], &which.query(), "cursor", |order| out.row(output::ORDERS, order))
                .await;
        }
        Call::Resend { event } => {
            api.call(Method::POST, &["deliveries", &event.text, "resend"], &[], None).await?
        }
        Call::History(order) => {
            return api
                .each(&order.path(Some("history")), &[], "after", |event| out.row(output::EVENTS, event))
                .await;
        }
        Call::Deliveries(which) => {
            let (path, query, from) = which.list();
            return api.each(&path, &query, from, |delivery| out.row(output::DELIVERIES, delivery)).await;
        }
        Call::Resync(call) => return resync(api, call, out).await,
        Call::Events(options) => return feed::events(api, options, out).await,
        Call::Listen(options) => return forward::listen(api, options, out).await,
    };
    out.object(&object)
}

async fn resync(api: &Api, call: Resync, out: &mut Output) -> Result<(), Failure> {
    let job = match call {
        Resync::Start { product, from, to, track } => {
            let window = json!({ "product": product, "from": from, "to": to, "track": track });
            let job = api.call(Method::POST, &["resync"], &[], Some(window)).await?;
            note_another(&job, track);
            job
        }
        Resync::Show { id } => api.call(Method::GET, &["resync", &id], &[], None).await?,
        Resync::Stop { id } => api.call(Method::POST, &["resync", &id, "stop"], &[], None).await?,
        Resync::List => {
            return api.each(&["resync"], &[], "cursor", |job| out.row(output::RESYNCS, job)).await;
        }
        Resync::Unregistered { id } => {
            let path = ["resync", &id, "unregistered"];
            return api.each(&path, &[], "cursor", |order| out.row(output::UNREGISTERED, order)).await;
        }
    };
    out.object(&job)
}

/// Tells if the answer is a resync that was started before, and differently.
fn note_another(job: &str, track: bool) {
    #[derive(serde::Deserialize)]
    struct Job {
        track: bool,
    }
    if serde_json::from_str(job).is_ok_and(|job: Job| job.track != track) {
        let how = if track { "without" } else { "with" };
        output::remark(&format!(
            "This window is being checked already, {how} --track. Stop that resync first to start it anew."
        ));
    }
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "tracker", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
