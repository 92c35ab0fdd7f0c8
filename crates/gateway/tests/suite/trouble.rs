//! No failure of the log, the usage log or the disk ends a request.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::{KEY, TestGateway, Upstream, answer, chat, connect, error, get, question};

/// The program itself, with standard error as the test wants it.
struct Program {
    child: Child,
    address: std::net::SocketAddr,
    _folder: tempfile::TempDir,
}

impl Program {
    async fn start(config: &str, level: &str, stderr: Stdio) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = folder.path().join("llmgateway.toml");
        fs::write(&path, format!("[auth]\napi_keys = [\"{KEY}\"]\n{config}")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_llmgateway"))
            .args(["serve", "--config", "llmgateway.toml", "--listen", &address.to_string()])
            .current_dir(folder.path())
            .env_clear()
            .env("LLMGATEWAY_LOG", level)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let program = Self { child, address, _folder: folder };
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return program;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the program does not start");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first provider fails, which is logged, and the second serves.
async fn serves_while_it_logs(
    level: &str,
    requests: usize,
    stderr: Stdio,
    after_start: impl FnOnce(&mut Child),
) {
    let bad = Upstream::playing(vec![error("500 Internal Server Error")]).await;
    let good = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!(
        "{}{}[models.pair]\ntargets = [\"one/m\", \"two/m\"]\npick = \"order\"\n[routing]\nretry = {{ backoff_ms = 0 }}\n",
        bad.provider("one", "openai-chat"),
        good.provider("two", "openai-chat"),
    );
    let mut program = Program::start(&config, level, stderr).await;
    after_start(&mut program.child);
    let body = question("pair").to_string();
    for number in 0..requests {
        let reply = chat(program.address, &[], body.as_bytes()).await;
        assert_eq!(reply.status, 200, "request {number}: {}", reply.text());
    }
    assert!(program.child.try_wait().unwrap().is_none(), "it is alive");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_log_on_a_full_disk_costs_no_answer() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    serves_while_it_logs("warn", 3, full.into(), |_| {}).await;
}

#[tokio::test]
async fn a_log_whose_reader_has_closed_costs_no_answer() {
    serves_while_it_logs("warn", 3, Stdio::piped(), |child| drop(child.stderr.take())).await;
}

/// A full pipe blocks its writer.
#[tokio::test]
async fn a_log_whose_reader_has_stalled_costs_no_answer() {
    serves_while_it_logs("trace", 60, Stdio::piped(), |_| {}).await;
}

fn spool_of(gateway: &TestGateway) -> PathBuf {
    PathBuf::from(format!("{}.spool", gateway.database.strip_prefix("sqlite:").unwrap()))
}

#[tokio::test]
async fn readiness_and_metrics_report_that_records_cannot_be_kept() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::of(&upstream).await;
    let body = question("one/any");
    let ask = || gateway.chat_with(&[("x-request-id", "first")], &body);
    assert_eq!(ask().await.status, 200);
    assert_eq!(gateway.get("/ready").await.status, 200);
    // A file in place of the folder prevents even the folder from being created.
    let spool = spool_of(&gateway);
    let aside = spool.with_extension("aside");
    fs::rename(&spool, &aside).unwrap();
    fs::write(&spool, "in the way").unwrap();
    assert_eq!(ask().await.status, 200, "an answer is worth more than its record");
    let ready = gateway.get("/ready").await;
    assert_eq!(ready.status, 503);
    assert!(!ready.text().contains("gateway.db"), "{}", ready.text());
    assert_eq!(gateway.metric("llmgateway_usage_log_writable").await, Some(0.0));
    assert_eq!(gateway.metric("llmgateway_unrecorded_total").await, Some(1.0));
    fs::remove_file(&spool).unwrap();
    assert_eq!(gateway.get("/ready").await.status, 200, "it recovers");
    assert_eq!(gateway.metric("llmgateway_usage_log_writable").await, Some(1.0));
    let reply = gateway.chat_with(&[("x-request-id", "last")], &question("one/any")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(gateway.metric("llmgateway_unrecorded_total").await, Some(1.0));
    let ids: Vec<String> = gateway.records().await.into_iter().map(|record| record.request_id).collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    assert!(ids.contains(&"last".to_owned()));
}

#[tokio::test]
async fn names_of_models_are_bounded_wherever_they_are_kept() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::of(&upstream).await;
    let longest = format!("one/{}", "m".repeat(508));
    assert_eq!(gateway.chat(&question(&longest)).await.status, 200);
    for name in [format!("{longest}m"), "x".repeat(400_000), format!("one/{}", "é".repeat(200_000))] {
        let reply = gateway.chat(&question(&name)).await;
        assert_eq!(reply.status, 400);
        assert!(reply.body.len() < 1000, "{}", reply.text());
        let mut body = question("one/any");
        body["models"] = json!([name]);
        assert_eq!(gateway.chat(&body).await.status, 400);
    }
    for path in ["/v1/routing", "/metrics"] {
        assert!(!gateway.get(path).await.text().contains(&"m".repeat(509)), "{path}");
    }
    for record in gateway.records().await {
        assert!(record.requested_model.len() <= 512, "{}", record.requested_model.len());
    }
}

/// A text from a provider cannot forge lines in the log.
#[tokio::test]
async fn a_line_of_the_log_is_one_event() {
    let forged = json!({"error": {"message": format!(
        "no\n2026-01-01T00:00:00Z  WARN gateway: all is well\r\u{1b}[2J{}", "long ".repeat(5_000)
    )}});
    let forged = forged.to_string();
    let reply = format!(
        "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{forged}",
        forged.len()
    );
    let upstream = Upstream::playing(vec![reply.into_bytes()]).await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let config = upstream.provider("one", "openai-chat");
    let program = Program::start(&config, "warn", log.reopen().unwrap().into()).await;
    chat(program.address, &[], question("one/any").to_string().as_bytes()).await;
    drop(connect(program.address).await);
    let text = fs::read_to_string(log.path()).unwrap();
    assert!(text.contains("all is well"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("2026-01-01")), "{text}");
    assert!(text.lines().all(|line| line.len() < 4096), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_stop_that_cuts_an_answer_is_reported_by_log_and_exit_code() {
    use std::io::Read;
    let mut upstream = Upstream::by_hand().await;
    for (cuts, code) in [(false, 0), (true, 1)] {
        // With an alias to greet with, the provider is not asked for its models.
        let config = format!(
            "[server]\nshutdown_seconds = 0\n[models.m]\ntargets = [\"one/m\"]\n{}",
            upstream.provider("one", "openai-chat")
        );
        let mut program = Program::start(&config, "warn", Stdio::piped()).await;
        let address = program.address;
        // Signals are handled once requests are served.
        assert_eq!(get(address, "/health").await.status, 200);
        let asked = cuts.then(|| {
            let body = question("one/m").to_string();
            tokio::spawn(async move { chat(address, &[], body.as_bytes()).await })
        });
        let line = if cuts { Some(upstream.next().await) } else { None };
        let told = Command::new("kill").arg(program.child.id().to_string()).status().unwrap();
        assert!(told.success());
        let mut stderr = program.child.stderr.take().unwrap();
        let log = tokio::task::spawn_blocking(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).unwrap();
            log
        });
        let log = log.await.unwrap();
        assert_eq!(program.child.wait().unwrap().code(), Some(code), "{log}");
        assert_eq!(log.contains("answers were cut off"), cuts, "{log}");
        if let Some(asked) = asked {
            assert_eq!(asked.await.unwrap().status, 503);
        }
        drop(line);
    }
}
