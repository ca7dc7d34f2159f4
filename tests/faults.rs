//! The disk is full, does not flush, tears a write; the clock jumps. Nothing acknowledged is lost or there twice, the
//! views are the log's, and the operator is told what to do.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::crash::whole_history;
use crate::support::process::{BINARY, run};
use crate::support::waiting::until;
use crate::support::{Person, Server};

/// Less than an operation may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the injector is told, a number of eight bytes each.
#[derive(Clone, Copy)]
enum Fault {
    None,
    FullDisk,
    FailingFlush,
    TornWrite,
}

const FAULT: u64 = 0;
const AFTER: u64 = 8;
const CLOCK: u64 = 16;
const DONE: u64 = 24;

/// Loaded before the service, so that what it writes can fail.
static INJECTOR: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let made = folder.join(format!("injector-{}.so", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/injector.c");
    let status = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&made).arg(source).status();
    assert!(status.expect("a C compiler").success());
    // One for all runs, put there whole.
    let kept = folder.join("injector.so");
    fs::rename(made, &kept).expect("renamed");
    kept
});

/// A service whose disk and clock obey.
struct Frail {
    server: Option<Server>,
    orders: fs::File,
    people: Vec<Person>,
    acknowledged: HashSet<String>,
}

impl Frail {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("faults");
        fs::write(&path, [0; 32]).expect("orders");
        let orders = fs::File::options().read(true).write(true).open(&path).expect("orders");
        let environment = [("LD_PRELOAD", INJECTOR.to_str()), ("ENTRENOUS_FAULTS", path.to_str())];
        let server = Server::start_in_environment(folder, &environment.map(|(name, value)| (name, value.expect("UTF-8").to_owned())));
        let mut frail = Self { server: Some(server), orders, people: vec![], acknowledged: HashSet::new() };
        frail.meet();
        for person in &frail.people {
            person.ask("{ me { id } }").await;
        }
        frail
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("a service")
    }

    fn meet(&mut self) {
        self.people = (0..8).map(|n| self.server().person(&format!("user{n}"))).collect();
    }

    fn order(&self, at: u64, number: i64) {
        self.orders.write_all_at(&number.to_ne_bytes(), at).expect("ordered");
    }

    fn let_fail(&self, fault: Fault, after: i64) {
        self.order(AFTER, after);
        self.order(FAULT, fault as i64);
    }

    fn failed(&self) -> i64 {
        let mut number = [0; 8];
        self.orders.read_exact_at(&mut number, DONE).expect("told");
        i64::from_ne_bytes(number)
    }

    /// Everybody writes to a neighbour until something fails, or `enough` were acknowledged. Returns the codes of what failed.
    async fn write(&mut self, enough: u64) -> Vec<String> {
        let count = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..self.people.len())
            .map(|n| {
                let (person, contact, count) = (self.server().person(&self.people[n].id), self.people[n ^ 1].id.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let mut acknowledged = Vec::new();
                    while count.load(Ordering::Relaxed) < enough {
                        let id = entrenous::cli::new_id().to_string();
                        let query = "mutation($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
                        let Some(reply) = person.try_request(query, json!({ "input": { "to": contact, "text": "salut", "messageId": id } })).await else {
                            return (acknowledged, Some("gone".to_owned()));
                        };
                        if reply.body["data"]["sendMessage"]["message"]["id"] != id.as_str() {
                            return (acknowledged, Some(reply.code().to_owned()));
                        }
                        acknowledged.push(id);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    (acknowledged, None)
                })
            })
            .collect();
        let mut codes = Vec::new();
        for writer in writers {
            let (acknowledged, code) = writer.await.expect("no wrong answer");
            self.acknowledged.extend(acknowledged);
            codes.extend(code);
        }
        codes
    }

    /// Waits until it has noticed that nothing fails any more.
    async fn is_well_again(&self) {
        let query = "{ conversations(first: 1) { totalCount } }";
        until("it goes on by itself", async || self.people[0].request(query, Value::Null).await.status == 200).await;
    }

    /// Waits for the service to end, and starts it again.
    fn again(&mut self) -> String {
        let mut server = self.server.take().expect("a service");
        let _status = server.wait();
        let told = server.log();
        self.order(FAULT, Fault::None as i64);
        self.server = Some(server.again());
        self.meet();
        told
    }

    /// Everything acknowledged is in both histories, once and in one order; and the views are the log's.
    async fn verify(&self) {
        let mut stored = Vec::new();
        for pair in self.people.chunks(2) {
            let [one, other] = pair else { panic!("pairs") };
            let (hers, his) = (whole_history(one, &other.id).await, whole_history(other, &one.id).await);
            assert_eq!(hers, his, "one order");
            stored.extend(hers.into_iter().map(|(id, _)| id));
        }
        let unique: HashSet<String> = stored.iter().cloned().collect();
        assert_eq!(unique.len(), stored.len(), "each once");
        assert!(self.acknowledged.is_subset(&unique), "nothing acknowledged is lost");
        let data = self.server().data().to_str().expect("UTF-8");
        for arguments in [["verify", "--data", data].as_slice(), &["projections", "verify", "--data", data]] {
            let (ok, _, error) = run(arguments);
            assert!(ok, "{arguments:?}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_nothing_is_lost_and_it_goes_on_when_there_is_room() {
    let mut frail = Frail::start().await;
    for after in [0, 7, 40] {
        assert_eq!(frail.write(100).await, [""; 0]);
        frail.let_fail(Fault::FullDisk, after);
        let codes = frail.write(u64::MAX).await;
        assert!(codes.len() == 8 && codes.iter().all(|code| code == "UNAVAILABLE"), "{codes:?}");
        assert!(frail.failed() > 0);
        for person in &frail.people {
            let fields = ["conversations { totalCount }", "me { name }", "user(id: \"user1\") { name }", "node(id: \"user1\") { id }"];
            for field in fields {
                let query = format!("{{ {field} }}");
                let reply = tokio::time::timeout(PATIENCE, person.request(&query, Value::Null)).await.expect("nobody waits for room");
                let expected = if reply.code().is_empty() { (200, "", false) } else { (503, "UNAVAILABLE", true) };
                assert_eq!((reply.status, reply.code(), reply.headers.contains_key("retry-after")), expected, "{}", reply.body);
            }
        }
        frail.let_fail(Fault::None, 0);
        frail.is_well_again().await;
        frail.verify().await;
    }
    assert_eq!(frail.write(100).await, [""; 0], "without a restart");
    frail.verify().await;
    let told = frail.server().log();
    assert!(told.contains("the disk is full"), "{told}");
}

/// Tables are made and brought up to date whole or not at all.
#[test]
fn a_disk_that_fills_at_the_first_start_leaves_nothing_that_is_called_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let orders = folder.path().join("faults");
    for after in (0..40).chain((40..130).step_by(6)) {
        let data = folder.path().join(format!("data{after}"));
        let seed = |fault: Option<Fault>| {
            let numbers = [fault.map_or(0, |fault| fault as i64), after, 0, 0].map(i64::to_ne_bytes).concat();
            fs::write(&orders, numbers).expect("orders");
            let mut command = Command::new(BINARY);
            command.args(["seed", "--users", "2", "--conversations", "1", "--messages", "3", "--data"]).arg(&data);
            let output = command.env("LD_PRELOAD", INJECTOR.as_os_str()).env("ENTRENOUS_FAULTS", &orders).output().expect("it runs");
            (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (_, told) = seed(Some(Fault::FullDisk));
        assert!(!told.contains("damaged"), "after {after}: {told}");
        let (ok, told) = seed(None);
        assert!(ok || told.contains("the log has events"), "after {after}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_flush_that_failed_it_ends_and_starts_again_with_all_that_was_acknowledged() {
    let mut frail = Frail::start().await;
    for after in [0, 3, 11] {
        assert_eq!(frail.write(100).await, [""; 0]);
        frail.let_fail(Fault::FailingFlush, after);
        let codes = frail.write(u64::MAX).await;
        assert!(codes.len() == 8 && codes.iter().all(|code| code == "UNAVAILABLE" || code == "gone"), "{codes:?}");
        let told = frail.again();
        assert!(told.contains("start the service again"), "{told}");
        frail.verify().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_torn_by_a_crash_takes_nothing_acknowledged_with_it() {
    let mut frail = Frail::start().await;
    for after in [0, 5, 23, 77, 150] {
        assert_eq!(frail.write(100).await, [""; 0]);
        frail.let_fail(Fault::TornWrite, after);
        let codes = frail.write(u64::MAX).await;
        assert!(codes.len() == 8, "{codes:?}");
        frail.again();
        frail.verify().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_clock_does_the_order_and_the_times_of_messages_stay() {
    const HOUR: i64 = 3_600;
    let frail = Frail::start().await;
    let [alice, bob] = [&frail.people[0], &frail.people[1]];
    let texts = ["un", "deux", "trois", "quatre"];
    for (text, clock) in texts.iter().zip([0, -HOUR, HOUR / 2, -30 * 24 * HOUR]) {
        frail.order(CLOCK, clock);
        // The tokens of this test are of now.
        let reply = alice
            .request(
                "mutation($input: SendMessageInput!) { sendMessage(input: $input) { message { sentAt } } }",
                json!({ "input": { "to": bob.id, "text": text } }),
            )
            .await;
        assert!(reply.body["data"]["sendMessage"]["message"]["sentAt"].is_string(), "{}", reply.body);
    }
    frail.order(CLOCK, 0);
    assert_eq!(bob.history(alice).await.expect("a history"), texts);
    let events = frail.server().event_lines();
    let times: Vec<&str> = events.iter().map(|event| event["at"].as_str().expect("a time")).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    // A token that ran out by the service's clock is refused, and taken again when the clock is put right.
    frail.order(CLOCK, 2 * HOUR);
    let refused = alice.request("{ me { id } }", Value::Null).await;
    assert_eq!((refused.status, refused.code()), (401, "UNAUTHENTICATED"));
    frail.order(CLOCK, 0);
    alice.ask("{ me { id } }").await;
    frail.verify().await;
}

/// As an operator's shell does, or for an instant a reader that looks whether what it sees is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_a_file_for_a_while_is_waited_for() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "avant").await;
    for (file, told) in [("events.db", "another process holds the event log's file"), ("views.db", "the views wait for their stores")] {
        let other = rusqlite::Connection::open(server.file(file)).expect("opened");
        other.execute_batch("begin immediate").expect("nobody else writes now");
        let waiting = tokio::spawn({
            let (alice, bob) = (alice.clone(), bob.clone());
            async move { (alice.sent(&bob, "pendant").await, bob.history(&alice).await.expect("a history").len()) }
        });
        until("the operator is told", async || server.log().contains(told)).await;
        other.execute_batch("rollback").expect("let go");
        let before = if file == "events.db" { 1 } else { 2 };
        assert_eq!(waiting.await.expect("answered").1, before + 1, "{file}");
    }
    assert_eq!(alice.history(&bob).await.map(|history| history.len()), Some(3));
}
