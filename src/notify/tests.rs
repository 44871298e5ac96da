use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message;
use super::watch::{Watch, may_matter};
use super::*;
use crate::audit::{EndReason, EventKind, StatementRecord, StatementShape, Verdict};

const STREAK: Streak = Streak {
    count: 3,
    within: Duration::from_secs(60),
};
const SECOND: Duration = Duration::from_secs(1);

fn refused(developer: &str, sqlstate: &str) -> Event {
    Event::now(EventKind::Refused {
        sqlstate: sqlstate.to_owned(),
        message: "something about 'a literal'".to_owned(),
    })
    .developer(developer)
    .upstream("shop")
}

fn statement(verdict: Verdict) -> Event {
    let record = StatementRecord {
        application: String::new(),
        shape: Arc::new(StatementShape::default()),
        rows: 0,
        bytes: 0,
        rows_written: 0,
        duration: Duration::ZERO,
        verdict,
        policy: None,
        values: None,
    };
    Event::now(EventKind::Statement(Box::new(record)))
        .developer("dev1")
        .upstream("shop")
}

fn on_shop(kind: EventKind) -> Event {
    Event::now(kind)
        .developer("dev1")
        .upstream("shop")
        .stage("prod")
        .sandbox("default")
}

/// Topic, state and title of each alert, as one text.
fn seen(watch: &mut Watch, event: &Event, now: Instant) -> String {
    let alerts = watch.see(event, now);
    let lines = alerts.iter().map(|alert| {
        format!(
            "{} {}: {}",
            alert.topic.as_str(),
            alert.state.as_str(),
            alert.title
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_streak_is_enough_refusals_of_one_developer_in_time() {
    let start = Instant::now();
    let mut watch = Watch::new(STREAK);
    let mut see = |event: &Event, after: u32| seen(&mut watch, event, start + after * SECOND);
    for after in [0, 50] {
        assert_eq!(see(&refused("dev1", "42501"), after), "");
        assert_eq!(see(&refused("dev2", "0A000"), after), "");
    }
    // The first is too old by now.
    assert_eq!(see(&refused("dev1", "42501"), 61), "");
    // What was denied by Postgres counts as well.
    let denied = statement(Verdict::Failed {
        sqlstate: "42501".to_owned(),
    });
    assert_eq!(
        see(&denied, 62),
        "refusals trouble: dev1 was refused 3 times within 1min, last on shop (42501)"
    );
    assert_eq!(see(&denied, 63), "");
    // "Not now" is no refusal, nor is an error of the statement's own.
    for sqlstate in ["55P03", "53300", "40001", "58030", "57014"] {
        for after in 64..74 {
            assert_eq!(see(&refused("dev3", sqlstate), after), "");
        }
    }
    for _ in 0..10 {
        let failed = statement(Verdict::Failed {
            sqlstate: "42601".to_owned(),
        });
        assert_eq!(see(&failed, 64), "");
    }
}

#[test]
fn logins_are_counted_whatever_the_name() {
    let now = Instant::now();
    let mut watch = Watch::new(STREAK);
    let failed = |name: &str| Event::now(EventKind::AuthenticationFailed).developer(name);
    assert_eq!(seen(&mut watch, &failed("a"), now), "");
    assert_eq!(seen(&mut watch, &failed("b"), now), "");
    assert_eq!(
        seen(&mut watch, &failed("c\n<!channel>\u{202e}"), now),
        "logins trouble: logins failed 3 times within 1min, the last as c\u{fffd}<!channel>\u{fffd}"
    );
}

#[test]
fn each_of_the_chosen_events_is_worth_an_alert() {
    let now = Instant::now();
    let mut watch = Watch::new(STREAK);
    let text = || "what".to_owned();
    let ended = |reason| EventKind::SandboxEnded { reason };
    let kinds = [
        EventKind::BudgetExceeded { limit: text() },
        refused("dev1", "53400").kind,
        EventKind::LedgerLost { what: text() },
        EventKind::LedgerBack,
        EventKind::SealOpen { what: text() },
        EventKind::SealWhole,
        EventKind::TransactionLost { status: text() },
        ended(EndReason::TransactionLost),
        ended(EndReason::BlockTimeout),
        ended(EndReason::UpstreamLost),
        refused("dev1", "57P03").kind,
        EventKind::SandboxBegun,
        EventKind::SandboxBegun,
        EventKind::PolicyChanged { version: None },
        EventKind::Reloaded,
        EventKind::ReloadFailed { reason: text() },
        EventKind::Reloaded,
        EventKind::Administered {
            command: "budget grant".to_owned(),
            detail: text(),
            account: "root".to_owned(),
        },
        EventKind::EventsLost { count: 7 },
        EventKind::SecondPlaceLost { reason: text() },
        EventKind::SecondPlaceBack,
        EventKind::SqlLost { reason: text() },
        EventKind::SqlBack,
        EventKind::NotifyLost {
            name: text(),
            reason: text(),
        },
        EventKind::NotifyBack { name: text() },
        ended(EndReason::Reset),
        ended(EndReason::IdleTimeout),
        EventKind::SandboxTainted,
        EventKind::Started,
    ];
    let seen: Vec<String> = kinds
        .into_iter()
        .map(|kind| seen(&mut watch, &on_shop(kind), now))
        .collect();
    insta::assert_snapshot!(seen.join("\n"), @r#"
    budget trouble: dev1 on shop has used up a budget: what
    budget trouble: dev1 on shop has used up a budget: something about 'a literal'
    ledger trouble: the ledger of budgets cannot be reached: what
    ledger over: the ledger of budgets can be reached again
    seal trouble: the seal of shop is open; its sandboxes end and none begins: what
    seal over: the seal of shop is whole again
    seal trouble: a sandbox of dev1 on shop left the transaction that must never end; it was ended
    seal trouble: a sandbox of dev1 on shop left the transaction that must never end; it was ended
    blocking news: a sandbox of dev1 on shop was idle while others waited for its locks; it was ended
    upstream news: the upstream shop broke off the connection of a sandbox of dev1
    upstream trouble: the upstream shop cannot be reached
    upstream over: the upstream shop can be reached again

    configuration news: shop no longer has a policy

    configuration trouble: a changed configuration was refused; the old one stays in force
    configuration over: the configuration is right again, and was taken in
    administration news: root used `devinprod budget grant`
    audit trouble: 7 events are missing in the audit log; nobody was served meanwhile
    audit trouble: checkpoints of the audit log cannot be brought to their second place
    audit over: checkpoints of the audit log reach their second place again
    audit trouble: the audit log is not being copied into its database
    audit over: the audit log is being copied into its database again
    notify trouble: the notification what cannot be delivered
    notify over: the notification what gets through again
    "#);
}

#[test]
fn a_seal_that_was_found_open_at_the_start_is_whole_when_a_sandbox_begins() {
    let now = Instant::now();
    let mut watch = Watch::new(STREAK);
    let open = Event::now(EventKind::SealOpen {
        what: "a hole".to_owned(),
    })
    .upstream("shop");
    assert!(seen(&mut watch, &open, now).starts_with("seal trouble"));
    let elsewhere = on_shop(EventKind::SandboxBegun).upstream("other");
    assert_eq!(seen(&mut watch, &elsewhere, now), "");
    let begun = on_shop(EventKind::SandboxBegun);
    assert_eq!(
        seen(&mut watch, &begun, now),
        "seal over: the seal of shop is whole again"
    );
    assert_eq!(seen(&mut watch, &begun, now), "");
}

#[test]
fn the_ordinary_is_left_at_a_glance() {
    assert!(!may_matter(&statement(Verdict::Done)));
    assert!(!may_matter(&Event::now(EventKind::ClientConnected)));
    assert!(may_matter(&refused("dev1", "42501")));
}

fn hostile() -> Message {
    let event = refused("<!channel> & @here\r\nBcc: x", "42501");
    let mut watch = Watch::new(Streak { count: 1, ..STREAK });
    let alert = watch.see(&event, Instant::now()).remove(0);
    Message {
        times: 12,
        within: Duration::from_secs(599),
        lost: 3,
        ..Message::of(Alert {
            time: SystemTime::UNIX_EPOCH,
            ..alert
        })
    }
}

#[test]
fn a_message_says_what_happened_and_obeys_nobody() {
    let message = hostile();
    let text = message::text(&message);
    insta::assert_snapshot!(text, @r#"
    <!channel> & @here��Bcc: x was refused 1 times within 1min, last on shop (42501) (12 times in the last 10min)
    what to do: `devinprod audit search --developer NAME` says what they tried
    devinprod, 1970-01-01T00:00:00.000000Z
    before this, 3 notifications could not be delivered; the audit log has everything
    "#);
    assert!(!text.contains("literal"), "{text}");
    let slack = message::slack(&message)["text"].to_string();
    assert!(slack.contains("&lt;!channel&gt; &amp; @here"), "{slack}");
    assert!(!slack.contains('<'), "{slack}");
    let telegram = message::telegram("-1", &message);
    assert!(telegram.get("parse_mode").is_none());
    assert!(!telegram["text"].to_string().contains("@here"));
    assert!(!message::subject(&message).contains(['\r', '\n']));
    insta::assert_snapshot!(message::generic("team", &message), @r#"{"developer":"<!channel> & @here��Bcc: x","event":"refusals","hint":"`devinprod audit search --developer NAME` says what they tried","lost":3,"notification":"team","source":"devinprod","state":"trouble","time":"1970-01-01T00:00:00.000000Z","times":12,"title":"<!channel> & @here��Bcc: x was refused 1 times within 1min, last on shop (42501)","upstream":"shop","within_seconds":599}"#);
}

#[test]
fn no_message_is_longer_than_anybody_takes() {
    let name = "x".repeat(100_000);
    let mut watch = Watch::new(Streak { count: 1, ..STREAK });
    let kinds = [
        refused(&name, "42501").kind,
        EventKind::BudgetExceeded {
            limit: name.clone(),
        },
        EventKind::SealOpen { what: name.clone() },
        EventKind::Administered {
            command: name.clone(),
            detail: name.clone(),
            account: name.clone(),
        },
    ];
    for kind in kinds {
        let event = Event::now(kind)
            .developer(&name)
            .upstream(&name)
            .sandbox(&name);
        let alert = watch.see(&event, Instant::now()).remove(0);
        let text = message::text(&Message::of(alert.clone()));
        // Telegram's limit is 4096 characters, Slack's for good reading less.
        assert!(text.chars().count() < 1_500, "{}", text.len());
        assert!(alert.sandbox.unwrap().len() < 200);
    }
}
