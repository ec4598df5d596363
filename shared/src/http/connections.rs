//! Tracks which connections are new. Neither reqwest nor hyper-util reports this for the connection on which a call
//! broke.

use std::{
    collections::HashMap,
    error::Error as _,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::Extensions;
use hyper_util::client::legacy::{
    self,
    connect::{Connection, HttpInfo},
};

/// The connections of a client. Clones share the state.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Made>>);

#[derive(Debug, Default)]
struct Made {
    /// Number of connections opened so far.
    count: u64,
    /// Connections without a response so far, with their numbers in the order of opening. The key is the pair of
    /// addresses, so the map has at most as many entries as there are local ports.
    silent: HashMap<Addresses, u64>,
}

/// Local and remote address.
type Addresses = (SocketAddr, SocketAddr);

impl Connections {
    /// Records a connection that was just opened, and returns it.
    pub(super) fn note<C: Connection>(&self, connection: C) -> C {
        let mut extras = Extensions::new();
        connection.connected().get_extras(&mut extras);
        let mut made = self.lock();
        made.count += 1;
        let number = made.count;
        made.silent.extend(addresses(&extras).map(|addresses| (addresses, number)));
        drop(made);
        connection
    }

    /// Number of connections opened so far.
    pub(super) fn made(&self) -> u64 {
        self.lock().count
    }

    /// Records that the connection with these extras has had a response: it is no longer new.
    pub(super) fn answered(&self, extras: &Extensions) {
        if let Some(addresses) = addresses(extras) {
            self.lock().silent.remove(&addresses);
        }
    }

    /// Whether a call failed on a reused connection: one of the first `made`, or one that has had a response since. A
    /// response that cannot be parsed is a response, not a broken connection.
    pub(super) fn broke_when_reused(&self, error: &reqwest::Error, made: u64) -> bool {
        let Some(error) = error.source().and_then(|source| source.downcast_ref::<legacy::Error>()) else {
            return false;
        };
        let answer = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
        let mut extras = Extensions::new();
        if let Some(connected) = error.connect_info() {
            connected.get_extras(&mut extras);
        }
        let is_reused = |addresses| self.lock().silent.get(&addresses).is_none_or(|number| *number <= made);
        !answer.is_some_and(hyper::Error::is_parse) && addresses(&extras).is_some_and(is_reused)
    }

    fn lock(&self) -> MutexGuard<'_, Made> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn addresses(extras: &Extensions) -> Option<Addresses> {
    extras.get::<HttpInfo>().map(|info| (info.local_addr(), info.remote_addr()))
}
