//! The spool: appended records survive a restart and a kill of the process.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use canon::Pico;
use store::{AppendError, Spool, SpoolLimits, Store, WriterEvent};
use tempfile::TempDir;

use crate::{PLENTY, drain, full_record, memory, record, request_ids, spool};

/// Set for the child process that appends until it is killed.
const CHILD_FOLDER: &str = "STORE_TEST_APPEND_FOREVER";

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "jsonl")).collect();
    segments.sort();
    segments
}

#[tokio::test]
async fn appended_records_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (first, reader) = spool(&folder);
    first.append(&full_record()).unwrap();
    first.append(&record("b", 2)).unwrap();
    let bytes = first.bytes();
    drop((first, reader));

    let (second, reader) = spool(&folder);
    assert_eq!(second.bytes(), bytes);
    second.append(&record("c", 3)).unwrap();
    let store = memory().await;
    let events = drain(&store, reader).await;
    assert_eq!(request_ids(&store).await, ["b", "c", "chatcmpl-1"]);
    assert!(events.iter().all(|event| matches!(event, WriterEvent::Flushed { .. })), "{events:?}");
    assert_eq!(second.bytes(), 0);
    assert_eq!(segments(&folder.path().join("spool")).len(), 1, "only the empty current segment is left");
}

#[tokio::test]
async fn a_torn_last_line_is_skipped_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (first, reader) = spool(&folder);
    first.append(&record("a", 1)).unwrap();
    drop((first, reader));
    let segment = segments(&folder.path().join("spool")).pop().unwrap();
    File::options().append(true).open(segment).unwrap().write_all(b"{\"nonce\":1,\"requ").unwrap();

    let (second, reader) = spool(&folder);
    let store = memory().await;
    let events = drain(&store, reader).await;
    assert_eq!(request_ids(&store).await, ["a"]);
    assert!(events.contains(&WriterEvent::TornLine), "{events:?}");
    assert_eq!(second.bytes(), 0);
}

#[tokio::test]
async fn damaged_lines_are_set_aside_and_do_not_block_others() {
    let folder = tempfile::tempdir().unwrap();
    let (first, reader) = spool(&folder);
    first.append(&record("a", 1)).unwrap();
    drop((first, reader));
    let root = folder.path().join("spool");
    let damaged: [&[u8]; 4] = [b"\0\0\0\n", b"{}\n", b"\xff\n", b"{\"nonce\":1,\"requ{\n"];
    let mut file = File::options().append(true).open(segments(&root).pop().unwrap()).unwrap();
    file.write_all(&damaged.concat()).unwrap();

    let (second, reader) = spool(&folder);
    second.append(&record("b", 2)).unwrap();
    let store = memory().await;
    let events = drain(&store, reader).await;
    assert_eq!(request_ids(&store).await, ["a", "b"]);
    assert_eq!(events.iter().filter(|event| **event == WriterEvent::Rejected).count(), 4, "{events:?}");
    assert_eq!(fs::read(root.join("rejected.jsonl")).unwrap(), damaged.concat());
    assert_eq!(second.bytes(), 0);

    // Lines that were set aside are not read again.
    drop(second);
    let (third, _reader) = spool(&folder);
    assert_eq!(third.bytes(), 0);
}

#[test]
fn appending_beyond_the_limit_fails_and_adds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _reader) = Spool::open(folder.path(), SpoolLimits { max_bytes: 400 }).unwrap();
    spool.append(&record("a", 1)).unwrap();
    let line = spool.bytes();
    for _ in 0..10 {
        let _ = spool.append(&record("b", 1));
    }
    assert!(matches!(spool.append(&record("b", 1)), Err(AppendError::Full { max_bytes: 400 })));
    assert!(spool.bytes() <= 400 && spool.bytes() > 400 - line, "{}", spool.bytes());
    let on_disk: u64 = segments(folder.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(on_disk, spool.bytes());
}

#[test]
fn a_second_opener_gets_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let (first, reader) = spool(&folder);
    let error = Spool::open(&folder.path().join("spool"), PLENTY).err().unwrap().to_string();
    assert!(error.contains("another process uses the usage spool"), "{error}");
    drop(first);
    assert!(Spool::open(&folder.path().join("spool"), PLENTY).is_err(), "the reader is still at work");
    drop(reader);
    spool(&folder);
}

#[tokio::test]
async fn a_record_with_huge_texts_is_shortened() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    let mut huge = full_record();
    huge.requested_model = "ä".repeat(1 << 20);
    huge.attempts = vec![huge.attempts[0].clone(); 10_000];
    spool.append(&huge).unwrap();
    assert!(spool.bytes() < 64 * 1024, "{}", spool.bytes());
    let store = memory().await;
    drain(&store, reader).await;
    let kept = store.usage(Default::default()).await.unwrap().remove(0);
    assert_eq!(kept.requested_model, "ä".repeat(128));
    assert_eq!(kept.cost, huge.cost);
}

#[tokio::test]
async fn many_threads_append_whole_lines() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let spool = &spool;
            scope.spawn(move || {
                (0..500).for_each(|number| spool.append(&record(&format!("{thread}-{number}"), 7)).unwrap());
            });
        }
    });
    let store = memory().await;
    drain(&store, reader).await;
    assert_eq!(request_ids(&store).await.len(), 2_000);
}

/// The parent kills the child while it appends. The child acknowledges each append, so that every acknowledged record
/// must be found.
#[tokio::test]
async fn a_kill_loses_no_acknowledged_record() {
    for kill_after in [1, 100, 1_000] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "spool::child_appends_for_ever", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let is_ack = |line: &String| line.starts_with("ack ");
        let seen = lines.by_ref().filter(is_ack).take(kill_after).count();
        assert_eq!(seen, kill_after);
        child.kill().unwrap();
        child.wait().unwrap();
        // Lines that the child wrote to the pipe before it died are acknowledged as well.
        let acknowledged = seen + lines.filter(is_ack).count();

        let (_spool, reader) = Spool::open(folder.path(), PLENTY).unwrap();
        let store = Store::open("sqlite::memory:").await.unwrap();
        drain(&store, reader).await;
        let found = request_ids(&store).await;
        assert!(found.len() >= acknowledged, "{} of {acknowledged}", found.len());
        let expected: Vec<String> = (0..found.len()).map(|number| format!("{number:09}")).collect();
        assert_eq!(found, expected);
    }
}

/// Does nothing when it is run as a test.
#[test]
#[expect(clippy::disallowed_methods, reason = "a variable marks the child process")]
fn child_appends_for_ever() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else { return };
    let (spool, _reader) = Spool::open(Path::new(&folder), PLENTY).unwrap();
    let mut out = std::io::stdout().lock();
    for number in 0..10_000_000 {
        spool.append(&record(&format!("{number:09}"), 1)).unwrap();
        writeln!(out, "\nack {number}").unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn records_that_finish_together_are_written_together() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    let mut commits: Vec<_> =
        (0..5).map(|number| spool.append_with_others(&record(&format!("{number}"), 7), None)).collect();
    assert_eq!(spool.bytes(), 0, "nothing is written before a caller waits");
    // One caller hangs up: its record is written together with all the others.
    drop(commits.pop());
    let written = spool.bytes();
    assert!(written > 0);
    for commit in commits {
        commit.await.unwrap();
    }
    assert_eq!(spool.bytes(), written);
    let store = memory().await;
    drain(&store, reader).await;
    assert_eq!(request_ids(&store).await, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_full_spool_reports_the_number_of_lost_records_to_one_caller() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _reader) = Spool::open(folder.path(), SpoolLimits { max_bytes: 100 }).unwrap();
    let commits = [1, 2, 3].map(|time| spool.append_with_others(&record("a", time), None));
    let mut lost = Vec::new();
    for commit in commits {
        lost.extend(commit.await.err().map(|error| error.records));
    }
    assert_eq!(lost, [3]);
    assert_eq!(spool.bytes(), 0);
}

/// A copy of the files, as a process that is killed now would leave them.
fn killed(folder: &TempDir) -> TempDir {
    let left = tempfile::tempdir().unwrap();
    fs::create_dir(left.path().join("spool")).unwrap();
    for entry in fs::read_dir(folder.path().join("spool")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), left.path().join("spool").join(entry.file_name())).unwrap();
    }
    left
}

#[tokio::test]
async fn an_open_request_is_recorded_after_the_process_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (spool_of_killed, _reader) = spool(&folder);
    let [ended, under_way, again] = [(); 3].map(|()| spool_of_killed.open_request());
    ended.keep(&record("ended", 1), Pico(70)).unwrap();
    under_way.keep(&record("another attempt follows, which is longer", 1), Pico(70)).unwrap();
    under_way.keep(&record("under way", 1), Pico(70)).unwrap();
    again.keep(&record("first of its slot", 1), Pico(70)).unwrap();
    // The slot still holds what was kept for this request: the writer has not run.
    spool_of_killed.append_last(&record("ended", 1), Some(ended)).unwrap();
    spool_of_killed.append_with_others(&record("first of its slot", 1), Some(again)).await.unwrap();
    let again = spool_of_killed.open_request();
    again.keep(&record("second of its slot", 1), Pico(70)).unwrap();

    let left = killed(&folder);
    let (next, reader) = spool(&left);
    // One of the ended requests is still in its slot, which was not used again.
    assert_eq!(next.interrupted(), 3);
    let store = memory().await;
    drain(&store, reader).await;
    let mut records = store.usage(Default::default()).await.unwrap();
    records.sort_by(|left, right| left.request_id.cmp(&right.request_id));
    let found: Vec<_> = records.iter().map(|record| (&*record.request_id, record.status)).collect();
    let cut = &records[3];
    assert_eq!(cut.error_kind.as_deref(), Some("interrupted"));
    assert!(cut.usage_estimated && cut.usage.is_none());
    assert_eq!((cut.cost.unwrap().total, cut.upstream_cost), (Pico(70), Some(Pico(70))));
    let all = [("ended", 200), ("first of its slot", 200), ("second of its slot", 0), ("under way", 0)];
    assert_eq!(found, all);
    assert_eq!(store.ledger("key:static:test", 0, 9).await.unwrap()[0].spent_pico, 140);

    drop(next);
    let (last, _reader) = spool(&left);
    assert_eq!(last.interrupted(), 0, "they are reported once");
}

#[tokio::test]
async fn the_slots_of_ended_requests_are_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let (first, reader) = spool(&folder);
    for round in 0..3 {
        let open: Vec<_> = (0..5).map(|_| first.open_request()).collect();
        for (number, open) in open.into_iter().enumerate() {
            open.keep(&record(&format!("{round}-{number}"), 1), Pico(70)).unwrap();
            first.append_last(&record(&format!("{round}-{number}"), 1), Some(open)).unwrap();
        }
    }
    drain(&memory().await, reader).await;
    drop(first);
    let bytes = fs::metadata(folder.path().join("spool/open_requests")).unwrap().len();
    assert!(bytes < 5 * 4096 + 1, "slots are used again: {bytes}");
    assert_eq!(spool(&folder).0.interrupted(), 0);
}

#[tokio::test]
async fn the_file_of_slots_is_made_again_after_it_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _reader) = spool(&folder);
    fs::remove_dir_all(folder.path().join("spool")).unwrap();
    // The next append notices that the file is gone.
    first.append(&record("a", 1)).unwrap();
    first.open_request().keep(&record("b", 1), Pico(70)).unwrap();
    let left = killed(&folder);
    assert_eq!(spool(&left).0.interrupted(), 1);
}

#[test]
fn a_long_record_fits_into_its_slot() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _reader) = spool(&folder);
    let mut long = full_record();
    long.request_id = "\n".repeat(5000);
    long.requested_model = "\u{1}".repeat(5000);
    long.tags = (0..16).map(|tag| (format!("tag-{tag}"), "\u{1}".repeat(128))).collect();
    long.attempts = vec![long.attempts[0].clone(); 100];
    first.open_request().keep(&long, Pico(70)).unwrap();
    assert_eq!(spool(&killed(&folder)).0.interrupted(), 1);
}
