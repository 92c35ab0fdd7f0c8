//! Suspensions by administrators: on every node of a database, and by the command.

use std::time::Duration;

use serde_json::{Value, json};

use crate::commands::run;
use crate::console::Browser;
use crate::support::{TestGateway, Upstream, answer, question};

/// The same database, and a spool of its own: another node.
fn node(common: &str, database: &str, folder: &std::path::Path) -> String {
    format!(
        "{common}[database]\nurl = {database:?}\nspool = {:?}\n",
        folder.join("spool").display().to_string()
    )
}

async fn admin(gateway: &TestGateway, line: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let text = format!(
        "{line} HTTP/1.1\r\nhost: g\r\nx-api-key: root\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = gateway.send(text.as_bytes()).await;
    (reply.status, reply.json())
}

/// Asks until this provider answers: other nodes follow within seconds.
async fn answered_by(gateway: &TestGateway, provider: &str) {
    for _ in 0..400 {
        let reply = gateway.chat(&question("fast")).await;
        if reply.at("/choices/0/message/content") == json!(provider) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{provider} does not answer");
}

#[tokio::test]
async fn a_suspension_is_in_force_and_shown_on_every_node_and_by_the_command() {
    let mine = Upstream::playing(vec![answer("mine")]).await;
    let other = Upstream::playing(vec![answer("other")]).await;
    let common = format!(
        "[auth]\napi_keys = [\"test-key\"]\nadmin_keys = [\"root\"]\n{}{}[models]\nfast = {{ targets = [\"mine/m\", \"other/m\"], pick = \"order\" }}\n",
        mine.provider("mine", "openai-chat"),
        other.provider("other", "openai-chat"),
    );
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let database = format!("sqlite:{}", folders[0].path().join("common.db").display());
    let one = TestGateway::start(&node(&common, &database, folders[0].path())).await;
    let two = TestGateway::start(&node(&common, &database, folders[1].path())).await;
    answered_by(&one, "mine").await;
    answered_by(&two, "mine").await;

    let suspension = json!({"provider": "mine", "reason": "maintenance"});
    assert_eq!(admin(&one, "POST /admin/v1/suspensions", &suspension).await.0, 201);
    answered_by(&one, "other").await;
    answered_by(&two, "other").await;
    for gateway in [&one, &two] {
        let (_, state) = admin(gateway, "GET /admin/v1/routing", &Value::Null).await;
        assert!(state.to_string().contains("suspended"), "{state}");
        assert_eq!(gateway.metric("llmgateway_suspended{provider=\"mine\",key=\"\"}").await, Some(1.0));
        let page = Browser::with(gateway, "root").await.get("/ui/routing?open=mine").await.text();
        assert!(page.contains("maintenance") && page.contains("Resume"), "{page}");
    }

    let folder = folders[2].path();
    std::fs::write(folder.join("llmgateway.toml"), node(&common, &database, folder)).unwrap();
    let command = |arguments: &[&str]| run(folder, &[&["suspend"], arguments].concat(), &[]);
    let (code, said, _) = command(&[]);
    assert!(code == 0 && said.contains("mine is suspended since") && said.contains("maintenance"), "{said}");
    assert_eq!(command(&["mine", "--end"]).0, 0);
    answered_by(&one, "mine").await;
    answered_by(&two, "mine").await;
    assert_eq!(command(&[]).1.trim(), "nothing is suspended");

    let (code, said, wrong) = command(&["mine", "--reason", "a <b>", "--hours", "2"]);
    assert!(code == 0 && said.contains("mine is suspended"), "{said}{wrong}");
    answered_by(&two, "other").await;
    let (_, listed) = admin(&two, "GET /admin/v1/suspensions", &Value::Null).await;
    let listed = &listed["data"][0];
    assert_eq!((&listed["provider"], &listed["reason"]), (&json!("mine"), &json!("a <b>")));
    let [since, until] = ["since", "until"].map(|name| listed[name].as_i64().unwrap());
    assert_eq!(until - since, 2 * 3600);

    for (arguments, words) in [
        (&["nobody"][..], "nobody"),
        (&["mine", "--key", "none-like-it"], "none-like-it"),
        (&["other", "--end"], "No suspension of \"other\" matches"),
        (&["--end"], "PROVIDER"),
    ] {
        let (code, said, wrong) = command(arguments);
        assert!(code != 0 && wrong.contains(words), "{arguments:?}: {code} {said}{wrong}");
    }
}
