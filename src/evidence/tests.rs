//! What a gate says of evidence that was made for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::claim::without_arguments;
use super::collect::{Collector, Found, Piece};
use super::gate::{Answer, GateSettings, NoGate, State, Step, judge};
use super::*;
use crate::audit::key::{PublicKey, SigningKey};
use crate::audit::time::Utc;
use crate::audit::{Envelope, Signer};
use crate::policy::Stage;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
const NOW: u64 = 1_800_000_000_000;

fn commit(digit: char) -> Commit {
    Commit::parse(&digit.to_string().repeat(40)).unwrap()
}

fn signer() -> Signer {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::create(&folder.path().join("key")).unwrap();
    Signer::new(Arc::new(key), "log".to_owned())
}

/// Evidence that speaks for commit a at the stage test, an hour old.
fn good() -> Statement {
    let time = NOW - HOUR;
    Statement {
        witness: Witness {
            developer: "ci".to_owned(),
            upstream: "shop".to_owned(),
            stage: "test".to_owned(),
            isolation: "sandbox".to_owned(),
            policy: None,
            time: Utc(UNIX_EPOCH + Duration::from_millis(time)).to_string(),
            log: "log".to_owned(),
            devinprod: "0".to_owned(),
        },
        claim: Claim {
            kind: Kind::Assert,
            commit: commit('a'),
            tree: Tree::Clean,
            passed: true,
            upstream: "shop".to_owned(),
            command: "app".to_owned(),
            ignored: Vec::new(),
            inputs: Vec::new(),
            figures: BTreeMap::new(),
        },
        time,
    }
}

fn with(change: impl FnOnce(&mut Statement)) -> Statement {
    let mut statement = good();
    change(&mut statement);
    statement
}

fn signed(statement: Statement) -> Piece {
    let key = signer().sign("", b"").signatures;
    let key = PublicKey::parse(&key[0].keyid).unwrap();
    Piece {
        place: "here".to_owned(),
        found: Found::Signed(Box::new(statement), key),
    }
}

/// From test and preprod to prod; by ci alone.
fn settings(needs: &[Kind]) -> GateSettings {
    let step = |stage, needs: Option<&[Kind]>| Step {
        stage,
        needs: needs.map(|needs| needs.iter().copied().collect()),
    };
    GateSettings {
        steps: vec![
            step(Stage::Test, (!needs.is_empty()).then_some(needs)),
            step(Stage::Preprod, Some(&[Kind::Rehearse])),
            step(Stage::Prod, None),
        ],
        from: Some(BTreeSet::from(["ci".to_owned()])),
        ..GateSettings::default()
    }
}

fn to_preprod(needs: &[Kind], statements: Vec<Statement>) -> Answer {
    let pieces: Vec<Piece> = statements.into_iter().map(signed).collect();
    judge(&settings(needs), &commit('a'), Stage::Preprod, NOW, &pieces).unwrap()
}

/// The states of what the stage test must show, assertions unless they are named.
fn states(needs: &[Kind], statements: Vec<Statement>) -> Vec<State> {
    let answer = to_preprod(needs, statements);
    let states: Vec<State> = answer.checks.iter().map(|check| check.state).collect();
    let open = states.iter().all(|state| *state == State::Passed);
    assert_eq!(answer.open, open);
    assert_eq!(answer.why().is_empty(), open);
    states
}

#[test]
fn evidence_opens_the_gate_and_nothing_else_does() {
    use State::{Expired, Failed, Missing, Passed};
    type Change = fn(&mut Statement);
    let cases: [(&str, Change, State); 13] = [
        ("as it should be", |_| {}, Passed),
        ("failed", |it| it.claim.passed = false, Failed),
        ("too old", |it| it.time = NOW - 8 * DAY, Expired),
        ("just not too old", |it| it.time = NOW - 7 * DAY, Passed),
        ("clocks apart", |it| it.time = NOW + 60_000, Passed),
        ("from the future", |it| it.time = NOW + HOUR, Missing),
        (
            "of another commit",
            |it| it.claim.commit = commit('b'),
            Missing,
        ),
        (
            "of another stage",
            |it| it.witness.stage = "local".to_owned(),
            Missing,
        ),
        (
            "of another kind",
            |it| it.claim.kind = Kind::Compare,
            Missing,
        ),
        (
            "of somebody else",
            |it| it.witness.developer = "eve".to_owned(),
            Missing,
        ),
        ("changed tree", |it| it.claim.tree = Tree::Changed, Missing),
        ("another tree", |it| it.claim.tree = Tree::Other, Missing),
        ("no tree", |it| it.claim.tree = Tree::None, Missing),
    ];
    for (what, change, expected) in cases {
        assert_eq!(
            states(&[Kind::Assert], vec![with(change)]),
            [expected],
            "{what}"
        );
    }
    assert_eq!(states(&[Kind::Assert], vec![]), [Missing]);
}

#[test]
fn the_newest_counts_for_each_upstream_and_each_file() {
    use State::{Expired, Failed, Passed};
    let failed = |age: u64| {
        with(|it| {
            it.claim.passed = false;
            it.time = NOW - age;
        })
    };
    let elsewhere = |mut it: Statement| {
        it.witness.upstream = "billing".to_owned();
        it
    };
    let of_file = |mut it: Statement, name: &str| {
        it.claim.inputs = vec![Input {
            name: name.to_owned(),
            sha256: "0".repeat(64),
        }];
        it
    };
    let cases = [
        ("a later failure", vec![good(), failed(1)], Failed),
        ("a later pass", vec![failed(2 * HOUR), good()], Passed),
        ("order makes no difference", vec![failed(1), good()], Failed),
        ("at the same time", vec![failed(HOUR), good()], Failed),
        (
            "elsewhere",
            vec![elsewhere(failed(2 * HOUR)), good()],
            Failed,
        ),
        (
            "another file",
            vec![of_file(failed(2 * HOUR), "a"), of_file(good(), "b")],
            Failed,
        ),
        (
            "elsewhere too old",
            vec![elsewhere(with(|it| it.time = NOW - 8 * DAY)), good()],
            Expired,
        ),
        (
            "failed, says somebody else",
            vec![
                with(|it| {
                    it.claim.passed = false;
                    it.time = NOW;
                    it.witness.developer = "eve".to_owned();
                }),
                good(),
            ],
            Passed,
        ),
    ];
    for (what, statements, expected) in cases {
        assert_eq!(states(&[Kind::Assert], statements), [expected], "{what}");
    }
    let again = to_preprod(
        &[Kind::Assert],
        vec![failed(3 * HOUR), failed(2 * HOUR), good()],
    );
    let decided = again.checks[0].decided_by.as_ref().unwrap();
    assert_eq!(decided.failed_before, 2);
}

#[test]
fn without_needs_what_was_tried_must_have_passed() {
    use State::{Failed, Missing, Passed};
    let compared = |passed| {
        with(|it| {
            it.claim.kind = Kind::Compare;
            it.claim.passed = passed;
        })
    };
    assert_eq!(states(&[], vec![]), [Missing]);
    assert_eq!(states(&[], vec![good()]), [Passed]);
    assert_eq!(states(&[], vec![good(), compared(true)]), [Passed, Passed]);
    assert_eq!(states(&[], vec![good(), compared(false)]), [Failed, Passed]);
}

#[test]
fn every_stage_before_is_asked_and_none_behind() {
    let rehearsed = with(|it| {
        it.claim.kind = Kind::Rehearse;
        it.witness.stage = "preprod".to_owned();
    });
    let settings = settings(&[Kind::Assert]);
    let ask = |to, pieces: &[Piece]| judge(&settings, &commit('a'), to, NOW, pieces);
    let [asserted, rehearsed] = [signed(good()), signed(rehearsed)];
    assert!(
        ask(Stage::Preprod, std::slice::from_ref(&asserted))
            .unwrap()
            .open
    );
    let answer = ask(Stage::Prod, std::slice::from_ref(&asserted)).unwrap();
    assert!(!answer.open);
    assert_eq!(answer.why(), "preprod rehearse missing");
    assert!(
        !ask(Stage::Prod, std::slice::from_ref(&rehearsed))
            .unwrap()
            .open
    );
    assert!(ask(Stage::Prod, &[asserted, rehearsed]).unwrap().open);
    // A gate that asks for nothing would be open for everything.
    assert_eq!(ask(Stage::Test, &[]), Err(NoGate::Nothing("test")));
    assert_eq!(ask(Stage::Local, &[]), Err(NoGate::NoStage("local")));
    let nothing = GateSettings::default();
    assert_eq!(
        judge(&nothing, &commit('a'), Stage::Prod, NOW, &[]),
        Err(NoGate::NoStage("prod"))
    );
}

#[test]
fn a_key_of_one_stage_counts_for_no_other() {
    let piece = signed(good());
    let Found::Signed(_, key) = piece.found.clone() else {
        unreachable!("it is signed")
    };
    let asks = |keys: &[PublicKey], of: &[Stage]| {
        let settings = GateSettings {
            keys: keys.to_vec(),
            stage_keys: of.iter().map(|stage| (*stage, key)).collect(),
            ..settings(&[Kind::Assert])
        };
        let pieces = std::slice::from_ref(&piece);
        judge(&settings, &commit('a'), Stage::Preprod, NOW, pieces).unwrap()
    };
    assert!(asks(&[], &[]).open);
    assert!(asks(&[], &[Stage::Test]).open);
    assert!(asks(&[], &[Stage::Local, Stage::Test]).open);
    assert!(asks(&[key], &[Stage::Local]).open);
    let closed = asks(&[], &[Stage::Local]);
    assert!(!closed.open);
    assert_eq!(
        closed.passed_over[0].why,
        "the key that signed it counts for local alone"
    );
}

#[test]
fn only_what_is_signed_as_it_is_counts() {
    let (ours, theirs) = (signer(), signer());
    let Statement { witness, claim, .. } = good();
    let sign = |signer: &Signer| Statement::sign(claim.clone(), witness.clone(), signer).unwrap();
    let envelope = sign(&ours);
    let key = PublicKey::parse(&envelope.signatures[0].keyid).unwrap();
    let reads = |envelope: &Envelope| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("evidence.jsonl");
        std::fs::write(&file, serde_json::to_string(envelope).unwrap()).unwrap();
        let keys = [key];
        let mut collector = Collector::new(&keys);
        collector.path(folder.path()).unwrap();
        assert_eq!(collector.pieces.len(), 1);
        collector.pieces.remove(0)
    };
    let opens = |envelope: &Envelope| {
        let pieces = [reads(envelope)];
        let settings = settings(&[Kind::Assert]);
        judge(&settings, &commit('a'), Stage::Preprod, NOW, &pieces).unwrap()
    };
    assert!(opens(&envelope).open);

    let forged = opens(&sign(&theirs));
    assert!(!forged.open);
    assert!(forged.passed_over[0].why.contains("no key that is trusted"));

    let payload = String::from_utf8(envelope.unverified().unwrap()).unwrap();
    let edits = [
        ("aaaaaaaaaa", "bbbbbbbbbb"),
        ("\"ci\"", "\"me\""),
        ("\"test\"", "\"prod\""),
        ("PASSED", "FAILED"),
        ("2027", "2028"),
    ];
    for (from, to) in edits {
        assert!(payload.contains(from), "{from} in {payload}");
        let edited = payload.replace(from, to);
        let mut forged = envelope.clone();
        forged.payload = theirs.sign("", edited.as_bytes()).payload;
        assert!(!opens(&forged).open, "{to}");
        // Signed by somebody else, and under the true key's name.
        let mut signed = theirs.sign(PAYLOAD_TYPE, edited.as_bytes());
        signed.signatures[0].keyid = key.to_string();
        assert!(!opens(&signed).open, "{to}, signed anew");
    }
    // What would steer a terminal is not even shown.
    let steers = theirs.sign(
        PAYLOAD_TYPE,
        payload.replace("\"ci\"", "\"\\u001b[2J\"").as_bytes(),
    );
    assert_eq!(reads(&steers).found, Found::NotSigned(None));
    // Signed by the proxy, and no evidence: it contradicts itself, or is of another type.
    for (from, to) in [
        ("PASSED", "FAILED"),
        ("/v1", "/v2"),
        ("test-result", "vuln"),
    ] {
        let other = ours.sign(PAYLOAD_TYPE, payload.replacen(from, to, 1).as_bytes());
        assert_eq!(reads(&other).found, Found::NotSigned(None), "{to}");
    }
    let other = ours.sign("text/plain", payload.as_bytes());
    assert_eq!(reads(&other).found, Found::NotSigned(None));
}

#[test]
fn a_claim_is_bounded_and_of_known_words() {
    let claim = serde_json::to_value(good().claim).unwrap();
    assert_eq!(Claim::parse(&claim.to_string()).unwrap(), good().claim);
    let long = "x".repeat(201);
    let many: Vec<_> = (0..65).map(|_| "word").collect();
    for (field, value) in [
        ("commit", serde_json::json!("abc")),
        ("commit", serde_json::json!("z".repeat(40))),
        ("kind", serde_json::json!("audit")),
        ("tree", serde_json::json!("tidy")),
        ("upstream", serde_json::json!("")),
        ("command", serde_json::json!(long)),
        ("command", serde_json::json!("a\nb")),
        ("ignored", serde_json::json!(many)),
        (
            "inputs",
            serde_json::json!([{"name": "a", "sha256": "1234"}]),
        ),
        (
            "inputs",
            serde_json::json!([{"name": "a", "sha256": "0".repeat(64), "text": "x"}]),
        ),
        ("figures", serde_json::json!({"secret": 1})),
        ("figures", serde_json::json!({"noise": "text"})),
        ("more", serde_json::json!("text")),
    ] {
        let mut changed = claim.clone();
        changed[field] = value;
        assert!(Claim::parse(&changed.to_string()).is_err(), "{changed}");
    }
}

#[test]
fn arguments_are_not_told() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        without_arguments(&words("/usr/bin/psql -c secret")),
        "psql ? ?"
    );
    assert_eq!(without_arguments(&words("./new.sh")), "new.sh");
    let many = vec!["x".to_owned(); 1_000];
    assert!(without_arguments(&many).len() < 200);
}
