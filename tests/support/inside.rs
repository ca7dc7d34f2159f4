//! The service inside the test: the same log, read store, projector and schema, without a socket.

use std::path::Path;
use std::sync::Arc;

use entrenous::app::access::{Identity, Roles, Viewer};
use entrenous::app::{App, Settings, Sources, following, progress, projector};
use entrenous::cli::{new_id, now};
use entrenous::domain::ids::UserId;
use entrenous::event_log::EventLog;
use entrenous::graphql::{Call, DocumentReference, Executor, JsonValue, Language, Operation, Options, Response, Session};
use entrenous::read_store::ReadStore;
use entrenous::storage::StoreUrl;
use futures_util::{Stream, StreamExt as _, stream};
use kurrent_peer::Peer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::postgres::{self, Database};
use super::waiting::{PATIENCE, until};

/// What keeps a log or views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    Sqlite,
    Postgres,
    Kurrent,
}

/// Where the nodes of a service keep their data, for as long as this lives.
pub struct Place {
    folder: TempDir,
    database: Option<Database>,
    peer: Option<Peer>,
    log: Back,
    views: Back,
}

impl Place {
    pub async fn new(log: Back, views: Back) -> Self {
        let needs_database = [log, views].contains(&Back::Postgres);
        let database = if needs_database { Some(Database::create().await) } else { None };
        let peer = if log == Back::Kurrent { Some(Peer::start()) } else { None };
        Self { folder: tempfile::tempdir().expect("a folder"), database, peer, log, views }
    }

    fn kept_in(&self, back: Back, file: &str) -> StoreUrl {
        match back {
            Back::Sqlite => sqlite(&self.folder.path().join(file)),
            Back::Postgres => StoreUrl::Postgres(self.database.as_ref().expect("there is one where it is needed").url()),
            Back::Kurrent => StoreUrl::Kurrent(self.peer.as_ref().expect("there is one where it is needed").url()),
        }
    }

    /// The database's address.
    pub fn url(&self) -> String {
        self.database.as_ref().expect("a database").url()
    }

    pub fn log(&self) -> StoreUrl {
        self.kept_in(self.log, "events.db")
    }

    /// Where the log's keys are, where they are not beside it.
    pub fn keys(&self) -> Option<StoreUrl> {
        (self.log == Back::Kurrent).then(|| sqlite(&self.folder.path().join("events.keys")))
    }

    /// The same as a command's argument.
    pub fn log_url(&self) -> String {
        match self.log() {
            StoreUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
            StoreUrl::Postgres(url) | StoreUrl::Kurrent(url) => url,
        }
    }

    /// A node's views: a file of its own, or what all share.
    pub fn views(&self, node: usize) -> StoreUrl {
        self.kept_in(self.views, &format!("views{node}.db"))
    }

    pub fn peer(&self) -> &Peer {
        self.peer.as_ref().expect("a peer")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

pub struct Inside {
    pub app: App,
    executor: Arc<Executor>,
    projecting: JoinHandle<Result<(), following::ProjectorError>>,
    stop: watch::Sender<bool>,
    place: Arc<Place>,
    node: usize,
}

impl Inside {
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Self {
        let place = Arc::new(Place::new(Back::Sqlite, Back::Sqlite).await);
        Self::start_node(place, 0, options).await
    }

    /// A place's one node, or the first of several.
    pub async fn at(place: &Arc<Place>) -> Self {
        Self::start_node(Arc::clone(place), 0, Options::default()).await
    }

    /// One of the nodes that share a place.
    pub async fn start_node(place: Arc<Place>, node: usize, options: Options) -> Self {
        let log = EventLog::open(&place.log(), place.keys().as_ref(), Arc::new(now)).await.expect("a log");
        let store = ReadStore::open(&place.views(node), log.id()).await.expect("views");
        let (reporter, progress) = progress::progress();
        let sources = Sources { clock: Arc::new(now), uuid: Arc::new(new_id) };
        let settings = Settings { send_rate: 0, ..Settings::default() };
        let app = App::new(log, store, progress, sources, settings);
        let (stop, stopping) = watch::channel(false);
        let projecting = tokio::spawn(projector::run(app.clone(), reporter, stopping));
        app.views_reach_head().await.expect("caught up");
        let executor = Arc::new(Executor::new(options).expect("an executor"));
        Self { app, executor, projecting, stop, place, node }
    }

    pub async fn sign_in(&self, id: &str) -> Viewer {
        let roles = Roles { admin: true, auditor: true };
        let identity = Identity { id: UserId::parse(id).expect("an id"), name: Some(id.to_owned()), picture: None, roles, expires: None };
        self.app.sign_in(&identity, new_id()).await.expect("signed in")
    }

    /// An operation's data.
    pub async fn ask(&self, viewer: &Viewer, query: &str, variables: Value) -> Value {
        let operation = self.prepare(viewer, query, variables);
        let response = self.executor.execute(operation, self.session(viewer)).await;
        assert!(response.errors().is_empty(), "{query}: {:?}", response.errors());
        json_of(&response)["data"].take()
    }

    /// Whatever an operation is answered.
    pub async fn respond(&self, viewer: &Viewer, query: &str) -> Value {
        let operation = self.prepare(viewer, query, json!({}));
        json_of(&self.executor.execute(operation, self.session(viewer)).await)
    }

    /// The same; none where the operation is not executed at all.
    pub async fn try_respond(&self, viewer: &Viewer, query: &str) -> Option<Value> {
        let call = Call { document: DocumentReference { text: Some(query.to_owned()), id: None }, ..Call::default() };
        let operation = self.executor.prepare(&call, viewer.id()).ok()?;
        Some(json_of(&self.executor.execute(operation, self.session(viewer)).await))
    }

    /// From now on nothing that happens is shown, as long as what is returned is held.
    pub async fn stall(&mut self) -> progress::Reporter {
        self.projecting.abort();
        until("it projects no more", async || self.projecting.is_finished()).await;
        let (reporter, progress) = progress::progress();
        let sources = Sources { clock: Arc::new(now), uuid: Arc::new(new_id) };
        self.app = App::new(self.app.log().clone(), self.app.store().clone(), progress, sources, Settings::default());
        reporter
    }

    fn prepare(&self, viewer: &Viewer, query: &str, variables: Value) -> Operation {
        let document = DocumentReference { text: Some(query.to_owned()), id: None };
        let JsonValue::Object(variables) = JsonValue::from(variables) else { panic!("variables are an object") };
        let call = Call { document, operation_name: None, variables };
        self.executor.prepare(&call, viewer.id()).unwrap_or_else(|refused| panic!("{query}: {:?}", refused.errors()))
    }

    fn session(&self, viewer: &Viewer) -> Arc<Session> {
        Session::new(self.app.clone(), viewer.clone(), Language::English, "/avatar.svg".into())
    }

    /// A mutation's payload.
    pub async fn mutate(&self, viewer: &Viewer, name: &str, input: Value, fields: &str) -> Value {
        let kind = format!("{}{}Input", name[..1].to_uppercase(), &name[1..]);
        let query = format!("mutation($input: {kind}!) {{ {name}(input: $input) {{ {fields} userErrors {{ code }} }} }}");
        self.ask(viewer, &query, json!({ "input": input })).await[name].take()
    }

    /// What an open client is told, without cursors and times.
    pub fn inbox(&self, viewer: &Viewer) -> impl Stream<Item = Value> + use<> {
        let query = "subscription { inbox {
            __typename
            ... on MessageAdded { message { id text mine sender { id } } conversation { contact { id } unreadCount blocked } }
            ... on ConversationChanged { conversation { contact { id } unreadCount blocked } }
            ... on ConversationRemoved { contact { id } }
            ... on ContactChanged { contact { id name contactable canMessage blocked } }
            ... on ChatSectionChanged { chatSection { listTemplate { number } } }
        } }";
        self.follow(viewer, query, json!({})).map(|mut data| data["inbox"].take())
    }

    /// What a subscription says. Whoever waits for what it never says fails.
    pub fn follow(&self, viewer: &Viewer, query: &str, variables: Value) -> impl Stream<Item = Value> + use<> {
        let operation = self.prepare(viewer, query, variables);
        let responses = self.executor.stream(operation, self.session(viewer));
        stream::unfold(responses, |mut responses| async move {
            let response = timeout(PATIENCE, responses.next()).await.expect("something is told")?;
            assert!(response.errors().is_empty(), "{:?}", response.errors());
            Some((json_of(&response)["data"].take(), responses))
        })
    }

    pub fn views(&self) -> StoreUrl {
        self.place.views(self.node)
    }

    /// Every row of the views, once they show all that was appended.
    pub async fn rows(&self) -> Vec<String> {
        self.app.views_reach_head().await.expect("caught up");
        dump(&self.views()).await
    }

    /// Ends what folds, and lets another begin.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        (&mut self.projecting).await.expect("no panic").expect("no fault");
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.projecting.abort();
    }
}

/// The address of a file.
pub fn sqlite(path: &Path) -> StoreUrl {
    StoreUrl::Sqlite(path.into())
}

/// Every row of every projection and checkpoint of a read store, as text, the same whatever keeps it.
pub async fn dump(views: &StoreUrl) -> Vec<String> {
    match views {
        StoreUrl::Sqlite(path) => dump_file(path),
        StoreUrl::Postgres(url) => dump_schema(url).await,
        StoreUrl::Kurrent(_) => panic!("no read store"),
    }
}

const TABLES: [&str; 5] = ["checkpoints", "conversations", "messages", "section", "users"];

/// The same of a file.
pub fn dump_file(views: &Path) -> Vec<String> {
    use rusqlite::types::ValueRef;
    let connection = rusqlite::Connection::open(views).expect("views");
    let mut lines = Vec::new();
    for table in TABLES {
        let mut statement = connection.prepare(&format!("select * from {table}")).expect("a table");
        let columns = statement.column_count();
        let mut rows = statement.query([]).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            let values = (0..columns).map(|column| match row.get_ref(column).expect("a value") {
                ValueRef::Null => "null".to_owned(),
                ValueRef::Integer(integer) => integer.to_string(),
                ValueRef::Real(real) => panic!("{real} is no value of a view"),
                ValueRef::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
                ValueRef::Blob(bytes) => format!("{bytes:02x?}"),
            });
            lines.push(format!("{table}: {}", values.collect::<Vec<_>>().join(", ")));
        }
    }
    lines.sort();
    lines
}

async fn dump_schema(url: &str) -> Vec<String> {
    use tokio_postgres::types::Type;
    let client = postgres::connect(url).await;
    let mut lines = Vec::new();
    for table in TABLES {
        for row in client.query(&format!("select * from entrenous_views.{table}"), &[]).await.expect("rows") {
            let values = row.columns().iter().enumerate().map(|(n, column)| match *column.type_() {
                Type::INT8 => row.get::<_, Option<i64>>(n).map(|integer| integer.to_string()),
                Type::TEXT => row.get::<_, Option<&str>>(n).map(|text| format!("{text:?}")),
                Type::UUID => row.get::<_, Option<uuid::Uuid>>(n).map(|uuid| format!("{:02x?}", uuid.as_bytes())),
                Type::BYTEA => row.get::<_, Option<&[u8]>>(n).map(|bytes| format!("{bytes:02x?}")),
                ref other => panic!("{other} is no type of a view"),
            });
            let values: Vec<String> = values.map(|value| value.unwrap_or_else(|| "null".to_owned())).collect();
            lines.push(format!("{table}: {}", values.join(", ")));
        }
    }
    lines.sort();
    lines
}

fn json_of(response: &Response) -> Value {
    serde_json::from_slice(&response.to_json()).expect("JSON")
}
