//! Which connection serves which request.

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::upstream::Client;
use crate::upstream::outbound::{Identity, Outbound, ProviderOutbound, Proxies, Route};
use crate::upstream::testing::{Authority, TlsServer, proxy};

/// Answers each request of a connection with the next text, then closes it. Returns the number of
/// connections, once all texts are used.
async fn server(connections: &'static [&'static [&'static str]]) -> (String, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        for answers in connections {
            let (mut socket, _) = listener.accept().await.unwrap();
            for answer in *answers {
                let mut request = Vec::new();
                while !request.ends_with(b"hello") {
                    assert!(socket.read_buf(&mut request).await.unwrap() > 0, "the request broke off");
                }
                assert!(request.starts_with(b"POST /v1 HTTP/1.1\r\n"));
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        }
        connections.len()
    });
    (url, served)
}

fn request(url: &str) -> Request<Bytes> {
    Request::post(url).body(Bytes::from_static(b"hello")).unwrap()
}

async fn ask(client: &Client, url: &str) -> Result<Bytes, String> {
    client.exchange(request(url), 1 << 20).await.map(http::Response::into_body)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn one_connection_serves_one_request_after_another() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (url, served) = server(&[&[OK, CHUNKED, EMPTY, OK]]).await;
    let client = Client::new(Route::default());
    for expected in ["ok", "ok", "", "ok"] {
        assert_eq!(ask(&client, &url).await.unwrap(), expected);
    }
    assert_eq!(served.await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_that_ended_while_idle_is_replaced() {
    let (url, served) = server(&[&[OK], &["HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok"], &[OK]]).await;
    let client = Client::new(Route::default());
    for _ in 0..3 {
        assert_eq!(ask(&client, &url).await.unwrap(), "ok");
    }
    assert_eq!(served.await.unwrap(), 3);
}

#[tokio::test]
async fn an_answer_that_is_not_read_to_its_end_closes_its_connection() {
    let (url, served) = server(&[&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"], &[OK]]).await;
    let client = Client::new(Route::default());
    let mut answer = client.send(None, || Ok(request(&url))).await.unwrap().into_body();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "ok");
    drop(answer);
    assert_eq!(ask(&client, &url).await.unwrap(), "ok");
    assert_eq!(served.await.unwrap(), 2);
}

#[tokio::test]
async fn a_broken_answer_is_an_error_and_is_not_requested_again() {
    let (url, served) =
        server(&[&["HTTP/1.1 200"], &["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"]]).await;
    let client = Client::new(Route::default());
    assert!(client.send(None, || Ok(request(&url))).await.is_err());
    let answer = client.send(None, || Ok(request(&url))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.into_body().collect().await.is_err());
    assert_eq!(served.await.unwrap(), 2);
}

/// Reads requests and answers those of each connection with the next text; then ends the connection,
/// `abruptly` with RST.
async fn closing(
    connections: &'static [&'static [&'static str]],
    abruptly: bool,
) -> (String, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        for answers in connections {
            let (mut socket, _) = listener.accept().await.unwrap();
            for answer in *answers {
                let mut request = Vec::new();
                while !request.ends_with(b"hello") {
                    assert!(socket.read_buf(&mut request).await.unwrap() > 0, "the request broke off");
                }
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
            if abruptly {
                socket.set_zero_linger().unwrap();
            }
        }
        connections.len()
    });
    (url, served)
}

#[tokio::test]
async fn a_request_on_a_dead_connection_is_sent_again_once() {
    // The second request is read, and the connection ends without a byte of an answer.
    for abruptly in [false, true] {
        let (url, served) = closing(&[&[OK, ""], &[OK, ""], &[OK]], abruptly).await;
        let client = Client::new(Route::default());
        for _ in 0..3 {
            assert_eq!(ask(&client, &url).await.unwrap(), "ok");
        }
        assert_eq!(served.await.unwrap(), 3);
    }
}

#[tokio::test]
async fn a_request_with_a_begun_answer_or_a_new_connection_is_not_sent_again() {
    // The beginning of an answer arrived over the idle connection.
    let (url, served) = closing(&[&[OK, "HTTP/1.1 200"], &[OK]], false).await;
    let client = Client::new(Route::default());
    assert_eq!(ask(&client, &url).await.unwrap(), "ok");
    assert!(ask(&client, &url).await.is_err());
    assert_eq!(ask(&client, &url).await.unwrap(), "ok");
    assert_eq!(served.await.unwrap(), 2);
    // The new connection fails as well, which is the provider's fault.
    let (url, served) = closing(&[&[OK, ""], &[""], &[OK]], false).await;
    let client = Client::new(Route::default());
    assert_eq!(ask(&client, &url).await.unwrap(), "ok");
    assert!(ask(&client, &url).await.is_err());
    assert_eq!(ask(&client, &url).await.unwrap(), "ok");
    assert_eq!(served.await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_provider_may_have_processed_is_not_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"hello") {
            socket.read_buf(&mut request).await.unwrap();
        }
        socket.write_all(OK.as_bytes()).await.unwrap();
        request.clear();
        while !request.ends_with(b"hello") {
            socket.read_buf(&mut request).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        drop(socket);
        tokio::time::timeout(Duration::from_secs(60), listener.accept()).await.is_err()
    });
    let client = Client::new(Route::default());
    assert_eq!(ask(&client, &url).await.unwrap(), "ok");
    assert!(ask(&client, &url).await.is_err());
    assert!(served.await.unwrap(), "there was no other connection");
}

#[tokio::test]
async fn requests_have_a_user_agent_and_ask_for_uncoded_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"hello") {
            socket.read_buf(&mut request).await.unwrap();
        }
        let coded =
            [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b, 0x4c, 0x4a, 6, 0, 0xc2, 0x41, 0x24, 0x35, 3, 0, 0, 0];
        let head =
            format!("HTTP/1.1 500 No\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", coded.len());
        socket.write_all(&[head.as_bytes(), &coded].concat()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    let answer = Client::new(Route::default()).exchange(request(&url), 1 << 20).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (500, &b"abc"[..]));
    assert!(answer.headers().get("content-encoding").is_none());
    let request = served.await.unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(request.contains(&format!("\r\nuser-agent: llmgateway/{version}\r\n")), "{request}");
    assert!(request.contains("\r\naccept-encoding: identity\r\n"), "{request}");
}

/// Sends several requests at once. The answers come only once all requests have arrived.
async fn burst(protocol: &str, most_streams: u32, requests: usize) -> (TlsServer, Client) {
    let authority = Authority::new();
    let barrier = Arc::new(tokio::sync::Barrier::new(requests));
    let server = TlsServer::start(authority.acceptor(protocol, false), most_streams, move |request| {
        let barrier = barrier.clone();
        async move {
            barrier.wait().await;
            Response::new(Full::new(request.collect().await.unwrap().to_bytes()))
        }
    })
    .await;
    let client = Client::new(authority.route());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..requests {
        let (client, url) = (client.clone(), server.url());
        tasks.spawn(async move { ask(&client, &url).await });
    }
    while let Some(answer) = tasks.join_next().await {
        assert_eq!(answer.unwrap().unwrap(), "hello");
    }
    (server, client)
}

#[tokio::test]
async fn a_burst_over_http2_opens_one_connection() {
    let (server, _) = burst("h2", 100, 60).await;
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn http2_connections_carry_as_many_requests_as_the_provider_allows() {
    // All ten are in flight together: none of them waits inside a connection that is full.
    let (server, client) = burst("h2", 4, 10).await;
    assert_eq!(server.connections(), 3);
    assert_eq!(client.open_connections(), 3);
}

#[tokio::test]
async fn a_provider_with_tls_that_speaks_http1_gets_a_connection_for_each_request() {
    let (server, _) = burst("http/1.1", 100, 5).await;
    assert_eq!(server.connections(), 5);
}

async fn echo(request: http::Request<Incoming>) -> Response<Full<Bytes>> {
    Response::new(Full::new(request.collect().await.unwrap().to_bytes()))
}

#[tokio::test]
async fn authorities_and_client_certificates_are_used() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = TlsServer::start(authority.acceptor("h2", true), 100, echo).await;
    let refused = ask(&Client::new(other.route()), &server.url()).await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    assert!(ask(&Client::new(authority.route()), &server.url()).await.is_err(), "without a certificate");
    let (chain, key) = authority.issue();
    let provider = ProviderOutbound {
        authorities: vec![authority.certificate.clone()],
        identity: Some(Arc::new(Identity::new(chain, key).unwrap())),
        proxies: None,
    };
    let route = Outbound::default().provider_route(&provider, Duration::from_secs(10));
    assert_eq!(ask(&Client::new(route), &server.url()).await.unwrap(), "hello");
}

/// HTTP/2 without hyper: the server sends GOAWAY and refuses streams when the test asks for it.
async fn raw_http2(
    acceptor: tokio_rustls::TlsAcceptor,
    listener: &TcpListener,
) -> h2::server::Connection<tokio_rustls::server::TlsStream<TcpStream>, Bytes> {
    let (socket, _) = listener.accept().await.unwrap();
    h2::server::handshake(acceptor.accept(socket).await.unwrap()).await.unwrap()
}

fn answer(mut respond: h2::server::SendResponse<Bytes>) {
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    body.send_data(Bytes::from_static(b"ok"), true).unwrap();
}

#[tokio::test]
async fn an_unprocessed_request_is_sent_again() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/v1", listener.local_addr().unwrap().port());
    let acceptor = authority.acceptor("h2", false);
    let served = tokio::spawn(async move {
        let mut first = raw_http2(acceptor.clone(), &listener).await;
        answer(first.accept().await.unwrap().unwrap().1);
        // A refused stream is sent again on the same connection.
        let (_, mut refused) = first.accept().await.unwrap().unwrap();
        refused.send_reset(h2::Reason::REFUSED_STREAM);
        answer(first.accept().await.unwrap().unwrap().1);
        // After GOAWAY the next request uses another connection.
        first.graceful_shutdown();
        let rest = tokio::spawn(async move { while let Some(Ok(_)) = first.accept().await {} });
        let mut second = raw_http2(acceptor, &listener).await;
        answer(second.accept().await.unwrap().unwrap().1);
        while let Some(Ok(_)) = second.accept().await {}
        rest.await.unwrap();
    });
    let client = Client::new(authority.route());
    for _ in 0..2 {
        assert_eq!(ask(&client, &url).await.unwrap(), "ok");
    }
    while client.open_connections() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&client, &url).await.unwrap(), "ok");
    drop(client);
    served.await.unwrap();
}

#[tokio::test]
async fn a_waiting_request_continues_when_the_opener_of_its_connection_hangs_up() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/v1", listener.local_addr().unwrap().port());
    let acceptor = authority.acceptor("h2", false);
    let client = Client::new(authority.route());
    let opener = tokio::spawn({
        let (client, url) = (client.clone(), url.clone());
        async move { ask(&client, &url).await }
    });
    let (stuck, _) = listener.accept().await.unwrap();
    let waiter = tokio::spawn(async move { ask(&client, &url).await });
    tokio::task::yield_now().await;
    opener.abort();
    let mut second = raw_http2(acceptor, &listener).await;
    let served = tokio::spawn(async move {
        answer(second.accept().await.unwrap().unwrap().1);
        while let Some(Ok(_)) = second.accept().await {}
    });
    assert_eq!(waiter.await.unwrap().unwrap(), "ok");
    served.await.unwrap();
    drop(stuck);
}

#[tokio::test(start_paused = true)]
async fn the_connect_timeout_applies_to_tls_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/v1", listener.local_addr().unwrap().port());
    let client = Client::new(Route { limit: Duration::from_secs(3), ..Route::default() });
    // All wait for one connection, and all fail with it.
    let (one, two) =
        tokio::join!(client.send(None, || Ok(request(&url))), client.send(None, || Ok(request(&url))));
    for error in [one.err().unwrap(), two.err().unwrap()] {
        assert_eq!(error.kind, canon::ErrorKind::Timeout);
        assert_eq!(
            error.message,
            "The provider could not be reached: there was no connection within 3 seconds."
        );
    }
    drop(listener);
}

#[tokio::test]
async fn https_uses_a_tunnel_with_the_proxys_password() {
    let authority = Authority::new();
    let server = TlsServer::start(authority.acceptor("h2", false), 100, echo).await;
    for with_tls in [false, true] {
        let acceptor = with_tls.then(|| authority.acceptor("http/1.1", false));
        let (address, heads) = proxy(server.address, acceptor).await;
        let scheme = if with_tls { "https" } else { "http" };
        let url = format!("{scheme}://user:p%40ss@localhost:{}", address.port());
        let route = Route { proxies: Proxies::always(&url), ..authority.route() };
        let client = Client::new(route);
        let origin = format!("https://localhost:{}/v1", server.address.port());
        for _ in 0..2 {
            assert_eq!(ask(&client, &origin).await.unwrap(), "hello");
        }
        let heads = heads.lock().unwrap();
        assert_eq!(heads.len(), 1, "{heads:?}");
        let connect = format!("CONNECT localhost:{} HTTP/1.1\r\n", server.address.port());
        assert!(heads[0].starts_with(&connect), "{heads:?}");
        assert!(heads[0].contains("Proxy-Authorization: Basic dXNlcjpwQHNz\r\n"), "{heads:?}");
    }
}

#[tokio::test]
async fn a_proxy_gets_whole_urls_of_plain_http() {
    let (url, served) = server_behind_a_proxy().await;
    let (address, heads) = proxy(url.parse().unwrap(), None).await;
    let proxies = Proxies::of_environment("", &format!("http://user:secret@{address}"), "", "");
    let client = Client::new(Route { proxies, ..Route::default() });
    assert_eq!(ask(&client, "http://provider.invalid:8080/v1?a=b").await.unwrap(), "ok");
    served.await.unwrap();
    let heads = heads.lock().unwrap();
    assert!(heads[0].starts_with("POST http://provider.invalid:8080/v1?a=b HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains("host: provider.invalid:8080\r\n"), "{heads:?}");
    assert!(heads[0].contains("proxy-authorization: Basic dXNlcjpzZWNyZXQ=\r\n"), "{heads:?}");
}

async fn server_behind_a_proxy() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"hello") {
            socket.read_buf(&mut request).await.unwrap();
        }
        socket.write_all(OK.as_bytes()).await.unwrap();
    });
    (address, served)
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_without_its_password() {
    let (address, _) = proxy("127.0.0.1:1".parse().unwrap(), None).await;
    let proxies = Proxies::always(&format!("http://user:secret@{address}"));
    let client = Client::new(Route { proxies, ..Route::default() });
    let error = client.send(None, || Ok(request("https://refused.test/v1"))).await.err().unwrap();
    assert_eq!(
        error.message,
        format!(
            "The provider could not be reached: the proxy {address} does not lead there (tunnel error: proxy authorization required)."
        )
    );
}

/// A provider with TLS and HTTP/2 on its own listener, and a client that trusts it.
struct Provider {
    authority: Authority,
    listener: TcpListener,
    url: String,
}

impl Provider {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/v1", listener.local_addr().unwrap().port());
        Self { authority: Authority::new(), listener, url }
    }

    async fn accept(&self) -> h2::server::Connection<tokio_rustls::server::TlsStream<TcpStream>, Bytes> {
        raw_http2(self.authority.acceptor("h2", false), &self.listener).await
    }

    /// One request and its answer over a new connection, which is then left to the test.
    async fn with_connection(
        &self,
    ) -> (Client, h2::server::Connection<tokio_rustls::server::TlsStream<TcpStream>, Bytes>) {
        let client = Client::new(self.authority.route());
        let asked = tokio::spawn({
            let (client, url) = (client.clone(), self.url.clone());
            async move { ask(&client, &url).await }
        });
        let mut connection = self.accept().await;
        answer(connection.accept().await.unwrap().unwrap().1);
        let served = tokio::select! {
            asked = asked => asked.unwrap(),
            more = connection.accept() => panic!("{more:?}"),
        };
        assert_eq!(served.unwrap(), "ok");
        (client, connection)
    }
}

#[tokio::test]
async fn a_ping_of_the_provider_is_answered() {
    let provider = Provider::new().await;
    let (client, mut connection) = provider.with_connection().await;
    let mut pings = connection.ping_pong().unwrap();
    tokio::select! {
        pong = pings.ping(h2::Ping::opaque()) => drop(pong.unwrap()),
        more = connection.accept() => panic!("{more:?}"),
    }
    assert_eq!(client.open_connections(), 1);
}

#[tokio::test]
async fn a_provider_that_answers_no_ping_is_abandoned() {
    let provider = Provider::new().await;
    // This connection is neither read nor closed.
    let (client, dead) = provider.with_connection().await;
    tokio::time::pause();
    let started = Instant::now();
    let waiting = client.send(None, || Ok(request(&provider.url))).await.err().unwrap();
    assert_eq!(waiting.kind, canon::ErrorKind::Timeout, "{}", waiting.message);
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(15) && waited <= Duration::from_secs(60), "{waited:?}");
    assert_eq!(client.open_connections(), 0);
    // The next request gets another connection.
    tokio::time::resume();
    let next = tokio::spawn({
        let (client, url) = (client.clone(), provider.url.clone());
        async move { ask(&client, &url).await }
    });
    let mut second = provider.accept().await;
    answer(second.accept().await.unwrap().unwrap().1);
    tokio::select! {
        answered = next => assert_eq!(answered.unwrap().unwrap(), "ok"),
        more = second.accept() => panic!("{more:?}"),
    }
    drop(dead);
}

#[tokio::test]
async fn a_slow_provider_that_answers_pings_is_waited_for() {
    let provider = Provider::new().await;
    let (client, mut connection) = provider.with_connection().await;
    tokio::time::pause();
    let served = tokio::spawn(async move {
        let (_, respond) = connection.accept().await.unwrap().unwrap();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(300)) => {}
            more = connection.accept() => panic!("{more:?}"),
        }
        answer(respond);
        while let Some(Ok(_)) = connection.accept().await {}
    });
    assert_eq!(ask(&client, &provider.url).await.unwrap(), "ok");
    drop(client);
    served.await.unwrap();
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed_and_one_in_use_is_not() {
    let provider = Provider::new().await;
    let (client, mut connection) = provider.with_connection().await;
    tokio::time::pause();
    let asked = tokio::spawn({
        let (client, url) = (client.clone(), provider.url.clone());
        async move { ask(&client, &url).await }
    });
    let (_, respond) = connection.accept().await.unwrap().unwrap();
    let served = tokio::spawn(async move { connection.accept().await.is_none() });
    tokio::time::sleep(4 * IDLE).await;
    assert_eq!(client.open_connections(), 1, "a request waits on it");
    answer(respond);
    assert_eq!(asked.await.unwrap().unwrap(), "ok");
    tokio::time::sleep(2 * IDLE).await;
    assert_eq!(client.open_connections(), 0);
    assert!(served.await.unwrap(), "the provider sees its end");
}

#[tokio::test]
async fn requests_under_way_finish_when_a_provider_ends_a_connection() {
    let provider = Provider::new().await;
    let (client, mut first) = provider.with_connection().await;
    let ask_again = || {
        let (client, url) = (client.clone(), provider.url.clone());
        tokio::spawn(async move { ask(&client, &url).await })
    };
    let under_way = [ask_again(), ask_again()];
    let one = first.accept().await.unwrap().unwrap().1;
    let other = first.accept().await.unwrap().unwrap().1;
    first.graceful_shutdown();
    let rest = tokio::spawn(async move { while let Some(Ok(_)) = first.accept().await {} });
    // Until everything has been sent and read.
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::time::resume();
    // A new request uses another connection, while the first one still has requests.
    let later = ask_again();
    let mut second = provider.accept().await;
    answer(second.accept().await.unwrap().unwrap().1);
    let second = tokio::spawn(async move { while let Some(Ok(_)) = second.accept().await {} });
    assert_eq!(later.await.unwrap().unwrap(), "ok");
    answer(other);
    answer(one);
    for request in under_way {
        assert_eq!(request.await.unwrap().unwrap(), "ok");
    }
    rest.await.unwrap();
    drop(client);
    second.await.unwrap();
}
