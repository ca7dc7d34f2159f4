//! Every change of what is stored is found, without a checkpoint.

use std::fs;
use std::sync::Arc;

use super::{findings, log_with_a_past};
use crate::support::inside::{Back, Place, sqlite};
use crate::support::postgres;

/// One change each; `$n` is an event's position.
const CHANGES: [&str; 15] = [
    "update events set version = version + 1000 where position = $n",
    "update events set type = 'MessagesRead' where position = $n and type <> 'MessagesRead'",
    "update events set type = type || ' ' where position = $n",
    "update events set at = at + 1 where position = $n",
    "update events set at = -at where position = $n",
    "update events set actor = 'mallory' where position = $n",
    "update events set actor = null where position = $n and actor is not null",
    "update events set data = replace(data, 'a', 'b') where position = $n",
    "update events set data = data || ' ' where position = $n",
    "update events set stream = (select min(number) from streams) where position = $n and version > 5",
    "update streams set name = name || '0' where number = (select stream from events where position = $n)",
    "update events set position = position + 100000 where position = $n",
    "delete from events where position = $n",
    "delete from events where position >= $n",
    "update events set hash = null, data = data || ' ' where position = $n",
];

/// What only one kind of database says so, and two events that change places.
const OF_SQLITE: [&str; 5] = [
    "update events set id = randomblob(16) where position = $n",
    "update events set correlation = randomblob(16) where position = $n",
    "update events set causation = randomblob(16) where position = $n",
    "update events set hash = randomblob(32) where position = $n",
    "update events set position = -1 where position = $n; update events set position = $n where position = $n + 1; update events set position = $n + 1 where position = -1",
];
const OF_POSTGRES: [&str; 5] = [
    "update events set id = gen_random_uuid() where position = $n",
    "update events set correlation = gen_random_uuid() where position = $n",
    "update events set causation = gen_random_uuid() where position = $n",
    "update events set hash = decode(repeat('00', 32), 'hex') where position = $n",
    "update events set position = -1 where position = $n; update events set position = $n where position = $n + 1; update events set position = $n + 1 where position = -1",
];

fn changes(own: [&'static str; 5], n: u64) -> impl Iterator<Item = String> {
    CHANGES.into_iter().chain(own).map(move |change| change.replace("$n", &n.to_string()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_a_file_is_found() {
    let place = Arc::new(Place::new(Back::Sqlite, Back::Sqlite).await);
    let checkpoints = log_with_a_past(&place).await;
    let (whole, copy) = (place.folder().join("events.db"), place.folder().join("copy.db"));
    let tampered = |sql: &str| {
        for suffix in ["", "-wal", "-shm"] {
            drop(fs::remove_file(place.folder().join(format!("copy.db{suffix}"))));
        }
        fs::copy(&whole, &copy).expect("copied");
        let connection = rusqlite::Connection::open(&copy).expect("a file");
        connection.execute_batch(sql).expect(sql);
        connection.total_changes()
    };
    tampered("");
    assert_eq!(findings(&sqlite(&copy), &checkpoints).await, [""; 0]);
    let mut tried = 0;
    for n in [1, 2, 17, 40, checkpoints[0].size, checkpoints[1].size - 1] {
        for change in changes(OF_SQLITE, n) {
            if tampered(&change) > 0 {
                tried += 1;
                assert_ne!(findings(&sqlite(&copy), &[]).await, [""; 0], "without a checkpoint: {change}");
            }
        }
    }
    assert!(tried > 100, "{tried}");
    // Every byte of one event's data, in turn.
    let data: String =
        rusqlite::Connection::open(&whole).expect("a file").query_row("select data from events where position = 40", [], |row| row.get(0)).expect("data");
    for at in 0..data.len() {
        let mut bytes = data.clone().into_bytes();
        bytes[at] ^= 1;
        let bytes = String::from_utf8(bytes).unwrap_or_default().replace('\'', "''");
        tampered(&format!("update events set data = '{bytes}' where position = 40"));
        assert!(findings(&sqlite(&copy), &[]).await[0].contains("position 40"), "{at}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_in_postgresql_is_found() {
    let place = Arc::new(Place::new(Back::Postgres, Back::Sqlite).await);
    let checkpoints = log_with_a_past(&place).await;
    let operator = postgres::connect(&place.url()).await;
    operator
        .batch_execute("set search_path = entrenous_log; create table saved as table events; create table saved_streams as table streams")
        .await
        .expect("saved");
    let restore = "truncate events; insert into events table saved; truncate streams; insert into streams table saved_streams";
    let mut tried = 0;
    for n in [1, 17, checkpoints[1].size - 1] {
        for change in changes(OF_POSTGRES, n) {
            let before = operator
                .query_one("select md5(string_agg(e::text, ',' order by position)) from events e", &[])
                .await
                .expect("a row")
                .get::<_, Option<String>>(0);
            operator.batch_execute(&change).await.expect(&change);
            let after = operator
                .query_one("select md5(string_agg(e::text, ',' order by position)) from events e", &[])
                .await
                .expect("a row")
                .get::<_, Option<String>>(0);
            if before != after || change.starts_with("update streams") {
                tried += 1;
                assert_ne!(findings(&place.log(), &[]).await, [""; 0], "without a checkpoint: {change}");
            }
            operator.batch_execute(restore).await.expect("restored");
        }
    }
    assert!(tried > 50, "{tried}");
    assert_eq!(findings(&place.log(), &checkpoints).await, [""; 0]);
}
