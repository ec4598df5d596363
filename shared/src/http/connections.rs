//! Which connections are new. Neither reqwest nor hyper-util says it of the connection on which a call broke.

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

/// The connections of a client. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Made>>);

#[derive(Debug, Default)]
struct Made {
    /// How many connections were made.
    count: u64,
    /// Those that have not answered yet, with their numbers in the order in which they were made. Their addresses are their names, so
    /// there are never more of them than local ports.
    silent: HashMap<Addresses, u64>,
}

/// The local one and the remote one.
type Addresses = (SocketAddr, SocketAddr);

impl Connections {
    /// Passes on a connection that was just made.
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

    /// How many connections were made.
    pub(super) fn made(&self) -> u64 {
        self.lock().count
    }

    /// The connection of an answer with these extras is new no more.
    pub(super) fn answered(&self, extras: &Extensions) {
        if let Some(addresses) = addresses(extras) {
            self.lock().silent.remove(&addresses);
        }
    }

    /// Whether a call that began after `made` connections broke on one of these, or on one that has answered another call since. What
    /// cannot be parsed is an answer, and no break.
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
