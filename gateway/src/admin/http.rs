//! The HTTP endpoints: metrics on `openmetrics_port`, health on `healthcheck_port`, both when the ports are the same.
//! Served by the control runtime, so that neither is in the way of clients, and bounded in every direction (S9).

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::{health, http_host, metrics};
use crate::app::seldom::Seldom;
use crate::app::state::App;
use crate::config::General;
use crate::net::listen::listen;

/// Connections that are served at a time, on each port.
const MAX_CONNECTIONS: usize = 64;

/// Time to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest life of a connection.
const LIFETIME: Duration = Duration::from_secs(300);

/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// Pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(50);

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

static MISDIRECTED: Seldom = Seldom::new();

/// What a port serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Serves {
    metrics: bool,
    health: bool,
}

/// A port that is open.
pub(crate) struct Endpoint {
    listener: TcpListener,
    serves: Serves,
}

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {host}:{port} for {what}: {error}")]
pub(crate) struct BindError {
    host: String,
    port: u16,
    what: &'static str,
    error: io::Error,
}

/// Opens the ports that the configuration names.
pub(crate) async fn bind(general: &General) -> Result<Vec<Endpoint>, BindError> {
    let shared = general.openmetrics_port.is_some() && general.openmetrics_port == general.healthcheck_port;
    let metrics = (general.openmetrics_host.as_str(), general.openmetrics_port, "metrics");
    let health = (general.host.as_str(), general.healthcheck_port.filter(|_| !shared), "health checks");
    let mut endpoints = Vec::new();
    for (at, (host, port, what)) in [metrics, health].into_iter().enumerate() {
        let Some(port) = port else { continue };
        let listener = open(host, port, general.reuse_port).await;
        let listener = listener.map_err(|error| BindError { host: host.to_owned(), port, what, error })?;
        if let Ok(address) = listener.local_addr() {
            info!(event = "listening", %address, what, "listening for HTTP");
        }
        endpoints.push(Endpoint { listener, serves: Serves { metrics: at == 0, health: at == 1 || shared } });
    }
    Ok(endpoints)
}

/// The first address of the host that can be had.
async fn open(host: &str, port: u16, reuse_port: bool) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        match listen(address, false, reuse_port) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Serves the ports; they are closed when this is dropped.
pub(crate) async fn serve(app: &'static App, endpoints: Vec<Endpoint>) {
    let mut ports = JoinSet::new();
    for endpoint in endpoints {
        ports.spawn(accept(app, endpoint));
    }
    while ports.join_next().await.is_some() {}
}

async fn accept(app: &'static App, endpoint: Endpoint) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let failures = Seldom::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match endpoint.listener.accept().await {
            Ok((socket, _)) => {
                tokio::spawn(async move {
                    converse(app, socket, endpoint.serves).await;
                    drop(place);
                });
            }
            Err(error) => {
                if let Some(count) = failures.due() {
                    warn!(event = "accept", %error, count, "an HTTP client could not be accepted");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(app: &'static App, socket: TcpStream, serves: Serves) {
    let at = socket.local_addr().ok().map(|address| address.ip());
    let service = service_fn(move |request: Request<Incoming>| async move {
        if !http_host::is_meant(&request, at, &app.state().config.general) {
            return Ok(misdirected(&request));
        }
        Ok::<_, Infallible>(answer(app, serves, request.method(), request.uri().path()).await)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(socket), service);
    if let Ok(Err(error)) = tokio::time::timeout(LIFETIME, connection).await {
        debug!(%error, "an HTTP client was lost");
    }
}

async fn answer(app: &'static App, serves: Serves, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match (serves, path) {
        (Serves { metrics: true, .. }, "/metrics") => text(StatusCode::OK, OPENMETRICS, metrics::render(app)),
        (Serves { health: true, .. }, "/live") => json(StatusCode::OK, "{\"live\":true}".to_owned()),
        (Serves { health: true, .. }, "/ready" | "/") => {
            let health = health::readiness(app).await;
            let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            json(status, serde_json::to_string(&health).unwrap_or_default())
        }
        _ => text(StatusCode::NOT_FOUND, "text/plain", "there is nothing here\n".to_owned()),
    }
}

/// For a host that this one is not (RFC 9110, section 15.5.20).
fn misdirected(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if let Some(count) = MISDIRECTED.due() {
        let host = request.headers().get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
        warn!(event = "http_host", host = host.as_deref(), count, "an HTTP request for another host was refused");
    }
    let reason = "this is no name of the gateway: list the names that it has in http_hosts\n";
    text(StatusCode::MISDIRECTED_REQUEST, "text/plain", reason.to_owned())
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    text(status, "application/json", body + "\n")
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}
