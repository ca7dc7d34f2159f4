//! A peer for the KurrentDB log where no server is at hand: the part of the protocol that the log uses, in
//! memory, with the faults that have been seen of servers and networks. It holds only our reading of the
//! server, so what passes here is proved of that reading alone; the tests run against a real one, too, where
//! `ENTRENOUS_TEST_ESDB` names it.

#![expect(clippy::result_large_err, reason = "the protocol's own error")]

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use generated::event_store::client as protocol;
use protocol::server_features::server_features_server::{ServerFeatures, ServerFeaturesServer};
use protocol::server_features::{SupportedMethod, SupportedMethods};
use protocol::streams::streams_server::{Streams, StreamsServer};
use protocol::streams::{
    AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq, ReadResp, TombstoneReq, TombstoneResp, append_req, append_resp,
    read_req, read_resp,
};
use protocol::{Empty, StreamIdentifier, Uuid, uuid};
use regex::Regex;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

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

/// The most bytes of one append.
const APPEND_LIMIT: usize = 1 << 20;

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

/// A peer that listens on a loopback address. What was appended survives its kill.
pub struct Peer {
    address: SocketAddr,
    state: Arc<State>,
    running: Option<Runtime>,
}

struct State {
    log: Mutex<Log>,
    /// How many records there are.
    length: watch::Sender<usize>,
    faults: Mutex<VecDeque<Fault>>,
    ends: watch::Sender<(u64, End)>,
    subscriptions: Mutex<u64>,
    address: Mutex<SocketAddr>,
}

#[derive(Default)]
struct Log {
    records: Vec<Record>,
    streams: HashMap<Vec<u8>, Vec<usize>>,
    end: u64,
}

#[derive(Clone)]
struct Record {
    stream: Vec<u8>,
    revision: u64,
    position: u64,
    id: String,
    metadata: HashMap<String, String>,
    custom_metadata: Vec<u8>,
    data: Vec<u8>,
}

impl Peer {
    #[must_use]
    pub fn start() -> Self {
        let address = free_address();
        let state = State {
            log: Mutex::default(),
            length: watch::channel(0).0,
            faults: Mutex::default(),
            ends: watch::channel((0, End::Clean)).0,
            subscriptions: Mutex::default(),
            address: Mutex::new(address),
        };
        let mut peer = Self { address, state: Arc::new(state), running: None };
        peer.restart();
        peer
    }

    /// `esdb://…`
    #[must_use]
    pub fn url(&self) -> String {
        format!("esdb://{}?tls=false", self.address)
    }

    /// The next appends go wrong, one after the other.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.state.faults).extend(faults);
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
        change(&mut record.data);
    }

    /// At the same address, with what was appended.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn restart(&mut self) {
        self.kill();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (state, address) = (Arc::clone(&self.state), self.address);
        let listener = loop {
            match TcpListener::bind(address) {
                Ok(listener) => break listener,
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        listener.set_nonblocking(true).expect("set");
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let streams = StreamsServer::new(Service(Arc::clone(&state)));
            let features = ServerFeaturesServer::new(Service(state));
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let _ended = tonic::transport::Server::builder().add_service(streams).add_service(features).serve_with_incoming(incoming).await;
        });
        self.running = Some(runtime);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Service(Arc<State>);

type Answers = Pin<Box<dyn Stream<Item = Result<ReadResp, Status>> + Send>>;

#[tonic::async_trait]
impl ServerFeatures for Service {
    async fn get_supported_methods(&self, _: Request<Empty>) -> Result<Response<SupportedMethods>, Status> {
        let method =
            |name: &str| SupportedMethod { method_name: name.to_owned(), service_name: "event_store.client.streams.streams".to_owned(), features: vec![] };
        Ok(Response::new(SupportedMethods { methods: vec![method("read"), method("append")], event_store_server_version: "25.0.0".to_owned() }))
    }
}

#[tonic::async_trait]
impl Streams for Service {
    type ReadStream = Answers;
    type BatchAppendStream = Pin<Box<dyn Stream<Item = Result<BatchAppendResp, Status>> + Send>>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Answers>, Status> {
        let options = request.into_inner().options.ok_or_else(|| Status::invalid_argument("no options"))?;
        let wanted = Wanted::of(&options)?;
        if let Some(read_req::options::CountOption::Subscription(_)) = options.count_option {
            return Ok(Response::new(self.subscribe(wanted)?));
        }
        let count = match options.count_option {
            Some(read_req::options::CountOption::Count(count)) => usize::try_from(count).unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        let answers = {
            let log = lock(&self.0.log);
            wanted
                .read(&log)?
                .map_or_else(|| vec![stream_not_found(&wanted)], |found| found.into_iter().take(count).map(|at| event(&log.records[at])).collect())
        };
        Ok(Response::new(Box::pin(tokio_stream::iter(answers.into_iter().map(Ok)))))
    }

    async fn append(&self, request: Request<Streaming<AppendReq>>) -> Result<Response<AppendResp>, Status> {
        let mut parts = request.into_inner();
        let (mut options, mut proposed) = (None, Vec::new());
        while let Some(part) = parts.message().await? {
            match part.content {
                Some(append_req::Content::Options(given)) => options = Some(given),
                Some(append_req::Content::ProposedMessage(message)) => proposed.push(message),
                None => {}
            }
        }
        let options = options.ok_or_else(|| Status::invalid_argument("no options"))?;
        if proposed.iter().map(|message| message.data.len() + message.custom_metadata.len()).sum::<usize>() > APPEND_LIMIT {
            return Err(Status::invalid_argument("Maximum Append Size Exceeded"));
        }
        let fault = lock(&self.0.faults).pop_front();
        match fault {
            Some(Fault::NotLeader) => return Err(self.not_leader()),
            Some(Fault::AbortedBefore) => return Err(Status::aborted("Operation timed out: Commit timeout")),
            _ => {}
        }
        let answer = self.write(options, proposed)?;
        match fault {
            Some(Fault::HangsAfter) => std::future::pending().await,
            Some(Fault::AbortedAfter) => Err(Status::aborted("Operation timed out: Commit timeout")),
            _ => Ok(Response::new(answer)),
        }
    }

    async fn delete(&self, _: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        Err(Status::unimplemented("this log deletes nothing"))
    }

    async fn tombstone(&self, _: Request<TombstoneReq>) -> Result<Response<TombstoneResp>, Status> {
        Err(Status::unimplemented("this log deletes nothing"))
    }

    async fn batch_append(&self, _: Request<Streaming<BatchAppendReq>>) -> Result<Response<Self::BatchAppendStream>, Status> {
        Err(Status::unimplemented("this log appends one stream at a time"))
    }
}

impl Service {
    fn not_leader(&self) -> Status {
        let address = *lock(&self.0.address);
        let mut status = Status::not_found("Leader info available");
        let metadata = status.metadata_mut();
        metadata.insert("exception", "not-leader".parse().expect("ASCII"));
        metadata.insert("leader-endpoint-host", address.ip().to_string().parse().expect("ASCII"));
        metadata.insert("leader-endpoint-port", address.port().to_string().parse().expect("ASCII"));
        status
    }

    fn write(&self, options: append_req::Options, proposed: Vec<append_req::ProposedMessage>) -> Result<AppendResp, Status> {
        use append_req::options::ExpectedStreamRevision as Expected;
        let name = options.stream_identifier.map(|identifier| identifier.stream_name).unwrap_or_default();
        let mut log = lock(&self.0.log);
        let known: Vec<usize> = log.streams.get(&name).cloned().unwrap_or_default();
        let expected = match options.expected_stream_revision {
            Some(Expected::Revision(revision)) => usize::try_from(revision).unwrap_or(usize::MAX - 1) + 1,
            Some(Expected::NoStream(_)) => 0,
            Some(Expected::Any(_) | Expected::StreamExists(_)) | None => return Err(Status::failed_precondition("this log never appends anywhere")),
        };
        let ids: Vec<String> = proposed.iter().map(|message| id_of(message.id.as_ref())).collect();
        let repeated: Vec<usize> = known.iter().skip(expected).take(ids.len()).copied().collect();
        let is_repeated = !ids.is_empty() && repeated.iter().map(|&at| &log.records[at].id).eq(ids.iter());
        if !is_repeated && known.len() != expected {
            return Ok(wrong_expected_version(known.len(), expected));
        }
        if !is_repeated {
            for ((message, id), revision) in proposed.into_iter().zip(ids).zip(expected as u64..) {
                let position = log.end;
                // Positions count bytes, and other records lie between.
                log.end += 64 + message.data.len() as u64 + message.custom_metadata.len() as u64;
                let at = log.records.len();
                log.streams.entry(name.clone()).or_default().push(at);
                let mut metadata = message.metadata;
                metadata.insert("created".to_owned(), "17000000000000000".to_owned());
                log.records.push(Record {
                    stream: name.clone(),
                    revision,
                    position: position + 1,
                    id,
                    metadata,
                    custom_metadata: message.custom_metadata,
                    data: message.data,
                });
            }
            self.0.length.send_replace(log.records.len());
        }
        let last = log.streams[&name][if is_repeated { expected + repeated.len() - 1 } else { log.streams[&name].len() - 1 }];
        let (revision, position) = (log.records[last].revision, log.records[last].position);
        Ok(AppendResp {
            result: Some(append_resp::Result::Success(append_resp::Success {
                current_revision_option: Some(append_resp::success::CurrentRevisionOption::CurrentRevision(revision)),
                position_option: Some(append_resp::success::PositionOption::Position(append_resp::Position {
                    commit_position: position,
                    prepare_position: position,
                })),
            })),
        })
    }

    fn subscribe(&self, wanted: Wanted) -> Result<Answers, Status> {
        let subscription = {
            let mut subscriptions = lock(&self.0.subscriptions);
            *subscriptions += 1;
            *subscriptions
        };
        let (state, mut length, mut ends) = (Arc::clone(&self.0), self.0.length.subscribe(), self.0.ends.subscribe());
        ends.mark_unchanged();
        let mut next = {
            let log = lock(&self.0.log);
            match wanted.place {
                Place::Start => 0,
                Place::End => log.records.len(),
                Place::At(position) => wanted.exact(&log, position)? + 1,
            }
        };
        let (sender, receiver) = mpsc::channel(1_000);
        tokio::spawn(async move {
            let confirmation = read_resp::SubscriptionConfirmation { subscription_id: subscription.to_string() };
            let _gone = sender.send(Ok(ReadResp { content: Some(read_resp::Content::Confirmation(confirmation)) })).await;
            loop {
                let news: Vec<ReadResp> = {
                    let log = lock(&state.log);
                    let news = log.records[next..].iter().filter(|record| wanted.matches(record)).map(event).collect();
                    next = log.records.len();
                    news
                };
                for answer in news {
                    if sender.send(Ok(answer)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    _ = length.changed() => {}
                    _ = ends.changed() => {
                        if ends.borrow().1 == End::TooSlow {
                            let _gone = sender.send(Err(Status::aborted("Consumer too slow to handle event while live"))).await;
                        }
                        return;
                    }
                    () = sender.closed() => return,
                }
            }
        });
        Ok(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver)))
    }
}

/// From where.
#[derive(Clone, Copy)]
enum Place {
    Start,
    End,
    /// A revision, or a position.
    At(u64),
}

/// What a read or a subscription asks for.
struct Wanted {
    /// None: all streams.
    stream: Option<Vec<u8>>,
    place: Place,
    backwards: bool,
    filter: Option<Filter>,
}

struct Filter {
    on_stream: bool,
    regex: Option<Regex>,
    prefixes: Vec<String>,
}

impl Wanted {
    fn of(options: &read_req::Options) -> Result<Self, Status> {
        use read_req::options::all_options::AllOption;
        use read_req::options::filter_options::Filter as On;
        use read_req::options::stream_options::RevisionOption;
        use read_req::options::{FilterOption, StreamOption};
        let (stream, place) = match options.stream_option.as_ref() {
            Some(StreamOption::Stream(stream)) => {
                let place = match stream.revision_option {
                    Some(RevisionOption::Revision(revision)) => Place::At(revision),
                    Some(RevisionOption::End(_)) => Place::End,
                    _ => Place::Start,
                };
                (stream.stream_identifier.as_ref().map(|identifier| identifier.stream_name.clone()), place)
            }
            Some(StreamOption::All(all)) => {
                let place = match &all.all_option {
                    Some(AllOption::Position(position)) => Place::At(position.commit_position),
                    Some(AllOption::End(_)) => Place::End,
                    _ => Place::Start,
                };
                (None, place)
            }
            None => return Err(Status::invalid_argument("no stream")),
        };
        let filter = match &options.filter_option {
            Some(FilterOption::Filter(filter)) => {
                let (on_stream, expression) = match filter.filter.as_ref() {
                    Some(On::StreamIdentifier(expression)) => (true, expression),
                    Some(On::EventType(expression)) => (false, expression),
                    None => return Err(Status::invalid_argument("an empty filter")),
                };
                // A regex makes the server forget the prefixes.
                let regex =
                    if expression.regex.is_empty() { None } else { Some(Regex::new(&expression.regex).map_err(|_| Status::invalid_argument("no regex"))?) };
                Some(Filter { on_stream, regex, prefixes: expression.prefix.clone() })
            }
            _ => None,
        };
        Ok(Self { stream, place, backwards: options.read_direction == 1, filter })
    }

    fn matches(&self, record: &Record) -> bool {
        let Some(filter) = &self.filter else { return true };
        let name =
            if filter.on_stream { String::from_utf8_lossy(&record.stream).into_owned() } else { record.metadata.get("type").cloned().unwrap_or_default() };
        filter.regex.as_ref().map_or_else(|| filter.prefixes.iter().any(|prefix| name.starts_with(prefix)), |regex| regex.is_match(&name))
    }

    /// The record at exactly a position: no other can be read from.
    fn exact(&self, log: &Log, position: u64) -> Result<usize, Status> {
        log.records.binary_search_by_key(&position, |record| record.position).map_err(|_| Status::invalid_argument("Invalid position"))
    }

    /// Places of records in order; none where there is no such stream.
    fn read(&self, log: &Log) -> Result<Option<Vec<usize>>, Status> {
        let found: Vec<usize> = match &self.stream {
            Some(name) => {
                let Some(known) = log.streams.get(name) else { return Ok(None) };
                let from = match self.place {
                    Place::Start => 0,
                    Place::End => known.len(),
                    Place::At(revision) => usize::try_from(revision).unwrap_or(usize::MAX).min(known.len()),
                };
                if self.backwards { known[..from].iter().rev().copied().collect() } else { known[from..].to_vec() }
            }
            None => {
                let from = match self.place {
                    Place::Start => 0,
                    Place::End => log.records.len(),
                    Place::At(position) => self.exact(log, position)?,
                };
                if self.backwards { (0..from).rev().collect() } else { (from..log.records.len()).collect() }
            }
        };
        Ok(Some(found.into_iter().filter(|&at| self.matches(&log.records[at])).collect()))
    }
}

fn stream_not_found(wanted: &Wanted) -> ReadResp {
    let stream_identifier = wanted.stream.clone().map(|stream_name| StreamIdentifier { stream_name });
    ReadResp { content: Some(read_resp::Content::StreamNotFound(read_resp::StreamNotFound { stream_identifier })) }
}

fn event(record: &Record) -> ReadResp {
    let recorded = read_resp::read_event::RecordedEvent {
        id: Some(Uuid { value: Some(uuid::Value::String(record.id.clone())) }),
        stream_identifier: Some(StreamIdentifier { stream_name: record.stream.clone() }),
        stream_revision: record.revision,
        prepare_position: record.position,
        commit_position: record.position,
        metadata: record.metadata.clone(),
        custom_metadata: record.custom_metadata.clone(),
        data: record.data.clone(),
    };
    let position = Some(read_resp::read_event::Position::CommitPosition(record.position));
    ReadResp { content: Some(read_resp::Content::Event(read_resp::ReadEvent { event: Some(recorded), link: None, position })) }
}

fn wrong_expected_version(current: usize, expected: usize) -> AppendResp {
    use append_resp::wrong_expected_version::{CurrentRevisionOption, ExpectedRevisionOption};
    let current =
        current.checked_sub(1).map_or(CurrentRevisionOption::CurrentNoStream(Empty {}), |current| CurrentRevisionOption::CurrentRevision(current as u64));
    let expected = expected
        .checked_sub(1)
        .map_or(ExpectedRevisionOption::ExpectedNoStream(Empty {}), |expected| ExpectedRevisionOption::ExpectedRevision(expected as u64));
    AppendResp {
        result: Some(append_resp::Result::WrongExpectedVersion(append_resp::WrongExpectedVersion {
            current_revision_option: Some(current),
            expected_revision_option: Some(expected),
            ..Default::default()
        })),
    }
}

/// An id in one form, whichever the client chose.
fn id_of(id: Option<&Uuid>) -> String {
    match id.and_then(|id| id.value.as_ref()) {
        Some(uuid::Value::String(id)) => id.to_lowercase(),
        Some(uuid::Value::Structured(id)) => {
            let bits = (u128::from(id.most_significant_bits.cast_unsigned()) << 64) | u128::from(id.least_significant_bits.cast_unsigned());
            let hex = format!("{bits:032x}");
            format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
        }
        None => String::new(),
    }
}
