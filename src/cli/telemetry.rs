//! What the service tells its operator, on standard error and, where one is configured, to a collector
//! of traces. Message texts and tokens never.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, bail};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use super::arguments::LogFormat;

/// Libraries that tell what they transport when they are asked for details: a socket's frames, with the
/// tokens and texts in them. No filter of an operator brings that back.
const TELLTALES: [&str; 8] = ["h2", "hyper", "kurrentdb", "postgres", "tokio_postgres", "tokio_tungstenite", "tonic", "tungstenite"];

/// What has to be ended with the service.
pub(super) struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

/// Begins to tell.
///
/// # Errors
/// When the filter or the collector's address means nothing.
pub(super) fn start(filter: &str, format: LogFormat, collector: Option<&str>) -> anyhow::Result<Telemetry> {
    check(filter).context("--trace")?;
    let asked = EnvFilter::try_new(format!("refinery_core=warn,kurrentdb=error,{filter}")).context("--trace")?;
    let discreet = Targets::new().with_default(LevelFilter::TRACE).with_targets(TELLTALES.map(|target| (target, LevelFilter::INFO)));
    let traces = collector.map(collect).transpose().context("--otlp-endpoint")?;
    let spans = traces.as_ref().map(|provider| {
        let own = Targets::new().with_target(env!("CARGO_PKG_NAME"), LevelFilter::DEBUG);
        tracing_opentelemetry::layer().with_tracer(provider.tracer(env!("CARGO_PKG_NAME"))).with_filter(own)
    });
    tracing_subscriber::registry().with(spans).with(lines(format).with_filter(asked.and(discreet))).init();
    // Where, and not what: the message of a panic may quote a text.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a task panicked");
    }));
    Ok(Telemetry { traces })
}

/// A word by itself is a level: taken for the name of a module, one that is misspelt would silence everything.
fn check(filter: &str) -> anyhow::Result<()> {
    let words = filter.split(',').map(str::trim).filter(|directive| !directive.contains(['=', '[', ':']));
    match words.into_iter().find(|word| filter.trim().is_empty() || word.parse::<LevelFilter>().is_err()) {
        Some(word) => bail!("{word:?} is no level: off, error, warn, info, debug or trace"),
        None => Ok(()),
    }
}

fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync> {
    let lines = fmt::layer().with_writer(io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    }
}

/// Sends spans to a collector, a batch at a time from a thread of their own.
fn collect(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let url = url::Url::parse(endpoint)?;
    // The address of a collector, or of where it takes traces.
    let url = if url.path() == "/" { url.join("v1/traces")? } else { url };
    let exporter = SpanExporter::builder().with_http().with_endpoint(url.as_str()).build()?;
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let resource = Resource::builder().with_service_name(env!("CARGO_PKG_NAME")).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

impl Telemetry {
    /// Sends what is still to be sent.
    pub(super) fn end(self) {
        if let Some(Err(error)) = self.traces.map(|traces| traces.shutdown()) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}
