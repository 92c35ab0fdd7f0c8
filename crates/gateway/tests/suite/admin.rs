//! `/admin/v1`, as an operator's tools use it.

use serde_json::{Value, json};

use crate::support::{Reply, TestGateway, Upstream, answer, question, send};

const CONFIG: &str = "[auth]\napi_keys = [\"test-key\"]\nadmin_keys = [\"root\"]\n[projects.declared]\nmodels = [\"mine/*\"]\n\
                      unpriced = \"allow\"\nlimits = [{ concurrent = 3 }]\n";

async fn started(upstream: &Upstream) -> TestGateway {
    TestGateway::start(&format!("{}{CONFIG}", upstream.provider("mine", "openai-chat"))).await
}

async fn call(gateway: &TestGateway, line: &str, key: &str, more: &str, body: &Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let text = format!(
        "{line} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\nconnection: close\r\n{more}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    send(gateway.address, text.as_bytes()).await
}

async fn root(gateway: &TestGateway, line: &str, body: Value) -> Reply {
    call(gateway, line, "root", "", &body).await
}

#[tokio::test]
async fn projects_and_keys_are_made_changed_and_deleted() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = started(&upstream).await;
    let policy =
        json!({"models": ["mine/*"], "limits": [{"requests": 1, "per": "day"}], "unpriced": "allow"});
    let made = root(&gateway, "POST /admin/v1/projects", json!({"id": "team", "policy": policy})).await;
    assert_eq!((made.status, made.header("etag"), made.at("/policy")), (201, Some("\"1\""), policy.clone()));
    let again = root(&gateway, "POST /admin/v1/projects", json!({"id": "team"})).await;
    assert_eq!((again.status, again.at("/error/code")), (409, json!("conflict")));
    let key = root(&gateway, "POST /admin/v1/keys", json!({"name": "k", "project": "team"})).await;
    assert_eq!((key.status, key.at("/roles")), (201, json!(["inference"])));
    let (id, secret) = (key.json()["id"].clone(), key.json()["secret"].clone());
    let (id, secret) = (id.as_str().unwrap(), secret.as_str().unwrap());
    let ask = async |key: &str| {
        let bearer = format!("Bearer {key}");
        gateway.chat_with(&[("authorization", &bearer)], &question("mine/m")).await.status
    };
    assert_eq!((ask(secret).await, ask(secret).await), (200, 429));

    // A change is in force when its answer is there.
    let path = "PATCH /admin/v1/projects/team";
    let stale = call(&gateway, path, "root", "if-match: \"7\"\r\n", &json!({"policy": {}})).await;
    assert_eq!((stale.status, stale.at("/error/code")), (412, json!("precondition_failed")));
    let change = json!({"policy": {"models": ["mine/*"]}});
    let changed = call(&gateway, path, "root", "if-match: \"1\"\r\n", &change).await;
    assert_eq!((changed.status, changed.header("etag")), (200, Some("\"2\"")));
    assert_eq!(ask(secret).await, 200);
    let off = root(&gateway, &format!("PATCH /admin/v1/keys/{id}"), json!({"disabled": true})).await;
    assert_eq!((off.status, off.at("/disabled"), ask(secret).await), (200, json!(true), 401));
    root(&gateway, &format!("PATCH /admin/v1/keys/{id}"), json!({"disabled": false})).await;
    let rotated =
        root(&gateway, &format!("POST /admin/v1/keys/{id}/rotate"), json!({"overlap_seconds": 60})).await;
    let other = rotated.json()["secret"].as_str().unwrap().to_owned();
    assert_eq!((ask(secret).await, ask(&other).await), (200, 200));
    assert_eq!(
        root(&gateway, "DELETE /admin/v1/projects/team", Value::Null).await.status,
        409,
        "it has a key"
    );
    assert_eq!(root(&gateway, &format!("DELETE /admin/v1/keys/{id}"), Value::Null).await.status, 200);
    assert_eq!((ask(secret).await, ask(&other).await), (401, 401));
    assert_eq!(root(&gateway, "DELETE /admin/v1/projects/team", Value::Null).await.status, 200);
    assert_eq!(root(&gateway, "GET /admin/v1/projects/team", Value::Null).await.status, 404);

    let log = root(&gateway, "GET /admin/v1/audit?limit=3", Value::Null).await.json();
    let actions: Vec<_> = log["data"].as_array().unwrap().iter().map(|row| row["action"].clone()).collect();
    assert_eq!(actions, ["project.delete", "key.revoke", "key.rotate"]);
    assert_eq!(log["data"][0]["actor"], "key:static:key1");
    let next = log["next"].as_str().unwrap();
    let more =
        root(&gateway, &format!("GET /admin/v1/audit?after={next}&limit=100"), Value::Null).await.json();
    assert_eq!(
        (more["data"][0]["action"].clone(), more["has_more"].clone()),
        (json!("key.update"), json!(false))
    );
    assert!(!log.to_string().contains(&other) && !more.to_string().contains(secret), "no secret in the log");
}

#[tokio::test]
async fn what_is_declared_is_shown_and_stays() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = started(&upstream).await;
    for id in ["a", "b", "z"] {
        root(&gateway, "POST /admin/v1/projects", json!({"id": id})).await;
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = root(&gateway, &format!("GET /admin/v1/projects?limit=2&after={after}"), Value::Null)
            .await
            .json();
        for row in page["data"].as_array().unwrap() {
            seen.push((row["id"].as_str().unwrap().to_owned(), row["declared"].as_bool().unwrap()));
        }
        let Some(next) = page["next"].as_str() else { break };
        next.clone_into(&mut after);
    }
    let expected = [("a", false), ("b", false), ("declared", true), ("default", false), ("z", false)];
    assert_eq!(seen, expected.map(|(id, declared)| (id.to_owned(), declared)));
    for line in ["PATCH /admin/v1/projects/declared", "DELETE /admin/v1/projects/declared"] {
        assert_eq!(root(&gateway, line, json!({})).await.status, 409);
    }
    assert_eq!(root(&gateway, "DELETE /admin/v1/projects/default", Value::Null).await.status, 409);
    // Keys of the database may belong to it all the same.
    let key = root(&gateway, "POST /admin/v1/keys", json!({"name": "k", "project": "declared"})).await.json();
    let bearer = format!("Bearer {}", key["secret"].as_str().unwrap());
    let reply = gateway.chat_with(&[("authorization", &bearer)], &question("mine/m")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let narrow = json!({"name": "n", "project": "declared", "policy": {"deny": ["mine/*"]}});
    let key = root(&gateway, "POST /admin/v1/keys", narrow).await.json();
    let bearer = format!("Bearer {}", key["secret"].as_str().unwrap());
    assert_eq!(gateway.chat_with(&[("authorization", &bearer)], &question("mine/m")).await.status, 403);
    let rules = root(&gateway, "GET /admin/v1/budgets", Value::Null).await.json();
    assert_eq!(rules["data"][0]["project"], "declared");
    assert_eq!(
        (rules["data"][0]["concurrent"].clone(), rules["data"][0]["under_way"].clone()),
        (json!(3), json!(0))
    );
    let keys = root(&gateway, "GET /admin/v1/keys?project=declared", Value::Null).await.json();
    assert_eq!((keys["data"].as_array().unwrap().len(), keys["data"][0].get("secret")), (2, None));
}

#[tokio::test]
async fn mistakes_are_named_and_roles_are_kept_apart() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = started(&upstream).await;
    for (line, body, param) in [
        ("POST /admin/v1/projects", json!({"id": "A B"}), json!("id")),
        ("POST /admin/v1/projects", json!({"id": "a", "policy": {"modles": []}}), json!("policy")),
        (
            "POST /admin/v1/projects",
            json!({"id": "a", "policy": {"limits": [{"requests": 1}]}}),
            json!("policy"),
        ),
        ("POST /admin/v1/projects", json!({"id": "a", "colour": 1}), Value::Null),
        ("POST /admin/v1/keys", json!({}), json!("name")),
        ("POST /admin/v1/keys", json!({"name": "k", "project": "none"}), json!("project")),
        ("GET /admin/v1/keys?after=x", Value::Null, json!("after")),
        ("GET /admin/v1/audit?limit=0", Value::Null, json!("limit")),
        ("GET /admin/v1/usage?scope=nobody", Value::Null, json!("scope")),
        ("GET /admin/v1/usage?group=colour", Value::Null, json!("group")),
        ("GET /admin/v1/usage?since=long-ago", Value::Null, json!("since")),
        ("GET /admin/v1/requests?filter=modle:x", Value::Null, json!("filter")),
        ("GET /admin/v1/requests?after=7", Value::Null, json!("after")),
    ] {
        let reply = root(&gateway, line, body).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, param), "{line}: {}", reply.text());
    }
    assert_eq!(root(&gateway, "GET /admin/v1/keys/none", Value::Null).await.status, 404);
    assert_eq!(root(&gateway, "PUT /admin/v1/keys", Value::Null).await.status, 405);
    let key = root(&gateway, "POST /admin/v1/keys", json!({"name": "v", "roles": ["viewer"]})).await.json();
    let viewer = key["secret"].as_str().unwrap();
    let status =
        async |line: &str, key: &str| call(&gateway, line, key, "", &json!({"id": "x"})).await.status;
    assert_eq!(status("GET /admin/v1/projects", viewer).await, 200);
    assert_eq!(status("POST /admin/v1/projects", viewer).await, 403);
    assert_eq!(status("GET /admin/v1/projects", "test-key").await, 403);
    assert_eq!(status("GET /admin/v1/projects", "nobody").await, 401);
    let bearer = format!("Bearer {viewer}");
    let reply = gateway.chat_with(&[("authorization", &bearer)], &question("mine/m")).await;
    assert_eq!((reply.status, reply.at("/error/type")), (403, json!("permission_error")));
}
