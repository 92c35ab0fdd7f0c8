//! A database and a disk with failures: every record ends in the database, or is counted as lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use sqlx::{Connection, SqliteConnection};
use store::{Spool, SpoolLimits, SpoolReader, Store, Writer, WriterEvent};
use tempfile::TempDir;

use crate::{PLENTY, drain, memory, record, request_ids, spool};

/// Set for the child process that opens the database.
const CHILD_DATABASE: &str = "STORE_TEST_LOOK_INTO";

fn url(folder: &TempDir) -> String {
    format!("sqlite:{}", folder.path().join("usage.db").display())
}

/// Records as lines of the spool.
fn lines(numbers: std::ops::Range<i64>) -> Vec<String> {
    numbers
        .map(|number| {
            let padding = "x".repeat(400);
            format!(r#"{{"nonce":{number},"started_at_ms":{number},"request_id":"{number}","key_id":"{padding}"}}"#)
        })
        .collect()
}

async fn insert(store: &Store, lines: &[String]) -> Result<u64, store::StoreError> {
    store.insert_usage(&lines.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// The number of committed records, as another process sees it.
async fn committed(url: &str) -> i64 {
    let mut other = SqliteConnection::connect(url).await.unwrap();
    let count = sqlx::query_scalar("SELECT count(*) FROM usage_records").fetch_one(&mut other).await.unwrap();
    other.close().await.unwrap();
    count
}

/// SQLite rolls back by itself after such an error. sqlx does not notice, and stays in a transaction forever.
#[tokio::test]
async fn a_connection_is_not_used_again_after_an_error_in_a_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder);
    let store = Store::open(&url).await.unwrap();
    // Like a full disk: the statement fails, and the whole transaction is rolled back.
    let mut operator = SqliteConnection::connect(&url).await.unwrap();
    let trigger = "CREATE TRIGGER full BEFORE INSERT ON usage_records WHEN new.request_id = '7'
        BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END";
    sqlx::raw_sql(trigger).execute(&mut operator).await.unwrap();
    for _ in 0..5 {
        let error = insert(&store, &lines(0..10)).await.unwrap_err();
        assert!(error.to_string().contains("the disk is full"), "{error}");
    }
    sqlx::raw_sql("DROP TRIGGER full").execute(&mut operator).await.unwrap();
    assert_eq!(insert(&store, &lines(0..10)).await.unwrap(), 10);
    assert_eq!(committed(&url).await, 10, "records that are reported as written are committed");
    // No connection holds the lock any more.
    sqlx::raw_sql("PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK").execute(&mut operator).await.unwrap();
    store.create_key("later", 1).await.unwrap();
}

/// Needs permission to mount. Elsewhere only the test above covers this case.
#[tokio::test]
async fn a_full_disk_loses_no_written_record() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), "1500k") else { return };
    let url = url(&folder);
    let store = Store::open(&url).await.unwrap();
    let (spool, reader) = spool(&folder);
    let mut sent = 0;
    let mut writer = RunningWriter::start(&store, reader);
    while spool.lost() == 0 {
        let _ = spool.append(&record(&format!("{sent}-{}", "x".repeat(200)), sent));
        sent += 1;
        if sent % 200 == 0 {
            tokio::task::yield_now().await;
        }
        assert!(sent < 100_000, "the disk has never become full");
    }
    assert!(!spool.keeps_records() && spool.check().is_err());
    // The writer meets the full disk too.
    while !matches!(writer.next().await, WriterEvent::DatabaseAway { .. }) {}
    disk.grow("64m");
    spool.check().unwrap();
    assert!(spool.keeps_records());
    for _ in 0..100 {
        spool.append(&record(&format!("after-{sent}"), sent)).unwrap();
        sent += 1;
    }
    while spool.bytes() > 0 {
        writer.next().await;
    }
    writer.stop().await;
    assert_eq!(committed(&url).await + spool.lost() as i64, sent);
    store.create_key("later", 1).await.unwrap();
    store.close().await;
}

/// POSIX locks belong to a process: closing any descriptor of the file drops them. Another process then takes the database
/// for unused, and deletes its log.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_second_process_does_not_release_the_locks_of_a_live_database() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder);
    let first = Store::open(&url).await.unwrap();
    insert(&first, &lines(0..5)).await.unwrap();
    // A second store, like the one of the writer, which has connections of its own.
    let second = Store::open(&url).await.unwrap();
    insert(&second, &lines(5..6)).await.unwrap();
    look(&url);
    let open: Vec<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|path| path.display().to_string())
        .filter(|path| path.starts_with(folder.path().to_str().unwrap()))
        .collect();
    assert!(open.iter().any(|path| path.ends_with("usage.db-wal")), "{open:?}");
    assert!(open.iter().all(|path| !path.contains("(deleted)")), "{open:?}");
    insert(&second, &lines(6..9)).await.unwrap();
    assert_eq!(committed(&url).await, 9);
}

/// Opens the database in another process, reads, and closes it.
fn look(url: &str) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "trouble::child_looks_into_the_database"])
        .env(CHILD_DATABASE, url)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "the child takes the database for unused");
}

/// Does nothing when it is run as a test.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a variable marks the child process")]
async fn child_looks_into_the_database() {
    let Ok(url) = std::env::var(CHILD_DATABASE) else { return };
    assert!(committed(&url).await > 0);
    // Recent versions of SQLite also check other locks before they delete the log; older ones do not. The lock itself has to
    // exist.
    let file = fs::File::options().read(true).write(true).open(url.strip_prefix("sqlite:").unwrap()).unwrap();
    let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    assert!(rustix::fs::fcntl_lock(&file, exclusive).is_err(), "no process has a lock on the database");
}

#[tokio::test]
async fn a_record_that_the_database_refuses_does_not_block_others() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder);
    let store = Store::open(&url).await.unwrap();
    let mut operator = SqliteConnection::connect(&url).await.unwrap();
    let trigger = "CREATE TRIGGER picky BEFORE INSERT ON usage_records WHEN new.request_id LIKE 'bad%'
        BEGIN SELECT RAISE(ABORT, 'not this one'); END";
    sqlx::raw_sql(trigger).execute(&mut operator).await.unwrap();
    let (spool, reader) = spool(&folder);
    for number in 0..300 {
        let name = if number % 97 == 50 { format!("bad-{number}") } else { format!("good-{number}") };
        spool.append(&record(&name, number)).unwrap();
    }
    let events = drain(&store, reader).await;
    assert_eq!(request_ids(&store).await.iter().filter(|id| id.starts_with("good")).count(), 297);
    assert_eq!((spool.lost(), spool.refused(), spool.bytes()), (3, 3, 0));
    let refused: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            WriterEvent::Refused { records, file, error } => Some((records, file, error)),
            _ => None,
        })
        .collect();
    let [(3, file, error)] = refused[..] else { panic!("{events:?}") };
    assert!(error.contains("not this one"), "{error}");
    let kept = fs::read_to_string(file).unwrap();
    assert_eq!(kept.lines().count(), 3);
    assert!(kept.lines().all(|line| line.contains(r#""request_id":"bad-"#)), "{kept}");
}

/// A database that refuses every record counts as away: no single record is at fault.
#[tokio::test]
async fn records_wait_for_a_database_that_refuses_all() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder);
    let store = Store::open(&url).await.unwrap();
    let mut operator = SqliteConnection::connect(&url).await.unwrap();
    let trigger = "CREATE TRIGGER closed BEFORE INSERT ON usage_records
        BEGIN SELECT RAISE(ABORT, 'nothing today'); END";
    sqlx::raw_sql(trigger).execute(&mut operator).await.unwrap();
    let (spool, reader) = spool(&folder);
    (0..10).for_each(|number| spool.append(&record("a", number)).unwrap());
    let events = drain(&store, reader).await;
    assert!(events.iter().all(|event| matches!(event, WriterEvent::DatabaseAway { .. })), "{events:?}");
    assert_eq!(spool.lost(), 0);
    drop(spool);

    sqlx::raw_sql("DROP TRIGGER closed").execute(&mut operator).await.unwrap();
    let (_spool, reader) = crate::spool(&folder);
    drain(&store, reader).await;
    assert_eq!(request_ids(&store).await.len(), 10);
}

#[tokio::test]
async fn a_write_waits_for_another_writer() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder);
    let store = Store::open(&url).await.unwrap();
    let mut operator = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut operator).await.unwrap();
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { insert(&store, &lines(0..3)).await })
    };
    tokio::task::yield_now().await;
    sqlx::raw_sql("COMMIT").execute(&mut operator).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), 3);
}

/// Records wait, because a deleted file disappears with the process.
#[cfg(unix)]
#[tokio::test]
async fn nothing_is_written_into_a_database_that_was_deleted_or_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder);
    let file = folder.path().join("usage.db");
    for replaced in [false, true] {
        let store = Store::open(&url).await.unwrap();
        insert(&store, &lines(0..3)).await.unwrap();
        for end in ["", "-wal", "-shm"] {
            fs::remove_file(folder.path().join(format!("usage.db{end}"))).unwrap();
        }
        if replaced {
            fs::write(&file, "").unwrap();
        }
        let error = insert(&store, &lines(3..6)).await.unwrap_err().to_string();
        assert!(error.contains("usage.db was deleted or replaced"), "{error}");
        assert!(store.is_ready().await.is_err() && store.create_key("a", 1).await.is_err());
        let (spool, reader) = spool(&folder);
        spool.append(&record("waits", 1)).unwrap();
        drain(&store, reader).await;
        assert_eq!(spool.lost(), 0);
        drop((spool, store));
        // After a restart the records are delivered.
        let (_spool, reader) = crate::spool(&folder);
        let store = Store::open(&url).await.unwrap();
        drain(&store, reader).await;
        assert_eq!(request_ids(&store).await, ["waits"]);
        store.close().await;
    }
}

// The files of the spool disappear

#[tokio::test]
async fn a_deleted_segment_is_read_through_its_descriptor_and_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    let root = folder.path().join("spool");
    spool.append(&record("a", 1)).unwrap();
    segments(&root).iter().for_each(|path| fs::remove_file(path).unwrap());
    spool.append(&record("b", 2)).unwrap();
    assert_eq!(
        fs::read_to_string(&segments(&root)[0]).unwrap().lines().count(),
        1,
        "record b is in an existing file"
    );
    let store = memory().await;
    drain(&store, reader).await;
    assert_eq!(request_ids(&store).await, ["a", "b"]);
    assert_eq!((spool.lost(), spool.bytes()), (0, 0));
}

#[tokio::test]
async fn a_deleted_folder_is_made_again_and_locked_again() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    let root = folder.path().join("spool");
    spool.append(&record("a", 1)).unwrap();
    fs::remove_dir_all(&root).unwrap();
    spool.append(&record("b", 2)).unwrap();
    assert!(Spool::open(&root, PLENTY).is_err(), "it is locked");
    assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
    // A cleaner may delete the folder at any time, also when there is nothing to write.
    fs::remove_dir_all(&root).unwrap();
    spool.check().unwrap();
    assert!(root.join("lock").exists());
    let store = memory().await;
    drain(&store, reader).await;
    assert_eq!(request_ids(&store).await, ["a", "b"]);
    assert_eq!((spool.lost(), spool.bytes()), (0, 0));
}

#[tokio::test]
async fn a_folder_that_replaces_the_first_is_used_with_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    let aside = folder.path().join("aside");
    let (other, _) = Spool::open(&aside, PLENTY).unwrap();
    (0..3).for_each(|number| other.append(&record(&format!("other-{number}"), number)).unwrap());
    drop(other);
    let (spool, reader) = spool(&folder);
    spool.append(&record("a", 1)).unwrap();
    // Like the mount of a volume.
    fs::rename(&root, folder.path().join("covered")).unwrap();
    fs::rename(&aside, &root).unwrap();
    spool.append(&record("b", 2)).unwrap();
    let store = memory().await;
    drain(&store, reader).await;
    assert_eq!(request_ids(&store).await, ["a", "b", "other-0", "other-1", "other-2"]);
    assert_eq!((spool.lost(), spool.bytes()), (0, 0));
}

#[tokio::test]
async fn lines_that_disappeared_while_no_gateway_ran_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    for round in 0..2 {
        let (spool, _reader) = spool(&folder);
        (0..5).for_each(|number| spool.append(&record(&format!("{round}-{number}"), number)).unwrap());
    }
    let (spool, reader) = spool(&folder);
    let found = segments(&root);
    fs::remove_file(&found[0]).unwrap();
    let cut = fs::read_to_string(&found[1]).unwrap();
    let two_lines = cut.match_indices('\n').nth(1).unwrap().0 + 1;
    fs::write(&found[1], &cut[..two_lines]).unwrap();
    spool.append(&record("last", 9)).unwrap();
    let store = memory().await;
    let events = drain(&store, reader).await;
    assert_eq!(request_ids(&store).await, ["1-0", "1-1", "last"]);
    assert_eq!((spool.lost(), spool.bytes()), (8, 0));
    for lost in [5, 3] {
        assert!(events.contains(&WriterEvent::Vanished { records: lost }), "{events:?}");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_created_again_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    let root = folder.path().join("spool");
    fs::remove_dir_all(&root).unwrap();
    fs::write(&root, "in the way").unwrap();
    for number in 0..3 {
        let commit = spool.append_with_others(&record("a", number), None);
        // No caller waits for this record; it is still counted.
        drop(commit);
    }
    assert_eq!(spool.lost(), 3);
    assert!(!spool.keeps_records() && spool.check().is_err());
    fs::remove_file(&root).unwrap();
    spool.check().unwrap();
    assert!(spool.keeps_records());
    spool.append(&record("b", 2)).unwrap();
    let store = memory().await;
    drain(&store, reader).await;
    assert_eq!(request_ids(&store).await, ["b"]);
    assert!(!spool.keeps_records() && spool.check().is_err(), "no reader uses the spool any more");
}

#[tokio::test]
async fn a_segment_that_cannot_be_read_does_not_block_others() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    {
        let (spool, _reader) = spool(&folder);
        spool.append(&record("a", 1)).unwrap();
    }
    // A folder has a size and a name, but cannot be read as a file.
    let broken = segments(&root)[0].clone();
    fs::rename(&broken, root.join("kept")).unwrap();
    fs::create_dir(&broken).unwrap();
    let (spool, reader) = spool(&folder);
    spool.append(&record("b", 2)).unwrap();
    let store = memory().await;
    let events = drain(&store, reader).await;
    assert_eq!(request_ids(&store).await, ["b"]);
    assert!(
        matches!(events.last(), Some(WriterEvent::DatabaseAway { error }) if error.contains("spool")),
        "{events:?}"
    );
}

fn segments(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &std::path::PathBuf| {
        path.file_stem().is_some_and(|stem| stem.to_str().unwrap().parse::<u64>().is_ok())
    };
    let mut segments: Vec<_> = entries.filter(is_segment).collect();
    segments.sort();
    segments
}

struct RunningWriter {
    events: tokio::sync::mpsc::UnboundedReceiver<WriterEvent>,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl RunningWriter {
    fn start(store: &Store, reader: SpoolReader) -> Self {
        let (sender, events) = tokio::sync::mpsc::unbounded_channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let writer = Writer::new(store.clone(), reader, move |event| drop(sender.send(event)));
        let task = tokio::spawn(writer.run(async { drop(stopped.await) }));
        Self { events, stop, task }
    }

    async fn next(&mut self) -> WriterEvent {
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(60), self.events.recv());
        waiting.await.expect("an event in time").unwrap()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// A file system in memory, of a chosen size.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// None where mounting is not allowed.
    fn mount(folder: &'a Path, size: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder);
        let mounted = mount.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("skipped: nothing can be mounted here");
        }
        mounted.then_some(Self(folder))
    }

    fn grow(&self, size: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,size={size}")]).arg(self.0);
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// The limit of the spool also applies to lines that are set aside.
#[tokio::test]
async fn lines_set_aside_count_towards_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    let limits = SpoolLimits { max_bytes: 1000 };
    fs::create_dir(&root).unwrap();
    fs::write(root.join("00000000000000000007.jsonl"), "damaged\n".repeat(500)).unwrap();
    let (spool, reader) = Spool::open(&root, limits).unwrap();
    drain(&memory().await, reader).await;
    assert_eq!(spool.lost(), 500);
    let kept = fs::metadata(root.join("rejected.jsonl")).map_or(0, |metadata| metadata.len());
    assert!(kept <= 1000, "{kept}");
}
