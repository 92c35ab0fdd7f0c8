//! Accepts connections, within limits, and lets them finish when the gateway stops.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Site, handle};

/// Limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at a time; more wait to be accepted.
    pub max_connections: usize,
    /// Largest request head in bytes.
    pub header_limit: usize,
    /// How long a client may take to send its head.
    pub header_timeout: Duration,
    /// How long answers may go on after the stop.
    pub shutdown: Duration,
}

/// Serves until `stop` is ready, then refuses new connections and waits for the running answers. Returns true when all
/// of them were finished in time.
pub async fn serve(
    listener: TcpListener,
    site: Arc<Site>,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> bool {
    let connections = Arc::new(Semaphore::new(limits.max_connections));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let permit = tokio::select! {
            permit = connections.clone().acquire_owned() => permit,
            () = &mut stop => break,
        };
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = &mut stop => break,
        };
        match (accepted, permit) {
            (Ok(stream), Ok(permit)) => connection(stream, &site, limits, &graceful, permit),
            (Err(error), _) => {
                // Out of file descriptors, usually: accepting again at once would spin.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            (_, Err(_)) => break,
        }
    }
    drop(listener);
    tokio::time::timeout(limits.shutdown, graceful.shutdown()).await.is_ok()
}

/// A connection that sends small pieces at once: without that, each waits up to 40 ms for the peer's acknowledgement of
/// the one before.
async fn accept(listener: &TcpListener) -> std::io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    Ok(stream)
}

fn connection(
    stream: TcpStream,
    site: &Arc<Site>,
    limits: Limits,
    graceful: &GracefulShutdown,
    permit: OwnedSemaphorePermit,
) {
    let site = site.clone();
    let metrics = site.metrics.clone();
    let service = service_fn(move |request| handle(site.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_limit.max(16 << 10))
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service);
    let watched = graceful.watch(connection);
    metrics.connections().inc();
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection ended with an error");
        }
        metrics.connections().dec();
        drop(permit);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_connections_do_not_wait_for_acknowledgements() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (peer, stream) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), accept(&listener));
        assert!(stream.unwrap().nodelay().unwrap());
        drop(peer);
    }
}
