//! The service inside the test: the same log, read store, projector and schema, without a socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use entrenous::app::access::{Identity, Roles, Viewer};
use entrenous::app::{App, Settings, Sources, projector};
use entrenous::cli::{new_id, now};
use entrenous::domain::ids::UserId;
use entrenous::event_log::EventLog;
use entrenous::graphql::{Call, DocumentReference, Executor, JsonValue, Language, Operation, Options, Session};
use entrenous::read_store::ReadStore;
use futures_util::{Stream, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub struct Inside {
    pub app: App,
    executor: Arc<Executor>,
    projecting: JoinHandle<Result<(), projector::ProjectorError>>,
    folder: TempDir,
}

impl Inside {
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = EventLog::open(&folder.path().join("events.db"), Arc::new(now)).expect("a log");
        let store = ReadStore::open(&folder.path().join("views.db"), log.id()).expect("views");
        let checkpoint = projector::catch_up(&log, &store).await.expect("caught up");
        let (reporter, progress) = projector::progress(checkpoint);
        let sources = Sources { clock: Arc::new(now), uuid: Arc::new(new_id) };
        let settings = Settings { send_rate: 0, ..Settings::default() };
        let app = App::new(log, store, progress, sources, settings);
        let projecting = tokio::spawn(projector::run(app.clone(), checkpoint, reporter));
        let executor = Arc::new(Executor::new(options).expect("an executor"));
        Self { app, executor, projecting, folder }
    }

    pub async fn sign_in(&self, id: &str) -> Viewer {
        let roles = Roles { admin: true, auditor: true };
        let identity = Identity { id: UserId::parse(id).expect("an id"), name: Some(id.to_owned()), picture: None, roles, expires: None };
        self.app.sign_in(&identity, new_id()).await.expect("signed in")
    }

    /// An operation's data.
    pub async fn ask(&self, viewer: &Viewer, query: &str, variables: Value) -> Value {
        let operation = self.prepare(query, variables);
        let response = self.executor.execute(operation, self.session(viewer)).await;
        assert!(response.errors().is_empty(), "{query}: {:?}", response.errors());
        serde_json::to_value(response).expect("JSON")["data"].take()
    }

    /// Whatever an operation is answered.
    pub async fn respond(&self, viewer: &Viewer, query: &str) -> Value {
        let operation = self.prepare(query, json!({}));
        serde_json::to_value(self.executor.execute(operation, self.session(viewer)).await).expect("JSON")
    }

    /// From now on nothing that happens is shown, as long as what is returned is held.
    pub async fn stall(&mut self) -> projector::Reporter {
        self.projecting.abort();
        while !self.projecting.is_finished() {
            tokio::task::yield_now().await;
        }
        let checkpoint = self.app.store().checkpoint().await.expect("a checkpoint");
        let (reporter, progress) = projector::progress(checkpoint);
        let sources = Sources { clock: Arc::new(now), uuid: Arc::new(new_id) };
        self.app = App::new(self.app.log().clone(), self.app.store().clone(), progress, sources, Settings::default());
        reporter
    }

    fn prepare(&self, query: &str, variables: Value) -> Operation {
        let document = DocumentReference { text: Some(query.to_owned()), id: None };
        let JsonValue::Object(variables) = JsonValue::from(variables) else { panic!("variables are an object") };
        let call = Call { document, operation_name: None, variables };
        self.executor.prepare(&call).unwrap_or_else(|refused| panic!("{query}: {:?}", refused.errors()))
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
        let operation = self.prepare(query, json!({}));
        self.executor.stream(operation, self.session(viewer)).map(|response| {
            assert!(response.errors().is_empty(), "{:?}", response.errors());
            serde_json::to_value(response).expect("JSON")["data"]["inbox"].take()
        })
    }

    pub fn views(&self) -> PathBuf {
        self.folder.path().join("views.db")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.projecting.abort();
    }
}

/// Every row of every table of a read store, as text.
pub fn dump(views: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(views).expect("views");
    let tables: Vec<String> = connection
        .prepare("select name from sqlite_schema where type = 'table' order by name")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .expect("tables");
    let mut lines = Vec::new();
    for table in tables {
        let mut statement = connection.prepare(&format!("select * from {table}")).expect("a table");
        let columns = statement.column_count();
        let mut rows = statement.query([]).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            let values: Vec<String> = (0..columns).map(|column| format!("{:?}", row.get_ref(column).expect("a value"))).collect();
            lines.push(format!("{table}: {}", values.join(", ")));
        }
    }
    lines
}
