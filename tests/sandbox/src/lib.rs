//! A stand-in for the OneClickDz v3 API. It implements the vendor's documentation, and our assumptions where that is
//! silent (README.md). Tests script answers and read true states through the control API under `/_sandbox`.

mod answer;
mod calls;
mod clock;
mod control;
mod faults;
mod fields;
mod gate;
mod list;
mod new_orders;
mod numbers;
mod order;
mod receiver;
mod reply;
mod sandbox;
mod settings;
mod timeline;
mod vendor;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::routing::{any, post};

pub use sandbox::Sandbox;
pub use settings::{Outcome, Settings};

/// The vendor's API and the control API as a service.
pub fn service(sandbox: Sandbox) -> IntoMakeServiceWithConnectInfo<Router, SocketAddr> {
    let unrouted = async |request: Request| {
        reply::Reply::unrouted(request.method().as_str(), request.uri().path()).into_response()
    };
    Router::new()
        .route("/v3/{*call}", any(vendor::handle))
        .route("/receiver", post(receiver::receive))
        .nest("/_sandbox", control::routes().merge(receiver::routes()))
        .fallback(unrouted)
        .with_state(Arc::new(sandbox))
        .into_make_service_with_connect_info()
}
