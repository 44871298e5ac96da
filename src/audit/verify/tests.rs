//! Every kind of tampering is made, and found.

use super::*;
use crate::audit::settings::AuditSettings;
use crate::audit::{Event, EventKind, Log, Sink};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A log of three segments, lines by segment, with what is known of it elsewhere.
struct Sample {
    folder: TempDir,
    segments: Vec<(String, Vec<String>)>,
    key: PublicKey,
    second: Vec<Signed>,
}

impl Sample {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = AuditSettings::in_folder(&folder.path().join("audit"));
        settings.segment_size = 3_500;
        let mut log = Log::open(&settings).unwrap();
        let mut n = 0;
        while folder::segments(&settings.folder).unwrap().len() < 3 {
            let event = Event::now(EventKind::ClientConnected).developer(format!("dev{n}"));
            log.write(&[event]).unwrap();
            n += 1;
        }
        for n in 100..103 {
            let event = Event::now(EventKind::ClientConnected).developer(format!("dev{n}"));
            log.write(&[event]).unwrap();
        }
        log.close().unwrap();
        drop(log);
        let read = |segment: Segment| {
            let text = fs::read_to_string(&segment.path).unwrap();
            (segment.name(), text.lines().map(str::to_owned).collect())
        };
        Self {
            segments: folder::segments(&settings.folder)
                .unwrap()
                .into_iter()
                .map(read)
                .collect(),
            key: crate::audit::key::SigningKey::load(&settings.key_file)
                .unwrap()
                .public(),
            second: checkpoints(&folder.path().join("audit.checkpoints")).unwrap(),
            folder,
        }
    }

    fn lines(&mut self, segment: usize) -> &mut Vec<String> {
        &mut self.segments[segment].1
    }

    /// Writes it into a folder of its own, and verifies that.
    fn verify(&self, key: bool, second: bool) -> Verdict {
        let folder = tempfile::tempdir().unwrap();
        for (name, lines) in &self.segments {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            fs::write(folder.path().join(name), text).unwrap();
        }
        let against = Against {
            key: key.then_some(self.key),
            checkpoints: if second {
                self.second.clone()
            } else {
                Vec::new()
            },
        };
        verify(folder.path(), &against).unwrap()
    }

    /// Makes all links anew, as somebody would who knows how they are made, but has no key.
    fn relink(&mut self) {
        let mut previous = None;
        for (_, lines) in &mut self.segments {
            for line in lines {
                let mark = "\"unmapped\":{\"previous\":\"";
                let at = line.find(mark).unwrap() + mark.len();
                if let Some(hash) = previous {
                    line.replace_range(at..at + 64, &format!("{hash}"));
                }
                previous = Some(Hash::of(line.as_bytes()));
            }
        }
    }

    /// A line with another sequence number.
    fn renumbered(line: &str, to: u64) -> String {
        let at = line.find("\"sequence\":").unwrap() + 11;
        let end = at + line[at..].find(',').unwrap();
        format!("{}{to}{}", &line[..at], &line[end..])
    }
}

/// What was done, and where and how it must be said: segment, line, words. Line 0 is a segment as a whole, segment 9
/// the second place.
type Case = (&'static str, fn(&mut Sample), usize, u64, &'static str);

/// Found in the log alone.
const ALONE: &[Case] = &[
    (
        "a value is changed",
        |log| {
            let line = &mut log.lines(1)[1];
            *line = line.replacen("\"dev", "\"Dev", 1);
        },
        1,
        2,
        "was changed",
    ),
    (
        "the first line is changed",
        |log| {
            let line = &mut log.lines(0)[0];
            *line = line.replacen("Success", "Succes5", 1);
        },
        0,
        1,
        "was changed",
    ),
    (
        "a line is removed",
        |log| {
            log.lines(1).remove(1);
        },
        1,
        2,
        "is missing before this line",
    ),
    (
        "two lines are removed",
        |log| {
            log.lines(0).drain(2..4);
        },
        0,
        3,
        "the records 3 to 4 are missing",
    ),
    (
        "the first line is removed",
        |log| {
            log.lines(0).remove(0);
        },
        0,
        1,
        "the records 1 to 1 are missing",
    ),
    (
        "two lines are swapped",
        |log| log.lines(1).swap(1, 2),
        1,
        2,
        "is missing",
    ),
    (
        "a line stands twice",
        |log| {
            let line = log.lines(1)[1].clone();
            log.lines(1).insert(2, line);
        },
        1,
        3,
        "moved or added",
    ),
    (
        "a line is put in, and nothing else touched",
        |log| {
            let line = log.lines(1)[1].replacen("\"dev", "\"Dev", 1);
            log.lines(1).insert(1, line);
        },
        1,
        3,
        "moved or added",
    ),
    (
        "a line is no record",
        |log| log.lines(1)[1] = "{}".to_owned(),
        1,
        2,
        "no record",
    ),
    (
        "the middle segment is removed",
        |log| {
            log.segments.remove(1);
        },
        2,
        1,
        "are missing before this line",
    ),
    (
        "the first segment is removed",
        |log| {
            log.segments.remove(0);
        },
        1,
        1,
        "no signed note says that the retention",
    ),
    (
        "the first segment is emptied",
        |log| log.lines(0).clear(),
        0,
        0,
        "is empty",
    ),
    (
        "the end of a segment is cut off",
        |log| {
            log.lines(1).pop();
        },
        1,
        0,
        "does not end with a checkpoint",
    ),
    (
        "two segments change their names",
        |log| {
            let first = log.segments[0].0.clone();
            log.segments[0].0 = std::mem::replace(&mut log.segments[1].0, first);
            log.segments.swap(0, 1);
        },
        0,
        1,
        "the file's name says another",
    ),
    (
        "a value is changed and all links made anew",
        |log| {
            let line = &mut log.lines(1)[1];
            *line = line.replacen("\"dev", "\"Dev", 1);
            log.relink();
        },
        1,
        0,
        "not the one that was signed",
    ),
    (
        "a checkpoint is changed where nothing is signed",
        |log| {
            let line = log.lines(2).last_mut().unwrap();
            *line = line.replacen("Informational", "Critical", 1);
        },
        2,
        0,
        "not the one that was signed",
    ),
    (
        "a checkpoint's signature is changed",
        |log| {
            let line = log.lines(2).last_mut().unwrap();
            *line = line.replacen("\"signature\":\"", "\"signature\":\"AAAA", 1);
        },
        2,
        0,
        "signature is wrong",
    ),
    (
        "a checkpoint is removed, the rest numbered and linked anew",
        |log| {
            let at = log
                .lines(0)
                .iter()
                .position(|line| line.contains("\"checkpoint\":{"))
                .unwrap();
            log.lines(0).remove(at);
            let mut sequence = 0;
            for (_, lines) in &mut log.segments {
                for line in lines {
                    sequence += 1;
                    *line = Sample::renumbered(line, sequence);
                }
            }
            log.relink();
        },
        0,
        0,
        "a checkpoint is missing",
    ),
    (
        "the first segment is removed, and a note of it written at the end",
        |log| {
            let (_, gone) = log.segments.remove(0);
            let through = gone.len();
            let hash = Hash::of(gone.last().unwrap().as_bytes());
            let last = log.lines(1).last().unwrap().clone();
            let sequence = Record::parse(last.as_bytes()).unwrap().metadata.sequence + 1;
            let note = log.lines(1)[1].replacen(
            "\"event\":\"client_connected\"",
            &format!("\"event\":\"segments_removed\",\"through\":{through},\"hash\":\"{hash}\",\"files\":[]"),
            1,
        );
            log.lines(1).push(Sample::renumbered(&note, sequence));
            log.relink();
        },
        1,
        1,
        "no signed note",
    ),
];

/// Found with the second place's checkpoints, and not without.
const WITH_SECOND_PLACE: &[Case] = &[
    (
        "the last segment is removed",
        |log| {
            log.segments.pop();
        },
        1,
        0,
        "its end was cut off",
    ),
    (
        "the end is cut off, checkpoint and all",
        |log| {
            log.lines(2).truncate(2);
        },
        2,
        2,
        "its end was cut off",
    ),
    (
        "the last record is cut off, without its checkpoint",
        |log| {
            let length = log.lines(2).len();
            log.lines(2).truncate(length - 2);
        },
        2,
        0,
        "its end was cut off",
    ),
    (
        "it is written anew by somebody with another key",
        |log| {
            let other = Sample::make();
            log.segments = other.segments;
        },
        9,
        0,
        "knows nothing of this log",
    ),
];

#[track_caller]
fn must_find(
    sample: &Sample,
    name: &str,
    segment: usize,
    line: u64,
    what: &str,
    verdict: &Verdict,
) {
    let file = match sample.segments.get(segment) {
        Some((file, _)) => file.as_str(),
        None => SECOND_PLACE,
    };
    let found = verdict.findings.iter().any(|finding| {
        (segment >= sample.segments.len() || finding.file == file || sample.segments.len() < 3)
            && (line == 0 || finding.line == line)
            && finding.what.contains(what)
    });
    assert!(found, "{name}: {:#?}", verdict.findings);
}

#[test]
fn what_nobody_touched_is_whole() {
    let sample = Sample::make();
    for (key, second) in [(false, false), (true, false), (true, true)] {
        let verdict = sample.verify(key, second);
        assert!(verdict.is_whole(), "{:#?}", verdict.findings);
        assert!(verdict.notes.is_empty(), "{:?}", verdict.notes);
        assert_eq!(verdict.compared > 0, second);
        let (first, last) = verdict.range.unwrap();
        assert_eq!((first, last - 1), (1, verdict.signed_through));
        assert_eq!(verdict.records, last);
    }
}

#[test]
fn tampering_is_found_in_the_log_alone() {
    for (name, tamper, segment, line, what) in ALONE {
        let mut sample = Sample::make();
        tamper(&mut sample);
        for (key, second) in [(false, false), (true, true)] {
            let verdict = sample.verify(key, second);
            must_find(&sample, name, *segment, *line, what, &verdict);
        }
    }
}

#[test]
fn an_end_that_was_cut_off_and_another_log_are_found_with_the_second_place() {
    for (name, tamper, segment, line, what) in WITH_SECOND_PLACE {
        let mut sample = Sample::make();
        tamper(&mut sample);
        let alone = sample.verify(false, false);
        assert!(alone.is_whole(), "{name}: {:#?}", alone.findings);
        let verdict = sample.verify(false, true);
        must_find(&sample, name, *segment, *line, what, &verdict);
    }
}

#[test]
fn another_key_is_found_with_the_key() {
    let mut sample = Sample::make();
    sample.segments = Sample::make().segments;
    assert!(sample.verify(false, false).is_whole());
    let verdict = sample.verify(true, false);
    let what = "signed with another key than the one that was given";
    must_find(&sample, "another key", 0, 0, what, &verdict);
}

#[test]
fn a_segment_of_another_log_with_the_same_key_is_found() {
    let mut sample = Sample::make();
    let settings = AuditSettings::in_folder(&sample.folder.path().join("audit"));
    fs::rename(&settings.folder, sample.folder.path().join("old")).unwrap();
    let mut log = Log::open(&settings).unwrap();
    for _ in 0..3 {
        log.write(&[Event::now(EventKind::Started)]).unwrap();
    }
    log.close().unwrap();
    drop(log);
    let other = folder::segments(&settings.folder).unwrap().remove(0);
    let text = fs::read_to_string(other.path).unwrap();
    let last = sample.segments.len() - 1;
    let first = sample.segments[last]
        .0
        .trim_end_matches(".jsonl")
        .parse()
        .unwrap();
    let lines = text.lines().zip(first..);
    let lines = lines.map(|(line, number)| Sample::renumbered(line, number));
    sample.segments[last].1 = lines.collect();
    sample.relink();
    let verdict = sample.verify(true, false);
    must_find(&sample, "other log", last, 0, "of another log", &verdict);
}

#[test]
fn a_forged_end_behind_the_last_checkpoint_is_said_to_be_unsigned() {
    let mut sample = Sample::make();
    let line = sample.lines(2)[1].clone();
    let length = sample.lines(2).len() as u64;
    let first: u64 = sample.segments[2]
        .0
        .trim_end_matches(".jsonl")
        .parse()
        .unwrap();
    sample
        .lines(2)
        .push(Sample::renumbered(&line, first + length));
    sample.relink();
    let verdict = sample.verify(true, true);
    assert!(verdict.is_whole(), "{:#?}", verdict.findings);
    assert!(
        verdict.notes[0].contains("not signed yet"),
        "{:?}",
        verdict.notes
    );
}

#[test]
fn a_half_line_and_an_empty_folder_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = verify(folder.path(), &Against::default()).unwrap();
    assert!(nothing.findings[0].what.contains("no segment"));
    let sample = Sample::make();
    let (name, lines) = &sample.segments[0];
    let path: PathBuf = folder.path().join(name);
    fs::write(&path, format!("{}\n{}", lines[0], &lines[1][..40])).unwrap();
    let verdict = verify(folder.path(), &Against::default()).unwrap();
    let half = &verdict.findings[0];
    assert_eq!(
        (half.line, half.what.as_str()),
        (2, "the last line is not whole")
    );
}

#[test]
fn a_syslog_file_is_read_whatever_stands_before_a_checkpoint() {
    let sample = Sample::make();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("messages");
    let line = sample.segments[2].1.last().unwrap();
    let text = format!(
        "Nov 21 host x: nothing\n<110>1 2026-01-01T00:00:00Z - devinprod 1 checkpoint - {line}\n{{\"half"
    );
    fs::write(&file, text).unwrap();
    assert_eq!(checkpoints(&file).unwrap().len(), 1);
}

#[test]
fn no_byte_can_be_changed() {
    let sample = Sample::make();
    let folder = tempfile::tempdir().unwrap();
    let against = Against {
        key: Some(sample.key),
        checkpoints: sample.second.clone(),
    };
    let mut texts = Vec::new();
    for (name, lines) in &sample.segments {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let path = folder.path().join(name);
        fs::write(&path, &text).unwrap();
        texts.push((path, text.into_bytes()));
    }
    assert!(verify(folder.path(), &against).unwrap().is_whole());
    let mut changed = 0;
    for (path, text) in &texts {
        // Not each of them, for the time it takes; the first byte is another one in each run.
        for at in (rand::random_range(0..7)..text.len()).step_by(7) {
            let mut other = text.clone();
            other[at] ^= 1 << rand::random_range(0..8);
            fs::write(path, &other).unwrap();
            let verdict = verify(folder.path(), &against).unwrap();
            assert!(!verdict.is_whole(), "byte {at} of {}", path.display());
            changed += 1;
        }
        fs::write(path, text).unwrap();
    }
    assert!(changed > 500, "{changed}");
}
