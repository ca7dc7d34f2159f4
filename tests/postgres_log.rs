//! What can happen to the log in PostgreSQL, and only to it: sessions and servers that end in the middle,
//! nodes that freeze, tables that somebody else changed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use entrenous::domain::event::Position;
use entrenous::event_log::{EventLog, LogError, OpenError};
use entrenous::storage::StoreUrl;
use uuid::Uuid;

use crate::event_log::{append, message, since, stream};
use crate::support::postgres::{Database, Postgres, connect};
use crate::support::waiting::{PATIENCE, Tally, until};

const WRITERS: u128 = 32;

async fn open(url: &str) -> EventLog {
    EventLog::open(&StoreUrl::Postgres(url.to_owned()), None, Arc::new(entrenous::cli::now)).await.expect("a log")
}

/// Appends to a stream a writer as long as `stop` is not set; the ids that were acknowledged.
fn write(logs: &[EventLog], stop: &Arc<AtomicBool>, acknowledged: &Tally) -> Vec<tokio::task::JoinHandle<Vec<Uuid>>> {
    let writer = |writer: u128| {
        let log = logs[usize::try_from(writer).expect("few") % logs.len()].clone();
        let (stop, acknowledged) = (Arc::clone(stop), acknowledged.clone());
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let (id, event) = message(writer << 64 | u128::from(n), n + 1);
                let recorded = log.append(append(stream(writer), n, vec![(id, event)])).await.expect("an outcome, and no conflict");
                assert_eq!((recorded[0].id, recorded[0].version), (id, n + 1));
                ids.push(id);
                acknowledged.add_one();
            }
            ids
        })
    };
    (0..WRITERS).map(writer).collect()
}

/// The log has what was acknowledged, each once and without a hole.
async fn verify(log: &EventLog, writers: Vec<tokio::task::JoinHandle<Vec<Uuid>>>) {
    let mut acknowledged = HashSet::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("no wrong answer"));
    }
    let events = since(log, Position(0)).await;
    let stored: HashSet<Uuid> = events.iter().map(|event| event.id).collect();
    assert_eq!(stored.len(), events.len(), "each once");
    assert_eq!(stored, acknowledged, "all that was acknowledged, and nothing else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_whose_sessions_are_terminated_have_the_outcome_that_they_are_told() {
    let database = Database::create().await;
    let logs = [open(&database.url()).await, open(&database.url()).await];
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Tally::new());
    let writers = write(&logs, &stop, &acknowledged);
    let operator = database.client().await;
    for _ in 0..15 {
        acknowledged.grows_by(200).await;
        let all = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'entrenous%'";
        operator.execute(all, &[]).await.expect("terminated");
    }
    acknowledged.grows_by(200).await;
    stop.store(true, Ordering::Relaxed);
    verify(&logs[0], writers).await;
    let mut follow = logs[1].follow(Position(0));
    assert!(!tokio::time::timeout(PATIENCE, follow.next(10)).await.expect("in time").expect("events").is_empty(), "followers go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_go_on_after_the_server_was_killed() {
    let server = Arc::new(tokio::task::spawn_blocking(Postgres::private_server).await.expect("a server"));
    let log = open(&server.url()).await;
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Tally::new());
    let writers = write(std::slice::from_ref(&log), &stop, &acknowledged);
    for _ in 0..3 {
        acknowledged.grows_by(300).await;
        let killed = Arc::clone(&server);
        let again = move || {
            killed.stop_immediate();
            killed.start();
        };
        tokio::task::spawn_blocking(again).await.expect("started again");
    }
    acknowledged.grows_by(300).await;
    stop.store(true, Ordering::Relaxed);
    verify(&log, writers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_goes_silent_loses_the_lock() {
    let database = Database::create().await;
    let log = open(&database.url()).await;
    let frozen = database.client().await;
    frozen.batch_execute("set idle_in_transaction_session_timeout = '2s'; begin; select from entrenous_log.log for update").await.expect("the lock");
    let appended = log.append(append(stream(1), 0, vec![message(1, 1)]));
    tokio::time::timeout(PATIENCE, appended).await.expect("within seconds").expect("appended");
    assert!(frozen.batch_execute("commit").await.is_err(), "what was frozen cannot go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_epoch_was_taken_writes_nothing_and_takes_a_new_one() {
    let database = Database::create().await;
    let log = open(&database.url()).await;
    let operator = database.client().await;
    let epoch = async || operator.query_one("select epoch from entrenous_log.log", &[]).await.expect("a row").get::<_, i64>(0);
    for n in 0..5u64 {
        log.append(append(stream(1), n, vec![message(u128::from(n), n + 1)])).await.expect("appended");
        let before = epoch().await;
        operator.execute("delete from entrenous_log.writers", &[]).await.expect("taken");
        log.append(append(stream(2), n, vec![message(100 + u128::from(n), n + 1)])).await.expect("appended");
        assert_eq!(epoch().await, before + 1);
    }
    assert_eq!(since(&log, Position(0)).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_is_noticed() {
    let database = Database::create().await;
    let log = open(&database.url()).await;
    for n in 0..5u64 {
        log.append(append(stream(1), n, vec![message(u128::from(n), n + 1)])).await.expect("appended");
    }
    database.client().await.execute("delete from entrenous_log.events where position = 3", &[]).await.expect("deleted");
    let reader = EventLog::open_read_only(&StoreUrl::Postgres(database.url()), None).await.expect("open");
    let error = reader.read_all(Position(0), 10).await.expect_err("a hole");
    assert!(matches!(error, LogError::Undecodable { position: Position(3), .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_format_is_refused_and_left_as_it_is() {
    let database = Database::create().await;
    open(&database.url()).await.close().await;
    let newer = "insert into entrenous_log.refinery_schema_history (version, name, applied_on, checksum)
        select 99, 'later', applied_on, checksum from entrenous_log.refinery_schema_history limit 1";
    database.client().await.execute(newer, &[]).await.expect("inserted");
    let refused = EventLog::open(&StoreUrl::Postgres(database.url()), None, Arc::new(entrenous::cli::now)).await.err().expect("refused");
    assert!(matches!(refused, OpenError::Newer { found: 99, .. }), "{refused}");
    assert!(!refused.to_string().contains('@'), "an address is told without who signs in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_leads_nowhere_is_told_without_its_password() {
    let refused = EventLog::open(&StoreUrl::Postgres("postgres://me:secret@127.0.0.1:1/chat".to_owned()), None, Arc::new(entrenous::cli::now)).await;
    let error = refused.err().expect("refused").to_string();
    assert!(error.contains("postgres://127.0.0.1:1/chat cannot be reached") && !error.contains("secret"), "{error}");
    let database = Database::create().await;
    let nothing = EventLog::open_read_only(&StoreUrl::Postgres(database.url()), None).await.err().expect("no log");
    assert!(nothing.to_string().contains("there is no event log here yet"), "{nothing}");
    let tables = "select count(*) from information_schema.schemata where schema_name = 'entrenous_log'";
    assert_eq!(connect(&database.url()).await.query_one(tables, &[]).await.expect("a count").get::<_, i64>(0), 0, "and none is made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_wait_for_a_server_that_only_reads_for_a_while() {
    let database = Database::create().await;
    let log = open(&database.url()).await;
    log.append(append(stream(1), 0, vec![message(1, 1)])).await.expect("appended");
    let operator = database.client().await;
    let only_reads = async |only: &str| {
        let name: String = operator.query_one("select current_database()::text", &[]).await.expect("a name").get(0);
        operator.batch_execute(&format!("alter database {name} set default_transaction_read_only = {only}")).await.expect("set");
        let sessions =
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and application_name = 'entrenous writer'";
        operator.execute(sessions, &[]).await.expect("terminated");
    };
    only_reads("on").await;
    let mut appended = Box::pin(log.append(append(stream(1), 1, vec![message(2, 2)])));
    let rolled_back = async || {
        let sql = "select xact_rollback from pg_stat_database where datname = current_database()";
        operator.query_one(sql, &[]).await.expect("a count").get::<_, i64>(0)
    };
    let before = rolled_back().await;
    tokio::select! {
        outcome = &mut appended => panic!("nothing can be written: {outcome:?}"),
        () = log.ended() => panic!("the writer is there"),
        () = until("it was refused in several sessions", async || rolled_back().await >= before + 3) => {}
    }
    only_reads("off").await;
    tokio::time::timeout(PATIENCE, appended).await.expect("within seconds").expect("appended");
    assert_eq!(since(&log, Position(0)).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lost_its_end_is_not_followed_any_more() {
    let database = Database::create().await;
    let log = open(&database.url()).await;
    for n in 0..3u64 {
        log.append(append(stream(1), n, vec![message(u128::from(n), n + 1)])).await.expect("appended");
    }
    // As another server would be that took over without the last of them.
    database.client().await.batch_execute("delete from entrenous_log.events where position > 1; update entrenous_log.log set head = 1").await.expect("lost");
    log.read_anew();
    let shortened = |error: &LogError| matches!(error, LogError::Shortened { known: Position(3), found: Position(1) });
    let outcome = log.follow(Position(1)).next(10).await;
    assert!(outcome.as_ref().is_err_and(shortened), "{outcome:?}");
    let latest = log.latest().await;
    assert!(latest.as_ref().is_err_and(shortened), "who reads no further knows it, too: {latest:?}");
    // Nor is it written to: what comes would take the place of what is gone.
    let appended = log.append(append(stream(2), 0, vec![message(9, 1)])).await;
    assert!(appended.as_ref().is_err_and(|error| error.to_string().contains("lost events")), "{appended:?}");
    tokio::time::timeout(PATIENCE, log.ended()).await.expect("it has ended");
}
