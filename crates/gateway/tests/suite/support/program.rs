//! The program in a process of its own, stopped on drop.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::client::{Reply, chat, get};
use super::gateway::{CONFIG_FILE, KEY};

/// `llmgateway serve`, with standard error as the test wants it.
pub struct Program {
    pub child: Child,
    pub address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Program {
    pub async fn start(config: &str, level: &str, stderr: Stdio) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_llmgateway")), config, level, stderr).await
    }

    /// Started by a command that takes the arguments and becomes the program.
    pub async fn start_by(mut command: Command, config: &str, level: &str, stderr: Stdio) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        fs::write(folder.path().join(CONFIG_FILE), with_key(config)).unwrap();
        let child = command
            .args(["serve", "--config", CONFIG_FILE, "--listen", &address.to_string()])
            .current_dir(folder.path())
            .env_clear()
            .env("LLMGATEWAY_LOG", level)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let program = Self { child, address, folder };
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                // Signals are handled once requests are served.
                assert_eq!(get(address, "/health").await.status, 200);
                return program;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the program does not start");
    }

    /// A file of its working folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config_file(&self) -> PathBuf {
        self.path(CONFIG_FILE)
    }

    /// Writes another configuration into its file.
    pub fn rewrite(&self, config: &str) {
        fs::write(self.config_file(), with_key(config)).unwrap();
    }

    pub async fn chat(&self, body: &Value) -> Reply {
        chat(self.address, &[], body.to_string().as_bytes()).await
    }

    /// Sends a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub async fn ended(&mut self) -> ExitStatus {
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the program does not stop");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with_key(config: &str) -> String {
    format!("[auth]\napi_keys = [\"{KEY}\"]\n{config}")
}
