//! `entrenous serve`: opens the stores, catches the views up, serves until told to stop, drains.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::arguments::Serve;
use super::node::Node;
use super::signals::Signals;
use super::{is_broken_pipe, keys, print, telemetry};
use crate::app::Settings;
use crate::graphql::Executor;
use crate::http::Proxies;
use crate::http::authentication::{TokenSigner, Verifier};

/// How long a write that was begun may take to end.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(1);

pub(super) fn run(serve: Serve) -> anyhow::Result<()> {
    let telemetry = telemetry::start(&serve.trace, serve.log_format, serve.otlp_endpoint.as_deref())?;
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "no more sockets can be open than the limit of open files allows now");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(start(serve));
    runtime.shutdown_timeout(SHUTDOWN_PATIENCE);
    telemetry.end();
    outcome
}

async fn start(serve: Serve) -> anyhow::Result<()> {
    let (verifier, development) = authentication(&serve)?;
    let executor = Executor::new(serve.edge.executor_options()?)?;
    let settings = Settings { user_limit: serve.user_limit, send_rate: serve.send_rate, resume_limit: serve.resume_limit };
    let mut node = Node::start(&serve.data, &serve.views_url(), settings, serve.accept_unreadable).await?;
    // From now on there is something to end; before, a signal ends the process.
    let outside = async {
        let listener = TcpListener::bind(serve.listen).await.with_context(|| format!("cannot listen on {}", serve.listen))?;
        Ok((Signals::heard()?, listener.local_addr()?, listener))
    };
    let (mut signals, address, listener) = match outside.await {
        Ok(outside) => outside,
        Err(error) => {
            node.stop().await;
            return Err(error);
        }
    };
    let (stop, stopping) = watch::channel(false);
    // Whoever started it may not look.
    if let Err(error) = print(&greeting(address, development.is_some(), &serve))
        && !is_broken_pipe(&error)
    {
        tracing::warn!(%error, "nobody could be greeted");
    }
    let edge = crate::http::Settings {
        verifier,
        executor,
        limits: serve.edge.http_limits(),
        origins: serve.edge.allow_origin.clone(),
        proxies: Proxies::new(serve.edge.trusted_proxy.clone()),
        development,
        public_url: public_url(&serve, address),
    };
    let serving = crate::http::serve(listener, node.app.clone(), edge, stopping);
    tokio::pin!(serving);
    let outcome = tokio::select! {
        result = &mut serving => {
            node.stop().await;
            return result.context("the listener failed");
        }
        failure = node.failed() => Err(failure),
        () = signals.next() => {
            tracing::info!("stopping");
            Ok(())
        }
    };
    stop.send_replace(true);
    let stopped = async {
        let drained = serving.await.context("the listener failed");
        node.stop().await;
        outcome.and(drained)
    };
    tokio::select! {
        outcome = stopped => outcome,
        () = signals.next() => bail!("told to stop again: what was under way was not waited for"),
    }
}

/// The configured key; without one, on a loopback address, the data folder's own: development mode (C4).
fn authentication(serve: &Serve) -> anyhow::Result<(Verifier, Option<TokenSigner>)> {
    if let Some(verifier) = serve.keys.verifier(serve.token_leeway)? {
        return Ok((verifier, None));
    }
    if !serve.listen.ip().is_loopback() {
        bail!(
            "on {}, others can reach the service, so it needs a way to verify their tokens: set --token-secret-file \
             (ENTRENOUS_TOKEN_SECRET_FILE), --token-public-key (ENTRENOUS_TOKEN_PUBLIC_KEY) or --token-jwks \
             (ENTRENOUS_TOKEN_JWKS); or listen on 127.0.0.1 for development mode",
            serve.listen
        );
    }
    if serve.keys.token_audience.is_some() || serve.keys.token_issuer.is_some() {
        bail!("--token-audience and --token-issuer are for tokens of an application: set the key that verifies them, too");
    }
    let secret = keys::own_secret(&serve.data.data)?;
    Ok((Verifier::secret(&secret, &serve.keys.expected(serve.token_leeway))?, Some(TokenSigner::new(&secret))))
}

/// What clients can reach the service by, as far as it can know.
fn public_url(serve: &Serve, address: SocketAddr) -> String {
    match &serve.public_url {
        Some(url) => url.clone(),
        None if address.ip().is_unspecified() => String::new(),
        None => format!("http://{address}"),
    }
}

fn greeting(address: SocketAddr, development: bool, serve: &Serve) -> String {
    let data = serve.data.log.as_ref().map_or_else(|| serve.data.data.display().to_string(), ToString::to_string);
    if development {
        format!(
            "Entrenous serves http://{address} in development mode, with its data in {data}.\nOpen http://{address}/ and sign in by name. Ctrl-C stops it.\n"
        )
    } else {
        format!("Entrenous serves http://{address}, with its data in {data}.\n")
    }
}
