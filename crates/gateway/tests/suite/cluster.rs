//! Several nodes that share a database and the counters in Redis: real servers, gateways in this process.

use std::sync::Arc;
use std::time::Duration;

use canon::Operation;
use routing::KeyState;
use serde_json::{Value, json};
use store::{Store, UsageFilter};
use testkit::redis::Redis;

use crate::support::{Reply, TestGateway, Upstream, answer, error, question, whole};

/// The cost of an answer: 6 tokens at the full price, 4 cached tokens at half of it, 5 output tokens.
const COST: i64 = 6 * 150_000 + 4 * 75_000 + 5 * 600_000;
/// The reservation for a question with at most 100 output tokens.
const WORST: i64 = 7 * 150_000 + 100 * 600_000;

/// The servers that the nodes of one test share.
struct SharedServers {
    redis: Redis,
    database: String,
    admin: String,
    name: String,
}

impl SharedServers {
    /// `None` with a message if a server is missing.
    async fn new(name: &str) -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "a setting of test runs, not of the gateway")]
        let url = std::env::var("LLMGATEWAY_TEST_POSTGRES");
        let (Ok(admin), Some(redis)) = (url, Redis::start()) else {
            eprintln!("skipped: LLMGATEWAY_TEST_POSTGRES names no database, or there is no redis-server");
            return None;
        };
        let name = format!("cluster_{name}_{}", std::process::id());
        let place = Self { redis, database: with_database(&admin, &name), admin, name };
        place.execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", place.name)).await;
        place.execute(&format!("CREATE DATABASE {}", place.name)).await;
        Some(place)
    }

    async fn execute(&self, sql: &str) {
        use sqlx::Connection;
        let mut connection = sqlx::PgConnection::connect(&self.admin).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    }

    async fn end(self) {
        self.execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await;
    }

    /// The configuration of a node with a project of this policy.
    fn config(&self, upstream: &Upstream, project: &str) -> String {
        format!(
            "{}[database]\nurl = {:?}\n[cluster]\nredis = {:?}\n[projects.a]\n{project}\n\
             [[projects.a.keys]]\nname = \"ci\"\nkey = \"team-key\"\n",
            upstream.known("openai"),
            self.database,
            self.redis.url(),
        )
    }

    async fn nodes(&self, many: usize, config: &str) -> Vec<Arc<TestGateway>> {
        let mut nodes = Vec::new();
        for _ in 0..many {
            nodes.push(Arc::new(TestGateway::start(config).await));
        }
        nodes
    }

    /// The sum in the ledger, and the sum of the records.
    async fn charged(&self) -> (i64, i64) {
        let store = Store::open(&self.database).await.unwrap();
        let days = store.ledger("project:a", 0, 100).await.unwrap();
        let filter = UsageFilter { limit: Some(10_000), ..UsageFilter::default() };
        let records = store.usage(filter).await.unwrap();
        store.close().await;
        let sum = records.iter().filter(|record| record.project == "a").filter_map(|record| record.cost);
        (days.iter().map(|day| day.spent_pico).sum(), sum.map(|cost| cost.total.0).sum())
    }
}

fn with_database(url: &str, name: &str) -> String {
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

async fn ask(node: &TestGateway) -> Reply {
    let mut body = question("openai/gpt-4o-mini");
    body["max_tokens"] = json!(100);
    node.chat_with(&[("authorization", "Bearer team-key")], &body).await
}

/// Sends requests of several callers at once, spread over the nodes. Returns the statuses.
async fn storm(nodes: &[Arc<TestGateway>], callers: usize, requests: usize) -> Vec<u16> {
    let caller = |index: usize| {
        let nodes: Vec<_> = nodes.to_vec();
        tokio::spawn(async move {
            let mut statuses = Vec::new();
            for request in 0..requests {
                statuses.push(ask(&nodes[(index + request) % nodes.len()]).await.status);
            }
            statuses
        })
    };
    let tasks: Vec<_> = (0..callers).map(caller).collect();
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.extend(task.await.unwrap());
    }
    statuses
}

async fn stop(nodes: Vec<Arc<TestGateway>>) {
    for node in nodes {
        Arc::into_inner(node).unwrap().stop().await;
    }
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|it| **it == status).count()
}

/// Waits until a check succeeds; fails after ten seconds.
async fn until(mut look: impl AsyncFnMut() -> bool) {
    for _ in 0..100 {
        if look().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the check did not succeed within ten seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_spend_one_budget_together() {
    let Some(place) = SharedServers::new("budget").await else { return };
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    // The ceiling is the cost of a hundred answers. The worst case of one request is that of fourteen.
    let ceiling = 100 * COST;
    let policy = format!("budgets = [{{ usd = \"{}\", per = \"day\" }}]", canon::Pico(ceiling));
    let nodes = place.nodes(3, &place.config(&upstream, &policy)).await;
    let statuses = storm(&nodes, 12, 20).await;
    let (served, refused) = (count(&statuses, 200), count(&statuses, 402));
    assert_eq!(served + refused, 240, "{statuses:?}");
    assert!(served <= 100, "{served} answers of a hundred");
    // The rest of the budget is less than the worst case of a request, and the nodes gave back their parts.
    until(async || {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        count(&storm(&nodes, 1, 6).await, 402) == 6
    })
    .await;
    stop(nodes).await;
    let (ledger, records) = place.charged().await;
    assert_eq!(ledger, records);
    assert!(ledger <= ceiling && ledger + WORST > ceiling, "{ledger} of {ceiling}");
    let day = place.redis.command("KEYS llmgateway:{a}:project:usd:day:*").unwrap();
    let key = day.lines().nth(2).unwrap();
    let spent = place.redis.command(&format!("HGET {key} spent")).unwrap();
    assert_eq!(spent.lines().nth(1).unwrap(), (ledger / 1000).to_string());
    let allowed = place.redis.command(&format!("HGET {key} allowed")).unwrap();
    assert_eq!(allowed.lines().nth(1), spent.lines().nth(1), "stopped nodes have no parts of the budget");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_request_limits_and_concurrent_limits() {
    let Some(place) = SharedServers::new("limits").await else { return };
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let policy = "limits = [{ requests = 30, per = \"day\" }, { concurrent = 4 }]";
    let nodes = place.nodes(3, &place.config(&upstream, policy)).await;
    let mut served = 0;
    // A node may have a part that it gives back only later.
    for _ in 0..40 {
        let statuses = storm(&nodes, 6, 5).await;
        assert_eq!(count(&statuses, 200) + count(&statuses, 429), 30, "{statuses:?}");
        served += count(&statuses, 200);
        if served == 30 {
            break;
        }
    }
    assert_eq!(served, 30);
    let reply = ask(&nodes[0]).await;
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("x-ratelimit-limit-requests"), Some("30"));
    assert_eq!(reply.header("x-ratelimit-remaining-requests"), Some("0"));
    // The next request fits after a thirtieth of the day, 48 minutes.
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((2700..=2881).contains(&wait), "{wait}");
    stop(nodes).await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_gets_its_counters_again_after_it_lost_them() {
    let Some(place) = SharedServers::new("flushed").await else { return };
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let ceiling = 200 * COST;
    let policy = format!("budgets = [{{ usd = \"{}\", per = \"month\" }}]", canon::Pico(ceiling));
    let config = place.config(&upstream, &policy);
    let nodes = place.nodes(2, &config).await;
    assert_eq!(count(&storm(&nodes, 2, 15).await, 200), 30);
    place.redis.command("FLUSHALL");
    let mut served = 30;
    until(async || {
        tokio::time::sleep(Duration::from_millis(600)).await;
        let statuses = storm(&nodes, 2, 20).await;
        served += count(&statuses, 200);
        count(&statuses, 402) == 40
    })
    .await;
    // A new node reads the earlier spending from the ledger.
    stop(nodes).await;
    place.redis.command("FLUSHALL");
    let nodes = place.nodes(1, &config).await;
    served += count(&storm(&nodes, 1, 5).await, 200);
    stop(nodes).await;
    let (ledger, records) = place.charged().await;
    assert_eq!((ledger, records), (served as i64 * COST, served as i64 * COST));
    assert!(ledger <= ceiling + WORST, "{ledger} of {ceiling}");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_budgets_are_refused_and_limits_continue() {
    let Some(mut place) = SharedServers::new("away").await else { return };
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let limited = place.config(&upstream, "limits = [{ requests = 1000, per = \"day\" }]");
    let counted = place.config(&upstream, "budgets = [{ usd = \"1000\", per = \"total\" }]");
    let allowed =
        place.config(&upstream, "budgets = [{ usd = \"1000\", per = \"total\" }]\ncounters_away = \"allow\"");
    let nodes = [
        TestGateway::start(&limited).await,
        TestGateway::start(&counted).await,
        TestGateway::start(&allowed).await,
    ];
    for node in &nodes {
        assert_eq!(ask(node).await.status, 200);
    }
    for how in ["killed", "stopped"] {
        match how {
            "killed" => place.redis.kill(),
            _ => place.redis.signal("STOP"),
        }
        assert_eq!(ask(&nodes[0]).await.status, 200, "{how}");
        // The node uses the part that it has, then it refuses.
        until(async || ask(&nodes[1]).await.status == 503).await;
        let reply = ask(&nodes[1]).await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{how}: {}", reply.text());
        assert_eq!(reply.at("/error/code"), json!("store_unavailable"), "{how}: {}", reply.text());
        assert_eq!(ask(&nodes[2]).await.status, 200, "{how}");
        assert_eq!(nodes[1].metric("llmgateway_shared_counters_up").await, Some(0.0), "{how}");
        let ready: Value = nodes[1].get("/ready").await.json();
        assert_eq!(ready, json!({"status": "ready", "counters": "away"}), "{how}");
        match how {
            "killed" => place.redis.restart(),
            _ => place.redis.signal("CONT"),
        }
        until(async || ask(&nodes[1]).await.status == 200).await;
        let ready: Value = nodes[1].get("/ready").await.json();
        assert_eq!(ready, json!({"status": "ready", "counters": "shared"}), "{how}");
    }
    for node in nodes {
        node.stop().await;
    }
    place.end().await;
}

/// A gateway that has served one request under a budget, with its counters at this Redis URL.
async fn serves_over(place: &SharedServers, upstream: &Upstream, url: &str, more: &str) -> TestGateway {
    let policy = "budgets = [{ usd = \"1000\", per = \"total\" }]";
    let config = place.config(upstream, policy).replace(&place.redis.url(), url) + more;
    let gateway = TestGateway::start(&config).await;
    let reply = ask(&gateway).await;
    assert_eq!(reply.status, 200, "{url}: {}", reply.text());
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_used_as_an_acl_user_in_another_database() {
    let Some(place) = SharedServers::new("access").await else { return };
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let answer = place.redis.command("ACL SETUSER app on >s3cret:@/ ~llmgateway:* +@all");
    assert_eq!(answer.as_deref(), Some("+OK\r\n"));
    let host = format!("127.0.0.1:{}", place.redis.port());
    let url = format!("redis://app:s3cret%3A%40%2F@{host}/2");
    serves_over(&place, &upstream, &url, "").await.stop().await;
    assert!(place.redis.command("INFO keyspace").unwrap().contains("db2:keys=1"));
    // A wrong password counts as Redis being away, and the error does not contain the password.
    let config = place.config(&upstream, "budgets = [{ usd = \"1\", per = \"day\" }]");
    let config = config.replace(&place.redis.url(), &format!("redis://app:wr0ng@{host}"));
    let gateway = TestGateway::start(&config).await;
    let reply = ask(&gateway).await;
    assert_eq!(reply.status, 503);
    assert!(!reply.text().contains("wr0ng"));
    gateway.stop().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_used_over_tls_with_a_private_authority() {
    let Some(place) = SharedServers::new("tls").await else { return };
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name).display().to_string());
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let tls =
        ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    let Some(redis) = Redis::start_with(&tls).filter(|redis| redis.command("PING").is_some()) else {
        eprintln!("skipped: this redis-server has no TLS");
        return place.end().await;
    };
    let url = format!("rediss://localhost:{port}");
    let trusted = format!("[tls]\nca_file = {cert:?}\n");
    serves_over(&place, &upstream, &url, &trusted).await.stop().await;
    assert!(redis.command("INFO keyspace").unwrap().contains("db0:keys=1"));
    // A Redis whose certificate is not trusted counts as away.
    let config = place.config(&upstream, "budgets = [{ usd = \"1\", per = \"day\" }]");
    let gateway = TestGateway::start(&config.replace(&place.redis.url(), &url)).await;
    assert_eq!(ask(&gateway).await.status, 503);
    gateway.stop().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_are_counted_in_a_redis_cluster() {
    let Some(place) = SharedServers::new("slots").await else { return };
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display().to_string();
    let nodes: Vec<Redis> = ["one", "two"]
        .iter()
        .map(|name| {
            let file = format!("{name}.conf");
            Redis::start_with(&["--cluster-enabled", "yes", "--dir", &dir, "--cluster-config-file", &file])
                .unwrap()
        })
        .collect();
    // Each node has half of the slots. The hash tag of a project decides where its accounts are.
    for (node, slots) in nodes.iter().zip(["0 8191", "8192 16383"]) {
        assert_eq!(node.command(&format!("CLUSTER ADDSLOTSRANGE {slots}")).as_deref(), Some("+OK\r\n"));
    }
    nodes[0].command(&format!("CLUSTER MEET 127.0.0.1 {}", nodes[1].port()));
    until(async || {
        nodes.iter().all(|node| node.command("CLUSTER INFO").unwrap().contains("cluster_state:ok"))
    })
    .await;
    let url = format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", nodes[0].port(), nodes[1].port());
    let gateway = serves_over(&place, &upstream, &url, "").await;
    let keys: Vec<_> = nodes.iter().map(|node| node.command("DBSIZE").unwrap()).collect();
    assert!(keys.contains(&":1\r\n".to_owned()) && keys.contains(&":0\r\n".to_owned()), "{keys:?}");
    gateway.stop().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_continue_at_the_master_that_sentinels_choose() {
    let Some(place) = SharedServers::new("sentinel").await else { return };
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let mut master = Redis::start().unwrap();
    let port = master.port().to_string();
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &port]).unwrap();
    until(async || replica.command("INFO replication").unwrap().contains("master_link_status:up")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sentinel.conf");
    std::fs::write(&file, "sentinel resolve-hostnames no\n").unwrap();
    let sentinel = Redis::start_sentinel(&file).unwrap();
    for command in [
        format!("SENTINEL MONITOR main 127.0.0.1 {port} 1"),
        "SENTINEL SET main down-after-milliseconds 500".to_owned(),
        "SENTINEL SET main failover-timeout 2000".to_owned(),
    ] {
        assert_eq!(sentinel.command(&command).as_deref(), Some("+OK\r\n"), "{command}");
    }
    until(async || sentinel.command("SENTINEL REPLICAS main").unwrap().contains(&replica.port().to_string()))
        .await;
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port());
    let gateway = serves_over(&place, &upstream, &url, "").await;
    master.kill();
    until(async || ask(&gateway).await.status == 503).await;
    until(async || ask(&gateway).await.status == 200).await;
    assert!(replica.command("INFO replication").unwrap().contains("role:master"));
    gateway.stop().await;
    let (ledger, records) = place.charged().await;
    assert_eq!(ledger, records);
    let spent = replica.command("HGET llmgateway:{a}:project:usd:total spent").unwrap();
    assert_eq!(
        spent.lines().nth(1).unwrap(),
        (ledger / 1000).to_string(),
        "the new master has the spent amount"
    );
    place.end().await;
}

/// A TCP proxy to the database that a test can cut.
struct DatabaseProxy {
    port: u16,
    is_open: tokio::sync::watch::Sender<bool>,
}

impl DatabaseProxy {
    async fn to(database: &str) -> Self {
        let (_, rest) = database.split_once('@').unwrap();
        let target = rest.split_once('/').unwrap().0.to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_open, watched) = tokio::sync::watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let (target, mut watched) = (target.clone(), watched.clone());
                tokio::spawn(async move {
                    let Ok(mut to) = tokio::net::TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                        _ = watched.wait_for(|is_open| !is_open) => {}
                    }
                });
            }
        });
        Self { port, is_open }
    }

    fn url(&self, database: &str) -> String {
        let (access, rest) = database.split_once('@').unwrap();
        format!("{access}@127.0.0.1:{}/{}", self.port, rest.split_once('/').unwrap().1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_known_keys_and_begun_budgets_go_on() {
    let Some(place) = SharedServers::new("no_database").await else { return };
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let way = DatabaseProxy::to(&place.database).await;
    let config = place.config(&upstream, "budgets = [{ usd = \"1000\", per = \"total\" }]");
    let gateway = TestGateway::start(&config.replace(&place.database, &way.url(&place.database))).await;
    assert_eq!(ask(&gateway).await.status, 200);
    way.is_open.send(false).unwrap();
    until(async || gateway.get("/ready").await.status == 503).await;
    assert_eq!(ask(&gateway).await.status, 200, "the budget has begun");
    let stranger = [("authorization", "Bearer sk-gw-nobody-knows-this")];
    until(async || gateway.chat_with(&stranger, &question("openai/gpt-4o-mini")).await.status == 503).await;
    // Counters that Redis has lost cannot be rebuilt without the ledger.
    place.redis.command("FLUSHALL");
    until(async || ask(&gateway).await.status == 503).await;
    way.is_open.send(true).unwrap();
    until(async || ask(&gateway).await.status == 200).await;
    until(async || gateway.get("/ready").await.status == 200).await;
    gateway.stop().await;
    let (ledger, records) = place.charged().await;
    assert_eq!(ledger, records);
    let spent = place.redis.command("HGET llmgateway:{a}:project:usd:total spent").unwrap();
    assert_eq!(spent.lines().nth(1).unwrap(), (ledger / 1000).to_string());
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_refused_without_redis_if_the_policy_says_so() {
    let Some(mut place) = SharedServers::new("refuse").await else { return };
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let policy = "limits = [{ requests = 1000, per = \"day\" }]\ncounters_away = \"refuse\"";
    let gateway = TestGateway::start(&place.config(&upstream, policy)).await;
    assert_eq!(ask(&gateway).await.status, 200);
    place.redis.kill();
    until(async || ask(&gateway).await.status == 503).await;
    gateway.stop().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exact_limits_leave_no_unused_parts_at_other_nodes() {
    let Some(place) = SharedServers::new("exact").await else { return };
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let ceiling = 40 * COST + WORST;
    let policy = format!("budgets = [{{ usd = \"{}\", per = \"day\" }}]", canon::Pico(ceiling));
    let config = place.config(&upstream, &policy) + "[limits]\nexact = true\n";
    let nodes = place.nodes(3, &config).await;
    // The requests go one after another, so that no other reservation is open and everything that fits is served.
    let mut served = 0;
    for request in 0..60 {
        let mut reply = ask(&nodes[request % 3]).await;
        if reply.status == 402 {
            // A node reports twice a second what the previous request gave back.
            tokio::time::sleep(Duration::from_millis(1100)).await;
            reply = ask(&nodes[request % 3]).await;
        }
        served += usize::from(reply.status == 200);
        if reply.status == 402 {
            break;
        }
    }
    assert_eq!(served, 41);
    stop(nodes).await;
    place.end().await;
}

/// The spool of a killed node is delivered at its next start, which frees the node's part of the budget.
#[tokio::test(flavor = "multi_thread")]
async fn the_part_of_a_killed_node_is_free_after_its_restart() {
    let Some(place) = SharedServers::new("dead").await else { return };
    let mut upstream = Upstream::by_hand().await;
    let policy = format!("budgets = [{{ usd = \"{}\", per = \"day\" }}]", canon::Pico(10 * WORST));
    let config = place.config(&upstream, &policy);
    let gateway = Arc::new(TestGateway::start(&config).await);
    let asking = tokio::spawn({
        let gateway = gateway.clone();
        async move { ask(&gateway).await }
    });
    let waiting = upstream.next().await;
    let held = |place: &SharedServers| {
        let keys = place.redis.command("KEYS llmgateway:{a}:project:usd:day:*").unwrap();
        let key = keys.lines().nth(2).unwrap().to_owned();
        let number = |field: &str| {
            let answer = place.redis.command(&format!("HGET {key} {field}")).unwrap();
            answer.lines().nth(1).unwrap().parse::<i64>().unwrap()
        };
        (number("allowed"), number("spent"))
    };
    assert!(held(&place).0 * 1000 >= WORST);
    // The folder that a killed process leaves behind.
    let folder = tempfile::tempdir().unwrap();
    copy(&gateway.path("."), folder.path());
    let next = TestGateway::start_in(folder, &config).await;
    let (allowed, spent) = held(&place);
    assert_eq!(allowed, spent, "the new node has no part yet, and the old node's reservation is charged");
    assert_eq!(spent * 1000, WORST);
    drop(waiting);
    asking.abort();
    let _ = asking.await;
    next.stop().await;
    place.end().await;
}

/// A node that does not return: an administrator declares it lost, and the others get what it held in advance.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_is_forgotten_and_what_it_held_in_advance_is_free() {
    let Some(place) = SharedServers::new("lost").await else { return };
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let policy = format!("budgets = [{{ usd = \"{}\", per = \"total\" }}]", canon::Pico(10 * WORST));
    let config = format!("[auth]\nadmin_keys = [\"root\"]\n{}", place.config(&upstream, &policy));
    let first = TestGateway::start(&config).await;
    assert_eq!(ask(&first).await.status, 200);
    let key = "llmgateway:{a}:project:usd:total";
    let number = |field: &str| {
        let answer = place.redis.command(&format!("HGET {key} {field}")).unwrap();
        answer.lines().nth(1).and_then(|line| line.parse::<i64>().ok())
    };
    until(async || number("spent").is_some_and(|spent| spent > 0)).await;
    first.stop().await;
    // The lost node holds all the rest, of which it had used a bit; it was silent for an hour.
    let (rest, used) = (10 * WORST / 1000 - number("allowed").unwrap(), 7);
    let hour_ago = gateway::clock::now_ms() - 3_600_000;
    place
        .redis
        .command(&format!("HSET {key} a:lost {rest} s:lost 2 u:lost {used} t:lost {hour_ago}"))
        .unwrap();
    place.redis.command(&format!("HINCRBY {key} allowed {rest}")).unwrap();
    place.redis.command(&format!("HINCRBY {key} spent 2")).unwrap();
    let store = Store::open(&place.database).await.unwrap();
    let node = |id: &str, seen_at_ms: i64| store::Node {
        id: id.to_owned(),
        name: "machine".to_owned(),
        version: String::new(),
        config: String::new(),
        started_at_ms: 0,
        seen_at_ms,
        state: "serving".to_owned(),
        spool_bytes: 0,
        reload: "null".to_owned(),
    };
    store.report_node(&node("lost", hour_ago)).await.unwrap();
    store.report_node(&node("alive", gateway::clock::now_ms())).await.unwrap();
    let second = TestGateway::start(&config).await;
    assert_eq!(ask(&second).await.status, 402, "the lost node holds the rest");
    let delete = async |id: &str| {
        let head = format!(
            "DELETE /admin/v1/nodes/{id} HTTP/1.1\r\nhost: g\r\nconnection: close\r\nauthorization: Bearer root\r\n\r\n"
        );
        second.send(head.as_bytes()).await
    };
    assert_eq!(delete("none").await.status, 404);
    let refused = delete("alive").await;
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("seen in the last 15 minutes"), "{}", refused.text());
    assert_eq!(delete("lost").await.status, 200);
    // Nodes look for lost ones at their start and once a minute.
    let third = TestGateway::start(&config).await;
    until(async || store.nodes().await.unwrap().iter().all(|node| node.id != "lost")).await;
    assert_eq!((number("a:lost"), number("s:lost"), number("u:lost")), (Some(used), Some(used), None));
    until(async || ask(&third).await.status == 200).await;
    assert!(store.audit_before(i64::MAX, 10).await.unwrap().iter().any(|row| row.action == "node.forget"));
    second.stop().await;
    third.stop().await;
    store.close().await;
    place.end().await;
}

/// The percentages of budgets that an address was sent.
fn percents(hook: &Upstream) -> Vec<i64> {
    let mut all: Vec<i64> =
        hook.bodies().iter().filter_map(|body| body["data"]["percent"].as_i64()).collect();
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_is_reported_once_by_all_nodes_together() {
    let Some(place) = SharedServers::new("hooks").await else { return };
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let hook = Upstream::playing(vec![answer("taken")]).await;
    let policy = format!("budgets = [{{ usd = \"{}\", per = \"total\" }}]", canon::Pico(20 * WORST));
    let webhook = format!("[[webhooks]]\nurl = \"{}/hook\"\n", hook.url());
    let config = format!("{}{webhook}", place.config(&upstream, &policy));
    let nodes = place.nodes(3, &config).await;
    // Reservations and what nodes hold in advance may refuse a request before 80 % are spent. They are free later.
    until(async || {
        storm(&nodes, 3, 20).await;
        percents(&hook).contains(&80)
    })
    .await;
    stop(nodes).await;
    assert!(percents(&hook).is_sorted_by(|one, next| one < next), "{:?}", percents(&hook));

    // Every node of the next start reads the spending and notices the threshold again.
    let before = percents(&hook);
    let further = format!(
        "{{ usd = \"{}\", per = \"month\" }}, {{ usd = \"{}\", per = \"total\" }}",
        canon::Pico(32 * WORST),
        canon::Pico(20 * WORST)
    );
    let config = format!("{}{webhook}", place.config(&upstream, &format!("budgets = [{further}]")));
    let nodes = place.nodes(3, &config).await;
    until(async || percents(&hook).len() > before.len()).await;
    // Each node collects its notices once a second.
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop(nodes).await;
    let mut expected = before;
    expected.push(50);
    expected.sort_unstable();
    assert_eq!(percents(&hook), expected);
    place.end().await;
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_answers_and_continue_without_redis() {
    let Some(mut place) = SharedServers::new("answers").await else { return };
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!(
        "{}[cache]\nredis = true\n",
        place.config(&upstream, "cache = { seconds = 600 }\nlimits = [{ requests = 1000, per = \"day\" }]\ncounters_away = \"allow\"")
    );
    let nodes = place.nodes(2, &config).await;
    let used = |reply: &Reply| reply.header("x-llmgateway-cache").map(str::to_owned);
    assert_eq!(used(&ask(&nodes[0]).await).as_deref(), Some("miss"));
    // The first node has the answer at once; Redis has it a moment later.
    assert_eq!(used(&ask(&nodes[0]).await).as_deref(), Some("hit"));
    until(async || place.redis.command("KEYS llmgateway:response:*").unwrap().starts_with("*1")).await;
    let reply = ask(&nodes[1]).await;
    assert_eq!(
        (used(&reply).as_deref(), reply.at("/choices/0/message/content")),
        (Some("hit"), json!("Hello."))
    );
    assert_eq!(upstream.received().len(), 1);
    // A damaged entry is not used as an answer.
    let keys = place.redis.command("KEYS llmgateway:response:*").unwrap();
    place.redis.command(&format!("SET {} damaged", keys.lines().nth(2).unwrap())).unwrap();
    let third = TestGateway::start(&config).await;
    assert_eq!(used(&ask(&third).await).as_deref(), Some("miss"));
    assert_eq!(upstream.received().len(), 2);
    place.redis.kill();
    let other = TestGateway::start(&config).await;
    let reply = ask(&other).await;
    assert_eq!((reply.status, used(&reply).as_deref()), (200, Some("miss")), "{}", reply.text());
    assert_eq!(used(&ask(&other).await).as_deref(), Some("hit"), "the answer is in the node's own memory");
    assert_eq!(other.metric("llmgateway_shared_memory_up").await, Some(0.0));
    drop((third, other));
    stop(nodes).await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_embeddings() {
    let Some(place) = SharedServers::new("embeddings").await else { return };
    let vector = json!({"object": "embedding", "index": 0, "embedding": [0.5]});
    let usage = json!({"prompt_tokens": 3, "total_tokens": 3});
    let vectors = json!({"object": "list", "data": [vector], "model": "m", "usage": usage});
    let upstream = Upstream::playing(vec![whole("200 OK", &vectors)]).await;
    let config = format!("{}[cache]\nredis = true\n", place.config(&upstream, "cache = { seconds = 600 }"));
    let nodes = place.nodes(2, &config).await;
    let embed = async |node: &TestGateway| {
        let body = json!({"model": "text-embedding-3-small", "input": "a"}).to_string();
        let head = "authorization: Bearer team-key\r\n";
        let reply = node.post_with("/v1/embeddings", head, body.as_bytes()).await;
        (reply.at("/llmgateway/cache"), reply.at("/data"), reply.at("/usage"))
    };
    let answered = |used: &str| (json!(used), json!([vector]), usage.clone());
    assert_eq!(embed(&nodes[0]).await, answered("miss"));
    until(async || place.redis.command("KEYS llmgateway:response:*").unwrap().starts_with("*1")).await;
    assert_eq!(embed(&nodes[1]).await, answered("hit"));
    assert_eq!(upstream.received().len(), 1);
    stop(nodes).await;
    place.end().await;
}

/// Two providers of one model; the first is cheaper.
fn two(place: &SharedServers, one: &Upstream, other: &Upstream) -> String {
    let price = |id: &str, usd: &str| {
        format!("[providers.{id}.models.m]\nprice = {{ input = \"{usd}\", output = \"{usd}\" }}\n")
    };
    format!(
        "{}{}{}{}[models.both]\ntargets = [\"one/m\", \"other/m\"]\n[database]\nurl = {:?}\n[cluster]\nredis = {:?}\n",
        one.provider("one", "openai-chat"),
        other.provider("other", "openai-chat"),
        price("one", "1"),
        price("other", "9"),
        place.database,
        place.redis.url(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_stays_at_its_provider_across_nodes() {
    let Some(place) = SharedServers::new("warm").await else { return };
    let (one, other) =
        (Upstream::playing(vec![answer("one")]).await, Upstream::playing(vec![answer("other")]).await);
    let nodes = place.nodes(2, &two(&place, &one, &other)).await;
    let ask = async |node: &TestGateway, session: &str, only: Option<&str>| {
        let mut body = question("both");
        if let Some(only) = only {
            body["provider"] = json!({"only": [only]});
        }
        node.chat_with(&[("x-session-id", session)], &body).await.at("/choices/0/message/content")
    };
    assert_eq!(ask(&nodes[0], "a", None).await, json!("one"));
    assert_eq!(ask(&nodes[0], "b", Some("other")).await, json!("other"));
    until(async || place.redis.command("KEYS llmgateway:*:session:*").unwrap().starts_with("*2")).await;
    assert_eq!(ask(&nodes[1], "b", None).await, json!("other"));
    assert_eq!(ask(&nodes[1], "c", None).await, json!("one"), "conversation c is new");
    stop(nodes).await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_outages() {
    let Some(place) = SharedServers::new("outages").await else { return };
    let sick = Upstream::playing(vec![error("500 Internal Server Error")]).await;
    let sound = Upstream::playing(vec![answer("other")]).await;
    let config = two(&place, &sick, &sound);
    let nodes = place.nodes(2, &config).await;
    // This node has another configuration: a file, with a hash.
    let stranger = TestGateway::start_from_file(&config).await;
    for _ in 0..8 {
        let mut body = question("both");
        body["provider"] = json!({"only": ["one"]});
        nodes[0].chat(&body).await;
    }
    let asked = sick.received().len();
    let state = async |node: &TestGateway| {
        let (snapshot, now) = (node.api.current.get(), node.api.pipeline.now());
        let routes = snapshot.health.of(Operation::Chat).snapshot(now).routes;
        let sick = routes.into_iter().find(|route| route.provider == "one")?;
        Some(sick.keys.first()?.state)
    };
    assert_eq!(state(&nodes[0]).await, Some(KeyState::Open));
    until(async || state(&nodes[1]).await == Some(KeyState::Open)).await;
    assert_eq!(state(&stranger).await, None, "it has another configuration");
    assert_eq!(nodes[1].chat(&question("both")).await.at("/choices/0/message/content"), json!("other"));
    assert_eq!(sick.received().len(), asked, "the provider was not asked again");
    drop(stranger);
    stop(nodes).await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_proofs_of_thinking() {
    let Some(place) = SharedServers::new("proofs").await else { return };
    let thought = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "tool_use",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
        ],
        "usage": {"input_tokens": 10, "output_tokens": 5},
    });
    let done = json!({
        "id": "msg_2", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Done."}], "usage": {"input_tokens": 10, "output_tokens": 5},
    });
    let upstream = Upstream::playing(vec![whole("200 OK", &thought), whole("200 OK", &done)]).await;
    let config = format!(
        "{}[database]\nurl = {:?}\n[cluster]\nredis = {:?}\n",
        upstream.known("anthropic"),
        place.database,
        place.redis.url()
    );
    let nodes = place.nodes(2, &config).await;
    let tools = json!([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]);
    let mut body = json!({"model": "anthropic/claude-sonnet-4-5", "reasoning_effort": "low", "tools": tools,
        "messages": [{"role": "user", "content": "Look."}]});
    let reply = nodes[0].chat(&body).await;
    let call = reply.at("/choices/0/message/tool_calls/0");
    assert_eq!(call["id"], json!("toolu_1"), "{}", reply.text());
    until(async || place.redis.command("KEYS llmgateway:*:proof:*").unwrap().starts_with("*1")).await;
    // The client drops the thinking.
    let turns = body["messages"].as_array_mut().unwrap();
    turns.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
    turns.push(json!({"role": "tool", "tool_call_id": "toolu_1", "content": "Nothing there."}));
    let reply = nodes[1].chat(&body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let sent = &upstream.bodies()[1]["messages"][1]["content"][0];
    assert_eq!(sent["signature"], json!("c2lnbmVk"), "{}", upstream.bodies()[1]);
    stop(nodes).await;
    place.end().await;
}
