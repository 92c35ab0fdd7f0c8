//! Usage has the same figures wherever it is reported.

use canon::Pico;
use console::components::number::dollars;
use serde_json::Value;
use store::UsageRecord;

use crate::commands::run;
use crate::console::Browser;
use crate::support::{
    TestGateway, Upstream, answer, chunk, error, events, question, stream_head, stream_of, streamed,
};

const PRICED: &str = "openai/gpt-4o-mini";
const LABELS: &str = r#"provider="openai",model="gpt-4o-mini""#;

/// The compared figures: requests, attempts, tokens in, from a cache, and out, cost.
type Figures = (u64, u64, u64, u64, u64, String);

fn figures_of_row(object: &Value) -> Figures {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_u64).unwrap();
    (
        number("/requests"),
        number("/attempts"),
        number("/usage/input"),
        number("/usage/cache_read"),
        number("/usage/output"),
        object["cost_usd"].as_str().unwrap().to_owned(),
    )
}

fn figures_of_records(records: &[UsageRecord]) -> Figures {
    let sum =
        |of: fn(&canon::Usage) -> u64| records.iter().filter_map(|one| one.usage.as_ref()).map(of).sum();
    (
        records.len() as u64,
        records.iter().map(|record| record.attempts.len() as u64).sum(),
        sum(|usage| usage.input),
        sum(|usage| usage.cache_read),
        sum(|usage| usage.output),
        cost_of(records).to_string(),
    )
}

fn cost_of(records: &[UsageRecord]) -> Pico {
    records.iter().filter_map(|record| Some(record.cost?.total)).sum()
}

#[tokio::test]
async fn answers_records_sums_metrics_and_commands_have_one_figure() {
    let broken = [stream_head(), events(&[chunk(serde_json::json!({"content": "Hel"}), None)])].concat();
    let upstream = Upstream::playing(vec![
        answer("Hello."),
        stream_of(&["Hello."]),
        error("500 Internal Server Error"),
        answer("At the second try."),
        broken,
        error("400 Bad Request"),
    ])
    .await;
    let config = "[auth]\nadmin_keys = [\"root\"]\n".to_owned() + &upstream.known("openai");
    let gateway = TestGateway::start_from_file(&config).await;
    let paid = cost_in_answers(&gateway).await;
    // A request for an unknown model reaches no provider.
    assert_eq!(gateway.chat(&question("nothing-like-it")).await.status, 404);
    let (by_metrics, cost_by_metrics) = figures_in_metrics(&gateway).await;
    let stopped = gateway.stop().await;
    let records = stopped.records().await;
    let gateway = stopped.start(&config).await;

    let by_records = figures_of_records(&records);
    let cost = cost_of(&records);
    assert_eq!((by_records.0, by_records.1), (6, 6), "{records:#?}");
    assert_eq!(cost, paid);
    assert!(cost > Pico::ZERO);
    assert_eq!(by_metrics, (by_records.1, by_records.2, by_records.3, by_records.4));
    assert!((cost_by_metrics - cost.as_usd()).abs() < 1e-12);

    assert_admin_api(&gateway, &records).await;
    assert_tags(&gateway, &records).await;
    assert_pages(&gateway, &records).await;
    assert_commands(&gateway, &records);
}

/// Sends the requests, and adds the costs that their answers state.
async fn cost_in_answers(gateway: &TestGateway) -> Pico {
    let mut paid = Pico::ZERO;
    for body in [question(PRICED), streamed(PRICED), question(PRICED), streamed(PRICED), question(PRICED)] {
        let reply = gateway.chat_with(&[("x-llmgateway-tags", "team=a")], &body).await;
        let usage = match body["stream"].as_bool() {
            Some(true) => reply.events().pop().unwrap_or_default()["usage"].clone(),
            _ => reply.json()["usage"].clone(),
        };
        paid += Pico((usage["cost_usd_total"].as_f64().unwrap_or(0.0) * 1e12).round() as i64);
    }
    paid
}

/// Attempts, tokens in, from a cache, and out; and the cost.
async fn figures_in_metrics(gateway: &TestGateway) -> ((u64, u64, u64, u64), f64) {
    let metric = async |name: &str| {
        let value = gateway.metric(&format!("llmgateway_{name}")).await;
        value.unwrap_or_else(|| panic!("{name}"))
    };
    let figures = (
        metric(&format!("requests_total{{{LABELS}}}")).await as u64,
        metric(&format!("tokens_total{{{LABELS},kind=\"input\"}}")).await as u64,
        metric(&format!("tokens_total{{{LABELS},kind=\"cache_read\"}}")).await as u64,
        metric(&format!("tokens_total{{{LABELS},kind=\"output\"}}")).await as u64,
    );
    (figures, metric(&format!("cost_usd_total{{{LABELS}}}")).await)
}

async fn admin(gateway: &TestGateway, path: &str) -> Value {
    let text = format!("GET {path} HTTP/1.1\r\nhost: g\r\nx-api-key: root\r\nconnection: close\r\n\r\n");
    let reply = gateway.send(text.as_bytes()).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.json()
}

async fn assert_admin_api(gateway: &TestGateway, records: &[UsageRecord]) {
    let (by_records, cost) = (figures_of_records(records), cost_of(records));
    let usage = admin(gateway, "/admin/v1/usage?days=2").await;
    assert_eq!(figures_of_row(&usage["data"][0]), by_records);
    let grouped = admin(gateway, "/admin/v1/usage?days=2&group=outcome,provider&bucket=hour").await;
    let rows = grouped["data"].as_array().unwrap();
    let requests: u64 = rows.iter().map(|row| row["requests"].as_u64().unwrap()).sum();
    assert_eq!(requests, by_records.0);
    let outcomes: Vec<&str> = rows.iter().filter_map(|row| row["outcome"].as_str()).collect();
    for outcome in ["ok", "recovered", "upstream_error", "invalid_request", "model_not_found"] {
        assert!(outcomes.contains(&outcome), "{outcome}: {outcomes:?}");
    }
    let listed = admin(gateway, "/admin/v1/requests?limit=2&filter=tag:team%3Da").await;
    assert_eq!((listed["data"].as_array().unwrap().len(), listed["has_more"].as_bool()), (2, Some(true)));
    let id = records[0].request_id.as_str();
    let one = admin(gateway, &format!("/admin/v1/requests/{id}")).await;
    assert_eq!((one["id"].as_str(), one["outcome"].as_str()), (Some(id), Some("ok")));
    assert_eq!(one["cost_usd"].as_str(), Some(records[0].cost.unwrap().total.to_string().as_str()));
    assert_eq!(one["attempts"][0]["provider"], "openai");
    let ledger = admin(gateway, "/admin/v1/usage?scope=project:default&days=2").await;
    let days = ledger["data"].as_array().unwrap();
    let spent: Pico =
        days.iter().map(|day| day["spent_usd"].as_str().unwrap().parse::<Pico>().unwrap()).sum();
    assert_eq!(spent, cost);
}

async fn assert_tags(gateway: &TestGateway, records: &[UsageRecord]) {
    let cost = cost_of(records);
    let tagged: Pico =
        records.iter().filter(|one| !one.tags.is_empty()).filter_map(|one| Some(one.cost?.total)).sum();
    assert_eq!(tagged, cost, "only the request that reached no provider has no tag");
    let by_tag = admin(gateway, "/admin/v1/usage?days=2&group=project,tag:team").await;
    assert_eq!(by_tag["data"].as_array().unwrap().len(), 1, "{by_tag}");
    let row = &by_tag["data"][0];
    assert_eq!((row["tag"].as_str(), row["value"].as_str()), (Some("team"), Some("a")));
    assert_eq!(
        (row["requests"].as_u64(), row["cost_usd"].as_str()),
        (Some(5), Some(cost.to_string().as_str()))
    );
}

fn assert_commands(gateway: &TestGateway, records: &[UsageRecord]) {
    let cost = cost_of(records).to_string();
    let folder = gateway.path("");
    let (code, out, error) = run(&folder, &["usage", "--days", "2", "--json"], &[]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(figures_of_row(&serde_json::from_str(&out).unwrap()), figures_of_records(records));
    let (code, out, _) = run(&folder, &["usage", "--group", "model"], &[]);
    assert_eq!(code, 0);
    assert!(out.contains("gpt-4o-mini") && out.contains(&cost), "{out}");
    let (code, out, _) = run(&folder, &["usage", "--by", "tag:team"], &[]);
    assert_eq!(code, 0);
    let words: Vec<&str> = out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((words[0], words[1], words[4]), ("a", "5", cost.as_str()), "{out}");
    let (code, _, error) = run(&folder, &["usage", "--group", "color"], &[]);
    assert!(code == 1 && error.contains("color"), "{error}");
}

/// The dashboard shows the figures of these records: to the last digit on the pages of requests, else rounded.
async fn assert_pages(gateway: &TestGateway, records: &[UsageRecord]) {
    let browser = Browser::with(gateway, "root").await;
    let page = async |path: &str| {
        let reply = browser.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        reply.text()
    };
    let cost = cost_of(records);
    let mut by_pages = Pico::ZERO;
    for record in records {
        let text = page(&format!("/ui/requests/{}", record.request_id)).await;
        let (_, charged) =
            text.split_once("<b>Charged</b>").or_else(|| text.split_once("<dt>Cost</dt>")).unwrap();
        let (_, digits) = charged.split_once("dig\">$").unwrap();
        let (digits, _) = digits.split_once("</i>").unwrap();
        by_pages += digits.replace("<i>", "").parse::<Pico>().unwrap();
    }
    assert_eq!(by_pages, cost, "the sum of the pages of requests");

    let (shown, number) = (dollars(cost), records.len());
    let sent = records.iter().filter(|record| record.used_model.as_deref() == Some("gpt-4o-mini")).count();
    let recovered =
        records.iter().filter(|record| record.error_kind.is_none() && record.attempts.len() > 1).count();
    let usage = |of: fn(&canon::Usage) -> u64| -> u64 {
        records.iter().filter_map(|one| one.usage.as_ref()).map(of).sum()
    };
    let tokens = usage(|usage| usage.prompt_tokens() + usage.output);
    let tagged = records.iter().filter(|record| !record.tags.is_empty()).count();
    let by_tag = format!("title=\"a\">a</a></td><td class=\"n\">{tagged}</td><td class=\"n\">{shown}</td>");
    let expected = [
        ("/ui", format!("<div class=\"fig-l\">Cost</div><div class=\"fig-v\">{shown}</div>")),
        ("/ui", format!("<div class=\"fig-l\">Requests</div><div class=\"fig-v\"><span title=\"{number}\">")),
        ("/ui", format!("<div class=\"fig-l\">Tokens</div><div class=\"fig-v\"><span title=\"{tokens}\">")),
        (
            "/ui",
            format!("gpt-4o-mini</span></span></td><td class=\"n\">{sent}</td><td class=\"n\">{shown}</td>"),
        ),
        ("/ui?range=7d", format!("<div class=\"fig-l\">Cost</div><div class=\"fig-v\">{shown}</div>")),
        ("/ui/requests", format!("{number} requests, {recovered} recovered, ")),
        ("/ui/requests?q=project%3Adefault&range=7d", format!("{number} requests, {recovered} recovered, ")),
        ("/ui", by_tag.clone()),
        ("/ui/projects/default", by_tag),
        ("/ui/projects", shown.clone()),
        ("/ui/projects/default", format!("<td class=\"n\">{shown}</td>")),
    ];
    for (path, figure) in expected {
        let text = page(path).await;
        assert!(text.contains(&figure), "{path} has not {figure}: {text}");
    }
}
