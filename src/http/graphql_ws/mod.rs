//! The `graphql-transport-ws` protocol (<https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>):
//! every operation over one socket. A socket ends with the token that opened it. Its messages are in [`protocol`].

mod protocol;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response as HttpResponse;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument as _;

use self::protocol::{Close, FromClient, PROTOCOL, ToClient, next, token};
use super::authentication::Unauthenticated;
use super::parameters::{Members, Parameters};
use super::peer::Peer;
use super::sign_in::{NotSignedIn, sign_in_as};
use super::unread::{Need, TooMuchUnread};
use super::{FAR, Service, time_until, told_to_stop, trace};
use crate::app::access::Viewer;
use crate::app::quota::Place;
use crate::graphql::{Call, Code, Language, Operation, OperationType, Response, Session};
use crate::metrics::{Held, METRICS};

/// How long a client may take to introduce itself.
const INIT_PATIENCE: Duration = Duration::from_secs(5);
/// How often a silent client is asked for a sign of life, and how long it may stay silent.
const PING_EVERY: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_mins(1);
/// How long a socket stays open after what it was sent is left unread: closed at once, it would lose the
/// reason on its way.
const LINGER: Duration = Duration::from_secs(1);
/// Responses that wait for the client to read; then its operations wait.
const WAITING: usize = 32;
/// What a socket keeps to read into and to write from; most are idle.
const BUFFER_BYTES: usize = 1 << 10;
/// The longest id of an operation: every response repeats it.
const MAX_ID_BYTES: usize = 256;
/// Operations at once on one socket.
const MAX_OPERATIONS: usize = 100;

/// What an operation has for the socket.
struct Outgoing {
    id: Arc<str>,
    /// Which operation of the socket it is: an id may be used again.
    serial: u64,
    message: Message,
    /// Until it is sent.
    _unread: Option<Place>,
    /// The operation is over.
    last: bool,
}

pub(super) fn upgrade(service: Service, upgrade: WebSocketUpgrade, language: Language, peer: Peer) -> HttpResponse {
    let max = service.0.limits.body;
    upgrade.protocols([PROTOCOL]).read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES).max_message_size(max).max_frame_size(max).on_upgrade(
        move |socket| async move {
            let Some(_held_open) = service.0.open.upgrade() else { return };
            let _counted = Held::one(&METRICS.sockets);
            let speaks = socket.protocol().is_some_and(|protocol| protocol.as_bytes() == PROTOCOL.as_bytes());
            let (sink, mut stream) = socket.split();
            let mut connection = Connection::new(service, sink, language, peer);
            let close = if speaks { connection.run(&mut stream).await } else { Some(Close::SubprotocolNotAcceptable) };
            connection.end(close, stream).await;
        },
    )
}

struct Connection {
    service: Service,
    sink: SplitSink<WebSocket, Message>,
    language: Language,
    peer: Peer,
    viewer: Option<Viewer>,
    /// The socket's place among its user's.
    place: Option<Place>,
    initialising: bool,
    /// When the client must have introduced itself; then, when its token ends.
    deadline: Instant,
    /// What runs, by id, each with its serial.
    operations: HashMap<Arc<str>, (u64, JoinHandle<()>)>,
    started: u64,
    // In boxes: the queue has room for all that may wait, and is nearly always empty.
    outgoing: mpsc::Sender<Box<Outgoing>>,
    responses: mpsc::Receiver<Box<Outgoing>>,
}

impl Connection {
    fn new(service: Service, sink: SplitSink<WebSocket, Message>, language: Language, peer: Peer) -> Self {
        let (outgoing, responses) = mpsc::channel(WAITING);
        Self {
            service,
            sink,
            language,
            peer,
            viewer: None,
            place: None,
            initialising: false,
            deadline: Instant::now() + INIT_PATIENCE,
            operations: HashMap::new(),
            started: 0,
            outgoing,
            responses,
        }
    }

    /// Until the socket is to be closed; none where it is already.
    async fn run(&mut self, stream: &mut SplitStream<WebSocket>) -> Option<Close> {
        let mut stopping = self.service.0.stopping.clone();
        let mut heard = Instant::now();
        let mut ping_at = heard + PING_EVERY;
        loop {
            let step = tokio::select! {
                () = told_to_stop(&mut stopping) => Err(Some(Close::GoingAway)),
                () = sleep_until(self.deadline) => Err(Some(if self.viewer.is_some() { Close::Forbidden("The token has expired") } else { Close::InitialisationTimeout })),
                () = sleep_until(ping_at) => {
                    ping_at = Instant::now() + PING_EVERY;
                    if heard.elapsed() > SILENCE { Err(None) } else { self.send(Message::Ping(axum::body::Bytes::new())).await }
                }
                Some(outgoing) = self.responses.recv() => self.forward(outgoing).await,
                received = stream.next() => {
                    heard = Instant::now();
                    match received {
                        Some(Ok(Message::Text(text))) => self.receive(&text).await,
                        Some(Ok(Message::Binary(_))) => Err(Some(Close::BadRequest("Binary messages are not understood"))),
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                        Some(Ok(Message::Close(_))) | None => Err(None),
                        Some(Err(error)) => Err(Close::after(&error)),
                    }
                }
            };
            if let Err(close) = step {
                return close;
            }
        }
    }

    /// Stops every operation and closes the socket.
    async fn end(mut self, close: Option<Close>, mut stream: SplitStream<WebSocket>) {
        for (_, operation) in self.operations.values() {
            operation.abort();
        }
        if let Some(close) = close {
            tracing::info!(code = close.frame().code, "a socket was closed");
            let _peer_gone = self.send(Message::Close(Some(close.frame()))).await;
            let unread = async {
                while let Some(Ok(_)) = stream.next().await {}
                // What is too big stays unread.
                if close == Close::TooBig {
                    std::future::pending::<()>().await;
                }
            };
            let _client_never_closed = timeout(LINGER, unread).await;
        }
        let _peer_gone = self.sink.close().await;
    }

    async fn send(&mut self, message: Message) -> Result<(), Option<Close>> {
        self.sink.send(message).await.map_err(|_| None)
    }

    /// Passes a response on, unless its operation was completed by the client meanwhile.
    async fn forward(&mut self, outgoing: Box<Outgoing>) -> Result<(), Option<Close>> {
        if self.operations.get(&outgoing.id).is_none_or(|(serial, _)| *serial != outgoing.serial) {
            return Ok(());
        }
        if outgoing.last {
            self.operations.remove(&outgoing.id);
        }
        let Outgoing { message, _unread, .. } = *outgoing;
        self.send(message).await
    }

    async fn receive(&mut self, text: &str) -> Result<(), Option<Close>> {
        match serde_json::from_str(text).map(|Members(message)| message) {
            Ok(FromClient::ConnectionInit { payload }) => Box::pin(self.initialise(payload.unwrap_or_default())).await,
            Ok(FromClient::Ping { payload }) => self.send(ToClient::Pong { payload }.message()).await,
            Ok(FromClient::Pong { .. }) => Ok(()),
            Ok(FromClient::Subscribe { id, .. }) if id.is_empty() || id.len() > MAX_ID_BYTES => {
                Err(Some(Close::BadRequest("An operation has an id of 1 to 256 bytes")))
            }
            Ok(FromClient::Subscribe { id, payload: Members(payload) }) => self.subscribe(id.into(), payload).await,
            Ok(FromClient::Complete { id }) => {
                if let Some((_, operation)) = self.operations.remove(id.as_str()) {
                    operation.abort();
                }
                Ok(())
            }
            Err(_) => Err(Some(Close::BadRequest("The message is not of this protocol"))),
        }
    }

    async fn initialise(&mut self, payload: serde_json::Map<String, serde_json::Value>) -> Result<(), Option<Close>> {
        if std::mem::replace(&mut self.initialising, true) {
            return Err(Some(Close::TooManyInitialisations));
        }
        let token = token(&payload).ok_or(Some(Close::Forbidden("Forbidden: connection_init has no token")))?;
        let identity = self.service.0.verifier.verify(&token).map_err(|why| {
            let is_one_of_few = why == Unauthenticated::Expired || self.service.forgives(self.peer);
            Some(if is_one_of_few {
                Close::Forbidden("Forbidden: the token is not accepted")
            } else {
                Close::TryAgainLater("Too many tokens from here were not accepted")
            })
        })?;
        let app = self.service.0.app.clone();
        let viewer = sign_in_as(&self.service, &identity, app.new_id()).await.map_err(|why| {
            Some(match why {
                NotSignedIn::PlanIsFull => Close::Forbidden(self.language.plan_is_full()),
                NotSignedIn::Unavailable => Close::TryAgainLater("The service cannot do this now"),
            })
        })?;
        let place = self.service.0.sockets.take(viewer.id());
        self.place = Some(place.ok_or(Some(Close::TryAgainLater("Too many sockets of this user are open")))?);
        self.deadline = Instant::now() + identity.expires.map_or(FAR, |expires| time_until(expires, app.now()));
        self.viewer = Some(viewer);
        self.send(ToClient::ConnectionAck.message()).await
    }

    async fn subscribe(&mut self, id: Arc<str>, parameters: Parameters) -> Result<(), Option<Close>> {
        let viewer = self.viewer.as_ref().ok_or(Some(Close::Unauthorized))?;
        let call = parameters.call().ok_or(Some(Close::BadRequest("The payload names no document")))?;
        if self.operations.contains_key(&id) {
            return Err(Some(Close::SubscriberExists));
        }
        if self.operations.len() >= MAX_OPERATIONS {
            let refused = Code::RateLimited.response("too many operations at once on this socket");
            return self.send(ToClient::Error { id: &id, payload: refused.errors() }.message()).await;
        }
        let request = self.service.0.app.new_id();
        let viewer = viewer.in_request(request);
        self.started += 1;
        let channel = Channel { id: Arc::clone(&id), serial: self.started, outgoing: self.outgoing.clone() };
        let session = Session::new(self.service.0.app.clone(), viewer, self.language, Arc::clone(&self.service.0.default_avatar));
        let operation = tokio::spawn(operate(self.service.clone(), session, call, channel).instrument(trace::of_operation(request)));
        self.operations.insert(id, (self.started, operation));
        Ok(())
    }
}

/// One operation's way to its socket.
struct Channel {
    id: Arc<str>,
    serial: u64,
    outgoing: mpsc::Sender<Box<Outgoing>>,
}

impl Channel {
    async fn send(&self, message: Message, unread: Option<Place>, last: bool) {
        let outgoing = Outgoing { id: Arc::clone(&self.id), serial: self.serial, message, _unread: unread, last };
        let _socket_gone = self.outgoing.send(Box::new(outgoing)).await;
    }

    async fn error(&self, refused: &Response) {
        if let Some(code) = refused.codes().next() {
            METRICS.count_rejection(code);
        }
        self.send(ToClient::Error { id: &self.id, payload: refused.errors() }.message(), None, true).await;
    }
}

/// Executes one operation and hands its responses to the socket.
async fn operate(service: Service, session: Arc<Session>, call: Call, channel: Channel) {
    let prepared = service.0.executor.prepare(&call, session.viewer_id());
    drop(call);
    let prepared = prepared.and_then(|operation| Ok((place_of(&service, &session, &operation)?, operation)));
    let (_place, operation) = match prepared {
        Ok(prepared) => prepared,
        Err(refused) => return channel.error(&refused).await,
    };
    METRICS.count_operation("websocket");
    let user = session.viewer_id().clone();
    let need = Need::of(operation.kind());
    let mut responses = service.0.executor.stream(operation, session);
    while let Some(response) = responses.next().await {
        if response.is_refusal() {
            return channel.error(&response).await;
        }
        let message = next(&channel.id, &response);
        // Not beside what it was made into.
        drop(response);
        match service.room_for(&user, message.to_text().map_or(0, str::len), need) {
            Ok(unread) => channel.send(message, unread, false).await,
            Err(TooMuchUnread) => return channel.error(&Code::RateLimited.response(TooMuchUnread::MESSAGE)).await,
        }
    }
    channel.send(ToClient::Complete { id: &channel.id }.message(), None, true).await;
}

/// A subscription's place among its user's.
fn place_of(service: &Service, session: &Session, operation: &Operation) -> Result<Option<Place>, Box<Response>> {
    if operation.kind() != OperationType::Subscription {
        return Ok(None);
    }
    let place = service.0.subscriptions.take(session.viewer_id());
    place.map(Some).ok_or_else(|| Box::new(Code::RateLimited.response("too many subscriptions of this user are open")))
}
