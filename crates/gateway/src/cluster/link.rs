//! The connection to Redis or Valkey.
//!
//! A request never waits for a server that is known to be away: the call fails immediately, and only the
//! periodic report tries again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prometheus_client::metrics::gauge::Gauge;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, Script, TlsCertificates, TlsMode,
};
use rustls::pki_types::CertificateDer;
use tokio::sync::Mutex;

use crate::config::redis_url::{RedisForm, RedisUrl};

/// The server's deadline for an answer.
pub const LIMIT: Duration = Duration::from_millis(500);

/// The server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable;

/// Which callers may wait for a server that was away a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// A request: it does not wait for a server that did not answer before.
    Request,
    /// The periodic report, which checks whether the server is back.
    Report,
}

/// The connection, reopened when it breaks.
pub struct Link {
    url: RedisUrl,
    certificates: Option<TlsCertificates>,
    connection: Mutex<Option<Connection>>,
    is_away: AtomicBool,
    /// 1 while the server answers.
    up: Gauge,
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    /// A connection to these servers, not yet opened. `authorities` replace the system's, if there are any.
    /// `up` is 1 while the server answers.
    pub fn new(url: RedisUrl, authorities: &[CertificateDer<'static>], up: Gauge) -> Self {
        let pem = |certificate: &CertificateDer<'_>| {
            format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                STANDARD.encode(certificate)
            )
        };
        let root_cert: String = authorities.iter().map(pem).collect();
        let root_cert = (!root_cert.is_empty()).then(|| root_cert.into_bytes());
        let certificates = url.tls.then_some(TlsCertificates { client_tls: None, root_cert });
        Self { url, certificates, connection: Mutex::new(None), is_away: AtomicBool::new(false), up }
    }

    /// Whether the last call was not answered.
    pub fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// Runs a script.
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[String],
        patience: Patience,
    ) -> Result<T, Unreachable> {
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        for argument in arguments {
            invocation.arg(argument);
        }
        let run = async {
            match self.connection().await? {
                Connection::One(mut one) => invocation.invoke_async(&mut one).await,
                Connection::Cluster(mut cluster) => invocation.invoke_async(&mut cluster).await,
            }
        };
        self.within_limit(patience, run).await
    }

    /// Runs a command.
    pub async fn command<T: FromRedisValue>(
        &self,
        command: &Cmd,
        patience: Patience,
    ) -> Result<T, Unreachable> {
        let run = async {
            match self.connection().await? {
                Connection::One(mut one) => command.query_async(&mut one).await,
                Connection::Cluster(mut cluster) => command.query_async(&mut cluster).await,
            }
        };
        self.within_limit(patience, run).await
    }

    async fn within_limit<T>(
        &self,
        patience: Patience,
        run: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, Unreachable> {
        if patience == Patience::Request && self.is_away() {
            return Err(Unreachable);
        }
        let timeout = || RedisError::from((ErrorKind::Io, "it does not answer"));
        let result = tokio::time::timeout(LIMIT, run).await.unwrap_or_else(|_| Err(timeout()));
        match result {
            Ok(value) => {
                self.up.set(1);
                if self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!(host = self.url.host(), "Redis answers again");
                }
                Ok(value)
            }
            Err(error) => {
                self.up.set(0);
                // After any error the next call opens a connection to the current master.
                *self.connection.lock().await = None;
                if !self.is_away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        host = self.url.host(),
                        error = described(&error),
                        "Redis does not answer correctly"
                    );
                }
                Err(Unreachable)
            }
        }
    }

    async fn connection(&self) -> Result<Connection, RedisError> {
        // One request connects and the others wait for it, all within their limit.
        let mut connection = self.connection.lock().await;
        if let Some(known) = &*connection {
            return Ok(known.clone());
        }
        let new = self.connect().await?;
        *connection = Some(new.clone());
        Ok(new)
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(LIMIT))
            .set_response_timeout(Some(LIMIT));
        Ok(match &self.url.form {
            RedisForm::Single => {
                let address = self.addresses().next().ok_or((ErrorKind::InvalidClientConfig, "no host"))?;
                let info = address.into_connection_info()?.set_redis_settings(self.access());
                let client = match &self.certificates {
                    Some(certificates) => Client::build_with_tls(info, certificates.clone())?,
                    None => Client::open(info)?,
                };
                Connection::One(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            RedisForm::Sentinel(master) => {
                let mut builder =
                    SentinelClientBuilder::new(self.addresses(), master, SentinelServerType::Master)?
                        .set_client_to_redis_db(self.url.database);
                if let Some(certificates) = &self.certificates {
                    builder = builder
                        .set_client_to_redis_tls_mode(TlsMode::Secure)
                        .set_client_to_redis_certificates(certificates.clone())
                        .set_client_to_sentinel_certificates(certificates.clone());
                }
                if let Some(user) = &self.url.user {
                    builder = builder.set_client_to_redis_username(user);
                }
                if let Some(password) = &self.url.password {
                    builder = builder.set_client_to_redis_password(password.expose());
                }
                let mut client = builder.build()?;
                Connection::One(client.get_async_connection_with_config(&config).await?)
            }
            RedisForm::Cluster => {
                let nodes = self.addresses().map(|address| {
                    Ok::<_, RedisError>(address.into_connection_info()?.set_redis_settings(self.access()))
                });
                let nodes: Vec<_> = nodes.collect::<Result<_, _>>()?;
                let mut builder =
                    ClusterClientBuilder::new(nodes).connection_timeout(LIMIT).response_timeout(LIMIT);
                if let Some(user) = &self.url.user {
                    builder = builder.username(user);
                }
                if let Some(password) = &self.url.password {
                    builder = builder.password(password.expose());
                }
                if let Some(certificates) = &self.certificates {
                    builder = builder.tls(TlsMode::Secure).certs(certificates.clone());
                }
                Connection::Cluster(builder.build()?.get_async_connection().await?)
            }
        })
    }

    fn addresses(&self) -> impl Iterator<Item = ConnectionAddr> {
        self.url.hosts.iter().map(|(host, port)| {
            if self.url.tls {
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
            } else {
                ConnectionAddr::Tcp(host.clone(), *port)
            }
        })
    }

    fn access(&self) -> RedisConnectionInfo {
        let mut access = RedisConnectionInfo::default().set_db(self.url.database);
        if let Some(user) = &self.url.user {
            access = access.set_username(user);
        }
        if let Some(password) = &self.url.password {
            access = access.set_password(password.expose());
        }
        access
    }
}

/// The error without secrets: the server's own message may quote a command.
fn described(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("{} ({code})", error.category()),
        None if error.is_timeout() => "it does not answer in time".to_owned(),
        None if error.is_connection_refusal() => "it refuses connections".to_owned(),
        None => error.category().to_owned(),
    }
}
