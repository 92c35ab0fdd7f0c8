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

    // A change is in force once its answer arrives.
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
async fn declared_projects_are_listed_and_cannot_be_changed() {
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
    // Keys in the database may belong to a declared project.
    let key = root(&gateway, "POST /admin/v1/keys", json!({"name": "k", "project": "declared"})).await.json();
    let bearer = format!("Bearer {}", key["secret"].as_str().unwrap());
    let reply = gateway.chat_with(&[("authorization", &bearer)], &question("mine/m")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let narrow = json!({"name": "n", "project": "declared", "policy": {"deny": ["mine/*"]}});
    let key = root(&gateway, "POST /admin/v1/keys", narrow).await.json();
    let bearer = format!("Bearer {}", key["secret"].as_str().unwrap());
    assert_eq!(gateway.chat_with(&[("authorization", &bearer)], &question("mine/m")).await.status, 403);
    let rules = root(&gateway, "GET /admin/v1/budgets", Value::Null).await.json();
    assert_eq!((&rules["data"][0]["project"], &rules["data"][0]["key"]), (&json!("declared"), &Value::Null));
    assert_eq!(
        (rules["data"][0]["concurrent"].clone(), rules["data"][0]["under_way"].clone()),
        (json!(3), json!(0))
    );
    let keys = root(&gateway, "GET /admin/v1/keys?project=declared", Value::Null).await.json();
    assert_eq!((keys["data"].as_array().unwrap().len(), keys["data"][0].get("secret")), (2, None));
}

#[tokio::test]
async fn budgets_list_the_rules_of_projects_and_keys_in_pages() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let projects = "[projects.declared]\nlimits = [{ requests = 60, per = \"day\" }]\n\
                    keys = [{ name = \"ci\", key = \"team-key\", limits = [{ concurrent = 2 }] }]\n";
    let config = format!(
        "{}[auth]\napi_keys = [\"k\"]\nadmin_keys = [\"root\"]\n{projects}",
        upstream.known("openai")
    );
    let gateway = TestGateway::start(&config).await;
    let budget = json!({"budgets": [{"usd": "5", "per": "day"}], "limits": [{"tokens": 9000, "per": "day"}]});
    root(&gateway, "POST /admin/v1/projects", json!({"id": "a", "policy": budget})).await;
    let mut ids = Vec::new();
    for project in ["a", "declared"] {
        let body = json!({"name": "k", "project": project, "policy": budget});
        let key = root(&gateway, "POST /admin/v1/keys", body).await.json();
        let bearer = format!("Bearer {}", key["secret"].as_str().unwrap());
        let reply = gateway.chat_with(&[("authorization", &bearer)], &question("openai/gpt-4o-mini")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        ids.push(key["id"].as_str().unwrap().to_owned());
    }
    // Both secrets of a rotated key are valid: its rules are listed once.
    let path = format!("POST /admin/v1/keys/{}/rotate", ids[0]);
    assert_eq!(root(&gateway, &path, Value::Null).await.status, 200);
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = root(&gateway, &format!("GET /admin/v1/budgets?limit=3&after={after}"), Value::Null).await;
        let page = page.json();
        seen.extend(page["data"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        next.clone_into(&mut after);
    }
    let named = |row: &Value| (row["project"].clone(), row["key"].clone(), row["rule"].clone());
    let rule = |project: &str, key: Option<&str>, rule: &str| (json!(project), json!(key), json!(rule));
    let expected = [
        rule("a", None, "5 USD per day"),
        rule("a", None, "9000 tokens per day"),
        rule("a", Some(&ids[0]), "5 USD per day"),
        rule("a", Some(&ids[0]), "9000 tokens per day"),
        rule("declared", None, "60 requests per day"),
        rule("declared", Some(&ids[1]), "5 USD per day"),
        rule("declared", Some(&ids[1]), "9000 tokens per day"),
        rule("declared", Some("static:declared/ci"), "2 concurrent requests"),
    ];
    assert_eq!(seen.iter().map(named).collect::<Vec<_>>(), expected);
    assert_eq!(seen[2]["spent_usd"], seen[0]["spent_usd"]);
    assert_ne!(seen[2]["spent_usd"], "0");
    assert_eq!((&seen[4]["requests"], &seen[4]["remaining"]), (&json!(60), &json!(59)));
    assert!(seen[3]["remaining"].as_u64().is_some_and(|left| left < 9000), "{}", seen[3]);
    for (query, count) in
        [("project=a".to_owned(), 4), (format!("key={}", ids[1]), 2), ("key=x".to_owned(), 0)]
    {
        let rules = root(&gateway, &format!("GET /admin/v1/budgets?{query}"), Value::Null).await.json();
        assert_eq!(rules["data"].as_array().unwrap().len(), count, "{query}: {rules}");
    }
}

#[tokio::test]
async fn wrong_types_are_reported_with_their_place_in_plain_words() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = started(&upstream).await;
    for (line, body, expected) in [
        ("POST /admin/v1/projects", json!({"id": 5}), "id: must be text in quotes, not the number 5."),
        (
            "POST /admin/v1/projects",
            json!({"id": "a", "disabled": "no"}),
            "disabled: must be true or false, not text.",
        ),
        ("POST /admin/v1/projects", json!({"id": "a", "nam": "n"}), "nam is unknown; did you mean name?"),
        (
            "POST /admin/v1/keys",
            json!({"name": "n", "roles": ["boss"]}),
            "roles[0]: must be one of \"inference\", ",
        ),
        (
            "POST /admin/v1/projects",
            json!({"id": "a", "policy": {"budgets": [{"usd": 5, "per": "day"}]}}),
            "budgets[0].usd: must be text in quotes, not the number 5.",
        ),
        (
            "POST /admin/v1/projects",
            json!({"id": "a", "policy": {"limits": [{"requests": "many", "per": "day"}]}}),
            "limits[0].requests: must be a whole number of at least 0, not text.",
        ),
        ("POST /admin/v1/projects", json!([]), "must be an object"),
        ("POST /admin/v1/projects", json!({"id": "a", "policy": []}), "must be an object, not a list."),
        (
            "POST /admin/v1/projects",
            json!({"id": "a", "policy": {"budgets": [{"usd": "5", "per": "day", "x": 1}]}}),
            "budgets[0].x: unknown key",
        ),
        (
            "POST /admin/v1/projects",
            json!({"id": "a", "policy": {"budgets": [{"usd": "-5", "per": "day"}]}}),
            "budgets[0].usd: not a plain decimal amount",
        ),
        ("POST /admin/v1/projects", json!({"id": "a", "name": " "}), "a name has 1 to 200 characters"),
        ("POST /admin/v1/keys", json!({"name": ""}), "a name has 1 to 200 characters"),
        ("POST /admin/v1/keys", json!({"name": "a\u{0}b"}), "a name has 1 to 200 characters"),
        ("POST /admin/v1/keys", json!({"name": "x".repeat(201)}), "a name has 1 to 200 characters"),
        ("POST /admin/v1/keys", json!({"name": "n", "roles": []}), "at least one role"),
        ("POST /admin/v1/keys", json!({"name": "n", "expires_at": 0}), "or null for never"),
        ("POST /admin/v1/keys", json!({"name": "n", "expires_at": i64::MAX}), "or null for never"),
        ("POST /admin/v1/keys", json!({"name": "n", "expires_at": 1}), "expires_at is in the past"),
        (
            "GET /admin/v1/projects?after=%00",
            Value::Null,
            "The parameter \"after\" contains the character U+0000.",
        ),
    ] {
        let reply = root(&gateway, line, body.clone()).await;
        assert_eq!(reply.status, 400, "{body}");
        assert!(reply.message().contains(expected), "{body}: {}", reply.message());
    }
    for path in ["projects/a%00", "keys/a%00b", "keys/%00/rotate"] {
        let method = if path.ends_with("rotate") { "POST" } else { "GET" };
        let reply = root(&gateway, &format!("{method} /admin/v1/{path}"), Value::Null).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text());
    }
    let body =
        json!({"name": "n", "roles": ["admin", "inference", "admin"], "expires_at": 4_000_000_000_i64});
    let key = root(&gateway, "POST /admin/v1/keys", body).await.json();
    assert_eq!(
        (&key["roles"], &key["expires_at"]),
        (&json!(["inference", "admin"]), &json!(4_000_000_000_i64))
    );
    let path = format!("PATCH /admin/v1/keys/{}", key["id"].as_str().unwrap());
    let named = root(&gateway, &path, json!({"name": "m"})).await.json();
    assert_eq!(named["expires_at"], json!(4_000_000_000_i64));
    let lasting = root(&gateway, &path, json!({"expires_at": null})).await.json();
    assert_eq!((&lasting["name"], &lasting["expires_at"]), (&json!("m"), &Value::Null));
}

#[tokio::test]
async fn mistakes_name_their_field_and_roles_limit_access() {
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

#[tokio::test]
async fn the_state_of_the_gateway_is_shown() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!("{}{}{CONFIG}", upstream.known("openai"), upstream.provider("mine", "openai-chat"));
    let gateway = TestGateway::start_from_file(&config).await;
    assert_eq!(gateway.chat(&question("mine/m")).await.status, 200);

    let get = async |path: &str| {
        let reply = root(&gateway, &format!("GET /admin/v1/{path}"), Value::Null).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    };
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(&format!("models?provider=openai&limit=7&after={after}")).await;
        ids.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        next.clone_into(&mut after);
    }
    assert!(ids.len() > 14 && ids.is_sorted() && ids.contains(&"openai/gpt-4o-mini".to_owned()), "{ids:?}");
    let one = get("models?provider=openai&limit=500").await;
    let mini = one["data"].as_array().unwrap().iter().find(|row| row["id"] == "openai/gpt-4o-mini").unwrap();
    assert_eq!(
        (mini["enabled"].clone(), mini["input_usd_per_million"].clone()),
        (json!(true), json!("0.15"))
    );

    let providers = get("providers").await;
    let of = |id: &str| providers["data"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap();
    assert_eq!(of("openai")["enabled"], true);
    assert!(of("groq")["disabled_because"].as_str().unwrap().contains("GROQ_API_KEY"));
    assert!(!providers.to_string().contains("sk-"), "no secret");

    let routing = get("routing").await;
    assert_eq!(routing["data"][0]["operation"], "chat");
    assert_eq!(routing["data"][0]["routes"][0]["provider"], "mine", "{routing}");

    let asked = json!({"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]});
    let explained = root(&gateway, "POST /admin/v1/explain", asked.clone()).await;
    assert_eq!(explained.status, 200, "{}", explained.text());
    assert_eq!(explained.at("/selection/scores/0/provider"), "openai");
    assert_eq!(explained.at("/request/body/messages"), asked["messages"]);
    let embedded = json!({"model": "openai/text-embedding-3-small", "input": "Hi"});
    let explained = root(&gateway, "POST /admin/v1/explain?operation=embeddings", embedded).await;
    assert_eq!(explained.status, 200, "{}", explained.text());
    assert_eq!(
        root(&gateway, "POST /admin/v1/explain", json!({"model": "nothing-like-it"})).await.status,
        400
    );
    assert_eq!(
        root(&gateway, "POST /admin/v1/explain?operation=x", asked).await.at("/error/param"),
        "operation"
    );
    assert_eq!(upstream.received().len(), 1, "nothing was sent");

    root(&gateway, "POST /admin/v1/reload", Value::Null).await;
    gateway.rewrite("[server]\nlimbs = 2\n");
    assert_eq!(root(&gateway, "POST /admin/v1/reload", Value::Null).await.status, 400);
    let (_, last) = gateway.api.reloader.last().unwrap();
    assert!(last.as_ref().is_err_and(|reason| reason.contains("limbs")), "{last:?}");
    let nodes = get("nodes").await;
    let node = &nodes["data"][0];
    assert_eq!((node["this"].clone(), node["state"].clone()), (json!(true), json!("serving")), "{nodes}");
    assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(node["config"].as_str().unwrap().len(), 12);
}

/// A node that stops reports it, and a killed node is shown as gone.
#[tokio::test]
async fn nodes_are_listed_with_their_state() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!("{}{CONFIG}", upstream.provider("mine", "openai-chat"));
    let stopped = TestGateway::start(&config).await.stop().await;
    let gateway = stopped.start(&config).await;
    let killed = store::Node {
        id: "node_killed".to_owned(),
        name: "zz".to_owned(),
        version: "0".to_owned(),
        config: String::new(),
        started_at_ms: 1_000,
        seen_at_ms: gateway::clock::now_ms() - 60_000,
        state: "serving".to_owned(),
        spool_bytes: 5,
        reload: "null".to_owned(),
    };
    gateway.api.store.report_node(&killed).await.unwrap();
    let mut states = Vec::new();
    // A new node writes its row as soon as it runs.
    while states.len() < 3 {
        let nodes = root(&gateway, "GET /admin/v1/nodes", Value::Null).await.json();
        let rows = nodes["data"].as_array().unwrap();
        states = rows.iter().map(|row| row["state"].as_str().unwrap().to_owned()).collect();
    }
    assert_eq!(states, ["stopped", "serving", "gone"]);
}

/// A suspension stops requests to the provider. A restart and a reload do not end it.
#[tokio::test]
async fn a_provider_is_suspended_until_an_administrator_ends_it() {
    let mine = Upstream::playing(vec![answer("mine"); 6]).await;
    let other = Upstream::playing(vec![answer("other"); 6]).await;
    let two = [mine.provider("mine", "openai-chat"), other.provider("other", "openai-chat")].concat();
    let alias = "[models]\nfast = { targets = [\"mine/m\", \"other/m\"], pick = \"order\" }\n";
    let config = format!("{two}{alias}{CONFIG}");
    let gateway = TestGateway::start_from_file(&config).await;
    let used = async |gateway: &TestGateway| {
        let reply = gateway.chat(&question("fast")).await;
        (reply.status, reply.at("/choices/0/message/content"))
    };
    assert_eq!(used(&gateway).await, (200, json!("mine")));
    let wrong = [
        (json!({}), "provider"),
        (json!({"provider": "nobody"}), "provider"),
        (json!({"provider": "mine", "key": "nothing"}), "key"),
        (json!({"provider": "mine", "seconds": 0}), "seconds"),
        (json!({"provider": "mine", "reason": "x".repeat(501)}), "reason"),
    ];
    for (body, field) in wrong {
        let refused = root(&gateway, "POST /admin/v1/suspensions", body).await;
        assert_eq!((refused.status, refused.at("/error/param")), (400, json!(field)));
    }
    let body = json!({"provider": "mine", "reason": "<b>too slow</b>"});
    assert_eq!(call(&gateway, "POST /admin/v1/suspensions", "test-key", "", &body).await.status, 403);
    let created = root(&gateway, "POST /admin/v1/suspensions", body).await;
    assert_eq!(
        (created.status, created.at("/actor"), created.at("/until")),
        (201, json!("key:static:key1"), Value::Null)
    );
    assert_eq!(used(&gateway).await, (200, json!("other")));

    let listed = root(&gateway, "GET /admin/v1/suspensions", Value::Null).await;
    assert_eq!(listed.at("/data/0/reason"), json!("<b>too slow</b>"));
    let state = root(&gateway, "GET /v1/routing", Value::Null).await;
    assert_eq!(state.at("/suspensions/0/provider"), json!("mine"));
    assert_eq!(state.at("/routes/0/keys/0/state"), json!("suspended"));
    let explained = root(&gateway, "POST /admin/v1/explain", question("fast")).await;
    assert_eq!(explained.at("/selection/filtered/0/reason"), json!("suspended by an administrator"));
    assert_eq!(gateway.metric("llmgateway_suspended{provider=\"mine\",key=\"\"}").await, Some(1.0));

    assert_eq!(root(&gateway, "POST /admin/v1/reload", Value::Null).await.status, 200);
    assert_eq!(used(&gateway).await, (200, json!("other")));
    let gateway = gateway.stop().await.start(&config).await;
    assert_eq!(used(&gateway).await, (200, json!("other")));
    root(&gateway, "POST /admin/v1/suspensions", json!({"provider": "other"})).await;
    let nobody = gateway.chat(&question("fast")).await;
    assert_eq!(nobody.status, 503);
    assert!(nobody.text().contains("suspended by an administrator"), "{}", nobody.text());

    assert_eq!(root(&gateway, "DELETE /admin/v1/suspensions/mine/k", Value::Null).await.status, 404);
    assert_eq!(root(&gateway, "DELETE /admin/v1/suspensions/mine", Value::Null).await.status, 200);
    assert_eq!(used(&gateway).await, (200, json!("mine")));
    assert_eq!(gateway.metric("llmgateway_suspended{provider=\"mine\",key=\"\"}").await, None);
    let log = root(&gateway, "GET /admin/v1/audit?limit=3", Value::Null).await.json();
    let actions: Vec<_> = log["data"].as_array().unwrap().iter().map(|row| row["action"].clone()).collect();
    assert_eq!(actions, ["routing.suspension_end", "routing.suspend", "routing.suspend"]);
    assert_eq!(log["data"][0]["target"], "provider:mine");
}
