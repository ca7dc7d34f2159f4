//! The protocol: what is asked, and how it is answered.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::protocol::server_features::server_features_server::{ServerFeatures, ServerFeaturesServer};
use crate::protocol::server_features::{SupportedMethod, SupportedMethods};
use crate::protocol::streams::streams_server::{Streams, StreamsServer};
use crate::protocol::streams::{
    AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq, ReadResp, TombstoneReq, TombstoneResp, append_req, append_resp,
    read_req, read_resp,
};
use crate::protocol::{Empty, StreamIdentifier, Uuid, uuid};
use crate::store::{Event, Record};
use crate::wanted::{Place, Wanted};
use crate::{End, Fault, State, lock};

/// The most bytes of one append.
const APPEND_LIMIT: usize = 1 << 20;

/// From an append until it can be read: flushed and indexed. What is expected of a stream is compared before.
const INDEXING: Duration = Duration::from_millis(2);

/// Answers from the state.
#[derive(Clone)]
pub(crate) struct Service {
    state: Arc<State>,
    is_leader: bool,
}

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
        if !self.is_leader {
            return Err(self.not_leader());
        }
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
            let log = lock(&self.state.log);
            wanted.read(&log)?.map_or_else(
                || vec![stream_not_found(&wanted)],
                |found| found.into_iter().take(count).map(|at| self.read_of(&wanted, &log.records[at])).collect(),
            )
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
        if !self.is_leader {
            return Err(self.not_leader());
        }
        if proposed.iter().map(|message| message.data.len() + message.custom_metadata.len()).sum::<usize>() > APPEND_LIMIT {
            return Err(Status::invalid_argument("Maximum Append Size Exceeded"));
        }
        let fault = lock(&self.state.faults).pop_front();
        match fault {
            Some(Fault::NotLeader) => return Err(self.not_leader()),
            Some(Fault::AbortedBefore) => return Err(Status::aborted("Operation timed out: Commit timeout")),
            _ => {}
        }
        let (answer, records) = self.write(options, proposed)?;
        match fault {
            Some(Fault::HangsAfter) => std::future::pending().await,
            Some(Fault::AbortedAfter) => Err(Status::aborted("Operation timed out: Commit timeout")),
            _ => {
                let mut readable = self.state.readable.subscribe();
                let _running = readable.wait_for(|readable| *readable >= records).await;
                Ok(Response::new(answer))
            }
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
    pub(crate) fn new(state: Arc<State>, is_leader: bool) -> Self {
        Self { state, is_leader }
    }

    /// Until it is dropped.
    pub(crate) async fn serve(self, listener: tokio::net::TcpListener) {
        let (streams, features) = (StreamsServer::new(self.clone()), ServerFeaturesServer::new(self));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let _ended = tonic::transport::Server::builder().add_service(streams).add_service(features).serve_with_incoming(incoming).await;
    }

    fn read_of(&self, wanted: &Wanted, record: &Record) -> ReadResp {
        let position = if wanted.stream.is_none() || self.state.tells_positions.load(Ordering::Relaxed) { record.position } else { u64::MAX };
        event_at(record, position)
    }

    fn not_leader(&self) -> Status {
        let address = self.state.leader;
        let mut status = Status::not_found("Leader info available");
        let metadata = status.metadata_mut();
        metadata.insert("exception", "not-leader".parse().expect("ASCII"));
        metadata.insert("leader-endpoint-host", address.ip().to_string().parse().expect("ASCII"));
        metadata.insert("leader-endpoint-port", address.port().to_string().parse().expect("ASCII"));
        status
    }

    /// The answer, and how many records can be read by then.
    fn write(&self, options: append_req::Options, proposed: Vec<append_req::ProposedMessage>) -> Result<(AppendResp, usize), Status> {
        use append_req::options::ExpectedStreamRevision as Expected;
        let name = options.stream_identifier.map(|identifier| identifier.stream_name).unwrap_or_default();
        let expected = match options.expected_stream_revision {
            Some(Expected::Revision(revision)) => usize::try_from(revision).unwrap_or(usize::MAX - 1) + 1,
            Some(Expected::NoStream(_)) => 0,
            Some(Expected::Any(_) | Expected::StreamExists(_)) | None => return Err(Status::failed_precondition("this log never appends anywhere")),
        };
        let event = |message: append_req::ProposedMessage| Event {
            id: id_of(message.id.as_ref()),
            metadata: message.metadata,
            custom_metadata: message.custom_metadata,
            data: message.data,
        };
        let mut log = lock(&self.state.log);
        match log.append(&name, expected, proposed.into_iter().map(event).collect()) {
            Ok(last) => {
                let last = last.ok_or_else(|| Status::invalid_argument("nothing to append"))?;
                let answer = success(&log.records[last]);
                self.index_later(last + 1);
                Ok((answer, last + 1))
            }
            Err(current) => Ok((wrong_expected_version(current, expected), 0)),
        }
    }

    fn index_later(&self, records: usize) {
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            tokio::time::sleep(INDEXING).await;
            state.index(records);
        });
    }

    fn subscribe(&self, wanted: Wanted) -> Result<Answers, Status> {
        let subscription = {
            let mut subscriptions = lock(&self.state.subscriptions);
            *subscriptions += 1;
            *subscriptions
        };
        let (state, mut readable, mut ends) = (Arc::clone(&self.state), self.state.readable.subscribe(), self.state.ends.subscribe());
        ends.mark_unchanged();
        let mut next = {
            let log = lock(&self.state.log);
            match wanted.place {
                Place::Start => 0,
                Place::End => log.readable().len(),
                Place::At(position) => Wanted::exact(&log, position, || Status::invalid_argument("Invalid position"))? + 1,
            }
        };
        let (sender, receiver) = mpsc::channel(1_000);
        tokio::spawn(async move {
            let confirmation = read_resp::SubscriptionConfirmation { subscription_id: subscription.to_string() };
            let _gone = sender.send(Ok(ReadResp { content: Some(read_resp::Content::Confirmation(confirmation)) })).await;
            loop {
                let news: Vec<ReadResp> = {
                    let log = lock(&state.log);
                    let news = log.readable()[next..].iter().filter(|record| wanted.matches(record)).map(event).collect();
                    next = log.readable().len();
                    news
                };
                for answer in news {
                    if sender.send(Ok(answer)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    _ = readable.changed() => {}
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

fn stream_not_found(wanted: &Wanted) -> ReadResp {
    let stream_identifier = wanted.stream.clone().map(|stream_name| StreamIdentifier { stream_name });
    ReadResp { content: Some(read_resp::Content::StreamNotFound(read_resp::StreamNotFound { stream_identifier })) }
}

fn event(record: &Record) -> ReadResp {
    event_at(record, record.position)
}

fn event_at(record: &Record, position: u64) -> ReadResp {
    let recorded = read_resp::read_event::RecordedEvent {
        id: Some(Uuid { value: Some(uuid::Value::String(record.event.id.clone())) }),
        stream_identifier: Some(StreamIdentifier { stream_name: record.stream.clone() }),
        stream_revision: record.revision,
        prepare_position: position,
        commit_position: position,
        metadata: record.event.metadata.clone(),
        custom_metadata: record.event.custom_metadata.clone(),
        data: record.event.data.clone(),
    };
    let position = Some(read_resp::read_event::Position::CommitPosition(position));
    ReadResp { content: Some(read_resp::Content::Event(read_resp::ReadEvent { event: Some(recorded), link: None, position })) }
}

fn success(last: &Record) -> AppendResp {
    let position = append_resp::Position { commit_position: last.position, prepare_position: last.position };
    AppendResp {
        result: Some(append_resp::Result::Success(append_resp::Success {
            current_revision_option: Some(append_resp::success::CurrentRevisionOption::CurrentRevision(last.revision)),
            position_option: Some(append_resp::success::PositionOption::Position(position)),
        })),
    }
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
