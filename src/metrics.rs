//! What the service counts and measures of itself, for Prometheus. Aggregates only: no label names a
//! user, a conversation or a text.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The measures of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// The outcome of a command whose client did not wait, or not long enough.
const UNANSWERED: &str = "unanswered";
/// The outcome of a command that was not begun.
pub const RATE_LIMITED: &str = "rate_limited";

/// Which command, and what became of it.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CommandLabels {
    pub command: &'static str,
    /// `done`, `refused`, `rate_limited`, `unavailable` or `unanswered`.
    pub outcome: &'static str,
}

/// The code of a top-level error.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CodeLabels {
    pub code: String,
}

/// `http`, `websocket` or `sse`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TransportLabels {
    pub transport: &'static str,
}

/// Each with its meaning in [`Metrics::register`].
pub struct Metrics {
    registry: Registry,
    pub commands: Family<CommandLabels, Counter>,
    pub command_time: Histogram,
    pub conflicts: Counter,
    pub append_time: Histogram,
    pub append_batch: Histogram,
    pub log_position: Gauge,
    pub views_position: Gauge,
    pub views_lag: Gauge,
    pub views_progress_at: Gauge,
    pub projector_leads: Gauge,
    pub projection_parked: Gauge,
    pub fold_batch: Histogram,
    pub fold_time: Histogram,
    pub subscriptions: Gauge,
    pub sockets: Gauge,
    pub inbox_items: Counter,
    pub inbox_dropped: Counter,
    pub operations: Family<TransportLabels, Counter>,
    pub rejected: Family<CodeLabels, Counter>,
    pub documents_parsed: Counter,
}

/// From 0.1 ms to 6.5 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 17))
}

/// From 1 to 4,096.
fn counts() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 13))
}

impl Metrics {
    fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("entrenous"),
            commands: Family::default(),
            command_time: seconds(),
            conflicts: Counter::default(),
            append_time: seconds(),
            append_batch: counts(),
            log_position: Gauge::default(),
            views_position: Gauge::default(),
            views_lag: Gauge::default(),
            views_progress_at: Gauge::default(),
            projector_leads: Gauge::default(),
            projection_parked: Gauge::default(),
            fold_batch: counts(),
            fold_time: seconds(),
            subscriptions: Gauge::default(),
            sockets: Gauge::default(),
            inbox_items: Counter::default(),
            inbox_dropped: Counter::default(),
            operations: Family::default(),
            rejected: Family::default(),
            documents_parsed: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("commands", "Commands by what became of them", self.commands.clone());
        let help = "From a command's arrival to its answer";
        registry.register_with_unit("command", help, Unit::Seconds, self.command_time.clone());
        registry.register("conflicts", "Decisions on conversations that were made again: another was appended before", self.conflicts.clone());
        registry.register_with_unit("append", "From a batch of appends to its flush", Unit::Seconds, self.append_time.clone());
        registry.register("append_batch", "Appends that shared a transaction and a flush", self.append_batch.clone());
        registry.register("log_position", "The position of the log's last event", self.log_position.clone());
        registry.register("projection_position", "The position that the views have reached", self.views_position.clone());
        registry.register("projection_lag", "Positions of the log that the views have yet to show", self.views_lag.clone());
        let help = "When the views last went on, in seconds since 1970";
        registry.register("projection_progress_timestamp_seconds", help, self.views_progress_at.clone());
        registry.register("projection_parked", "Entities whose events cannot be folded, and wait for a retry", self.projection_parked.clone());
        registry.register("projection_leads", "1 while this node is the one that folds the views", self.projector_leads.clone());
        registry.register("projection_batch", "Events folded and written together", self.fold_batch.clone());
        registry.register_with_unit("projection", "To fold and write a batch", Unit::Seconds, self.fold_time.clone());
        registry.register("subscribers", "Inbox subscriptions that are open", self.subscriptions.clone());
        registry.register("sockets", "WebSockets that are open", self.sockets.clone());
        registry.register("inbox_items", "Inbox events handed to subscriptions", self.inbox_items.clone());
        registry.register("inbox_dropped", "Subscriptions that were too slow for their queue and read from the views again", self.inbox_dropped.clone());
        registry.register("operations", "GraphQL operations that were executed", self.operations.clone());
        registry.register("rejected", "Requests and operations that ended with a top-level error", self.rejected.clone());
        registry.register("documents_parsed", "GraphQL documents that were parsed and validated, not known before", self.documents_parsed.clone());
    }

    /// Everything, as Prometheus reads it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes any text");
        text
    }

    /// Runs a command and counts what became of it.
    pub async fn count_command<T, E>(
        &self,
        command: &'static str,
        run: impl Future<Output = Result<T, E>>,
        outcome_of: impl FnOnce(&E) -> &'static str,
    ) -> Result<T, E> {
        let mut counted = Counted { metrics: self, command, outcome: UNANSWERED, timer: Timer::start() };
        let result = run.await;
        counted.outcome = result.as_ref().err().map_or("done", outcome_of);
        result
    }

    /// Counts commands that were not run.
    pub fn count_commands(&self, command: &'static str, outcome: &'static str, count: usize) {
        self.commands.get_or_create(&CommandLabels { command, outcome }).inc_by(count as u64);
    }

    /// Counts an operation that is executed.
    pub fn count_operation(&self, transport: &'static str) {
        self.operations.get_or_create(&TransportLabels { transport }).inc();
    }

    /// Counts what ended with a top-level error.
    pub fn count_rejection(&self, code: &str) {
        self.rejected.get_or_create(&CodeLabels { code: code.to_owned() }).inc();
    }
}

/// A command, counted however it ends: nobody may wait for its answer any more.
struct Counted<'a> {
    metrics: &'a Metrics,
    command: &'static str,
    outcome: &'static str,
    timer: Timer,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.command_time.observe(self.timer.seconds());
        self.metrics.count_commands(self.command, self.outcome, 1);
    }
}

/// A stretch of time, for measuring alone.
#[derive(Clone, Copy)]
pub struct Timer(Instant);

impl Timer {
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "measuring decides nothing")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    #[must_use]
    pub fn seconds(self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}

/// A gauge raised by one while this is held.
pub struct Held(&'static Gauge);

impl Held {
    #[must_use]
    pub fn one(gauge: &'static Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
