//! A few hundred requests through all parts that need no other program: upstream, floor, load and check.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::answers::Prompt;
use crate::floor::{self, ReadDepth};
use crate::http1::Connection;
use crate::large;
use crate::load::{self, Load, LoadResult, Request};
use crate::mock::{self, Pace};
use crate::targets::{self, Size, Upstreams};
use crate::works;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn load(requests: usize) -> Load {
    Load { requests, limit: Duration::from_secs(60), concurrency: 4, rate: None }
}

async fn send(address: SocketAddr, prompt: Prompt, stream: bool, load: Load) -> LoadResult {
    let request = Request::new(address, targets::KEY, works::UNARY.model, prompt, stream);
    load::run(&Rc::new(request), load).await
}

#[test]
fn every_look_of_the_floor_passes_whole_answers_and_streams() {
    block_on(async {
        let upstream = mock::start(Pace::Burst).await.unwrap();
        for look in [ReadDepth::Nothing, ReadDepth::Model, ReadDepth::Values] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(floor::serve(listener, upstream, look));
            for (prompt, stream) in
                [(Prompt::Text(400), false), (Prompt::Text(400), true), (Prompt::Image(100_000), false)]
            {
                let outcome = send(address, prompt, stream, load(20)).await;
                outcome.all_good().unwrap();
                assert_eq!(outcome.good, 20, "{look:?}");
            }
        }
    });
}

#[test]
fn the_open_loop_sends_all_requests_and_measures_from_their_due_time() {
    let outcome = block_on(async {
        let upstream = mock::start(Pace::Burst).await.unwrap();
        send(upstream, Prompt::Text(400), false, Load { rate: Some(2000.0), ..load(200) }).await
    });
    outcome.all_good().unwrap();
    assert_eq!(outcome.good, 200);
    assert!(outcome.quantile(0.5) <= outcome.quantile(0.99));
    assert!(outcome.wall > Duration::from_millis(20), "{:?}", outcome.wall);
}

#[test]
fn paced_streams_take_the_time_of_their_pauses() {
    let outcome = block_on(async {
        let upstream = mock::start(Pace::Every(Duration::from_millis(1))).await.unwrap();
        send(upstream, Prompt::Text(400), true, load(4)).await
    });
    outcome.all_good().unwrap();
    assert!(outcome.quantile(0.0) > Duration::from_millis(60), "{:?}", outcome.quantile(0.0));
}

#[test]
fn a_large_upload_arrives_and_many_vectors_come() {
    block_on(async {
        let upstream = mock::start(Pace::Burst).await.unwrap();
        let stream = tokio::net::TcpStream::connect(upstream).await.unwrap();
        let mut connection = Connection::new(stream).unwrap();
        large::upload(&mut connection, 3 << 20).await.unwrap();
        // The upstream answers with numbers, whatever is asked: only a gateway makes base64 of them.
        let error = large::embed(&mut connection).await.unwrap_err();
        assert!(error.to_string().contains("0 of 2048 vectors"), "{error}");
    });
}

#[test]
fn a_missing_answer_fails_the_load() {
    let nobody = crate::processes::free_address().unwrap();
    let outcome = block_on(send(nobody, Prompt::Text(400), false, load(3)));
    assert_eq!((outcome.good, outcome.failed), (0, 3));
    assert!(outcome.all_good().is_err());
}

#[test]
fn the_gateways_configuration_is_toml() {
    let folder = tempfile::tempdir().unwrap();
    let address = crate::processes::free_address().unwrap();
    let upstreams = Upstreams { burst: address, paced: address, held: address, secure: None };
    let size = Size { keys: 3, models: 2 };
    let path = targets::gateway_config(folder.path(), address, &upstreams, size).unwrap();
    let table: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    assert_eq!(table["auth"]["api_keys"].as_array().unwrap().len(), 4);
    assert_eq!(table["models"].as_table().unwrap().len(), 2);
}
