//! The contract of the event log, against every adapter. Each test has a log of its own, or its own part of
//! one: ids and streams that no other test uses, and positions from where the log stood.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use entrenous::domain::conversation::{ConversationEvent, MessageSent};
use entrenous::domain::event::{Event, Metadata, Position, RecordedEvent, Stream, Timestamp};
use entrenous::domain::ids::{ConversationId, MessageId, UserId};
use entrenous::domain::text::MessageText;
use entrenous::event_log::{Append, AppendError, Clock, EventLog, LogError, OpenError};
use entrenous::storage::StoreUrl;
use futures_util::future::join_all;
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;

use crate::support::inside::{Back, Place};
use crate::support::waiting::{PATIENCE, found};

/// Names a KurrentDB server to prove the contract on, instead of the peer.
const ELSEWHERE: &str = "ENTRENOUS_TEST_ESDB";
/// Names the file that its keys are in, from one run to the next.
const ITS_KEYS: &str = "ENTRENOUS_TEST_ESDB_KEYS";
/// Tests take turns on a server that they share: each looks at everything that is appended meanwhile.
static TURNS: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);

/// A log that can be opened again, and where several nodes may share it, by another.
pub struct Kept {
    place: Place,
    back: Back,
    elsewhere: Option<(String, OwnedMutexGuard<()>)>,
    /// What this test's ids begin at.
    base: u128,
}

impl Kept {
    pub async fn new(back: Back) -> Self {
        let elsewhere = match std::env::var(ELSEWHERE) {
            Ok(url) if back == Back::Kurrent => Some((url, Arc::clone(&TURNS).lock_owned().await)),
            _ => None,
        };
        Self { place: Place::new(back, Back::Sqlite).await, back, elsewhere, base: entrenous::cli::new_id().as_u128() & !0xffff_ffff }
    }

    pub async fn open(&self) -> EventLog {
        self.open_with(Arc::new(entrenous::cli::now)).await
    }

    fn url(&self) -> StoreUrl {
        self.elsewhere.as_ref().map_or_else(|| self.place.log(), |(url, _)| StoreUrl::Kurrent(url.clone()))
    }

    /// A server that is not this test's own keeps its log, which keeps its keys.
    fn keys(&self) -> Option<StoreUrl> {
        match &self.elsewhere {
            Some(_) => Some(StoreUrl::Sqlite(std::env::var_os(ITS_KEYS).map_or_else(|| std::env::temp_dir().join("entrenous-test-esdb.keys"), Into::into))),
            None => self.place.keys(),
        }
    }

    async fn open_with(&self, clock: Clock) -> EventLog {
        // The writer of a dropped log lets go of its file a moment later.
        let unless_in_use = async || match EventLog::open(&self.url(), self.keys().as_ref(), Arc::clone(&clock)).await {
            Err(OpenError::InUse { .. }) => None,
            opened => Some(opened.unwrap_or_else(|error| panic!("{error}"))),
        };
        found("the log can be opened", unless_in_use).await
    }

    fn is_shared(&self) -> bool {
        self.back != Back::Sqlite
    }

    /// Whether positions are 1, 2, 3…
    fn is_dense(&self) -> bool {
        [Back::Sqlite, Back::Postgres].contains(&self.back)
    }

    pub fn message(&self, id: u128, number: u64) -> (Uuid, Event) {
        message(self.base + id, number)
    }

    fn id(&self, id: u128) -> Uuid {
        Uuid::from_u128(self.base + id)
    }

    pub fn stream(&self, n: u128) -> Stream {
        stream(self.base + n)
    }

    pub fn append(&self, stream: u128, expected: u64, events: Vec<(Uuid, Event)>) -> Append {
        append(self.stream(stream), expected, events)
    }
}

pub fn message(id: u128, number: u64) -> (Uuid, Event) {
    let event = MessageSent {
        id: MessageId(Uuid::from_u128(id)),
        sender: UserId::from_stored("alice"),
        recipient: UserId::from_stored("bob"),
        text: MessageText::from_stored(format!("message {id} \"é\"")),
        number,
        sender_number: number,
    };
    (Uuid::from_u128(id), Event::Conversation(ConversationEvent::MessageSent(event)))
}

pub fn stream(n: u128) -> Stream {
    Stream::Conversation(ConversationId(Uuid::from_u128(n)))
}

pub fn append(stream: Stream, expected: u64, events: Vec<(Uuid, Event)>) -> Append {
    let metadata = Metadata { actor: Some(UserId::from_stored("alice")), correlation: Uuid::from_u128(1), causation: Uuid::from_u128(2) };
    Append { stream, expected, metadata, events }
}

/// Everything after a position, in pages.
pub async fn since(log: &EventLog, start: Position) -> Vec<RecordedEvent> {
    let (mut all, mut after) = (Vec::new(), start);
    loop {
        let page = log.read_all(after, 777).await.expect("read");
        let Some(last) = page.last() else { return all };
        assert!(page[0].position > after && page.windows(2).all(|pair| pair[0].position <= pair[1].position), "in order");
        after = last.position;
        all.extend(page);
    }
}

/// Each once, in order, and without a hole where positions are dense.
fn assert_sound(kept: &Kept, start: Position, events: &[RecordedEvent]) {
    assert_eq!(events.iter().map(|event| event.id).collect::<HashSet<_>>().len(), events.len(), "each once");
    assert!(events.iter().map(|event| (event.stream.to_string(), event.version)).collect::<HashSet<_>>().len() == events.len(), "each version once");
    if kept.is_dense() {
        assert!(events.iter().zip(start.0 + 1..).all(|(event, position)| event.position == Position(position)), "no hole");
        assert!(events.windows(2).all(|pair| pair[0].at < pair[1].at), "times grow with positions");
    }
}

async fn what_is_appended_is_read_back_in_order(kept: Kept) {
    let log = kept.open().await;
    let start = log.latest().await.expect("read");
    let first = log.append(kept.append(1, 0, vec![kept.message(10, 1), kept.message(11, 2)])).await.expect("appended");
    let second = log.append(kept.append(2, 0, vec![kept.message(20, 1)])).await.expect("appended");
    let third = log.append(kept.append(1, 2, vec![kept.message(12, 3)])).await.expect("appended");
    let all = [first, second, third].concat();
    assert_eq!(all.iter().map(|event| event.version).collect::<Vec<_>>(), [1, 2, 1, 3]);
    assert_eq!(all[0].event, kept.message(10, 1).1);
    assert_eq!(all[0].metadata, kept.append(1, 0, vec![]).metadata);
    assert_sound(&kept, start, &all);
    assert_eq!(since(&log, start).await, all);
    assert_eq!(log.read_all(all[1].position, 1).await.expect("read"), all[2..3]);
    assert_eq!(log.read_stream(&kept.stream(1), 1, 100).await.expect("read"), [all[1].clone(), all[3].clone()]);
    assert_eq!(log.read_stream(&kept.stream(1), 0, 1).await.expect("read"), all[..1]);
    assert_eq!(log.read_stream(&kept.stream(9), 0, 100).await.expect("read"), []);
    assert_eq!(log.find(kept.id(20)).await.expect("read"), Some(all[2].clone()));
    assert_eq!(log.find(kept.id(99)).await.expect("read"), None);
    assert_eq!(log.at(all[2].position).await.expect("read").map(|event| event.id), Some(all[2].id));
    assert_eq!(log.at(Position(0)).await.expect("read"), None);
    assert_eq!(log.latest().await.expect("read"), all[3].position);
}

async fn a_wrong_expected_version_appends_nothing(kept: Kept) {
    let log = kept.open().await;
    log.append(kept.append(1, 0, vec![kept.message(10, 1)])).await.expect("appended");
    let latest = log.latest().await.expect("read");
    for expected in [0, 2, 7] {
        let conflict = log.append(kept.append(1, expected, vec![kept.message(11, 2)])).await;
        assert!(matches!(conflict, Err(AppendError::Conflict { actual: 1 })), "{conflict:?}");
    }
    let conflict = log.append(kept.append(2, 1, vec![kept.message(12, 2)])).await;
    assert!(matches!(conflict, Err(AppendError::Conflict { actual: 0 })), "{conflict:?}");
    assert_eq!(log.latest().await.expect("read"), latest);
    log.append(kept.append(1, 1, vec![kept.message(11, 2)])).await.expect("what conflicted is appended where it belongs");
}

async fn the_same_append_again_returns_what_the_first_recorded(kept: Kept) {
    let log = kept.open().await;
    let twice = || kept.append(1, 0, vec![kept.message(10, 1), kept.message(11, 2)]);
    let first = log.append(twice()).await.expect("appended");
    let last = log.append(kept.append(1, 2, vec![kept.message(12, 3)])).await.expect("appended");
    assert_eq!(log.append(twice()).await.expect("known"), first);
    log.close().await;
    drop(log);
    let log = kept.open().await;
    assert_eq!(log.append(twice()).await.expect("known after a restart"), first);
    assert_eq!(log.latest().await.expect("read"), last[0].position);
}

async fn an_id_is_never_used_twice(kept: Kept) {
    let log = kept.open().await;
    let first = log.append(kept.append(1, 0, vec![kept.message(10, 1)])).await.expect("appended");
    let other_data = (kept.id(10), kept.message(11, 1).1);
    for taken in [kept.append(2, 0, vec![kept.message(10, 1)]), kept.append(1, 1, vec![kept.message(10, 2)]), kept.append(1, 0, vec![other_data])] {
        let refused = log.append(taken).await;
        assert!(matches!(&refused, Err(AppendError::IdTaken(Some(event))) if event.position == first[0].position), "{refused:?}");
    }
    let half_new = log.append(kept.append(1, 1, vec![kept.message(12, 2), kept.message(10, 3)])).await;
    assert!(matches!(half_new, Err(AppendError::IdTaken(_))), "{half_new:?}");
    assert_eq!(log.latest().await.expect("read"), first[0].position, "all or nothing");
}

/// Writers of one stream each, and many that want the same version of one stream, over some nodes.
async fn contend(kept: &Kept, logs: &[EventLog]) {
    let start = logs[0].latest().await.expect("read");
    let writers = (0..16u128).map(|writer| {
        let log = logs[usize::try_from(writer).expect("few") % logs.len()].clone();
        async move {
            for n in 0..25 {
                let events = vec![kept.message(writer * 1_000 + u128::from(n), n + 1)];
                log.append(kept.append(writer, n, events)).await.expect("appended");
            }
        }
    });
    join_all(writers).await;
    let contenders = (0..32).zip(logs.iter().cycle()).map(|(n, log)| log.append(kept.append(99, 0, vec![kept.message(90_000 + n, 1)])));
    let outcomes = join_all(contenders).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(AppendError::Conflict { actual: 1 }))), "{outcomes:?}");
    for log in logs {
        let events = since(log, start).await;
        assert_eq!(events.len(), 401);
        assert_sound(kept, start, &events);
    }
}

async fn concurrent_appends_lose_nothing(kept: Kept) {
    let log = kept.open().await;
    contend(&kept, &[log]).await;
}

async fn nodes_that_append_at_once_lose_nothing(kept: Kept) {
    if kept.is_shared() {
        let (one, other) = tokio::join!(kept.open(), kept.open());
        assert_eq!(one.id(), other.id());
        contend(&kept, &[one, other]).await;
    } else {
        let _log = kept.open().await;
        let second = EventLog::open(&kept.url(), kept.keys().as_ref(), Arc::new(entrenous::cli::now)).await;
        assert!(matches!(second, Err(OpenError::InUse { .. })), "one process at a time writes a file");
    }
}

/// One id, sent at once through two nodes to two streams, is in one of them.
async fn an_id_is_never_used_twice_at_once(kept: Kept) {
    let first = kept.open().await;
    let second = if kept.is_shared() { kept.open().await } else { first.clone() };
    for round in 0..20u128 {
        let message = || vec![kept.message(5_000 + round, 1)];
        let (one, other) =
            tokio::join!(first.append(kept.append(1_000 + 2 * round, 0, message())), second.append(kept.append(1_001 + 2 * round, 0, message())),);
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        let refused = one.err().or(other.err()).expect("one of them");
        assert!(matches!(refused, AppendError::IdTaken(_)), "{refused:?}");
    }
}

async fn time_never_goes_back_whatever_the_clock_does(kept: Kept) {
    let clock = Arc::new(AtomicI64::new(0));
    let read = Arc::clone(&clock);
    let log = kept.open_with(Arc::new(move || Timestamp(read.load(Ordering::SeqCst)))).await;
    let base = entrenous::cli::now().0 + 60_000_000;
    let mut times = Vec::new();
    for (n, time) in (0..).zip([1_000, 5_000, 10, 10, 5_001, 9_000]) {
        clock.store(base + time, Ordering::SeqCst);
        let appended = log.append(kept.append(1, n, vec![kept.message(u128::from(n), n + 1)])).await.expect("appended");
        times.push(appended[0].at.0 - base);
    }
    assert_eq!(times, [1_000, 5_000, 5_001, 5_002, 5_003, 9_000]);
}

async fn following_waits_and_misses_nothing(kept: Kept) {
    let log = kept.open().await;
    let first = log.append(kept.append(1, 0, vec![kept.message(1, 1)])).await.expect("appended");
    let other = if kept.is_shared() { kept.open().await } else { log.clone() };
    let mut follow = other.follow(first[0].position);
    let writing = async {
        for n in 1..50 {
            log.append(kept.append(1, n, vec![kept.message(u128::from(n) + 1, n + 1)])).await.expect("appended");
        }
    };
    let reading = async {
        let mut versions = Vec::new();
        while versions.len() < 49 {
            versions.extend(tokio::time::timeout(PATIENCE, follow.next(7)).await.expect("in time").expect("events").iter().map(|event| event.version));
        }
        versions
    };
    let ((), versions) = tokio::join!(writing, reading);
    assert_eq!(versions, (2..=50).collect::<Vec<_>>());
}

async fn following_goes_on_after_a_restart(kept: Kept) {
    let mut after = Position(0);
    let mut seen = Vec::new();
    for round in 0..3 {
        let log = kept.open().await;
        if round == 0 {
            after = log.latest().await.expect("read");
        }
        let mut follow = log.follow(after);
        for n in round * 5..round * 5 + 5 {
            log.append(kept.append(1, n, vec![kept.message(u128::from(n), n + 1)])).await.expect("appended");
        }
        while seen.len() < usize::try_from(round * 5 + 5).expect("few") {
            let events = tokio::time::timeout(PATIENCE, follow.next(3)).await.expect("in time").expect("events");
            after = events.last().expect("at least one").position;
            seen.extend(events.iter().map(|event| event.version));
        }
        drop(follow);
        log.close().await;
    }
    assert_eq!(seen, (1..=15).collect::<Vec<_>>());
}

async fn a_long_stream_is_read_in_pages(kept: Kept) {
    const LENGTH: u64 = 20_000;
    let log = kept.open().await;
    let start = log.latest().await.expect("read");
    for from in (0..LENGTH).step_by(1_000) {
        let events = (from..from + 1_000).map(|n| kept.message(u128::from(n), n + 1)).collect();
        log.append(kept.append(1, from, events)).await.expect("appended");
    }
    let mut versions = Vec::new();
    loop {
        let page = log.read_stream(&kept.stream(1), versions.len() as u64, 3_333).await.expect("read");
        if page.is_empty() {
            break;
        }
        versions.extend(page.iter().map(|event| event.version));
    }
    assert_eq!(versions, (1..=LENGTH).collect::<Vec<_>>());
    let all = since(&log, start).await;
    assert_eq!(all.len() as u64, LENGTH);
    assert_sound(&kept, start, &all);
}

async fn what_one_node_appended_another_knows_when_it_asks(kept: Kept) {
    if kept.is_shared() {
        let (one, other) = (kept.open().await, kept.open().await);
        for n in 0..20 {
            let appended = one.append(kept.append(1, n, vec![kept.message(u128::from(n), n + 1)])).await.expect("appended");
            assert_eq!(other.latest().await.expect("read"), appended[0].position);
            assert_eq!(other.read_stream(&kept.stream(1), n, 10).await.expect("read"), appended);
        }
    }
}

async fn a_closed_log_takes_no_more(kept: Kept) {
    let log = kept.open().await;
    let (appended, ()) = tokio::join!(log.append(kept.append(1, 0, vec![kept.message(1, 1)])), log.close());
    let refused = log.append(kept.append(2, 0, vec![kept.message(2, 1)])).await;
    assert!(matches!(refused, Err(AppendError::Log(LogError::Stopped(_)))), "{refused:?}");
    let log = {
        drop(log);
        kept.open().await
    };
    assert_eq!(log.find(kept.id(1)).await.expect("read").is_some(), appended.is_ok(), "what was said is so");
    assert_eq!(log.find(kept.id(2)).await.expect("read"), None);
}

/// Every test of the contract, for one adapter.
macro_rules! contract {
    ($adapter:ident, $back:expr) => {
        contract!($adapter, $back;
            what_is_appended_is_read_back_in_order,
            a_wrong_expected_version_appends_nothing,
            the_same_append_again_returns_what_the_first_recorded,
            an_id_is_never_used_twice,
            concurrent_appends_lose_nothing,
            nodes_that_append_at_once_lose_nothing,
            an_id_is_never_used_twice_at_once,
            time_never_goes_back_whatever_the_clock_does,
            following_waits_and_misses_nothing,
            following_goes_on_after_a_restart,
            a_long_stream_is_read_in_pages,
            what_one_node_appended_another_knows_when_it_asks,
            a_closed_log_takes_no_more,
        );
    };
    ($adapter:ident, $back:expr; $($test:ident,)*) => {
        mod $adapter {
            use super::{Back, Kept};
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(Kept::new($back).await).await;
                }
            )*
        }
    };
}

contract!(sqlite, Back::Sqlite);
contract!(postgres, Back::Postgres);
contract!(kurrentdb, Back::Kurrent);
