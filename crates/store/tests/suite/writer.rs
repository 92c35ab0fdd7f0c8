//! The writer task: it waits for records, survives a database that is away, and stops cleanly.

use std::time::Duration;

use sqlx::Connection;
use store::{Store, Writer, WriterEvent};
use tokio::sync::{mpsc, oneshot};

use crate::{drain, memory, record, request_ids, spool};

struct RunningWriter {
    events: mpsc::UnboundedReceiver<WriterEvent>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

fn start(store: &Store, reader: store::SpoolReader) -> RunningWriter {
    let (sender, events) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let writer = Writer::new(store.clone(), reader, move |event| drop(sender.send(event)));
    let task = tokio::spawn(writer.run(async { drop(stopped.await) }));
    RunningWriter { events, stop, task }
}

impl RunningWriter {
    async fn next(&mut self) -> WriterEvent {
        let waiting = tokio::time::timeout(Duration::from_secs(20), self.events.recv());
        waiting.await.expect("an event in time").unwrap()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn records_of_one_moment_are_moved_together() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    let store = memory().await;
    let mut writer = start(&store, reader);
    for round in 0..2 {
        for number in 0..10 {
            spool.append(&record(&format!("{round}-{number}"), number)).unwrap();
        }
        let bytes = spool.bytes();
        assert_eq!(writer.next().await, WriterEvent::Flushed { records: 10, bytes });
    }
    writer.stop().await;
    assert_eq!(request_ids(&store).await.len(), 20);
    assert_eq!(spool.bytes(), 0);
}

#[tokio::test]
async fn a_stop_moves_the_remaining_records() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    let store = memory().await;
    let writer = start(&store, reader);
    spool.append(&record("last", 1)).unwrap();
    writer.stop().await;
    assert_eq!(request_ids(&store).await, ["last"]);
}

/// The table is missing for a while, which the writer treats like a database that is away.
#[tokio::test]
async fn a_database_that_was_away_gets_all_records() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    let url = format!("sqlite:{}", folder.path().join("usage.db").display());
    let store = Store::open(&url).await.unwrap();
    let mut operator = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("ALTER TABLE usage_records RENAME TO away").execute(&mut operator).await.unwrap();

    let mut writer = start(&store, reader);
    spool.append(&record("a", 1)).unwrap();
    let away = writer.next().await;
    assert!(
        matches!(&away, WriterEvent::DatabaseAway { error } if error.contains("usage_records")),
        "{away:?}"
    );
    spool.append(&record("b", 2)).unwrap();
    let bytes = spool.bytes();
    assert!(matches!(writer.next().await, WriterEvent::DatabaseAway { .. }));

    sqlx::raw_sql("ALTER TABLE away RENAME TO usage_records").execute(&mut operator).await.unwrap();
    let mut moved = 0;
    while moved < bytes {
        if let WriterEvent::Flushed { bytes, .. } = writer.next().await {
            moved += bytes;
        }
    }
    writer.stop().await;
    assert_eq!(request_ids(&store).await, ["a", "b"]);
    assert_eq!(spool.bytes(), 0);
}

#[tokio::test]
async fn a_stop_while_the_database_is_away_keeps_the_records() {
    let folder = tempfile::tempdir().unwrap();
    let (first, reader) = spool(&folder);
    first.append(&record("a", 1)).unwrap();
    let away = memory().await;
    away.close().await;
    let events = drain(&away, reader).await;
    assert!(matches!(events[..], [WriterEvent::DatabaseAway { .. }, ..]), "{events:?}");
    drop(first);

    let (second, reader) = spool(&folder);
    assert!(second.bytes() > 0);
    let store = memory().await;
    drain(&store, reader).await;
    assert_eq!(request_ids(&store).await, ["a"]);
}

#[tokio::test]
async fn a_large_segment_is_moved_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    for number in 0..8_000 {
        spool.append(&record(&format!("{number:05}"), number)).unwrap();
    }
    assert!(spool.bytes() > 1 << 20);
    let store = memory().await;
    let events = drain(&store, reader).await;
    assert!(events.len() > 2, "{events:?}");
    assert_eq!(request_ids(&store).await.len(), 8_000);
    assert_eq!(spool.bytes(), 0);
}

#[test]
fn a_writer_in_its_own_thread_moves_the_remaining_records_at_a_stop() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("usage.db").display());
        for store in [Store::open(&url).await.unwrap(), memory().await] {
            let (spool, reader) = spool(&folder);
            let (stop, stopped) = oneshot::channel::<()>();
            let writer = Writer::new(store.clone(), reader, |_| {});
            let done = writer.start(async { drop(stopped.await) }).unwrap();
            spool.append(&record("a", 1)).unwrap();
            drop(stop);
            done.await.unwrap();
            assert_eq!(request_ids(&store).await, ["a"]);
        }
    });
}
