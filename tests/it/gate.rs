//! `devinprod gate` and `devinprod evidence`, offline: on files and copies of logs, with the public key alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use devinprod::audit::key::SigningKey;
use devinprod::audit::time::Utc;
use devinprod::audit::{AuditSettings, Event, EventKind, Log, Signer, Sink};
use devinprod::config::Config;
use devinprod::evidence::{Claim, Commit, Input, Kind, Statement, Tree, Witness};
use devinprod::notify::{Notifier, Tap, Timing};
use serde_json::Value;

use super::evidence_kit::begin;
use super::notify_kit::{Does, Web};

const DAY: u64 = 86_400;

/// A folder with evidence, and what signs it.
struct Place {
    folder: tempfile::TempDir,
    signer: Signer,
    key: String,
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// What a piece of evidence says; the rest is as it should be.
#[derive(Clone)]
struct Says<'a> {
    kind: Kind,
    stage: &'a str,
    passed: bool,
    /// In seconds.
    age: u64,
    developer: &'a str,
    tree: Tree,
    commit: char,
}

const GOOD: Says<'static> = Says {
    kind: Kind::Assert,
    stage: "test",
    passed: true,
    age: 60,
    developer: "ci",
    tree: Tree::Clean,
    commit: 'a',
};

fn named(commit: char) -> String {
    commit.to_string().repeat(40)
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::create(&folder.path().join("proxy.key")).unwrap();
        let place = Self {
            key: key.public().to_string(),
            signer: Signer::new(Arc::new(key), "log".to_owned()),
            folder,
        };
        place.config(&format!("from = [\"ci\"]\nkeys = [\"{}\"]", place.key));
        place
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A configuration with a gate of these lines.
    fn config(&self, lines: &str) {
        let text = format!(
            "[gate]\nstages = [\"test\", \"preprod\", \"prod\"]\n{lines}\n[gate.needs]\ntest = [\"assert\"]\npreprod = [\"rehearse\"]\n"
        );
        self.file("devinprod.toml", &text);
    }

    fn signed(&self, says: &Says<'_>) -> devinprod::audit::Envelope {
        let claim = Claim {
            kind: says.kind,
            commit: Commit::parse(&named(says.commit)).unwrap(),
            tree: says.tree,
            passed: says.passed,
            upstream: "shop".to_owned(),
            command: "app ?".to_owned(),
            ignored: Vec::new(),
            inputs: vec![Input {
                name: "checks.sql".to_owned(),
                sha256: "0".repeat(64),
            }],
            figures: BTreeMap::new(),
        };
        let time = SystemTime::now() - Duration::from_secs(says.age);
        let witness = Witness {
            developer: says.developer.to_owned(),
            upstream: "shop".to_owned(),
            stage: says.stage.to_owned(),
            isolation: "sandbox".to_owned(),
            policy: None,
            time: Utc(time).to_string(),
            log: "log".to_owned(),
            devinprod: "0".to_owned(),
        };
        Statement::sign(claim, witness, &self.signer).unwrap()
    }

    fn line(&self, says: &Says<'_>) -> String {
        serde_json::to_string(&self.signed(says)).unwrap() + "\n"
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_devinprod"))
            .args(arguments)
            .current_dir(self.path())
            .env_remove("DEVINPROD_CONFIG")
            .env("SUDO_USER", "release")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Asks the gate to a stage for commit a, and checks what it ends with.
    #[track_caller]
    fn gate(&self, to: &str, more: &[&str], code: i32) -> Said {
        let change = named('a');
        let mut arguments = vec!["gate", "--change", &change, "--to", to];
        arguments.extend(more);
        let said = self.run(&arguments);
        assert_eq!(said.code, Some(code), "{}\n{}", said.out, said.err);
        said
    }
}

#[test]
fn each_piece_of_evidence_is_told_and_only_what_counts_opens() {
    let place = Place::new();
    let mine = ["--evidence", "e.jsonl"];
    let cases: [(&str, Says<'_>, i32, &str); 7] = [
        ("good", GOOD, 0, "the gate to preprod is open for"),
        (
            "failed",
            Says {
                passed: false,
                ..GOOD
            },
            1,
            "test assert: it failed",
        ),
        (
            "expired",
            Says {
                age: 8 * DAY,
                ..GOOD
            },
            1,
            "test assert: it is too old",
        ),
        (
            "somebody else's",
            Says {
                developer: "eve",
                ..GOOD
            },
            1,
            "e.jsonl: test assert: evidence of eve does not count",
        ),
        (
            "dirty",
            Says {
                tree: Tree::Changed,
                ..GOOD
            },
            1,
            "e.jsonl: test assert: the work tree had changes",
        ),
        (
            "for another commit",
            Says {
                commit: 'b',
                ..GOOD
            },
            1,
            "devinprod compare --assert FILE.sql -- COMMAND",
        ),
        (
            "of another stage",
            Says {
                stage: "local",
                ..GOOD
            },
            1,
            "missing",
        ),
    ];
    for (what, says, code, expected) in cases {
        place.file("e.jsonl", &place.line(&says));
        let said = place.gate("preprod", &mine, code);
        assert!(said.out.contains(expected), "{what}: {}", said.out);
    }
    // A later failure, wherever it stands.
    let failed = Says {
        passed: false,
        age: 1,
        ..GOOD
    };
    place.file("e.jsonl", &place.line(&GOOD));
    place.file("more/f.jsonl", &place.line(&failed));
    place.gate(
        "preprod",
        &["--evidence", "more", "--evidence", "e.jsonl"],
        1,
    );
    let said = place.gate("preprod", &mine, 0);
    assert!(
        said.err
            .contains("a later failure that was left out is not seen")
    );
    let again = Says { age: 0, ..GOOD };
    place.file("more/g.json", &place.line(&again));
    let said = place.gate("preprod", &["--evidence", "more"], 0);
    assert!(said.out.contains("(failed once before)"), "{}", said.out);
    // Allowed by the configuration.
    place.config(&format!(
        "trees = [\"clean\", \"changed\"]\nkeys = [\"{}\"]",
        place.key
    ));
    let dirty = Says {
        tree: Tree::Changed,
        developer: "eve",
        ..GOOD
    };
    place.file("e.jsonl", &place.line(&dirty));
    let said = place.gate("preprod", &mine, 0);
    assert!(
        said.err.contains("evidence of every developer counts"),
        "{}",
        said.err
    );
}

#[test]
fn what_was_forged_or_edited_does_not_count() {
    let place = Place::new();
    let mine = ["--evidence", "e.jsonl"];
    let check = |text: &str, expected: &str| {
        place.file("e.jsonl", text);
        let said = place.gate("preprod", &mine, 1);
        assert!(
            said.out.contains(expected) || said.err.contains(expected),
            "{}\n{}",
            said.out,
            said.err
        );
        let verify = ["evidence", "verify", "e.jsonl"];
        let said = place.run(&verify);
        assert_eq!(said.code, Some(1), "{}\n{}", said.out, said.err);
    };
    let line = place.line(&GOOD);
    place.file("e.jsonl", &line);
    place.gate("preprod", &mine, 0);
    let said = place.run(&["evidence", "verify", "e.jsonl"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "signed: 1 pieces of evidence\n")
    );

    let unsigned = "no key that is trusted signed it as it is";
    // By a key of one's own, under the proxy's name.
    let forger = Place::new();
    let forged = forger.line(&GOOD).replace(&forger.key, &place.key);
    check(&forged, unsigned);
    // A failure's signature on a pass, and the pass of another commit on this one.
    let passed: Value = serde_json::from_str(&line).unwrap();
    for says in [
        Says {
            passed: false,
            ..GOOD
        },
        Says {
            commit: 'b',
            ..GOOD
        },
    ] {
        let mut other: Value = serde_json::from_str(&place.line(&says)).unwrap();
        other["payload"] = passed["payload"].clone();
        check(&other.to_string(), unsigned);
    }
    check("{\"payload\": 1}\n", "e.jsonl:1: this is no evidence");
    check(&line[..line.len() / 2], "this is no evidence");
    // With another key trusted, even the true one does not count.
    place.config(&format!("from = [\"ci\"]\nkeys = [\"{}\"]", forger.key));
    check(&line, unsigned);
    place.file("pub", &place.key);
    place.gate("preprod", &["--evidence", "e.jsonl", "--key", "pub"], 0);
}

#[test]
fn every_stage_is_asked_and_the_answer_can_be_read_by_programs() {
    let place = Place::new();
    let rehearsed = Says {
        kind: Kind::Rehearse,
        stage: "preprod",
        ..GOOD
    };
    place.file("e.jsonl", &place.line(&GOOD));
    let said = place.gate("prod", &["--evidence", "e.jsonl"], 1);
    assert!(
        said.out
            .contains("preprod rehearse: on an upstream of preprod"),
        "{}",
        said.out
    );
    place.file("f.jsonl", &place.line(&rehearsed));
    let both = [
        "--evidence",
        "e.jsonl",
        "--evidence",
        "f.jsonl",
        "--format",
        "json",
    ];
    let said = place.gate("prod", &both, 0);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["open"], true);
    assert_eq!(answer["change"], *named('a'));
    let states: Vec<&Value> = answer["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["state"])
        .collect();
    assert_eq!(states, ["passed", "passed"]);
    let said = place.gate("prod", &["--evidence", "f.jsonl", "--format", "json"], 1);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&answer["open"], &answer["checks"][0]["state"]),
        (&false.into(), &"missing".into())
    );
}

#[test]
fn a_log_and_its_copy_are_evidence_with_the_public_key_alone() {
    let place = Place::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let settings = AuditSettings {
        key_file: place.path().join("proxy.key"),
        ..AuditSettings::in_folder(&place.path().join("log"))
    };
    let mut log = Log::open(&settings).unwrap();
    let evidence = |says: &Says<'_>| {
        Event::now(EventKind::Evidence {
            kind: says.kind.as_str(),
            commit: named(says.commit),
            passed: says.passed,
            envelope: place.signed(says),
        })
    };
    log.write(&[evidence(&GOOD), Event::now(EventKind::Reloaded)])
        .unwrap();
    place.gate("preprod", &["--audit", "log"], 0);
    let failed = Says {
        passed: false,
        age: 0,
        ..GOOD
    };
    log.write(&[evidence(&failed)]).unwrap();
    place.gate("preprod", &["--audit", "log"], 1);
    log.close().unwrap();
    // Elsewhere: a copy of the log, and the public key.
    let elsewhere = Place::new();
    elsewhere.config("");
    let segment = "00000000000000000001.jsonl";
    let text = std::fs::read_to_string(place.path().join("log").join(segment)).unwrap();
    elsewhere.file(&format!("copy/{segment}"), &text);
    let list = [
        "evidence", "list", "--audit", "copy", "--key", &place.key, "--format", "json",
    ];
    let said = elsewhere.run(&list);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let listed: Value = serde_json::from_str(&said.out).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|one| one["signed"] == true));
    let said = elsewhere.gate("preprod", &["--audit", "copy", "--key", &place.key], 1);
    assert!(said.out.contains("failed"), "{}", said.out);
    // An edit of the copy is seen.
    let edited = text.replacen("\"payload\":\"ey", "\"payload\":\"eY", 1);
    assert_ne!(edited, text);
    elsewhere.file(&format!("copy/{segment}"), &edited);
    let verify = ["evidence", "verify", "--audit", "copy", "--key", &place.key];
    assert_eq!(elsewhere.run(&verify).code, Some(1));
}

#[test]
fn what_cannot_be_asked_is_no_answer() {
    let place = Place::new();
    place.file("e.jsonl", &place.line(&GOOD));
    let mine = ["--evidence", "e.jsonl"];
    for (change, to, more, expected) in [
        ("abc", "preprod", &mine[..], "no commit \"abc\""),
        (&named('a'), "local", &mine, "no stage \"local\""),
        (&named('a'), "test", &mine, "no stage comes before test"),
        (
            &named('a'),
            "preprod",
            &["--evidence", "none"],
            "none cannot be read",
        ),
        (
            &named('a'),
            "preprod",
            &["--audit", "none"],
            "none cannot be read",
        ),
        (&named('a'), "preprod", &[], "audit cannot be read"),
        (
            &named('a'),
            "preprod",
            &["--key", "none"],
            "neither a public key",
        ),
        (&named('a'), "preprod", &["--config", "none"], "none"),
    ] {
        let mut arguments = vec!["gate", "--change", change, "--to", to];
        arguments.extend(more);
        let said = place.run(&arguments);
        assert_eq!(said.code, Some(2), "{expected}: {}\n{}", said.out, said.err);
        assert!(said.err.contains(expected), "{expected}: {}", said.err);
        assert!(!said.out.contains("is open"), "{}", said.out);
    }
    // A setting that is misspelt must not be passed over: without `from`, everybody's evidence would count.
    for (lines, expected) in [
        ("form = [\"ci\"]", "form"),
        ("from = [\"@ci\"]", "a group is no developer"),
        ("keys = [\"x\"]", "this is no public key"),
        ("valid_for = \"0s\"", "may not be zero"),
    ] {
        place.config(lines);
        let said = place.gate(
            "preprod",
            &["--evidence", "e.jsonl", "--key", &place.key],
            2,
        );
        assert!(said.err.contains(expected), "{expected}: {}", said.err);
    }
    place.config("");
    let said = place.gate("preprod", &mine, 2);
    assert!(said.err.contains("no key is trusted"), "{}", said.err);
    for (text, expected) in [
        ("stages = [\"prod\"]", "between two stages"),
        ("stages = [\"test\", \"test\"]", "twice"),
        (
            "[gate.needs]\nprod = [\"assert\"]",
            "no gate asks what prod shows",
        ),
        (
            "stages = [\"test\", \"prod\"]\n[gate.needs]\ntest = []",
            "needs nothing",
        ),
    ] {
        place.file("devinprod.toml", &format!("[gate]\n{text}\n"));
        let said = place.gate("prod", &["--evidence", "e.jsonl", "--key", &place.key], 2);
        assert!(said.err.contains(expected), "{expected}: {}", said.err);
    }
}

#[test]
fn the_names_that_git_knows_are_resolved() {
    let place = Place::new();
    let head = begin(place.path());
    place.file("e.jsonl", &place.line(&GOOD));
    for name in ["HEAD", &head[..8]] {
        let arguments = [
            "gate",
            "--change",
            name,
            "--to",
            "preprod",
            "--evidence",
            "e.jsonl",
        ];
        let said = place.run(&arguments);
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.out.contains(&head), "{}", said.out);
    }
    let said = place.run(&["gate", "--change=--all", "--to", "preprod"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
}

/// A webhook that is told of gates.
fn webhook(web: &Web) -> String {
    let url = web.url("/");
    format!(
        "[[notify]]\nname = \"team\"\nkind = \"webhook\"\nurl = \"{url}\"\nevents = [\"gate\"]\n"
    )
}

#[test]
fn a_closed_gate_is_told_and_an_open_one_is_not() {
    let place = Place::new();
    let web = Web::start(vec![Does::status(200)]);
    let text = format!(
        "[gate]\nstages = [\"test\", \"preprod\"]\nkeys = [\"{}\"]\n{}",
        place.key,
        webhook(&web)
    );
    place.file("devinprod.toml", &text);
    place.file("e.jsonl", &place.line(&GOOD));
    place.gate("preprod", &["--evidence", "e.jsonl"], 0);
    place.file(
        "e.jsonl",
        &place.line(&Says {
            passed: false,
            ..GOOD
        }),
    );
    place.gate("preprod", &["--evidence", "e.jsonl"], 1);
    // The first that comes is of the gate that is closed.
    assert_eq!(
        web.next().says(),
        "the gate to preprod is closed for aaaaaaaaaaaa, as release asked: test assert failed"
    );
    assert!(web.is_quiet());
}

#[tokio::test]
async fn the_answer_is_on_record_and_the_proxy_tells_it() {
    let place = Place::new();
    place.file("e.jsonl", &place.line(&GOOD));
    let settings = AuditSettings::in_folder(&place.path().join("audit"));
    let web = Web::start(vec![Does::status(200)]);
    place.file("notify.toml", &webhook(&web));
    let told = Config::notify(&place.path().join("notify.toml")).unwrap();
    let notifier = Notifier::start(&told, Timing::default());
    let mut log = Tap::new(Log::open(&settings).unwrap(), notifier);
    place.gate("preprod", &["--evidence", "e.jsonl"], 0);
    place.gate("prod", &["--evidence", "e.jsonl"], 1);
    log.tend().unwrap();
    assert!(web.next().says().contains("preprod rehearse missing"));
    log.close().unwrap();
    assert!(web.is_quiet());
    let search = [
        "audit", "search", "--dir", "audit", "--event", "gate", "--json",
    ];
    let lines = place.run(&search).out;
    let lines: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let said: Vec<_> = lines
        .iter()
        .map(|line| {
            let what = &line["unmapped"];
            assert_eq!(
                (&what["account"], &what["commit"]),
                (&"release".into(), &named('a').into())
            );
            assert_eq!(line["activity_name"], "Administer");
            (
                what["to"].as_str().unwrap(),
                what["passed"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(said, [("preprod", true), ("prod", false)]);
}
