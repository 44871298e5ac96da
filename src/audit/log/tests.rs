use super::*;
use crate::audit::verify::{Against, verify};
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder in memory if there is one: these tests sync a lot.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

fn settings(folder: &TempDir) -> AuditSettings {
    AuditSettings::in_folder(&folder.path().join("audit"))
}

/// A fresh log.
fn opened() -> (TempDir, AuditSettings, Log) {
    let folder = folder();
    let settings = settings(&folder);
    let log = Log::open(&settings).unwrap();
    (folder, settings, log)
}

fn events(count: usize) -> Vec<Event> {
    (0..count)
        .map(|n| Event::now(EventKind::ClientConnected).developer(format!("dev{n}")))
        .collect()
}

fn segments(settings: &AuditSettings) -> Vec<Segment> {
    folder::segments(&settings.folder).unwrap()
}

/// The events in the log, by name.
#[track_caller]
fn whole(settings: &AuditSettings) -> Vec<String> {
    let verdict = verify(&settings.folder, &Against::default()).unwrap();
    assert!(verdict.is_whole(), "{:?}", verdict.findings);
    let mut found = Vec::new();
    for segment in segments(settings) {
        let text = fs::read_to_string(segment.path).unwrap();
        for line in text.lines() {
            found.push(
                record::Record::parse(line.as_bytes())
                    .unwrap()
                    .unmapped
                    .event,
            );
        }
    }
    found
}

fn files(settings: &AuditSettings, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(&settings.folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect()
}

#[test]
fn a_log_begins_and_goes_on() {
    let (_folder, settings, mut log) = opened();
    log.write(&events(2)).unwrap();
    log.close().unwrap();
    drop(log);
    let mut log = Log::open(&settings).unwrap();
    log.write(&events(1)).unwrap();
    drop(log);
    assert_eq!(
        whole(&settings),
        [
            "log_begun",
            "checkpoint",
            "client_connected",
            "client_connected",
            "checkpoint",
            "log_opened",
            "checkpoint",
            "client_connected",
        ]
    );
}

#[test]
fn the_disk_has_half_of_what_is_promised_at_least() {
    let folder = folder();
    let log = Log::open(&settings(&folder)).unwrap();
    assert!(log.linger() * 2 <= PROMISED, "{:?}", log.linger());
    assert!(
        PROMISED <= Duration::from_millis(100),
        "docs/auditing.md says so"
    );
}

#[test]
fn one_process_writes() {
    let folder = folder();
    let settings = settings(&folder);
    let _log = Log::open(&settings).unwrap();
    let error = Log::open(&settings).unwrap_err();
    let expected = format!("by another process, {}", std::process::id());
    assert!(error.to_string().contains(&expected), "{error}");
}

#[test]
fn a_log_is_gone_on_with_by_its_own_key_alone() {
    let folder = folder();
    let settings = settings(&folder);
    drop(Log::open(&settings).unwrap());
    let public = SigningKey::load(&settings.key_file)
        .unwrap()
        .public()
        .to_string();
    for other in [false, true] {
        fs::remove_file(&settings.key_file).unwrap();
        if other {
            SigningKey::create(&settings.key_file).unwrap();
        }
        let error = Log::open(&settings).unwrap_err();
        assert!(matches!(error, LogError::Key { .. }), "{error}");
        assert!(error.to_string().contains(&public), "{error}");
        fs::write(&settings.key_file, "").unwrap();
    }
}

/// Copies a log that is not open.
fn copy(settings: &AuditSettings) -> (TempDir, AuditSettings) {
    let to = folder();
    let copy = self::settings(&to);
    fs::create_dir(&copy.folder).unwrap();
    fs::copy(&settings.key_file, &copy.key_file).unwrap();
    for entry in fs::read_dir(&settings.folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, copy.folder.join(path.file_name().unwrap())).unwrap();
        }
    }
    (to, copy)
}

#[test]
fn a_torn_tail_is_set_aside_wherever_it_is_torn() {
    let (_folder, settings, mut log) = opened();
    log.write(&events(2)).unwrap();
    drop(log);
    let path = segments(&settings)[0].path.clone();
    let bytes = fs::read(&path).unwrap();
    let start = bytes[..bytes.len() - 1]
        .iter()
        .rposition(|b| *b == b'\n')
        .unwrap()
        + 1;
    for cut in start..=bytes.len() {
        let (_keep, copy) = copy(&settings);
        let segment = segments(&copy)[0].path.clone();
        fs::write(&segment, &bytes[..cut]).unwrap();
        drop(Log::open(&copy).unwrap());
        let names = whole(&copy);
        let torn = files(&copy, ".torn");
        if cut == start || cut == bytes.len() {
            assert!(torn.is_empty(), "cut at {cut}: nothing is torn");
            assert!(!names.contains(&"tail_set_aside".to_owned()));
        } else {
            assert_eq!(torn.len(), 1, "cut at {cut}");
            assert_eq!(fs::read(&torn[0]).unwrap(), &bytes[start..cut]);
            assert!(names.contains(&"tail_set_aside".to_owned()));
        }
        let connected = names.iter().filter(|name| *name == "client_connected");
        let expected = if cut == bytes.len() { 2 } else { 1 };
        assert_eq!(connected.count(), expected, "cut at {cut}");
    }
}

#[test]
fn bytes_that_were_never_text_are_set_aside_and_noted_after_a_second_crash() {
    let (_folder, settings, mut log) = opened();
    log.write(&events(1)).unwrap();
    drop(log);
    let segment = segments(&settings).remove(0);
    let whole_length = fs::metadata(&segment.path).unwrap().len();
    let mut bytes = fs::read(&segment.path).unwrap();
    bytes.extend_from_slice(&[0; 5_000]);
    bytes.extend_from_slice(b"{}\n\xff\xfe\n");
    fs::write(&segment.path, bytes).unwrap();
    // The process dies again after the bytes were moved, before the log has its note.
    recover::set_aside(&settings.folder, &segment, whole_length).unwrap();
    drop(Log::open(&settings).unwrap());
    assert!(whole(&settings).contains(&"tail_set_aside".to_owned()));
    assert_eq!(files(&settings, ".torn").len(), 1);
    assert!(files(&settings, ".new").is_empty());
}

#[test]
fn a_segment_whose_first_line_was_torn_is_begun_again() {
    let (_folder, settings, mut log) = opened();
    log.sign(true).unwrap();
    log.rotate().unwrap();
    drop(log);
    let last = segments(&settings).pop().unwrap();
    fs::write(&last.path, "{\"half").unwrap();
    let mut log = Log::open(&settings).unwrap();
    log.write(&events(1)).unwrap();
    drop(log);
    assert_eq!(segments(&settings).pop(), Some(last));
    assert!(whole(&settings).contains(&"tail_set_aside".to_owned()));
}

#[test]
fn a_log_that_was_changed_below_a_checkpoint_is_not_gone_on_with() {
    let (_folder, settings, mut log) = opened();
    log.write(&events(2)).unwrap();
    log.close().unwrap();
    drop(log);
    let path = segments(&settings)[0].path.clone();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("dev0", "dev9", 1)).unwrap();
    let error = Log::open(&settings).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(".jsonl, line 4: the log was changed"),
        "{error}"
    );
    assert!(
        files(&settings, "torn.new").is_empty(),
        "nothing was touched"
    );
}

#[test]
fn a_folder_that_is_moved_away_fails_and_nothing_is_lost_when_it_is_back() {
    let (folder, settings, mut log) = opened();
    let away = folder.path().join("away");
    fs::rename(&settings.folder, &away).unwrap();
    assert!(log.write(&events(1)).is_err());
    assert!(log.tend().is_err());
    // An empty folder in its place is no log either.
    fs::create_dir(&settings.folder).unwrap();
    assert!(log.write(&events(1)).is_err());
    fs::remove_dir(&settings.folder).unwrap();
    fs::rename(&away, &settings.folder).unwrap();
    log.write(&events(1)).unwrap();
    log.close().unwrap();
    assert_eq!(whole(&settings).len(), 4);
}

#[test]
fn a_write_that_failed_half_way_is_taken_back() {
    let (_folder, settings, mut log) = opened();
    log.write(&events(1)).unwrap();
    log.segment.file.write_all(b"{\"metadata\":{\"ver").unwrap();
    log.segment.dirty = true;
    log.write(&events(1)).unwrap();
    log.close().unwrap();
    assert_eq!(whole(&settings).len(), 5);
    assert!(
        files(&settings, ".torn").is_empty(),
        "nothing of it was ever confirmed"
    );
}

#[test]
fn what_somebody_else_writes_into_the_segment_fails_it() {
    let (_folder, settings, mut log) = opened();
    let path = segments(&settings)[0].path.clone();
    let mut other = OpenOptions::new().append(true).open(path).unwrap();
    other.write_all(b"x").unwrap();
    assert!(log.write(&events(1)).is_err());
    assert!(log.write(&events(1)).is_err(), "it stays so");
}

#[test]
fn segments_are_closed_by_size_and_age_and_deleted_with_a_signed_note() {
    let folder = folder();
    let settings = AuditSettings {
        segment_size: 4_000,
        retention: Some(Duration::from_millis(1)),
        ..settings(&folder)
    };
    let mut log = Log::open(&settings).unwrap();
    for _ in 0..30 {
        log.write(&events(1)).unwrap();
    }
    log.close().unwrap();
    let before = segments(&settings);
    assert!(before.len() > 3, "{}", before.len());
    whole(&settings);
    log.settings.segment_size = u64::MAX;
    log.settings.segment_age = Duration::ZERO;
    log.write(&events(1)).unwrap();
    assert_eq!(segments(&settings).len(), before.len() + 1, "by age");
    log.settings.segment_age = Duration::MAX;
    std::thread::sleep(Duration::from_millis(50));
    log.retain().unwrap();
    let after = segments(&settings);
    assert_eq!(after.len(), 1, "all but the open one were old");
    let verdict = verify(&settings.folder, &Against::default()).unwrap();
    assert!(verdict.is_whole(), "{:?}", verdict.findings);
    assert!(
        verdict.notes[0].contains("deleted by the retention"),
        "{:?}",
        verdict.notes
    );
    drop(log);
    let mut log = Log::open(&settings).unwrap();
    log.write(&events(1)).unwrap();
    drop(log);
    whole(&settings);
}

#[test]
fn an_administrators_command_is_taken_in() {
    let folder = folder();
    let settings = settings(&folder);
    crate::audit::administered(&settings.folder, "budget grant", "dev1 --rows 5").unwrap();
    let incoming = settings.folder.join("incoming");
    fs::write(incoming.join("0.json"), "no record").unwrap();
    let mut log = Log::open(&settings).unwrap();
    log.tend().unwrap();
    log.tend().unwrap();
    let names = whole(&settings);
    let taken = names.iter().filter(|name| *name == "administered");
    assert_eq!(taken.count(), 1);
    let left: Vec<_> = fs::read_dir(&incoming).unwrap().collect();
    assert_eq!(left.len(), 1, "what makes no sense is kept");
}

#[test]
fn checkpoints_reach_the_second_place() {
    let folder = folder();
    let settings = AuditSettings {
        checkpoint_interval: Duration::ZERO,
        ..settings(&folder)
    };
    let mut log = Log::open(&settings).unwrap();
    for _ in 0..3 {
        log.write(&events(1)).unwrap();
        log.tend().unwrap();
    }
    log.tend().unwrap();
    log.close().unwrap();
    let names = whole(&settings);
    let in_log = names.iter().filter(|name| *name == "checkpoint").count();
    let file = folder.path().join("audit.checkpoints");
    let there = crate::audit::verify::checkpoints(&file).unwrap();
    assert_eq!((there.len(), in_log), (4, 4));
    let against = Against {
        checkpoints: there,
        ..Against::default()
    };
    let verdict = verify(&settings.folder, &against).unwrap();
    assert!(verdict.is_whole(), "{:?}", verdict.findings);
    assert_eq!(verdict.compared, 4);
}
