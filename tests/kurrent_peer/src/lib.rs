//! A peer for the KurrentDB log where no server is at hand: the part of the protocol that the log uses, in
//! memory, with the faults that have been seen of servers and networks. It holds only our reading of the
//! server, so what passes here is proved of that reading alone; the tests run against a real one, too, where
//! `ENTRENOUS_TEST_ESDB` names it.

#![expect(clippy::result_large_err, reason = "the protocol's own error")]

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Runtime;
use tokio::sync::watch;

use self::generated::event_store::client as protocol;
use self::service::Service;
use self::store::Log;

mod service;
mod store;
mod wanted;

#[allow(clippy::all, clippy::pedantic, dead_code, reason = "generated")]
mod generated {
    pub mod google {
        pub mod rpc {
            tonic::include_proto!("google.rpc");
        }
    }
    pub mod event_store {
        pub mod client {
            tonic::include_proto!("event_store.client");
            pub mod streams {
                tonic::include_proto!("event_store.client.streams");
            }
            pub mod server_features {
                tonic::include_proto!("event_store.client.server_features");
            }
        }
    }
}

/// What goes wrong with one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written; the leader is elsewhere, which is here again.
    NotLeader,
    /// Nothing is written.
    AbortedBefore,
    /// It is written, and not said.
    AbortedAfter,
    /// It is written, and never answered.
    HangsAfter,
}

/// How subscriptions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As if there were nothing more to say; a proxy may do so.
    Clean,
    /// The subscriber was too slow.
    TooSlow,
}

/// A peer that listens on loopback addresses, one of the leader and one of a follower. What was appended survives its kill.
pub struct Peer {
    follower: SocketAddr,
    state: Arc<State>,
    running: Option<Runtime>,
}

struct State {
    log: Mutex<Log>,
    /// How many records can be read.
    readable: watch::Sender<usize>,
    faults: Mutex<VecDeque<Fault>>,
    ends: watch::Sender<(u64, End)>,
    /// Whether what is read of one stream says where it is in the log.
    tells_positions: AtomicBool,
    subscriptions: Mutex<u64>,
    leader: SocketAddr,
}

impl State {
    /// From now on so many records can be read.
    fn index(&self, records: usize) {
        let mut log = lock(&self.log);
        log.index(records);
        self.readable.send_replace(log.readable().len());
    }
}

impl Peer {
    #[must_use]
    pub fn start() -> Self {
        let state = State {
            log: Mutex::default(),
            readable: watch::channel(0).0,
            faults: Mutex::default(),
            ends: watch::channel((0, End::Clean)).0,
            tells_positions: AtomicBool::new(true),
            subscriptions: Mutex::default(),
            leader: free_address(),
        };
        let mut peer = Self { follower: free_address(), state: Arc::new(state), running: None };
        peer.restart();
        peer
    }

    /// `esdb://…`
    #[must_use]
    pub fn url(&self) -> String {
        format!("esdb://{}?tls=false", self.state.leader)
    }

    /// The same of a node that only says who the leader is.
    #[must_use]
    pub fn follower_url(&self) -> String {
        format!("esdb://{}?tls=false", self.follower)
    }

    /// The next appends go wrong, one after the other.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.state.faults).extend(faults);
    }

    /// From now on what is read of one stream does not say where it is in the log, as servers have done.
    pub fn withhold_positions(&self) {
        self.state.tells_positions.store(false, Ordering::Relaxed);
    }

    /// Ends every subscription that is open.
    pub fn end_subscriptions(&self, end: End) {
        self.state.ends.send_modify(|ends| *ends = (ends.0 + 1, end));
    }

    /// How many subscriptions were ever made.
    #[must_use]
    pub fn subscriptions(&self) -> u64 {
        *lock(&self.state.subscriptions)
    }

    /// Every stream with its number of events.
    #[must_use]
    pub fn streams(&self) -> HashMap<String, usize> {
        let log = lock(&self.state.log);
        log.streams.iter().map(|(name, events)| (String::from_utf8_lossy(name).into_owned(), events.len())).collect()
    }

    /// Everything stops at once, connections in the middle of an answer too.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown_background();
        }
    }

    /// Changes an event behind everybody's back: the data of the last one of a stream whose name begins so.
    ///
    /// # Panics
    /// When there is none.
    pub fn tamper(&self, stream: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut log = lock(&self.state.log);
        let record = log.records.iter_mut().rev().find(|record| record.stream.starts_with(stream.as_bytes())).expect("an event");
        change(&mut record.event.data);
    }

    /// At the same addresses, with what was appended.
    ///
    /// # Panics
    /// When an address is taken.
    pub fn restart(&mut self) {
        self.kill();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let known = lock(&self.state.log).records.len();
        self.state.index(known);
        for (address, is_leader) in [(self.state.leader, true), (self.follower, false)] {
            let (state, listener) = (Arc::clone(&self.state), listen(address));
            runtime.spawn(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                Service::new(state, is_leader).serve(listener).await;
            });
        }
        self.running = Some(runtime);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// At an address that the one before may not have let go of yet.
fn listen(address: SocketAddr) -> TcpListener {
    let listener = loop {
        match TcpListener::bind(address) {
            Ok(listener) => break listener,
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    listener.set_nonblocking(true).expect("set");
    listener
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
