//! The measured programs: commands and configurations, all on loopback.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::mock::{self, Pace};
use crate::secure::Secure;

/// The key that the load generator calls with.
pub const KEY: &str = "bench-key";
/// A key of a project with a budget and three limits, none of which is ever reached.
pub const GOVERNED_KEY: &str = "governed-key";
const PROJECT: &str = r#"
[projects.governed]
budgets = [{ usd = "1000000", per = "month" }]
limits = [
  { requests = 1000000000, per = "minute" },
  { tokens = 1000000000000, per = "hour" },
  { concurrent = 100000 },
]
keys = [{ name = "key", key = "governed-key" }]
"#;

/// Between two events of a paced stream.
pub const PAUSE: Duration = Duration::from_millis(5);

/// The mock upstreams, by pace.
#[derive(Clone, Debug)]
pub struct Upstreams {
    pub burst: SocketAddr,
    pub paced: SocketAddr,
    pub held: SocketAddr,
    /// TLS and HTTP/2, as providers use.
    pub secure: Option<Secure>,
}

impl Upstreams {
    /// Starts all three, the first with this pace.
    pub async fn start(burst: Pace) -> Result<Self> {
        Ok(Self {
            burst: mock::start(burst).await?,
            paced: mock::start(Pace::Every(PAUSE)).await?,
            held: mock::start(Pace::Held).await?,
            secure: Some(Secure::start().await?),
        })
    }
}

/// The size of the gateway's configuration beyond the required part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub keys: usize,
    pub models: usize,
}

/// Writes the gateway's configuration: authentication, routing, cost, metrics and the usage log are on.
pub fn gateway_config(
    folder: &Path,
    listen: SocketAddr,
    upstreams: &Upstreams,
    size: Size,
) -> Result<PathBuf> {
    let keys: Vec<String> = (0..size.keys).map(|at| format!(", \"key-{at:06}\"")).collect();
    let mut text = format!(
        "[server]\nlisten = \"{listen}\"\n\n[auth]\napi_keys = [\"{KEY}\"{}]\n\n[database]\nurl = \"sqlite:usage.db\"\n{PROJECT}",
        keys.concat()
    );
    let Upstreams { burst, paced, held, secure } = upstreams;
    if let Some(secure) = secure {
        let (authority, port) = (secure.write_authority(folder)?, secure.address.port());
        write!(
            text,
            "\n[tls]\nca_file = {:?}\n\n[providers.secure-openai]\nprotocol = \"openai-chat\"\napi_key = \"up\"\n\
             base_url = \"https://localhost:{port}/v1\"\n",
            shown(&authority)
        )?;
    }
    let providers = [
        ("openai", None, format!("http://{burst}/v1")),
        ("anthropic", None, format!("http://{burst}")),
        ("google-ai-studio", None, format!("http://{burst}")),
        ("paced-openai", Some("openai-chat"), format!("http://{paced}/v1")),
        ("paced-anthropic", Some("anthropic-messages"), format!("http://{paced}")),
        ("paced-gemini", Some("gemini"), format!("http://{paced}")),
        ("held-openai", Some("openai-chat"), format!("http://{held}/v1")),
    ];
    for (id, protocol, url) in providers {
        write!(text, "\n[providers.{id}]\napi_key = \"up\"\nbase_url = \"{url}\"\n")?;
        if let Some(protocol) = protocol {
            writeln!(text, "protocol = \"{protocol}\"")?;
        }
    }
    for at in 0..size.models {
        write!(text, "\n[models.model-{at:05}]\ntargets = [\"openai/gpt-4o-mini\"]\n")?;
    }
    let path = folder.join("llmgateway.toml");
    fs::write(&path, text)?;
    Ok(path)
}

/// The command that serves that configuration.
pub fn gateway_command(gateway: &Path, config: &Path) -> Vec<String> {
    [shown(gateway), "serve".to_owned(), "--config".to_owned(), shown(config)].to_vec()
}

/// nginx as a plain reverse proxy that keeps its connections open: the lowest cost of a proxy of its kind.
/// One process in the foreground, with a port for each upstream.
pub fn nginx_command(
    nginx: &Path,
    folder: &Path,
    ports: [(SocketAddr, SocketAddr); 2],
) -> Result<Vec<String>> {
    let mut servers = String::new();
    for (at, (listen, upstream)) in ports.iter().enumerate() {
        write!(
            servers,
            "  upstream up{at} {{ server {upstream}; keepalive 128; keepalive_requests 100000000; }}\n  \
             server {{ listen {listen} backlog=1024; location / {{ proxy_pass http://up{at}; }} }}\n"
        )?;
    }
    let text = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 4096; }}\nhttp {{\n  access_log off;\n  tcp_nodelay on;\n  \
         keepalive_requests 100000000;\n  client_max_body_size 20m;\n  client_body_buffer_size 2m;\n  \
         client_body_temp_path body;\n  proxy_temp_path proxy;\n  fastcgi_temp_path fastcgi;\n  \
         uwsgi_temp_path uwsgi;\n  scgi_temp_path scgi;\n  proxy_http_version 1.1;\n  \
         proxy_set_header Connection \"\";\n  proxy_buffering off;\n{servers}}}\n"
    );
    fs::write(folder.join("nginx.conf"), text)?;
    let prefix = format!("{}/", folder.display());
    Ok([&shown(nginx), "-p", &prefix, "-c", "nginx.conf", "-e", "stderr"].map(str::to_owned).to_vec())
}

/// The proxy that does nothing.
pub fn floor_command(listen: SocketAddr, upstream: SocketAddr, look: &str) -> Result<Vec<String>> {
    let this = shown(&std::env::current_exe()?);
    let (listen, upstream) = (listen.to_string(), upstream.to_string());
    let words = [&this, "floor", "--listen", &listen, "--upstream", &upstream, "--look", look];
    Ok(words.map(str::to_owned).to_vec())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
