//! No failure of the log, the usage log or the disk ends a request.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::{
    Program, TestGateway, Upstream, answer, chat, chunk, connect, error, eventually, get, logged, open,
    question, start_log, stream_head, streamed,
};

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
    for number in 0..requests {
        let reply = program.chat(&question("pair")).await;
        assert_eq!(reply.status, 200, "request {number}: {}", reply.text());
    }
    assert!(program.is_alive());
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

/// A limit on the size of files makes SQLite's writes fail with an I/O error.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_io_error_of_the_database_loses_no_record() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    use sqlx::Connection;
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = upstream.provider("one", "openai-chat") + "[models.m]\ntargets = [\"one/m\"]\n";
    // Otherwise the signal of a file that is too large ends the process.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_llmgateway")]);
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut program = Program::start_by(shell, &config, "warn", log.reopen().unwrap().into()).await;
    let pid = Pid::from_child(&program.child);
    let limit = |current| prlimit(Some(pid), Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
    let away = "usage records cannot be moved into the database";
    let is_away = || fs::read_to_string(log.path()).unwrap().contains(away);
    let mut asked = 0;
    limit(Some(64 << 10));
    while !is_away() {
        assert_eq!(program.chat(&question("m")).await.status, 200);
        asked += 1;
        // Slowly: the limit holds for the spool as well, which has room for about 60 records.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(asked < 50, "{}", fs::read_to_string(log.path()).unwrap());
    }
    assert!(fs::read_to_string(log.path()).unwrap().contains("disk I/O error"));
    limit(None);
    eventually(async || {
        let metrics = get(program.address, "/metrics").await.text();
        metrics.contains("llmgateway_spool_bytes 0\n") && metrics.contains("llmgateway_unrecorded_total 0\n")
    })
    .await;
    program.signal("TERM");
    assert_eq!(program.ended().await.code(), Some(0));
    let url = format!("sqlite:{}", program.path("llmgateway.db").display());
    let mut operator = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM usage_records").fetch_one(&mut operator).await.unwrap();
    assert_eq!(count, asked);
}

/// A record that the database takes from nobody.
#[tokio::test]
async fn a_refused_record_is_set_aside_counted_and_logged() {
    use sqlx::Connection;
    start_log();
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::of(&upstream).await;
    let mut operator = sqlx::SqliteConnection::connect(&gateway.database).await.unwrap();
    let trigger = "CREATE TRIGGER picky BEFORE INSERT ON usage_records WHEN new.request_id = 'bad-record'
        BEGIN SELECT RAISE(ABORT, 'not this one'); END";
    sqlx::raw_sql(trigger).execute(&mut operator).await.unwrap();
    operator.close().await.unwrap();
    for id in ["first", "bad-record", "last"] {
        assert_eq!(gateway.chat_with(&[("x-request-id", id)], &question("one/any")).await.status, 200);
    }
    eventually(async || gateway.metric("llmgateway_unrecorded_refused_total").await == Some(1.0)).await;
    assert_eq!(gateway.metric("llmgateway_unrecorded_total").await, Some(1.0));
    let file = spool_of(&gateway).join("rejected.jsonl");
    let log = logged();
    let line =
        log.lines().find(|line| line.contains(file.to_str().unwrap())).unwrap_or_else(|| panic!("{log}"));
    for part in ["ERROR", "the database refuses usage records", "records=1", "not this one"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let aside = fs::read_to_string(file).unwrap();
    assert!(aside.lines().count() == 1 && aside.contains("bad-record"), "{aside}");
    let ids: Vec<String> = gateway.records().await.into_iter().map(|record| record.request_id).collect();
    assert!(ids.len() == 2 && !ids.contains(&"bad-record".to_owned()), "{ids:?}");
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
    program.chat(&question("one/any")).await;
    drop(connect(program.address).await);
    let text = fs::read_to_string(log.path()).unwrap();
    assert!(text.contains("all is well"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("2026-01-01")), "{text}");
    assert!(text.lines().all(|line| line.len() < 4096), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text}");
}

/// A program without a grace period for answers under way. With its alias to greet with, the provider is not asked for
/// its models.
#[cfg(unix)]
async fn hasty(upstream: &Upstream, log: &tempfile::NamedTempFile) -> Program {
    let config = format!(
        "[server]\nshutdown_seconds = 0\n[models.m]\ntargets = [\"one/m\"]\n{}",
        upstream.provider("one", "openai-chat")
    );
    Program::start(&config, "warn", log.reopen().unwrap().into()).await
}

/// Stops it, and checks the exit code and the log.
#[cfg(unix)]
async fn assert_stop(mut program: Program, log: &tempfile::NamedTempFile, cuts: bool) {
    program.signal("TERM");
    let code = program.ended().await.code();
    let log = fs::read_to_string(log.path()).unwrap();
    assert_eq!((code, log.contains("answers were cut off")), (Some(i32::from(cuts)), cuts), "{log}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_stop_that_cuts_an_answer_is_reported_by_log_and_exit_code() {
    let mut upstream = Upstream::by_hand().await;
    for cuts in [false, true] {
        let log = tempfile::NamedTempFile::new().unwrap();
        let program = hasty(&upstream, &log).await;
        let address = program.address;
        let asked = cuts.then(|| {
            let body = question("m").to_string();
            tokio::spawn(async move { chat(address, &[], body.as_bytes()).await })
        });
        let _line = if cuts { Some(upstream.next().await) } else { None };
        assert_stop(program, &log, cuts).await;
        if let Some(asked) = asked {
            assert_eq!(asked.await.unwrap().status, 503);
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_stop_that_cuts_a_stream_is_reported_to_the_caller_too() {
    let mut upstream = Upstream::by_hand().await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let program = hasty(&upstream, &log).await;
    let (address, body) = (program.address, streamed("m").to_string());
    let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
    let mut line = upstream.next().await;
    line.send([stream_head(), chunk(json!({"content": "Hel"}), None).into_bytes()].concat()).await;
    let begun = asked.await.unwrap();
    assert_stop(program, &log, true).await;
    let reply = begun.rest().await;
    assert_eq!((reply.status, reply.content().as_str(), reply.done()), (200, "Hel", 0));
    assert!(reply.complete, "the body ends as its framing says");
    assert_eq!(reply.events().pop().unwrap()["error"]["code"], "unavailable", "{}", reply.text());
}
