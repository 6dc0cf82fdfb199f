//! The HTTP server for scrapers and probes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::Readiness;

/// Media type of OpenMetrics 1.0 text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    readiness: Readiness,
}

/// Listens on an address; a separate step, so that a program fails at its start and knows the port it got.
///
/// # Errors
/// What the system says when it cannot listen there.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers `/metrics`, `/healthz` (200 as long as the program runs) and `/readyz` (200, or 503 and what is missing)
/// until the future is dropped.
///
/// # Errors
/// What the system says when it stops listening.
pub async fn serve(listener: TcpListener, registry: Arc<Registry>, readiness: Readiness) -> io::Result<()> {
    axum::serve(listener, router(Shared { registry, readiness })).await
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(shared)
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &shared.registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, OPENMETRICS)], text),
        Err(error) => {
            let type_ = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (StatusCode::INTERNAL_SERVER_ERROR, type_, format!("{error}\n"))
        }
    }
}

async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    match shared.readiness.missing() {
        missing if missing.is_empty() => (StatusCode::OK, "ok\n".to_owned()),
        missing => (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_health_and_readiness_are_served() {
        let mut registry = Registry::default();
        let commands: Counter = Counter::default();
        registry.register("commands", "Commands run", commands.clone());
        commands.inc();
        let readiness = Readiness::new();
        readiness.waiting("socket", "not listening yet");
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(registry), readiness.clone()));

        let answer = fetch(address, "/metrics").await;
        assert!(answer.contains("commands_total 1\n"), "{answer}");
        assert!(answer.contains(OPENMETRICS), "{answer}");
        assert!(fetch(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let answer = fetch(address, "/readyz").await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.contains("socket: not listening yet"),
            "{answer}"
        );
        readiness.ready("socket");
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        server.abort();
    }
}
