//! What the PostgreSQL log and the PostgreSQL read store have in common: how a server is reached, how
//! connections are kept for reading, and how one is woken by another's commit.

use std::fs;
use std::future::poll_fn;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use futures_util::future::BoxFuture;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::storage::{Backoff, OpenError, StoreUrl};

/// The most connections that a node keeps to a store for reading.
pub(crate) const CONNECTIONS: usize = 16;
/// How long a connection may take to be made, or to come free in a pool.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an unanswered peer is believed to be there.
const SILENCE: Duration = Duration::from_secs(10);

/// Every statement finds its rows by an index. The server would choose otherwise while tables are small, and
/// keep to that choice in prepared statements when they have grown; a connection can live for months.
const PLANS: [&str; 5] = ["enable_seqscan=off", "enable_bitmapscan=off", "enable_hashjoin=off", "enable_mergejoin=off", "jit=off"];
/// For sessions whose statements each have one good plan, whatever their parameters: it is made once.
pub(crate) const PLANNED_ONCE: &str = "plan_cache_mode=force_generic_plan -c enable_sort=off";

/// A statement's parameters.
pub(crate) type Parameters<'a, const N: usize> = [&'a (dyn ToSql + Sync); N];

/// A server and a database in it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Server {
    config: Config,
    tls: MakeRustlsConnect,
    /// For people: the address without its secrets.
    pub(crate) place: Arc<str>,
}

/// The end of a connection.
pub(crate) struct Ended(watch::Receiver<()>);

impl Ended {
    /// Comes back once the connection is lost.
    pub(crate) async fn wait(&self) {
        let _nothing_is_ever_sent = self.0.clone().changed().await;
    }
}

/// Why a connection or a statement failed: for operators, without what was in the statement.
pub(crate) fn reason(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

/// Classes of errors that a statement itself is to blame for, or what is stored, or what lies between: not supported, a row
/// twice, a wrong value, a broken constraint, no such statement, wrong SQL or no right to it, too much, damage
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
const LASTING: [&str; 8] = ["0A", "21", "22", "23", "26", "42", "54", "XX"];

/// Whether the same may work later: the connection is gone, or the server stops, starts, has no room, only reads for now.
pub(crate) fn is_passing(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none_or(|error| !LASTING.iter().any(|class| error.code().code().starts_with(class)))
}

impl Server {
    /// # Errors
    /// When the address means nothing, or its root certificates cannot be read.
    pub(crate) fn new(url: &str) -> Result<Self, OpenError> {
        let place = StoreUrl::Postgres(url.to_owned()).to_string();
        let wrong = |why: String| OpenError::Unreachable { place: place.clone(), reason: why };
        let (url, root, mode) = tls_options(url);
        let mut config = Config::from_str(&url).map_err(|error| wrong(reason(&error)))?;
        if mode.is_none() {
            config.ssl_mode(if is_local(&config) { SslMode::Disable } else { SslMode::Require });
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(PATIENCE);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        config.keepalives_idle(SILENCE);
        let tls = tls(&config, root.as_deref()).map_err(wrong)?;
        Ok(Self { config, tls, place: place.into() })
    }

    /// The same server, with settings for each connection's session (`name=value`).
    #[must_use]
    pub(crate) fn with_settings(&self, application: &str, settings: &[&str]) -> Self {
        let mut config = self.config.clone();
        let own = config.get_options().unwrap_or("-c client_min_messages=warning").to_owned();
        let all = PLANS.iter().chain(settings).fold(own, |all, setting| format!("{all} -c {setting}"));
        config.options(all.trim()).application_name(application);
        Self { config, ..self.clone() }
    }

    /// Connects. The connection ends when the client is dropped.
    pub(crate) async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        Ok(self.connect_until().await?.0)
    }

    /// Connects, and tells when the connection is lost.
    pub(crate) async fn connect_until(&self) -> Result<(Client, Ended), tokio_postgres::Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        let (end, ended) = watch::channel(());
        tokio::spawn(async move {
            let _ended_one_way_or_another = connection.await;
            drop(end);
        });
        Ok((client, Ended(ended)))
    }

    /// Connects, and raises `woken` at each notification of what is not known, and when the connection ends.
    async fn connect_listening(&self, woken: Arc<Notify>, is_known: IsKnown) -> Result<Client, tokio_postgres::Error> {
        let (client, mut connection) = self.config.connect(self.tls.clone()).await?;
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message
                    && !notification.payload().parse().is_ok_and(|position| is_known(position))
                {
                    woken.notify_one();
                }
            }
            woken.notify_one();
        });
        Ok(client)
    }

    /// Connections for reading.
    #[must_use]
    pub(crate) fn pool(&self, connections: usize) -> Pool {
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(self.config.clone(), self.tls.clone(), ManagerConfig { recycling_method });
        let pool = Pool::builder(manager).max_size(connections).runtime(Runtime::Tokio1).wait_timeout(Some(PATIENCE)).create_timeout(Some(PATIENCE));
        pool.build().expect("a runtime is given for the timeouts")
    }

    /// What the server did not let be done is no damage.
    pub(crate) fn not_migrated(place: String, error: &refinery::Error) -> OpenError {
        let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<tokio_postgres::Error>());
        match cause {
            Some(cause) => OpenError::Unreachable { place, reason: reason(cause) },
            None => OpenError::Damaged { place, detail: format!("its migrations do not match: {error}") },
        }
    }

    pub(crate) fn unreachable(&self, error: &tokio_postgres::Error) -> OpenError {
        OpenError::Unreachable { place: self.place.to_string(), reason: reason(error) }
    }
}

/// What looks; it ends when this is dropped.
pub(crate) struct Looking(JoinHandle<()>);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a position that was notified is known here already, for this node wrote it.
pub(crate) type IsKnown = Arc<dyn Fn(u64) -> bool + Send + Sync>;

/// Looks at once, at every notification on a channel, after every reconnection, and now and then in case one
/// was lost. What a notification says is never believed: it only wakes, or not where it says what is known. `lost` hears
/// that the connection is gone, and with it maybe what was seen.
pub(crate) fn look_when_notified(
    server: Server,
    channel: &'static str,
    is_known: IsKnown,
    now_and_then: Duration,
    lost: impl Fn() + Send + 'static,
    mut look: impl FnMut(Arc<Client>) -> BoxFuture<'static, Result<(), tokio_postgres::Error>> + Send + 'static,
) -> Looking {
    Looking(tokio::spawn(async move {
        let (mut backoff, mut is_lost) = (Backoff::new(), false);
        loop {
            let woken = Arc::new(Notify::new());
            let listening: Result<(), tokio_postgres::Error> = async {
                let client = Arc::new(server.connect_listening(Arc::clone(&woken), Arc::clone(&is_known)).await?);
                client.batch_execute(&format!("listen {channel}")).await?;
                loop {
                    look(Arc::clone(&client)).await?;
                    backoff.reset();
                    if std::mem::replace(&mut is_lost, false) {
                        tracing::info!(place = %server.place, channel, "notified again");
                    }
                    let _woken_or_not = tokio::time::timeout(now_and_then, woken.notified()).await;
                }
            }
            .await;
            if let Err(error) = listening {
                lost();
                if !std::mem::replace(&mut is_lost, true) {
                    tracing::warn!(place = %server.place, channel, reason = reason(&error), "the connection that is notified was lost");
                }
            }
            backoff.wait().await;
        }
    }))
}

/// The address without the options that are ours to understand: `sslrootcert`, and modes that verify, as all do here.
fn tls_options(url: &str) -> (String, Option<String>, Option<String>) {
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), None, None) };
    let (mut root, mut mode, mut rest) = (None, None, Vec::new());
    for option in query.split('&') {
        match option.split_once('=') {
            Some(("sslrootcert", file)) => root = Some(file.replace("%2F", "/").replace("%2f", "/")),
            Some(("sslmode", "verify-full" | "verify-ca" | "require")) => {
                mode = Some("require".to_owned());
                rest.push("sslmode=require");
            }
            Some(("sslmode", other)) => {
                mode = Some(other.to_owned());
                rest.push(option);
            }
            _ => rest.push(option),
        }
    }
    (if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) }, root, mode)
}

fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback()),
    })
}

/// Certificates are verified whenever TLS is used, by the system's roots or by those of a PEM file.
fn tls(config: &Config, root: Option<&str>) -> Result<MakeRustlsConnect, String> {
    let mut roots = RootCertStore::empty();
    match root {
        Some(file) => {
            let pem = fs::read(file).map_err(|error| format!("{file}: {error}"))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| format!("{file}: {error}"))?;
                roots.add(certificate).map_err(|error| format!("{file}: {error}"))?;
            }
        }
        None if config.get_ssl_mode() == SslMode::Disable => {}
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(MakeRustlsConnect::new(client.with_root_certificates(roots).with_no_client_auth()))
}
