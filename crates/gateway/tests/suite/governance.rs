//! Projects, keys, budgets and limits, as callers meet them.

use std::sync::Arc;
use std::time::Duration;

use canon::Pico;
use serde_json::{Value, json};
use store::{KeyFields, Project, Store};
use tokio::time::Instant;

use crate::support::{
    Reply, TestGateway, Upstream, answer, answer_of, chunk, error, question, send, stream_head, streamed,
    whole,
};

const MODEL: &str = "openai/gpt-4o-mini";
/// 7 prompt tokens at 0.15 USD and 100 output tokens at 0.60 USD per million.
const WORST: i64 = 7 * 150_000 + 100 * 600_000;
/// 6 tokens at the full price, 4 cached tokens at half of it, 5 output tokens.
const COST: i64 = 6 * 150_000 + 4 * 75_000 + 5 * 600_000;

/// A configuration with this project, which has one key, and with a provider.
fn config(upstream: &Upstream, project: &str) -> String {
    format!(
        "{}{}\n[models.cheap]\ntargets = [\"openai/gpt-4.1-nano\"]\n[projects.a]\n{project}\n\
         [[projects.a.keys]]\nname = \"ci\"\nkey = \"team-key\"\n",
        upstream.known("openai"),
        upstream.provider("mine", "openai-chat"),
    )
}

async fn ask_with(gateway: &TestGateway, key: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    let bearer = format!("Bearer {key}");
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend(headers);
    gateway.chat_with(&all, body).await
}

async fn ask(gateway: &TestGateway, body: &Value) -> Reply {
    ask_with(gateway, "team-key", &[], body).await
}

/// A question whose answer has at most 100 tokens.
fn short(model: &str) -> Value {
    let mut body = question(model);
    body["max_tokens"] = json!(100);
    body
}

fn message(reply: &Reply) -> String {
    reply.at("/error/message").as_str().unwrap_or_default().to_owned()
}

async fn spent(store: &Store, scope: &str) -> i64 {
    let days = store.ledger(scope, 0, 100).await.unwrap();
    days.iter().map(|day| day.spent_pico).sum()
}

#[tokio::test]
async fn a_model_outside_of_the_policy_is_refused_and_the_rule_is_named() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let policy = "models = [\"openai/gpt-4o*\", \"gpt-4.1-*\", \"cheap\"]\ndeny = [\"*4.1-mini\"]\nunpriced = \"allow\"";
    let gateway = TestGateway::start(&config(&upstream, policy)).await;
    for model in [MODEL, "gpt-4o-mini", "gpt-4.1-nano", "cheap"] {
        assert_eq!(ask(&gateway, &short(model)).await.status, 200, "{model}");
    }
    for (model, rule) in [
        ("gpt-4.1-mini", "deny = \"*4.1-mini\""),
        ("openai/gpt-4.1-mini", "deny = \"*4.1-mini\""),
        ("openai/GPT-4.1-MINI", "deny = \"*4.1-mini\""),
        ("mine/anything", "models = [\"openai/gpt-4o*\", \"gpt-4.1-*\", \"cheap\"]"),
        ("openai/o3-mini", "models = ["),
    ] {
        let reply = ask(&gateway, &short(model)).await;
        assert_eq!((reply.status, reply.at("/error/type")), (403, json!("permission_error")), "{model}");
        assert!(message(&reply).contains(rule), "{model}: {}", message(&reply));
        assert!(message(&reply).contains("the project's policy"));
    }
    // The policy applies to fallback models too.
    let mut body = short(MODEL);
    body["models"] = json!(["mine/anything"]);
    let reply = ask(&gateway, &body).await;
    assert_eq!((reply.status, reply.at("/error/param")), (403, json!("models[0]")));
    // Other keys are not limited.
    assert_eq!(gateway.chat(&short("mine/anything")).await.status, 200);
    for heard in upstream.bodies() {
        assert_ne!(heard["model"], "gpt-4.1-mini");
    }
}

#[tokio::test]
async fn auto_and_aliases_choose_within_the_policy_and_lists_show_no_more() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway =
        TestGateway::start(&config(&upstream, "models = [\"gpt-4o-mini\", \"auto\"]\ndeny = [\"*nano*\"]"))
            .await;
    assert_eq!(ask(&gateway, &short("auto")).await.status, 200);
    let reply = ask(&gateway, &short("cheap")).await;
    assert_eq!(reply.status, 403, "the alias leads to a model that is denied");
    let gateway = TestGateway::start(&config(&upstream, "models = [\"gpt-4o-mini\"]")).await;
    let listed = async |path: &str| -> Vec<String> {
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: g\r\nx-api-key: team-key\r\nconnection: close\r\n\r\n");
        let list = send(gateway.address, head.as_bytes()).await.json();
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(listed("/v1/models").await, ["auto", "gpt-4o-mini"]);
    assert_eq!(listed("/v1/models?mapped=true").await, ["auto", "gpt-4o-mini", MODEL]);
    let one = async |id: &str| {
        let head = format!(
            "GET /v1/models/{id} HTTP/1.1\r\nhost: g\r\nx-api-key: team-key\r\nconnection: close\r\n\r\n"
        );
        send(gateway.address, head.as_bytes()).await.status
    };
    assert_eq!((one(MODEL).await, one("openai/gpt-4.1").await, one("cheap").await), (200, 404, 404));
}

/// Providers `good`, `unknown` (what it does with data), `elsewhere` (its region), and OpenAI at another address.
fn providers_by_data(upstream: &Upstream) -> String {
    let own = |id: &str, facts: &str| format!("{}{facts}\n", upstream.provider(id, "openai-chat"));
    let models = "[models.both]\ntargets = [\"good/m\", \"unknown/m\", \"elsewhere/m\"]\npick = \"order\"\n";
    [
        own("good", "trains_on_data = false\nretains_data = false\ndata_region = \"eu-central\""),
        own("unknown", "data_region = \"eu-west\""),
        own("elsewhere", "trains_on_data = false\nretains_data = true"),
        upstream.known("openai"),
        models.to_owned(),
    ]
    .concat()
}

#[tokio::test]
async fn data_stays_in_the_regions_and_at_the_providers_of_a_policy() {
    let upstream = Upstream::playing(vec![answer("Hello."), error("503 Service Unavailable")]).await;
    let config = format!(
        "{}[projects.a]\nregions = [\"eu-*\"]\n[[projects.a.keys]]\nname = \"ci\"\nkey = \"team-key\"\n\
         data_collection = \"deny\"\nroles = [\"inference\", \"passthrough\"]\n",
        providers_by_data(&upstream)
    );
    let gateway = TestGateway::start(&config).await;
    assert_eq!(ask(&gateway, &question("good/m")).await.status, 200);
    for (model, rule) in [
        (
            "unknown/m",
            "data_collection = \"deny\"; it is unknown whether \"unknown\" trains models with data",
        ),
        ("elsewhere/m", "regions = [\"eu-*\"]; the region of \"elsewhere\" is unknown"),
        (MODEL, "regions = [\"eu-*\"]; the region of \"openai\" is unknown"),
    ] {
        let mut listed = question("good/m");
        listed["models"] = json!([model]);
        for body in [question(model), streamed(model), listed] {
            let reply = ask(&gateway, &body).await;
            assert_eq!((reply.status, reply.at("/error/type")), (403, json!("permission_error")), "{body}");
            assert!(message(&reply).contains(rule), "{body}: {}", message(&reply));
        }
        let model = if model == MODEL { "openai/text-embedding-3-small" } else { model };
        let body = json!({"model": model, "input": "Hello."}).to_string();
        let reply =
            gateway.post_with("/v1/embeddings", "authorization: Bearer team-key\r\n", body.as_bytes()).await;
        assert_eq!(reply.status, 403, "{model}: {}", reply.text());
    }
    let reply = gateway.post_with("/p/unknown/v1/files", "authorization: Bearer team-key\r\n", b"{}").await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    // The other targets of the alias are outside of the policy.
    assert_eq!(ask(&gateway, &question("both")).await.status, 503);
    assert!(upstream.received().iter().all(|heard| heard.header("authorization") == Some("Bearer good-key")));
    let models = b"GET /v1/models HTTP/1.1\r\nhost: g\r\nx-api-key: team-key\r\nconnection: close\r\n\r\n";
    let models = send(gateway.address, models).await;
    assert!(models.status == 200 && !models.text().contains("gpt-"), "{}", models.text());
}

#[tokio::test]
async fn a_request_can_ask_for_providers_that_neither_train_nor_store() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&providers_by_data(&upstream)).await;
    for (preference, model, status) in [
        (json!({"data_collection": "deny"}), "good/m", 200),
        (json!({"data_collection": "deny"}), "elsewhere/m", 200),
        (json!({"data_collection": "deny"}), "unknown/m", 400),
        (json!({"data_collection": "allow"}), "unknown/m", 200),
        (json!({"zdr": true}), "good/m", 200),
        (json!({"zdr": true}), "elsewhere/m", 400),
        (json!({"zdr": true}), "unknown/m", 400),
        (json!({"zdr": false}), "unknown/m", 200),
    ] {
        let mut body = question(model);
        body["provider"] = preference;
        let reply = gateway.chat(&body).await;
        assert_eq!(reply.status, status, "{body}: {}", reply.text());
        if status == 400 {
            assert_eq!(reply.at("/error/param"), "provider", "{body}");
        } else {
            assert_eq!(reply.at("/metadata/losses"), json!([]), "{body}");
        }
    }
    let policy = "[projects.a]\nzdr = true\n[[projects.a.keys]]\nname = \"ci\"\nkey = \"team-key\"\n";
    let gateway = TestGateway::start(&format!("{}{policy}", providers_by_data(&upstream))).await;
    assert_eq!(ask(&gateway, &question("good/m")).await.status, 200);
    let refused = ask(&gateway, &question("elsewhere/m")).await;
    assert_eq!(refused.status, 403);
    assert!(message(&refused).contains("zdr = true; \"elsewhere\" stores data"), "{}", message(&refused));
}

#[tokio::test]
async fn a_limit_is_refused_in_every_format_with_the_time_to_wait() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let policy = "limits = [{ requests = 2, per = \"minute\" }, { tokens = 1000, per = \"hour\" }]";
    let gateway = TestGateway::start(&config(&upstream, policy)).await;
    let first = ask(&gateway, &short(MODEL)).await;
    let header = |reply: &Reply, name: &str| reply.header(&format!("x-ratelimit-{name}")).unwrap().to_owned();
    assert_eq!(
        (header(&first, "limit-requests"), header(&first, "remaining-requests")),
        ("2".into(), "1".into())
    );
    assert_eq!(header(&first, "reset-requests"), "30s");
    assert_eq!(
        (header(&first, "limit-tokens"), header(&first, "remaining-tokens")),
        ("1000".into(), "893".into())
    );
    let mut stream = streamed(MODEL);
    stream["max_tokens"] = json!(10);
    let second = ask(&gateway, &stream).await;
    assert_eq!((second.status, header(&second, "remaining-requests").as_str()), (200, "0"));
    let refused = ask(&gateway, &short(MODEL)).await;
    assert_eq!((refused.status, refused.at("/error/code")), (429, json!("rate_limit_exceeded")));
    assert_eq!(
        (refused.at("/error/type"), header(&refused, "remaining-requests")),
        (json!("rate_limit_error"), "0".into())
    );
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert!(message(&refused).contains("the project 2 requests per minute"), "{}", message(&refused));

    let asked = async |path: &str, body: Value| {
        let text = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: g\r\nx-api-key: team-key\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            text.len()
        );
        send(gateway.address, format!("{head}{text}").as_bytes()).await
    };
    let messages = json!([{"role": "user", "content": "Hello."}]);
    let reply = asked("/v1/messages", json!({"model": MODEL, "max_tokens": 9, "messages": messages})).await;
    assert_eq!((reply.status, reply.at("/error/type")), (429, json!("rate_limit_error")));
    assert!(reply.header("retry-after").is_some());
    let reply = asked("/v1/responses", json!({"model": MODEL, "input": "Hello."})).await;
    assert_eq!((reply.status, reply.at("/error/code")), (429, json!("rate_limit_exceeded")));
    let contents = json!([{"role": "user", "parts": [{"text": "Hello."}]}]);
    let reply =
        asked(&format!("/v1beta/models/{MODEL}:generateContent"), json!({"contents": contents})).await;
    assert_eq!((reply.status, reply.at("/error/status")), (429, json!("RESOURCE_EXHAUSTED")));
    assert!(reply.header("retry-after").is_some());
    // A refused request is in the log of requests, and reached no provider.
    assert_eq!(upstream.received().len(), 2);
    let records = gateway.records().await;
    assert_eq!(records.iter().filter(|record| record.status == 429).count(), 4);
    assert!(records.iter().all(|record| record.project == "a" && record.key_id == "static:a/ci"));
}

#[tokio::test]
async fn every_answer_of_a_key_with_limits_says_what_is_left() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let policy = "models = [\"gpt-4o-mini\"]\nlimits = [{ requests = 60, per = \"hour\" }, { requests = 1, per = \"day\", model = \"x\" }]";
    let viewer = "[[projects.a.keys]]\nname = \"viewer\"\nkey = \"viewer-key\"\nroles = [\"viewer\"]\n";
    let gateway = TestGateway::start(&format!("{}{viewer}", config(&upstream, policy))).await;
    let call = async |line: &str, body: &str| {
        let head = format!(
            "{line} HTTP/1.1\r\nhost: g\r\nx-api-key: team-key\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        send(gateway.address, head.as_bytes()).await
    };
    let chat = "POST /v1/chat/completions";
    let refused =
        json!({"model": "openai/gpt-4.1", "messages": [{"role": "user", "content": "x"}]}).to_string();
    for (line, body, status) in [
        (chat, "{", 400),
        (chat, r#"{"model":"openai/gpt-4o-mini","messages":5}"#, 400),
        (chat, refused.as_str(), 403),
        ("GET /v1/models", "", 200),
        ("GET /v1/models/nothing", "", 404),
        ("GET /v1/responses/resp_x", "", 404),
        ("GET /v1/conversations/conv_x", "", 404),
        ("GET /v1/files/x", "", 404),
        (
            "POST /v1/messages/count_tokens",
            r#"{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"x"}]}"#,
            200,
        ),
    ] {
        let reply = call(line, body).await;
        let left = reply.header("x-ratelimit-remaining-requests");
        assert_eq!(
            (reply.status, reply.header("x-ratelimit-limit-requests")),
            (status, Some("60")),
            "{line} {body}"
        );
        assert_eq!(
            (left, reply.header("x-ratelimit-reset-requests")),
            (Some("60"), Some("0s")),
            "{line} {body}"
        );
    }
    // A key that lacks the role.
    for (key, line) in [
        ("viewer-key", chat),
        ("viewer-key", "POST /v1/embeddings"),
        ("viewer-key", "POST /v1/conversations"),
        ("viewer-key", "GET /v1/files"),
        ("team-key", "GET /p/openai/v1/files"),
        ("team-key", "GET /admin/v1/keys"),
        ("viewer-key", "POST /admin/v1/keys"),
        ("team-key", "GET /v1/routing"),
        ("viewer-key", "POST /admin/v1/reload"),
    ] {
        let head = format!(
            "{line} HTTP/1.1\r\nhost: g\r\nx-api-key: {key}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
        );
        let reply = send(gateway.address, head.as_bytes()).await;
        assert_eq!(
            (reply.status, reply.header("x-ratelimit-remaining-requests")),
            (403, Some("60")),
            "{line}"
        );
    }
    assert_eq!(ask(&gateway, &short(MODEL)).await.header("x-ratelimit-remaining-requests"), Some("59"));
    assert_eq!(call("GET /v1/models", "").await.header("x-ratelimit-remaining-requests"), Some("59"));
    // Other keys do not see these limits.
    assert_eq!(gateway.get("/v1/models").await.header("x-ratelimit-limit-requests"), None);
}

#[tokio::test]
async fn a_limit_may_apply_to_a_model_or_a_key() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let more = "limits = [{ requests = 1, per = \"day\", model = \"*nano\" }]";
    let gateway = TestGateway::start(&config(&upstream, more)).await;
    assert_eq!(ask(&gateway, &short("gpt-4.1-nano")).await.status, 200);
    let refused = ask(&gateway, &short("cheap")).await;
    assert_eq!(refused.status, 429, "the alias leads to the same model");
    assert!(message(&refused).contains("1 requests per day for \"*nano\""), "{}", message(&refused));
    assert!((86_390..=86_400).contains(&refused.header("retry-after").unwrap().parse::<u64>().unwrap()));
    assert_eq!(ask(&gateway, &short(MODEL)).await.status, 200);
    let config = config(&upstream, "") + "limits = [{ concurrent = 1 }]\n";
    let gateway = TestGateway::start(&config).await;
    assert_eq!(ask(&gateway, &short(MODEL)).await.status, 200);
    assert_eq!(ask(&gateway, &short(MODEL)).await.status, 200);
}

#[tokio::test]
async fn a_concurrent_limit_is_freed_however_its_request_ends() {
    let mut upstream = Upstream::by_hand().await;
    let config = config(&upstream, "limits = [{ concurrent = 1 }]");
    let gateway = Arc::new(TestGateway::start(&config).await);
    for end in ["answered", "failed", "cancelled", "broken"] {
        let body = if end == "broken" { streamed("mine/m") } else { short("mine/m") };
        let asking = {
            let (gateway, body) = (gateway.clone(), body.clone());
            tokio::spawn(async move { ask(&gateway, &body).await })
        };
        let mut line = upstream.next().await;
        let refused = ask(&gateway, &short("mine/m")).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{end}");
        match end {
            "answered" => line.send(answer("Hello.")).await,
            "failed" => line.send(error("400 Bad Request")).await,
            "broken" => {
                line.send(stream_head()).await;
                line.send(chunk(json!({"content": "Hel"}), None)).await;
            }
            _ => asking.abort(),
        }
        if end == "cancelled" {
            line.hung_up().await;
        } else {
            drop(line);
            asking.await.unwrap();
        }
    }
    let last = {
        let gateway = gateway.clone();
        tokio::spawn(async move { ask(&gateway, &short("mine/m")).await.status })
    };
    let mut line = upstream.next().await;
    line.send(answer("Hello.")).await;
    drop(line);
    assert_eq!(last.await.unwrap(), 200);
}

#[tokio::test]
async fn a_caller_that_hangs_up_before_the_first_content_is_charged_the_prompt() {
    let mut upstream = Upstream::by_hand().await;
    let budget = "budgets = [{ usd = \"1\", per = \"total\" }]";
    let gateway = TestGateway::start(&config(&upstream, budget)).await;
    for key in ["team-key", "test-key"] {
        let bearer = format!("Bearer {key}");
        let (address, body) = (gateway.address, short(MODEL).to_string());
        let asking = tokio::spawn(async move {
            crate::support::open(address, &[("authorization", &bearer)], body.as_bytes()).await
        });
        let line = upstream.next().await;
        asking.abort();
        line.hung_up().await;
    }
    let records = gateway.stop().await.records().await;
    let of = |project: &str| records.iter().find(|record| record.project == project).unwrap();
    let charged = of("a");
    let prompt = charged.usage.unwrap().input;
    assert!(charged.canceled && charged.usage_estimated && prompt > 0);
    assert_eq!(charged.cost.unwrap().total, Pico(prompt as i64 * 150_000));
    assert_eq!(charged.upstream_cost, Some(charged.cost.unwrap().total));
    // Without a budget the caller is not charged.
    assert_eq!(of("default").cost.unwrap().total, Pico::ZERO);
}

#[tokio::test]
async fn a_budget_is_a_ceiling_also_after_a_restart() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    // The budget covers the worst case after two answers, and not after three.
    let most = Pico(WORST + 2 * COST);
    let config = config(&upstream, &format!("budgets = [{{ usd = \"{most}\", per = \"month\" }}]"));
    let gateway = TestGateway::start(&config).await;
    for _ in 0..2 {
        assert_eq!(ask(&gateway, &short(MODEL)).await.status, 200);
    }
    let gateway = gateway.stop().await.start(&config).await;
    assert_eq!(ask(&gateway, &short(MODEL)).await.status, 200);
    let refused = ask(&gateway, &short(MODEL)).await;
    assert_eq!((refused.status, refused.at("/error/type")), (402, json!("insufficient_quota")));
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() <= 31 * 86_400);
    let text = message(&refused);
    assert!(
        text.contains("the project") && text.contains("USD per month") && text.contains("are left"),
        "{text}"
    );
    // A request with less output still fits, and another project has its own budget.
    let mut less = short(MODEL);
    less["max_tokens"] = json!(50);
    assert_eq!(ask(&gateway, &less).await.status, 200);
    assert_eq!(gateway.chat(&short(MODEL)).await.status, 200);
    // A model without a known price is refused: its cost would not count.
    let refused = ask(&gateway, &short("mine/m")).await;
    assert_eq!(refused.status, 403);
    assert!(message(&refused).contains("unpriced"), "{}", message(&refused));
    let stopped = gateway.stop().await;
    let records = stopped.records().await;
    let of_a: i64 = records
        .iter()
        .filter(|record| record.project == "a")
        .filter_map(|record| record.cost)
        .map(|cost| cost.total.0)
        .sum();
    let gateway = stopped.start(&config).await;
    let store = Store::open(&gateway.database).await.unwrap();
    assert_eq!((of_a, spent(&store, "project:a").await), (4 * COST, 4 * COST));
    assert_eq!(spent(&store, "key:static:a/ci").await, 4 * COST);
    assert_eq!(spent(&store, "project:default").await, COST);
}

#[tokio::test]
async fn an_exhausted_budget_may_switch_to_another_model() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let budgets = "budgets = [{ usd = \"0.00001\", per = \"day\", on_exhausted = \"downgrade:cheap\" }, { usd = \"1\", per = \"day\" }]";
    let gateway = TestGateway::start(&config(&upstream, budgets)).await;
    let reply = ask(&gateway, &short(MODEL)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.at("/metadata/used_model"), json!("gpt-4.1-nano"));
    assert_eq!(reply.at("/metadata/losses/0/field"), json!("model"));
    assert_eq!(reply.at("/metadata/losses/0/action"), json!("approximated"));
    let strict = ask_with(&gateway, "team-key", &[("x-llmgateway-strict", "true")], &short(MODEL)).await;
    assert_eq!((strict.status, strict.at("/error/param")), (400, json!("model")));
    let mut small = short(MODEL);
    small["max_tokens"] = json!(1);
    let reply = ask(&gateway, &small).await;
    assert_eq!(
        reply.at("/metadata/used_model"),
        json!("gpt-4o-mini"),
        "a request that fits is served by the requested model"
    );
}

#[tokio::test]
async fn tags_are_in_the_record() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = config(&upstream, "tags = { team = \"a\", env = \"test\" }");
    let gateway = TestGateway::start(&config).await;
    let header = [("x-llmgateway-tags", "env=prod, run=7")];
    assert_eq!(ask_with(&gateway, "team-key", &header, &short("mine/m")).await.status, 200);
    for wrong in ["a", "a=b,=", &"a=b,".repeat(3).replace('a', &"x".repeat(40))] {
        let reply = ask_with(&gateway, "team-key", &[("x-llmgateway-tags", wrong)], &short("mine/m")).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!("x-llmgateway-tags")), "{wrong}");
    }
    let records = gateway.records().await;
    let good = records.iter().find(|record| record.status == 200).unwrap();
    let tags: Vec<_> = good.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(tags, ["env=prod", "run=7", "team=a"]);
}

fn project(id: &str, policy: &str) -> Project {
    Project {
        id: id.to_owned(),
        name: id.to_owned(),
        policy: policy.to_owned(),
        version: 1,
        created_at_ms: 1,
        disabled_at_ms: None,
    }
}

#[tokio::test]
async fn keys_and_projects_of_the_database_are_in_force_within_a_second() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&config(&upstream, "")).await;
    let store = Store::open(&gateway.database).await.unwrap();
    let mut team =
        project("b", r#"{"models":["mine/*"],"budgets":[{"usd":"1","per":"day"}],"unpriced":"allow"}"#);
    store.create_project(&team, None).await.unwrap();
    let fields = KeyFields {
        project_id: "b".to_owned(),
        policy: r#"{"deny":["mine/secret"]}"#.to_owned(),
        ..KeyFields::named("k")
    };
    let (key, secret) = store.create_key_with(&fields, None, 1).await.unwrap();
    let secret = secret.expose();
    let asked = async |model: &str, key: &str| ask_with(&gateway, key, &[], &short(model)).await;
    assert_eq!(asked("mine/m", secret).await.status, 200);
    let refused = asked("mine/secret", secret).await;
    assert!(message(&refused).contains("the key's policy refuses it (deny"), "{}", message(&refused));
    assert!(message(&asked(MODEL, secret).await).contains("the project's policy"));

    // The old secret is valid until the overlap ends.
    let soon = gateway::clock::now_ms() + 3_600_000;
    let rotated = store.rotate_key(&key.id, soon, None, 2).await.unwrap().unwrap();
    assert_eq!(asked("mine/m", rotated.expose()).await.status, 200);
    assert_eq!(asked("mine/m", secret).await.status, 200);
    store.rotate_key(&key.id, 5, None, 3).await.unwrap().unwrap();
    let expect = async |status: u16, key: &str| {
        let began = Instant::now();
        while asked("mine/m", key).await.status != status {
            assert!(began.elapsed() < Duration::from_secs(20), "{status} does not come");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    expect(401, rotated.expose()).await;
    assert_eq!(asked("mine/m", secret).await.status, 401);

    let (other, secret) = store.create_key_with(&fields, None, 1).await.unwrap();
    let secret = secret.expose();
    assert_eq!(asked("mine/m", secret).await.status, 200);
    team.disabled_at_ms = Some(3);
    store.update_project(&team, None, 3).await.unwrap();
    expect(403, secret).await;
    (team.disabled_at_ms, team.version) = (None, 2);
    store.update_project(&team, None, 3).await.unwrap();
    expect(200, secret).await;
    store.revoke_key(&other.id, 4).await.unwrap();
    expect(401, secret).await;
}

#[tokio::test]
async fn the_default_project_of_the_database_binds_static_keys_too() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&config(&upstream, "")).await;
    let store = Store::open(&gateway.database).await.unwrap();
    let mut default = store.project("default").await.unwrap().unwrap();
    default.policy = r#"{"deny":["mine/*"]}"#.to_owned();
    store.update_project(&default, None, 2).await.unwrap();
    let began = Instant::now();
    while gateway.chat(&short("mine/m")).await.status != 403 {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_request_that_a_stop_cuts_has_the_limits_of_its_key() {
    let mut upstream = Upstream::by_hand().await;
    let project = "limits = [{ requests = 60, per = \"day\" }]";
    let config = format!("[server]\nshutdown_seconds = 600\n{}", config(&upstream, project))
        .replace("key = \"team-key\"", "key = \"team-key\"\nroles = [\"inference\", \"passthrough\"]");
    let gateway = TestGateway::start(&config).await;
    let address = gateway.address;
    let body = short(MODEL).to_string();
    let ask = |line: &str| {
        let head = format!(
            "{line} HTTP/1.1\r\nhost: g\r\nx-api-key: team-key\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        tokio::spawn(async move { send(address, head.as_bytes()).await })
    };
    let lines = ["POST /v1/chat/completions", "POST /p/openai/v1/chat/completions"];
    let (mut asked, mut silent) = (Vec::new(), Vec::new());
    for line in lines {
        asked.push(ask(line));
        silent.push(upstream.next().await);
    }
    assert_eq!(gateway.stop_at_once().await.cut, lines.len());
    for (line, reply) in lines.iter().zip(asked) {
        let reply = reply.await.unwrap();
        assert_eq!((reply.status, reply.at("/error/code")), (503, json!("unavailable")), "{line}");
        assert_eq!(reply.header("x-ratelimit-limit-requests"), Some("60"), "{line}");
    }
}

/// 200 callers, one budget, a provider that answers, fails, breaks off or stays silent, and callers that hang up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_stress_the_ceiling_holds_and_the_ledger_is_the_sum_of_the_records() {
    let mut upstream = Upstream::by_hand().await;
    let most = 40 * WORST;
    let project = format!(
        "budgets = [{{ usd = \"{}\", per = \"total\" }}, {{ usd = \"{}\", per = \"day\" }}]\nlimits = [{{ concurrent = 30 }}]",
        Pico(most),
        Pico(2 * most)
    );
    let config = format!("{}[routing]\nmax_retries = 1\n", config(&upstream, &project));
    let gateway = Arc::new(TestGateway::start(&config).await);
    let callers: Vec<_> = (0..200_u64)
        .map(|caller| {
            let gateway = gateway.clone();
            tokio::spawn(async move {
                let mut statuses = Vec::new();
                for round in 0..4 {
                    let mut body = if (caller + round) % 3 == 0 { streamed(MODEL) } else { short(MODEL) };
                    body["max_tokens"] = json!(100);
                    let patience = Duration::from_millis(if (caller + round) % 7 == 0 { 15 } else { 20_000 });
                    let reply = tokio::time::timeout(patience, ask(&gateway, &body)).await;
                    statuses.push(reply.map_or(0, |reply| reply.status));
                }
                statuses
            })
        })
        .collect();
    let provider = tokio::spawn(async move {
        let mut count = 0_u64;
        loop {
            let mut line = upstream.next().await;
            count += 1;
            tokio::spawn(async move {
                // An answer that uses the whole reservation.
                let mut full = answer_of(json!({"role": "assistant", "content": "Hello."}), "stop");
                full["usage"] = json!({"prompt_tokens": 7, "completion_tokens": 100, "total_tokens": 107});
                match count % 11 {
                    0 => line.send(error("500 Internal Server Error")).await,
                    1 => line.send(error("400 Bad Request")).await,
                    2 => {
                        line.send(stream_head()).await;
                        line.send(chunk(json!({"content": "Hel"}), None)).await;
                    }
                    3 => tokio::time::sleep(Duration::from_millis(30)).await,
                    _ => line.send(whole("200 OK", &full)).await,
                }
            });
        }
    });
    let mut statuses = Vec::new();
    for caller in callers {
        statuses.extend(caller.await.unwrap());
    }
    provider.abort();
    let count = |status: u16| statuses.iter().filter(|it| **it == status).count();
    assert!(count(200) > 10 && count(402) > 10 && count(429) > 0, "{statuses:?}");

    let caller_rules = gateway.snapshot();
    let project = caller_rules.keys.projects()["a"].clone();
    let rules = &project.terms.rules;
    let gateway = Arc::into_inner(gateway).unwrap();
    let database = gateway.database.clone();
    let stopped = gateway.stop().await;
    let (in_memory, reserved) =
        project.book.lock().spent(rules[0].account(), gateway::clock::now_ms()).unwrap();
    assert_eq!((reserved, project.book.lock().held(rules[2].account())), (Pico(0), Some(0)));
    assert_eq!(project.book.lock().open(), 0);
    let records = stopped.records().await;
    let sum: i64 = records.iter().filter_map(|record| record.cost).map(|cost| cost.total.0).sum();
    let store = Store::open(&database).await.unwrap();
    assert_eq!((in_memory.0, spent(&store, "project:a").await), (sum, sum));
    assert!(sum <= most, "{sum} of {most}");
    assert!(sum > most / 2, "{sum} of {most}");
}

#[tokio::test]
async fn a_webhook_is_sent_once_for_each_threshold() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let hook = Upstream::playing(vec![answer("taken")]).await;
    let usd = Pico(3 * COST).to_string();
    let project = format!("budgets = [{{ usd = \"{usd}\", per = \"total\" }}]");
    let webhook =
        format!("\n[[webhooks]]\nurl = \"{}/hook?token=canary\"\nsecret = \"whsec_c2VjcmV0\"\n", hook.url());
    let gateway = TestGateway::start(&(config(&upstream, &project) + &webhook)).await;
    let mut body = short(MODEL);
    body["max_tokens"] = json!(5);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(ask(&gateway, &body).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 402]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while hook.bodies().len() < 2 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let bodies = hook.bodies();
    let mut percents: Vec<_> = bodies.iter().map(|body| body["data"]["percent"].clone()).collect();
    percents.sort_by_key(Value::as_i64);
    assert_eq!(percents, [50, 100]);
    let head = hook.received()[0].head.to_ascii_lowercase();
    assert!(head.starts_with("post /hook?token=canary http"), "{head}");
    for header in ["webhook-id: evt_", "webhook-timestamp: ", "webhook-signature: v1,"] {
        assert!(head.contains(header), "{head}");
    }
    assert_eq!(bodies[0]["type"], "budget.threshold");
    assert_eq!(bodies[0]["data"]["project"], "a");
    assert_eq!(bodies[0]["data"]["usd"], usd);
}

/// The thresholds that an address was sent, as ceiling and percentage, once there are this many.
async fn reported(hook: &Upstream, many: usize) -> Vec<(String, i64)> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while hook.bodies().len() < many && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let threshold = |body: &Value| {
        let data = &body["data"];
        (data["usd"].as_str().unwrap().to_owned(), data["percent"].as_i64().unwrap())
    };
    let mut all: Vec<_> = hook.bodies().iter().map(threshold).collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn two_budgets_of_one_window_report_their_own_thresholds_once_across_a_restart() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let hook = Upstream::playing(vec![answer("taken")]).await;
    let [small, large] = [6, 10].map(|answers| Pico(answers * COST).to_string());
    let budgets = format!(
        "{{ usd = \"{small}\", per = \"total\", on_exhausted = \"downgrade:cheap\" }}, {{ usd = \"{large}\", per = \"total\" }}"
    );
    let with = |budgets: &str| {
        let project = format!("budgets = [{budgets}]");
        format!("{}\n[[webhooks]]\nurl = \"{}/hook\"\n", config(&upstream, &project), hook.url())
    };
    let gateway = TestGateway::start(&with(&budgets)).await;
    let mut body = short(MODEL);
    body["max_tokens"] = json!(5);
    let mut answers = 0;
    // Six answers of the requested model reach the first budget; then the alias serves until the second is full.
    while ask(&gateway, &body).await.status == 200 {
        answers += 1;
    }
    assert!(answers > 6, "{answers}");
    let mut expected: Vec<_> = [(&small, 50), (&small, 80), (&small, 100), (&large, 50), (&large, 80)]
        .map(|(usd, percent)| (usd.clone(), percent))
        .into();
    expected.sort_unstable();
    assert_eq!(reported(&hook, 5).await, expected);

    // The next process reads the same spending. Its third budget shows that it has noticed the thresholds.
    let third = Pico(12 * COST).to_string();
    let config = with(&format!("{budgets}, {{ usd = \"{third}\", per = \"month\" }}"));
    let gateway = gateway.stop().await.start(&config).await;
    expected.push((third, 80));
    expected.sort_unstable();
    assert_eq!(reported(&hook, 6).await, expected);
    gateway.stop().await;
    assert_eq!(reported(&hook, 6).await, expected);
}
