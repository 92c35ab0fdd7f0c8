//! The configuration is read again while the gateway runs.

use gateway::config::source::ConfigSource;
use gateway::env::Environment;
use serde_json::json;

use crate::support::{
    Program, Reply, TestGateway, Upstream, advance_seconds, answer, eventually, open, question, send,
    with_held_clock,
};

const ADMIN: &str = "[auth]\nadmin_keys = [\"boss\"]\napi_keys = [\"test-key\"]\n";

async fn reload(gateway: &TestGateway, key: &str) -> Reply {
    let head = format!(
        "POST /admin/v1/reload HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\ncontent-length: 0\r\n\r\n"
    );
    send(gateway.address, head.as_bytes()).await
}

#[tokio::test]
async fn a_reload_changes_everything_that_requests_see() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let first = format!("{ADMIN}{}", upstream.provider("one", "openai-chat"));
    let gateway = TestGateway::start_from_file(&first).await;
    assert_eq!(gateway.chat(&question("fast")).await.status, 404);

    let one = upstream.provider("one", "openai-chat");
    gateway.rewrite(&format!(
        "{one}[auth]\nadmin_keys = [\"boss\"]\napi_keys = [\"test-key\", \"new-key\"]\n\
         [server]\nbody_limit = \"300B\"\n[models.fast]\ntargets = [\"one/m\"]\n"
    ));
    let before = gateway.snapshot();
    assert_eq!(gateway.chat(&question("fast")).await.status, 404, "not before the reload");
    let done = reload(&gateway, "boss").await;
    assert_eq!((done.status, done.json()), (200, json!({"reloaded": true, "needs_restart": []})));
    assert_eq!(gateway.chat(&question("fast")).await.status, 200);
    let by_new_key = [("authorization", "Bearer new-key")];
    assert_eq!(gateway.chat_with(&by_new_key, &question("one/m")).await.status, 200);
    let mut long = question("one/m");
    long["messages"][0]["content"] = json!("x".repeat(400));
    assert_eq!(gateway.chat(&long).await.status, 413);
    let (old, new) = (&before.providers["one"], &gateway.snapshot().providers["one"]);
    assert!(std::sync::Arc::ptr_eq(old, new), "an unchanged provider stays as it is");
}

#[tokio::test]
async fn an_invalid_configuration_changes_nothing_and_its_mistakes_are_reported() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!("{ADMIN}{}", upstream.provider("one", "openai-chat"));
    let gateway = TestGateway::start_from_file(&config).await;
    gateway.rewrite(&format!("{config}[models.fast]\ntargets = [\"nobody/m\"]\npikc = \"order\"\n"));
    let refused = reload(&gateway, "boss").await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    let message = refused.at("/error/message");
    let message = message.as_str().unwrap();
    assert!(message.contains("models.fast.targets[0]: \"nobody/m\" is unknown"), "{message}");
    assert!(message.contains("models.fast.pikc: unknown key"), "{message}");
    assert_eq!(gateway.chat(&question("one/m")).await.status, 200);

    std::fs::remove_file(gateway.path("llmgateway.toml")).unwrap();
    let gone = reload(&gateway, "boss").await;
    assert!(gone.status == 400 && gone.text().contains("cannot be read"), "{}", gone.text());
    assert_eq!(gateway.chat(&question("one/m")).await.status, 200);
}

#[tokio::test]
async fn only_admin_keys_reload_and_settings_that_need_a_restart_are_named() {
    let config = format!("{ADMIN}[server]\nlisten = \"127.0.0.1:0\"\n");
    let gateway = TestGateway::start_from_file(&config).await;
    assert_eq!(reload(&gateway, "test-key").await.status, 403);
    assert_eq!(reload(&gateway, "nobody").await.status, 401);
    gateway.rewrite(&format!("{ADMIN}[server]\nlisten = \"127.0.0.1:1\"\nmax_connections = 7\n"));
    let done = reload(&gateway, "boss").await;
    assert_eq!(done.at("/needs_restart"), json!(["server.listen", "server.max_connections"]));
}

#[tokio::test]
async fn secrets_in_files_are_read_again() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("key");
    std::fs::write(&secret, "first-secret\n").unwrap();
    let config = format!(
        "{ADMIN}[providers.one]\nprotocol = \"openai-chat\"\nbase_url = \"http://{}/v1\"\napi_key = \"file:{}\"\n",
        upstream.address,
        secret.display()
    );
    let gateway = TestGateway::start_from_file(&config).await;
    gateway.chat(&question("one/m")).await;
    std::fs::write(&secret, "second-secret\n").unwrap();
    assert_eq!(reload(&gateway, "boss").await.status, 200);
    gateway.chat(&question("one/m")).await;
    let heard = upstream.received();
    assert!(heard[0].head.contains("first-secret") && heard[1].head.contains("second-secret"));

    // An empty file is no key: nothing changes.
    std::fs::write(&secret, " \n").unwrap();
    assert!(reload(&gateway, "boss").await.text().contains("is empty"));
}

#[test]
fn a_written_file_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = (folder.path().join("llmgateway.toml"), folder.path().join("secret"));
    std::fs::write(&secret, "one").unwrap();
    std::fs::write(&file, format!("[auth]\napi_keys = [\"file:{}\"]\n", secret.display())).unwrap();
    let source = ConfigSource::new(Some(file.clone()), Environment::default());
    source.read().unwrap();
    let first = source.state();
    assert_eq!(source.state(), first);
    std::fs::write(&secret, "another").unwrap();
    let second = source.state();
    assert_ne!(second, first, "a secret's file");
    std::fs::remove_file(&file).unwrap();
    assert_ne!(source.state(), second, "the file is gone");
}

#[test]
fn variables_override_the_file_and_name_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("named.toml");
    std::fs::write(&file, "[server]\nlisten = \"127.0.0.1:7\"\n[database]\nurl = \"sqlite:file.db\"\n")
        .unwrap();
    let environment = Environment::of(&[
        ("LLMGATEWAY_CONFIG", file.to_str().unwrap()),
        ("LLMGATEWAY_LISTEN", "localhost:8"),
        ("LLMGATEWAY_DATABASE_URL", "sqlite:variable.db"),
    ]);
    let settings = ConfigSource::new(None, environment.clone()).read().unwrap().settings.unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8");
    assert_eq!(settings.database_url, "sqlite:variable.db");
    let wrong = environment.with("LLMGATEWAY_LISTEN", "nowhere");
    let checked = ConfigSource::new(None, wrong).read().unwrap();
    assert!(checked.settings.is_none() && checked.report().contains("nowhere"), "{}", checked.report());
}

#[tokio::test]
async fn files_of_an_overlay_are_reloaded_and_watched() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let provider = upstream.known("openai");
    let gateway = TestGateway::start_from_file(&format!("{ADMIN}{provider}")).await;
    let facts = gateway.path("facts");
    std::fs::create_dir_all(facts.join("models")).unwrap();
    let config = format!("{ADMIN}{provider}[catalog]\noverlay = \"{}\"\n", facts.display());
    gateway.rewrite(&config);
    assert_eq!(reload(&gateway, "boss").await.status, 200);
    assert_eq!(gateway.chat(&question("laid-over")).await.status, 404);

    let source = ConfigSource::new(Some(gateway.path("llmgateway.toml")), Environment::default());
    source.read().unwrap();
    let before = source.state();
    let model = |price: &str| {
        format!(
            "family = \"own\"\n[[models]]\nid = \"laid-over\"\nname = \"M\"\n[[models.providers]]\n\
             provider = \"openai\"\nprice = {{ input = \"{price}\", output = \"1\" }}\n"
        )
    };
    let file = facts.join("models/own.toml");
    std::fs::write(&file, model("1")).unwrap();
    assert_ne!(source.state(), before, "a further file is a change");
    source.read().unwrap();
    let before = source.state();
    std::fs::write(&file, model("1.5")).unwrap();
    assert_ne!(source.state(), before, "a written file is a change");
    assert_eq!(reload(&gateway, "boss").await.status, 200);
    let reply = gateway.chat(&question("laid-over")).await;
    // 10 tokens of the prompt, of which 4 are cached at the same price, and 5 produced.
    assert_eq!(reply.at("/usage/cost_usd_total"), 0.00002, "{}", reply.text());

    std::fs::write(&file, model("free")).unwrap();
    let refused = reload(&gateway, "boss").await;
    assert!(refused.status == 400 && refused.text().contains("own.toml: line 7"), "{}", refused.text());
    assert_eq!(gateway.chat(&question("laid-over")).await.status, 200, "nothing has changed");
}

/// The file that the running process was started with.
#[cfg(unix)]
#[tokio::test]
async fn a_signal_or_a_written_file_reloads_the_running_process() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = |model: &str| {
        format!("{}[models.fast]\ntargets = [\"one/{model}\"]\n", upstream.provider("one", "openai-chat"))
    };
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut program = Program::start(&config("a"), "info", log.reopen().unwrap().into()).await;
    let model = async || {
        assert_eq!(program.chat(&question("fast")).await.status, 200);
        upstream.bodies().last().unwrap()["model"].as_str().unwrap().to_owned()
    };
    let lines = |text: &str| std::fs::read_to_string(log.path()).unwrap().matches(text).count();
    assert_eq!(model().await, "a");

    // Of the same length and date, the other file is noticed by no watch.
    let file = program.config_file();
    let date = std::fs::metadata(&file).unwrap().modified().unwrap();
    program.rewrite(&config("b"));
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(date).unwrap();
    assert_eq!(model().await, "a", "not before the signal");
    program.signal("HUP");
    eventually(async || lines("the configuration was reloaded") == 1).await;
    assert_eq!(model().await, "b");

    program.rewrite(&config("longer"));
    eventually(async || model().await == "longer").await;
    assert_eq!(lines("the configuration was reloaded"), 2);

    let refused = "the configuration was not reloaded and has not changed";
    for (number, by_signal) in [(1, false), (2, true)] {
        program.rewrite(&format!("{}pikc{number} = \"order\"\n", config("c")));
        if by_signal {
            program.signal("HUP");
        }
        eventually(async || lines(refused) >= number).await;
        let reason = format!("models.fast.pikc{number}: unknown key");
        assert_eq!(lines(&reason), 1, "{}", std::fs::read_to_string(log.path()).unwrap());
        assert_eq!(model().await, "longer");
    }
    assert!(program.is_alive());
}

/// Each request uses the timeouts and the routing in force when it begins.
#[tokio::test]
async fn a_reload_changes_timeouts_and_routing() {
    with_held_clock(async {
        let mut upstream = Upstream::by_hand().await;
        let one = upstream.provider("one", "openai-chat");
        let config = |seconds: u64, retries: u32| {
            format!("{ADMIN}{one}[timeouts]\nfirst_byte = {seconds}\n[routing]\nmax_retries = {retries}\n")
        };
        let gateway = TestGateway::start_from_file(&config(50, 0)).await;
        let ask = || {
            let (address, body) = (gateway.address, question("one/m").to_string());
            tokio::spawn(async move { open(address, &[], body.as_bytes()).await.rest().await })
        };
        let before = ask();
        let _line = upstream.next().await;
        gateway.rewrite(&config(5, 1));
        assert_eq!(reload(&gateway, "boss").await.status, 200);
        let after = ask();
        let _first = upstream.next().await;
        advance_seconds(5).await;
        let _second = upstream.next().await;
        advance_seconds(5).await;
        let after = after.await.unwrap();
        assert_eq!((after.status, after.routing()), (504, vec!["one 0 timeout".to_owned(); 2]));
        assert!(!before.is_finished(), "it began with the old settings");
        advance_seconds(40).await;
        let before = before.await.unwrap();
        assert_eq!((before.status, before.routing()), (504, vec!["one 0 timeout".to_owned()]));
    })
    .await;
}
