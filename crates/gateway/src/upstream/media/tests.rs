//! The guard and the limits, against a misbehaving server.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

use canon::ErrorKind;

use super::super::address_guard::{LookupFuture, is_public};
use super::*;
use crate::buffers::Buffers;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and more";

/// A server on loopback that counts as public.
struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(String, TcpStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let (received, answer) = (heads.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (received, answer) = (received.clone(), answer.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") && socket.read_buf(&mut head).await.unwrap_or(0) > 0 {}
                    let head = String::from_utf8(head).unwrap();
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    received.lock().unwrap().push(head);
                    answer(path, socket).await;
                });
            }
        });
        Self { address, heads }
    }

    /// Answers each path with these bytes.
    async fn giving(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(move |path, mut socket| {
            let bytes = answer(&path);
            async move {
                let _ = socket.write_all(&bytes).await;
                let _ = socket.shutdown().await;
            }
        })
        .await
    }

    fn url(&self, path: &str) -> String {
        format!("http://files.test:{}{path}", self.address.port())
    }

    fn received(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    /// A fetcher for which this server, and nothing else on this machine, is public.
    fn fetcher(&self) -> MediaFetcher {
        self.fetcher_with(LIMITS, |address| address)
    }

    fn fetcher_with(
        &self,
        limits: Limits,
        resolved: impl Fn(SocketAddr) -> SocketAddr + Send + Sync + 'static,
    ) -> MediaFetcher {
        let server = self.address;
        let resolved = Arc::new(resolved);
        let lookup = move |name: String| -> LookupFuture {
            let resolved = resolved.clone();
            Box::pin(async move {
                match name.as_str() {
                    "files.test" => Ok(vec![resolved(server)]),
                    _ => Ok(tokio::net::lookup_host((name, 0)).await?.collect()),
                }
            })
        };
        let allows = move |address| address == server.ip() || is_public(address);
        MediaFetcher::new(
            Route::default(),
            Guard { allows: Arc::new(allows), lookup: Arc::new(lookup) },
            limits,
        )
    }
}

fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn redirect(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nset-cookie: a=b\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        .into_bytes()
}

fn public_guard() -> Guard {
    MediaFetcher::default().guard
}

#[test]
fn only_public_addresses_are_allowed() {
    let refused = [
        "127.0.0.1",
        "127.9.9.9",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "168.63.129.16",
        "100.100.100.200",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "192.88.99.1",
        "198.18.0.1",
        "192.0.0.8",
        "192.0.0.192",
        "192.0.2.1",
        "240.0.0.1",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:168.63.129.16",
        "::7f00:1",
        "::8.8.8.8",
        "64:ff9b::a00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:db8::1",
        "2001:0:1::",
        "2001:2::1",
        "2001:10::1",
        "3fff::1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "fd12:3456::1",
        "ff02::1",
        "100::1",
    ];
    for address in refused {
        assert!(!is_public(address.parse().unwrap()), "{address}");
    }
    for address in [
        "8.8.8.8",
        "93.184.216.34",
        "168.63.129.17",
        "2606:2800:220:1::1",
        "2001:4860:4860::8888",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ] {
        assert!(is_public(address.parse().unwrap()), "{address}");
    }
}

#[tokio::test]
async fn urls_that_could_lead_inside_are_refused() {
    let fetcher = MediaFetcher::default();
    for url in [
        "file:///etc/passwd",
        "ftp://example.com/y",
        "gopher://example.com:70/_x",
        "gs://bucket/x",
        "data:image/png;base64,AAAA",
        "//127.0.0.1/",
        "/etc/passwd",
        "example.com/x.png",
        "http://",
        "http:///x",
        "http://127.0.0.1/",
        "http://[::1]:80/",
        "http://user:pw@example.com/",
        "http://example.com@127.0.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://[::ffff:a00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[fe80::1%25lo]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://0/",
    ] {
        let refused = fetch(&fetcher, url, MediaKind::Image).await;
        assert!(refused.is_err(), "{url}: {refused:?}");
    }
    assert!(public_guard().check(&"https://example.com/a.png".parse().unwrap()).is_ok());
}

/// Octal, decimal and short forms are names to the URL parser; the resolver turns them into addresses, and those are
/// checked.
#[tokio::test]
async fn odd_spellings_of_loopback_are_refused_when_resolved() {
    for host in ["localhost", "localhost.", "2130706433", "0177.0.0.1", "127.1", "0x7f.1"] {
        let resolved = public_guard().resolve(host.to_owned()).await;
        assert!(resolved.is_err(), "{host}: {resolved:?}");
    }
}

#[tokio::test]
async fn redirects_to_private_addresses_are_refused() {
    let inside = TcpListener::bind(("127.0.0.2", 0)).await.unwrap();
    let port = inside.local_addr().unwrap().port();
    let targets = [
        format!("http://127.0.0.2:{port}/x.png"),
        format!("http://[::ffff:127.0.0.2]:{port}/x.png"),
        format!("http://[::1]:{port}/x.png"),
        format!("http://2130706434:{port}/x.png"),
        format!("http://0177.0.0.2:{port}/x.png"),
        format!("http://0x7f.2:{port}/x.png"),
        format!("//127.0.0.2:{port}/x.png"),
        "http://10.0.0.1/x.png".to_owned(),
        "http://169.254.169.254/latest/meta-data/iam".to_owned(),
        "http://[fd00:ec2::254]/latest/meta-data".to_owned(),
        "file:///etc/passwd".to_owned(),
        "ftp://files.test/x.png".to_owned(),
        "gopher://127.0.0.2:6379/_INFO".to_owned(),
        "http://user:pw@files.test/x.png".to_owned(),
        String::new(),
    ];
    let by_path = targets.clone();
    let server =
        Server::giving(move |path| redirect(&by_path[path[1..].parse::<usize>().unwrap_or(14)])).await;
    let fetcher = server.fetcher();
    for (number, target) in targets.iter().enumerate() {
        let refused = fetch(&fetcher, &server.url(&format!("/{number}")), MediaKind::Image).await;
        assert!(refused.is_err(), "{target}: {refused:?}");
    }
    let accepted = tokio::select! {
        biased;
        accepted = inside.accept() => Some(accepted),
        () = std::future::ready(()) => None,
    };
    assert!(accepted.is_none(), "the server was reached");
}

#[tokio::test]
async fn redirects_are_followed_a_few_times_without_credentials() {
    let server = Server::giving(|path| match path {
        "/a/1" => redirect("2?x=http://y"),
        "/a/2?x=http://y" => redirect("/3"),
        "/3" => ok("content-type: image/png\r\n", PNG),
        _ => redirect("/again"),
    })
    .await;
    let fetcher = server.fetcher();
    let (mime, data) = fetch(&fetcher, &server.url("/a/1"), MediaKind::Image).await.unwrap();
    assert_eq!((mime.as_str(), &data[..]), ("image/png", PNG));
    for head in server.heads.lock().unwrap().iter() {
        let names: Vec<&str> =
            head.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
        assert_eq!(names, ["accept", "user-agent", "accept-encoding", "host"], "no cookie, no key: {head}");
    }
    let before = server.received();
    let refused = fetch(&fetcher, &server.url("/again"), MediaKind::Image).await.unwrap_err();
    assert!(refused.contains("more than 3 times"), "{refused}");
    assert_eq!(server.received() - before, 4);
}

/// A name resolves to a public address for the check and to another one for the connection.
#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_connected_to() {
    let inside = TcpListener::bind(("127.0.0.2", 0)).await.unwrap();
    let inside_address = inside.local_addr().unwrap();
    let lookups = Arc::new(AtomicUsize::new(0));
    let server = Server::giving(|_| ok("", PNG)).await;
    let count = lookups.clone();
    let fetcher = server.fetcher_with(LIMITS, move |outside| match count.fetch_add(1, Ordering::Relaxed) {
        0 => outside,
        _ => inside_address,
    });
    assert!(fetch(&fetcher, &server.url("/x"), MediaKind::Image).await.is_ok());
    assert_eq!(lookups.load(Ordering::Relaxed), 1, "one answer of the resolver for check and connection");
    let refused = fetch(&fetcher, &server.url("/x"), MediaKind::Image).await.unwrap_err();
    assert!(refused.contains("not public"), "{refused}");
    assert_eq!(server.received(), 1, "no connection was kept");
}

/// A name with a public and a private address is refused, in any order.
#[tokio::test]
async fn one_private_address_among_public_ones_is_refused() {
    for addresses in [["8.8.8.8:0", "10.0.0.1:0"], ["[::1]:0", "8.8.8.8:0"]] {
        let found: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let lookup = move |_| -> LookupFuture { Box::pin(std::future::ready(Ok(found.clone()))) };
        let guard = Guard { lookup: Arc::new(lookup), ..public_guard() };
        assert!(guard.resolve("mixed.test".to_owned()).await.is_err(), "{addresses:?}");
        assert!(guard.check_for_proxy("mixed.test").await.is_err(), "{addresses:?}");
    }
}

#[tokio::test]
async fn endless_files_are_read_up_to_the_limit() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let server = Server::start(move |path, mut socket| {
        let count = count.clone();
        async move {
            let framing = match path.as_str() {
                "/declared" => "content-length: 10737418240\r\n",
                "/chunked" => "transfer-encoding: chunked\r\n",
                _ => "connection: close\r\n",
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n{framing}\r\n");
            let mut piece = b"10000\r\n".to_vec();
            piece.resize(7 + 65536, b'x');
            piece.extend_from_slice(b"\r\n");
            let _ = socket.write_all(head.as_bytes()).await;
            while socket.write_all(&piece).await.is_ok() {
                count.fetch_add(piece.len(), Ordering::Relaxed);
            }
        }
    })
    .await;
    let limits = Limits { file: 1 << 20, ..LIMITS };
    let fetcher = server.fetcher_with(limits, |address| address);
    for path in ["/declared", "/chunked", "/until-the-end"] {
        let before = sent.load(Ordering::Relaxed);
        let refused = fetch(&fetcher, &server.url(path), MediaKind::Image).await.unwrap_err();
        assert!(refused.contains("larger than 1048576 bytes"), "{path}: {refused}");
        // The bytes that were read, and the buffers of two sockets.
        assert!(sent.load(Ordering::Relaxed) - before < 16 << 20, "{path}");
    }
}

#[tokio::test]
async fn slow_servers_are_abandoned() {
    let server = Server::start(|path, mut socket| async move {
        let start: &[u8] = match path.as_str() {
            "/head" => b"HTTP/1.1 200 OK\r\ncontent-ty",
            "/body" => b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n\x89PNG",
            _ => b"",
        };
        let _ = socket.write_all(start).await;
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
    })
    .await;
    let limits = Limits { time: Duration::from_millis(50), ..LIMITS };
    let fetcher = server.fetcher_with(limits, |address| address);
    for path in ["/silence", "/head", "/body"] {
        let refused = fetch(&fetcher, &server.url(path), MediaKind::Image).await.unwrap_err();
        assert!(refused.contains("did not arrive within 0.05 seconds"), "{path}: {refused}");
    }
}

#[tokio::test]
async fn the_content_must_have_the_expected_kind() {
    let html: &[u8] = b"<!doctype html><title>Sign in</title>";
    let cases: [(&str, &[u8], MediaKind, Option<&str>); 14] = [
        ("image/png", PNG, MediaKind::Image, Some("image/png")),
        ("text/html", PNG, MediaKind::Image, Some("image/png")),
        ("image/jpeg", PNG, MediaKind::Image, Some("image/png")),
        ("image/png", html, MediaKind::Image, None),
        ("image/svg+xml", b"<svg/>", MediaKind::Image, None),
        ("image/png", b"", MediaKind::Image, None),
        ("image/png", b"%PDF-1.7", MediaKind::Image, None),
        ("application/octet-stream", b"%PDF-1.7", MediaKind::Document, Some("application/pdf")),
        ("application/pdf", html, MediaKind::Document, None),
        ("text/plain; charset=utf-8", "fünf".as_bytes(), MediaKind::Document, Some("text/plain")),
        ("text/plain", b"\xff\xfe\x00", MediaKind::Document, None),
        ("audio/mpeg", b"ID3\x04", MediaKind::Audio, Some("audio/mpeg")),
        ("audio/wav", html, MediaKind::Audio, None),
        ("video/webm", b"\x1a\x45\xdf\xa3", MediaKind::Video, Some("video/webm")),
    ];
    let served: Vec<Vec<u8>> =
        cases.iter().map(|(declared, body, ..)| ok(&format!("content-type: {declared}\r\n"), body)).collect();
    let server = Server::giving(move |path| served[path[1..].parse::<usize>().unwrap()].clone()).await;
    let fetcher = server.fetcher();
    for (number, (declared, body, kind, expected)) in cases.into_iter().enumerate() {
        let fetched = fetch(&fetcher, &server.url(&format!("/{number}")), kind).await;
        let mime = fetched.as_ref().ok().map(|(mime, _)| mime.as_str());
        assert_eq!(mime, expected, "{declared} {kind:?}: {fetched:?}");
        assert!(fetched.is_err_and(|_| expected.is_none()) || expected.is_some(), "{body:?}");
    }
    let missing = Server::giving(|_| b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let refused = fetch(&missing.fetcher(), &missing.url("/"), MediaKind::Image).await.unwrap_err();
    assert!(refused.contains("status 404"), "{refused}");
}

/// A share of memory that is never full.
fn held() -> Held {
    Buffers::new(usize::MAX).nothing()
}

async fn fetch(fetcher: &MediaFetcher, url: &str, kind: MediaKind) -> Result<Fetched, String> {
    let fetched = fetcher.fetch(url, kind, &mut held()).await;
    fetched.map_err(|failed| match failed {
        NotFetched::Unusable(reason) => reason,
        NotFetched::NoRoom(error) => panic!("{error}"),
    })
}

fn wanted(server: &Server, paths: &[String]) -> Vec<MediaUrl> {
    let wanted = |(number, path): (usize, &String)| MediaUrl {
        path: format!("messages[{number}]"),
        url: server.url(path),
        kind: MediaKind::Image,
    };
    paths.iter().enumerate().map(wanted).collect()
}

#[tokio::test]
async fn several_files_are_fetched_at_a_time_up_to_a_limit() {
    // Every answer waits for as many others. With fewer at a time the test would never end.
    let barrier = Arc::new(Barrier::new(AT_A_TIME));
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (opened, highest) = (open.clone(), most.clone());
    let server = Server::start(move |path, mut socket| {
        let (barrier, open, most) = (barrier.clone(), opened.clone(), highest.clone());
        async move {
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            barrier.wait().await;
            open.fetch_sub(1, Ordering::SeqCst);
            let body = [PNG, path.as_bytes()].concat();
            let _ = socket.write_all(&ok("content-type: image/png\r\n", &body)).await;
        }
    })
    .await;
    let paths: Vec<String> = (0..2 * AT_A_TIME).map(|number| format!("/{number}")).collect();
    let fetched = server.fetcher().fetch_all(wanted(&server, &paths), &mut held()).await.unwrap();
    for (file, path) in fetched.iter().zip(&paths) {
        assert_eq!(
            STANDARD.decode(&file.data).unwrap(),
            [PNG, path.as_bytes()].concat(),
            "in order, byte by byte"
        );
    }
    assert_eq!(most.load(Ordering::SeqCst), AT_A_TIME);
}

#[tokio::test]
async fn the_files_of_a_request_have_limits() {
    let server = Server::giving(|path| match path {
        "/bad" => ok("content-type: text/html\r\n", b"<html>"),
        _ => ok("content-type: image/png\r\n", PNG),
    })
    .await;
    let many: Vec<String> = (0..=FILES).map(|number| format!("/{number}")).collect();
    let error = server.fetcher().fetch_all(wanted(&server, &many), &mut held()).await.unwrap_err();
    assert_eq!((error.param_name().as_deref(), server.received()), (Some("messages[20]"), 0));

    let same = vec!["/same".to_owned(); FILES + 1];
    let fetched = server.fetcher().fetch_all(wanted(&server, &same), &mut held()).await.unwrap();
    assert_eq!((fetched.len(), server.received()), (FILES + 1, 1), "one address is fetched once");

    let bad = ["/0", "/1", "/bad"].map(str::to_owned);
    let error = server.fetcher().fetch_all(wanted(&server, &bad), &mut held()).await.unwrap_err();
    assert_eq!(error.param_name().as_deref(), Some("messages[2]"));

    let limits = Limits { request: PNG.len() + 1, ..LIMITS };
    let fetcher = server.fetcher_with(limits, |address| address);
    for two in [many[..2].to_vec(), vec!["/same".to_owned(); 2]] {
        let error = fetcher.fetch_all(wanted(&server, &two), &mut held()).await.unwrap_err();
        assert!(error.message.contains("together"), "{}", error.message);
    }
}

#[tokio::test(start_paused = true)]
async fn fetched_files_take_their_share_of_the_memory() {
    let server = Server::giving(|_| ok("content-type: image/png\r\n", PNG)).await;
    let paths = ["/0", "/1", "/1"].map(str::to_owned);
    let buffers = Buffers::new(10_000);
    let mut share = buffers.nothing();
    server.fetcher().fetch_all(wanted(&server, &paths), &mut share).await.unwrap();
    assert_eq!(buffers.used(), 3 * 2 * PNG.len().div_ceil(3) * 4, "each use as base64, and in the body");
    let body = share.keep(Bytes::from_static(&[0; 100]));
    assert_eq!(buffers.used(), 100, "the body alone stays");
    drop(body);
    assert_eq!(buffers.used(), 0);

    for limit in [PNG.len() - 1, PNG.len() + 1] {
        let buffers = Buffers::new(limit);
        let mut share = buffers.nothing();
        let error = server.fetcher().fetch_all(wanted(&server, &paths[..1]), &mut share).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        drop(share);
        assert_eq!(buffers.used(), 0);
    }
}

/// A proxy resolves names itself, so the local knowledge of a name decides whether the proxy is asked.
#[tokio::test]
async fn files_are_fetched_through_a_proxy_with_the_same_checks() {
    use crate::upstream::outbound::Proxies;
    use crate::upstream::testing::proxy;
    let server = Server::giving(|path| match path {
        "http://files.invalid/away" => redirect("http://10.0.0.1/x"),
        _ => ok("content-type: image/png\r\n", PNG),
    })
    .await;
    let (address, heads) = proxy(server.address, None).await;
    let proxies = Proxies::of_environment("", "", &format!("http://{address}"), "");
    let lookup = |name: String| -> LookupFuture {
        Box::pin(async move {
            match name.as_str() {
                "inside.example" => Ok(vec!["10.0.0.1:0".parse().unwrap()]),
                "outside.example" => Ok(vec!["93.184.216.34:0".parse().unwrap()]),
                _ => Err(std::io::Error::other("not known here")),
            }
        })
    };
    let guard = Guard { lookup: Arc::new(lookup), ..Guard::default() };
    let fetcher = MediaFetcher::new(Route { proxies, ..Route::default() }, guard, LIMITS);
    for url in ["http://outside.example/a.png", "http://files.invalid/a.png", "http://8.8.8.8/a.png"] {
        let (_, data) = fetch(&fetcher, url, MediaKind::Image).await.unwrap();
        assert_eq!(&data[..], PNG, "{url}");
    }
    let asked = heads.lock().unwrap().len();
    for url in [
        "http://inside.example/a.png",
        "https://inside.example/a.png",
        "http://intranet/a.png",
        "http://build.corp/a.png",
        "http://10.0.0.1/a.png",
        "http://[::ffff:10.0.0.1]/a.png",
    ] {
        assert!(fetch(&fetcher, url, MediaKind::Image).await.is_err(), "{url}");
    }
    assert_eq!(heads.lock().unwrap().len(), asked, "{heads:?}");
    assert!(
        fetch(&fetcher, "http://files.invalid/away", MediaKind::Image).await.is_err(),
        "a redirect inside"
    );
    assert_eq!(heads.lock().unwrap().len(), asked + 1);
}
