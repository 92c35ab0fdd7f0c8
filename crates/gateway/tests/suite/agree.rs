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
type Granted = (u64, u64, u64, u64, u64, String);

fn told(object: &Value) -> Granted {
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
    let mut paid = Pico::ZERO;
    for body in [question(PRICED), streamed(PRICED), question(PRICED), streamed(PRICED), question(PRICED)] {
        let reply = gateway.chat_with(&[("x-llmgateway-tags", "team=a")], &body).await;
        let usage = match body["stream"].as_bool() {
            Some(true) => reply.events().pop().unwrap_or_default()["usage"].clone(),
            _ => reply.json()["usage"].clone(),
        };
        paid += Pico((usage["cost_usd_total"].as_f64().unwrap_or(0.0) * 1e12).round() as i64);
    }
    // A request for an unknown model reaches no provider.
    assert_eq!(gateway.chat(&question("nothing-like-it")).await.status, 404);
    let metric = async |name: &str| {
        let value = gateway.metric(&format!("llmgateway_{name}")).await;
        value.unwrap_or_else(|| panic!("{name}"))
    };
    let by_metrics = (
        metric(&format!("requests_total{{{LABELS}}}")).await as u64,
        metric(&format!("tokens_total{{{LABELS},kind=\"input\"}}")).await as u64,
        metric(&format!("tokens_total{{{LABELS},kind=\"cache_read\"}}")).await as u64,
        metric(&format!("tokens_total{{{LABELS},kind=\"output\"}}")).await as u64,
    );
    let cost_by_metrics = metric(&format!("cost_usd_total{{{LABELS}}}")).await;
    let stopped = gateway.stop().await;
    let records = stopped.records().await;
    let gateway = stopped.start(&config).await;

    let cost: Pico = records.iter().filter_map(|record| Some(record.cost?.total)).sum();
    let sum =
        |of: fn(&canon::Usage) -> u64| records.iter().filter_map(|one| one.usage.as_ref()).map(of).sum();
    let by_records: Granted = (
        records.len() as u64,
        records.iter().map(|record| record.attempts.len() as u64).sum(),
        sum(|usage| usage.input),
        sum(|usage| usage.cache_read),
        sum(|usage| usage.output),
        cost.to_string(),
    );
    assert_eq!((by_records.0, by_records.1), (6, 6), "{records:#?}");
    assert_eq!(cost, paid);
    assert!(cost > Pico::ZERO);
    assert_eq!(by_metrics, (by_records.1, by_records.2, by_records.3, by_records.4));
    assert!((cost_by_metrics - cost.as_usd()).abs() < 1e-12);

    let admin = async |path: &str| {
        let text = format!("GET {path} HTTP/1.1\r\nhost: g\r\nx-api-key: root\r\nconnection: close\r\n\r\n");
        let reply = gateway.send(text.as_bytes()).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    };
    let usage = admin("/admin/v1/usage?days=2").await;
    assert_eq!(told(&usage["data"][0]), by_records);
    let grouped = admin("/admin/v1/usage?days=2&group=outcome,provider&bucket=hour").await;
    let mut requests = 0;
    for row in grouped["data"].as_array().unwrap() {
        requests += row["requests"].as_u64().unwrap();
    }
    assert_eq!(requests, by_records.0);
    let outcomes: Vec<&str> =
        grouped["data"].as_array().unwrap().iter().filter_map(|row| row["outcome"].as_str()).collect();
    for outcome in ["ok", "recovered", "upstream_error", "invalid_request", "model_not_found"] {
        assert!(outcomes.contains(&outcome), "{outcome}: {outcomes:?}");
    }
    let listed = admin("/admin/v1/requests?limit=2&filter=tag:team%3Da").await;
    assert_eq!((listed["data"].as_array().unwrap().len(), listed["has_more"].as_bool()), (2, Some(true)));
    let id = records[0].request_id.as_str();
    let one = admin(&format!("/admin/v1/requests/{id}")).await;
    assert_eq!((one["id"].as_str(), one["outcome"].as_str()), (Some(id), Some("ok")));
    assert_eq!(one["cost_usd"].as_str(), Some(records[0].cost.unwrap().total.to_string().as_str()));
    assert_eq!(one["attempts"][0]["provider"], "openai");
    let ledger = admin("/admin/v1/usage?scope=project:default&days=2").await;
    let days = ledger["data"].as_array().unwrap();
    let spent: Pico =
        days.iter().map(|day| day["spent_usd"].as_str().unwrap().parse::<Pico>().unwrap()).sum();
    assert_eq!(spent, cost);

    let tagged: Pico =
        records.iter().filter(|one| !one.tags.is_empty()).filter_map(|one| Some(one.cost?.total)).sum();
    assert_eq!(tagged, cost, "only the request that reached no provider has no tag");
    let by_tag = admin("/admin/v1/usage?days=2&group=project,tag:team").await;
    assert_eq!(by_tag["data"].as_array().unwrap().len(), 1, "{by_tag}");
    let row = &by_tag["data"][0];
    assert_eq!((row["tag"].as_str(), row["value"].as_str()), (Some("team"), Some("a")));
    assert_eq!(
        (row["requests"].as_u64(), row["cost_usd"].as_str()),
        (Some(5), Some(cost.to_string().as_str()))
    );

    the_pages_agree(&gateway, &records).await;

    let folder = gateway.path("");
    let (code, out, told_badly) = run(&folder, &["usage", "--days", "2", "--json"], &[]);
    assert_eq!(code, 0, "{told_badly}");
    assert_eq!(told(&serde_json::from_str(&out).unwrap()), by_records);
    let (code, out, _) = run(&folder, &["usage", "--group", "model"], &[]);
    assert_eq!(code, 0);
    assert!(out.contains("gpt-4o-mini") && out.contains(&cost.to_string()), "{out}");
    let (code, out, _) = run(&folder, &["usage", "--by", "tag:team"], &[]);
    assert_eq!(code, 0);
    let words: Vec<&str> = out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((words[0], words[1], words[4]), ("a", "5", cost.to_string().as_str()), "{out}");
    let (code, _, told_badly) = run(&folder, &["usage", "--group", "color"], &[]);
    assert!(code == 1 && told_badly.contains("color"), "{told_badly}");
}

/// The dashboard shows the figures of these records: to the last digit on the pages of requests, else rounded.
async fn the_pages_agree(gateway: &TestGateway, records: &[UsageRecord]) {
    let browser = Browser::with(gateway, "root").await;
    let page = async |path: &str| {
        let reply = browser.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        reply.text()
    };
    let cost: Pico = records.iter().filter_map(|record| Some(record.cost?.total)).sum();
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
