//! Cases of whole files: what they mean, or what is said about them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::raw::{
    ByStage, RawAudit, RawBudgets, RawConfig, RawDeveloper, RawGate, RawLimits, RawListen,
    RawNotify, RawPage, RawSandbox, RawTls, RawUpstream,
};
use super::*;
use crate::audit::AuditSettings;
use crate::budget::ledger::shared::Unreachable;
use crate::sandbox::settings::{Overlap, Seal};

const UPSTREAM: &str =
    "[[upstream]]\nname = \"shop\"\nurl = \"postgres://p@h/d\"\nstage = \"local\"\n";

fn verifier() -> String {
    Verifier::from_password("s3cret", 1).to_string()
}

fn parse(text: &str) -> Result<Loaded, Report> {
    Config::parse(Path::new("f.toml"), text, &|name| {
        (name == "SHOP_URL").then(|| "postgres://p:pw@h/d".to_owned())
    })
}

/// Parses `text` after an upstream that is right; what is wrong must be said with all of `expected`.
#[track_caller]
fn check_refused(text: &str, expected: &[&str]) {
    let report = match parse(text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(report) => report.to_string(),
    };
    for part in expected {
        assert!(report.contains(part), "{part:?} is not in:\n{report}");
    }
}

fn config(text: &str) -> Config {
    parse(text).unwrap().config
}

mod page;

#[test]
fn a_small_file_gets_the_defaults() {
    let config = config(UPSTREAM);
    assert_eq!(config.listen.address, ([127, 0, 0, 1], 6432).into());
    assert!(config.listen.tls.is_none());
    assert_eq!(config.audit, AuditSettings::in_folder(Path::new("audit")));
    assert_eq!(config.limits, Limits::default());
    let shop = &config.upstreams["shop"];
    assert_eq!(shop.isolation, Isolation::Sandbox(Seal::Sealed));
    assert_eq!(shop.sandbox, SandboxSettings::default());
    assert!(shop.developers.is_empty());
}

#[test]
fn an_upstream_overrides_what_all_of_them_share() {
    let config = config(&format!(
        "[sandbox]\nwait_timeout = \"5s\"\nmax_age = \"2h\"\n{UPSTREAM}[upstream.sandbox]\nmax_age = \"1d\"\noverlap = \"wait\"\n"
    ));
    assert_eq!(
        config.upstreams["shop"].sandbox,
        SandboxSettings {
            wait_timeout: Duration::from_secs(5),
            max_age: Duration::from_secs(86_400),
            overlap: Overlap::Wait,
            ..SandboxSettings::default()
        }
    );
}

#[test]
fn grants_resolve_groups_and_warn_of_nobody() {
    let loaded = parse(&format!(
        "contact = \"the keepers\"\n{UPSTREAM}developers = [\"dev1\", \"@team\", \"dve2\"]\n\
         [[upstream]]\nname = \"other\"\nurl_env = \"SHOP_URL\"\nstage = \"prod\"\ncontact = \"nobody\"\n\
         [[developer]]\nname = \"dev1\"\npassword = \"{v}\"\n\
         [[developer]]\nname = \"dev2\"\npassword = \"{v}\"\n\
         [[developer]]\nname = \"dev3\"\npassword = \"{v}\"\ngroups = [\"@team\"]\n",
        v = verifier()
    ))
    .unwrap();
    let warnings = loaded.warnings.to_string();
    assert!(
        warnings.contains("there is no developer \"dve2\""),
        "{warnings}"
    );
    assert!(
        warnings.contains("hint: did you mean `dev2`?"),
        "{warnings}"
    );
    let config = loaded.config;
    let granted: Vec<&String> = config.upstreams["shop"].developers.iter().collect();
    assert_eq!(granted, ["dev1", "dev3"]);

    assert_eq!(config.upstream_for("dev1", "shop").unwrap().name, "shop");
    let refusal = config.upstream_for("dev2", "shop").unwrap_err();
    assert_eq!(refusal.sqlstate, SqlState::INSUFFICIENT_PRIVILEGE);
    assert_eq!(refusal.hint.as_deref(), Some("ask the keepers for access"));
    let refusal = config.upstream_for("dev1", "other").unwrap_err();
    assert_eq!(refusal.hint.as_deref(), Some("ask nobody for access"));
    let refusal = config.upstream_for("dev1", "shpo").unwrap_err();
    assert_eq!(refusal.sqlstate, SqlState::INVALID_CATALOG_NAME);
    assert_eq!(
        refusal.hint.as_deref(),
        Some("upstreams that you may use: shop")
    );
}

#[test]
fn a_policy_says_whose_sandboxes_see_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("devinprod.toml");
    let policy = |text: &str| std::fs::write(folder.path().join("p.toml"), text).unwrap();
    let exception = |set: &str, who: &str| {
        format!(
            "[[exception]]\nset = \"{set}\"\nwho = [\"{who}\"]\ncolumns = [\"public.t.phone\"]\nuntil = 2999-01-01\nbecause = \"x\"\n"
        )
    };
    let text = format!(
        "{UPSTREAM}policy = [\"p.toml\"]\ndevelopers = [\"dev1\", \"dev2\"]\n\
         [[developer]]\nname = \"dev1\"\npassword = \"{v}\"\ngroups = [\"support\", \"audit\"]\n\
         [[developer]]\nname = \"dev2\"\npassword = \"{v}\"\n",
        v = verifier()
    );
    let load = || Config::parse(&path, &text, &|_| None);
    let table = "[table.public.t]\nphone = \"phone\"\n";

    policy(&format!(
        "{table}{}{}",
        exception("support", "@support"),
        exception("qa", "@quality")
    ));
    let loaded = load().unwrap();
    let shop = &loaded.config.upstreams["shop"];
    let sets: Vec<_> = shop.sets.iter().collect();
    assert_eq!(sets, [(&"dev1".to_owned(), &"support".to_owned())]);
    let warnings = loaded.warnings.to_string();
    assert!(
        warnings.contains("there is no group \"quality\", whom the exception"),
        "{warnings}"
    );

    policy(&format!(
        "{table}{}{}",
        exception("support", "@support"),
        exception("audit", "@audit")
    ));
    let report = load().unwrap_err().to_string();
    for part in [
        "developer \"dev1\": the sets of exceptions `audit` and `support` both apply",
        "policy = [\"p.toml\"]",
    ] {
        assert!(report.contains(part), "{report}");
    }

    policy("upstream = \"other\"\n");
    let report = load().unwrap_err().to_string();
    assert!(
        report.contains("this policy is for the upstream \"other\", not for \"shop\""),
        "{report}"
    );

    policy("[table.public.t]\nphone = \"fone\"\n");
    let report = load().unwrap_err().to_string();
    for part in [
        "this policy cannot be used",
        "p.toml:2:9: there is no mask `fone`",
        "did you mean `phone`?",
    ] {
        assert!(report.contains(part), "{report}");
    }
    std::fs::remove_file(folder.path().join("p.toml")).unwrap();
    let report = load().unwrap_err().to_string();
    assert!(report.contains("p.toml: cannot be read"), "{report}");
}

#[test]
fn plaintext_stays_on_loopback_unless_somebody_says_so() {
    let open = format!(
        "[listen]\naddress = \"0.0.0.0:5432\"\nallow_plaintext_beyond_loopback = true\n{UPSTREAM}"
    );
    let peer: IpAddr = [10, 0, 0, 1].into();
    assert!(config(&open).listen.accepts_plaintext_from(peer));
    assert!(!config(UPSTREAM).listen.accepts_plaintext_from(peer));
    for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert!(
            config(UPSTREAM)
                .listen
                .accepts_plaintext_from(loopback.parse().unwrap())
        );
    }
    check_refused(
        &format!("[listen]\naddress = \"0.0.0.0:5432\"\n{UPSTREAM}"),
        &[
            "f.toml:2:11: `0.0.0.0:5432` can be reached from other machines",
            "hint: set `tls",
        ],
    );
}

#[test]
fn a_certificate_and_its_key_are_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.toml");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("c"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("k"), made.signing_key.serialize_pem()).unwrap();
    let text = format!(
        "[listen]\naddress = \"0.0.0.0:5432\"\ntls = {{ cert = \"c\", key = \"k\" }}\n{UPSTREAM}"
    );
    let loaded = Config::parse(&path, &text, &|_| None).unwrap();
    assert!(loaded.config.listen.tls.is_some());
    let peer = [10, 0, 0, 1].into();
    assert!(!loaded.config.listen.accepts_plaintext_from(peer));

    std::fs::write(folder.path().join("k"), made.cert.pem()).unwrap();
    let report = Config::parse(&path, &text, &|_| None).unwrap_err();
    assert!(
        report
            .to_string()
            .contains("f.toml:3:27: no usable private key"),
        "{report}"
    );
}

#[test]
fn every_problem_is_reported_at_once() {
    check_refused(
        &format!(
            "colour = 1\n[sandbox]\noverlap = \"jion\"\nwait_timeout = 30\nlock_timeout = \"0s\"\n{UPSTREAM}isolaton = \"none\"\n"
        ),
        &[
            "f.toml:1:1: unknown setting `colour`",
            "f.toml:3:11: unknown variant `jion`",
            "hint: did you mean `join`?",
            "f.toml:4:16: invalid type: integer `30`",
            "f.toml:5:16: this may not be zero",
            "unknown setting `isolaton`",
            "hint: did you mean `isolation`?",
            "isolaton = \"none\"\n   | ^^^^^^^^",
        ],
    );
}

#[test]
fn what_is_refused() {
    let v = verifier();
    let upstream = |rest: &str| format!("[[upstream]]\nname = \"a\"\n{rest}");
    let prod = |rest: &str| {
        upstream(&format!(
            "url = \"postgres://p@h/d\"\nstage = \"prod\"\n{rest}"
        ))
    };
    let developer = |rest: &str| format!("{UPSTREAM}[[developer]]\nname = \"dev1\"\n{rest}");
    let cases: &[(String, &[&str])] = &[
        (String::new(), &["f.toml: there is no upstream"]),
        ("a = \n".to_owned(), &["f.toml:1:"]),
        (
            upstream("stage = \"prod\"\n"),
            &["needs exactly one of `url`, `url_env` and `url_file`"],
        ),
        (prod("url_env = \"SHOP_URL\"\n"), &["needs exactly one of"]),
        (
            upstream("url_env = \"NO_URL\"\nstage = \"prod\"\n"),
            &["the environment has no variable NO_URL"],
        ),
        (
            upstream("url_file = \"/nowhere/url\"\nstage = \"prod\"\n"),
            &["/nowhere/url: No such file"],
        ),
        (
            upstream("url = \"postgres://p@h/d\"\n"),
            &["missing setting `stage`"],
        ),
        (
            upstream("url = \"postgres://p@h/d\"\nstage = \"production\"\n"),
            &["unknown variant `production`"],
        ),
        (
            prod("isolation = \"none\"\n"),
            &["f.toml:5:13: an upstream of stage `prod` cannot do without isolation"],
        ),
        (
            prod("sealed = false\n"),
            &["f.toml:5:10: an upstream of stage `prod` must be sealed"],
        ),
        (
            prod("role_prefix = \"pg_\"\n"),
            &["f.toml:5:15:", "cannot begin role names"],
        ),
        (
            prod("isolation = \"readonly\"\n"),
            &["hint: did you mean `read_only`?"],
        ),
        (
            prod("[upstream.sandbox]\noverlap_after = \"1h\"\n"),
            &["`overlap_after` (3600s) is not below"],
        ),
        (
            format!("{}{}", prod(""), prod("")),
            &["upstream \"a\" stands here twice"],
        ),
        (
            prod("").replace("\"a\"", "\"devinprod\""),
            &["is the proxy's own console"],
        ),
        (
            developer(""),
            &[
                "developer \"dev1\" has no password",
                "hint: `devinprod developer add dev1`",
            ],
        ),
        (
            developer(&format!(
                "password = \"{v}\"\n[[developer]]\nname = \"dev1\"\npassword = \"{v}\"\n"
            )),
            &["stands here twice"],
        ),
        (
            developer(&format!("password = \"{v}\"\n")).replace("dev1", "dev+1"),
            &["has a '+' in it"],
        ),
        (
            format!("[limits]\nmax_clients = 0\nmax_message_size = \"1kB\"\n{UPSTREAM}"),
            &["at least 1", "between 64kB"],
        ),
        (
            format!(
                "[listen]\ntls = {{ cert = \"/nowhere/c\", key = \"/nowhere/k\" }}\n{UPSTREAM}"
            ),
            &["f.toml:2:16: cannot read /nowhere/c: No"],
        ),
        (
            format!("[listen]\naddress = \"localhost\"\n{UPSTREAM}"),
            &["not an IP address and a port"],
        ),
    ];
    for (text, expected) in cases {
        check_refused(text, expected);
    }
}

#[test]
fn a_ledger_that_proxies_share() {
    let budgets = |lines: &str| format!("{UPSTREAM}[budgets]\n{lines}\n");
    let loaded = |lines: &str| {
        let environment =
            |name: &str| (name == "LEDGER_URL").then(|| "rediss://p:s3cret@h:6380/1\n".to_owned());
        Config::parse(Path::new("f.toml"), &budgets(lines), &environment)
    };
    assert!(loaded("").unwrap().config.shared_ledger.is_none());
    let settings =
        loaded("ledger_env = \"LEDGER_URL\"\nledger_unreachable = \"share\"\nproxies = 3");
    let settings = settings.unwrap().config.shared_ledger.unwrap();
    assert_eq!(settings.address.to_string(), "rediss://h:6380/1");
    assert_eq!(settings.unreachable, Unreachable::Share);
    assert_eq!(
        (settings.proxies.get(), &*settings.prefix),
        (3, "devinprod")
    );
    assert!(!format!("{settings:?}").contains("s3cret"));
    for (lines, expected) in [
        (
            "ledger = \"http://h:s3cret\"",
            "this is no address of a Valkey or Redis server",
        ),
        (
            "ledger = \"redis://h\"\nledger_env = \"LEDGER_URL\"",
            "may have one of `ledger`",
        ),
        ("ledger_env = \"NO\"", "the environment has no variable NO"),
        (
            "ledger = \"redis://h\"\nledger_unreachable = \"share\"",
            "hint: say how many proxies",
        ),
        (
            "ledger = \"redis://h\"\nproxies = 0",
            "there is at least this one",
        ),
        (
            "ledger = \"redis://h\"\nledger_unreachable = \"open\"",
            "unknown variant `open`",
        ),
        (
            "proxies = 2",
            "`proxies` says something of a shared ledger, and there is none",
        ),
    ] {
        let report = loaded(lines).unwrap_err().to_string();
        assert!(report.contains(expected), "{report}");
    }
}

#[test]
fn no_password_is_ever_shown() {
    let text = "[[upstream]]\nname = \"a\"\nurl = \"postgres://p:s3cret@h/d\"\nurl_env = \"X\"\nstage = \"prod\"\n\
         [[upstream]]\nname = \"b\"\nurl = \"postgres://p:s3cret@h:port/d\"\nstage = \"prod\"\n\
         [[developer]]\nname = \"dev1\"\npassword = \"s3cret\"\n";
    let report = parse(text).unwrap_err();
    assert!(report.len() >= 3, "{report}");
    assert!(!report.to_string().contains("s3cret"), "{report}");
    let good = config(&UPSTREAM.replace("p@h", "p:s3cret@h"));
    assert!(!format!("{good:?}").contains("s3cret"));
}

#[test]
fn the_developers_file_and_the_configuration_complete_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.toml");
    let v = verifier();
    std::fs::write(folder.path().join("who"), format!("dev1:{v}\ndev2:{v}\n")).unwrap();
    let text = format!(
        "developers_file = \"who\"\n{UPSTREAM}developers = [\"@team\"]\n[[developer]]\nname = \"dev1\"\ngroups = [\"team\"]\n"
    );
    std::fs::write(&path, &text).unwrap();
    let loaded = Config::load(&path).unwrap();
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.config.developers.len(), 2);
    assert!(loaded.config.upstreams["shop"].developers.contains("dev1"));
    assert_eq!(
        loaded.config.developers_file,
        Some(folder.path().join("who"))
    );

    std::fs::write(&path, format!("{text}password = \"{v}\"\n")).unwrap();
    let report = Config::load(&path).unwrap_err().to_string();
    assert!(
        report.contains("and another in the developers' file"),
        "{report}"
    );
    assert!(!report.contains(&v), "{report}");
}

#[test]
fn the_example_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("devinprod.toml");
    std::fs::write(&path, EXAMPLE).unwrap();
    std::fs::write(
        folder.path().join("devinprod.developers"),
        format!("dev1:{}\n", verifier()),
    )
    .unwrap();
    let loaded = Config::load(&path).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.config.upstreams["shop"].developers.len(), 2);
}

#[test]
fn the_example_s_comments_are_the_defaults() {
    let settings = EXAMPLE.lines().filter_map(|line| {
        let line = line.strip_prefix("# ")?;
        let (name, value) = line.split_once(" = ")?;
        let is_default = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        (is_default && !["tls", "file", "url_env"].contains(&name)).then_some((name, value))
    });
    let (mut sandbox, mut limits, mut count) = (String::new(), String::new(), 0);
    let (mut audit, mut budgets, mut gate) = (String::new(), String::new(), String::new());
    for (name, value) in settings {
        count += 1;
        let line = format!("{name} = {value}\n");
        match name {
            "max_message_size" | "startup_timeout" | "shutdown_grace" | "seal_check" => {
                limits += &line
            }
            "folder" if value == "\"budgets\"" => budgets += &line,
            "ledger_prefix" | "ledger_unreachable" => budgets += &line,
            // Which server, and how many share it, has no default.
            "ledger" | "proxies" => {}
            "folder"
            | "key_file"
            | "durable"
            | "segment_size"
            | "segment_age"
            | "checkpoint_interval"
            | "checkpoints" => audit += &line,
            "max_clients" if value == "1000" => limits += &line,
            // Of [[notify]], which has no default.
            "name" | "kind" | "url_env" | "events" => {}
            // Of [page], and of [gate].
            "address" | "names" | "comparisons" | "trees" => {}
            "valid_for" => gate += &line,
            "policy"
            | "isolation"
            | "sealed"
            | "role_prefix"
            | "allow_plaintext_beyond_loopback" => {}
            _ => sandbox += &line,
        }
    }
    assert!(count >= 15, "{count}");
    let config = config(&format!(
        "[sandbox]\n{sandbox}[limits]\n{limits}[audit]\n{audit}[budgets]\n{budgets}ledger = \"redis://h\"\n\
        [gate]\n{gate}{UPSTREAM}"
    ));
    assert_eq!(config.gate.valid_for, GateSettings::default().valid_for);
    assert_eq!(config.budgets_folder, Path::new("budgets"));
    let ledger = config.shared_ledger.unwrap();
    assert_eq!(ledger.unreachable, Unreachable::default());
    assert_eq!(ledger.prefix, "devinprod");
    assert_eq!(config.audit, AuditSettings::in_folder(Path::new("audit")));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.upstreams["shop"].sandbox, SandboxSettings::default());
}

/// The fields of a raw struct, as serde lists them when it meets one that it does not know.
fn fields<T: DeserializeOwned>() -> BTreeSet<String> {
    let error = match T::deserialize(toml::Deserializer::parse("'?' = 0").unwrap()) {
        Ok(_) => panic!("an unknown field was accepted"),
        Err(error) => error,
    };
    let (_, expected) = error.message().split_once("expected").unwrap();
    let names = expected.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

#[test]
fn every_setting_is_documented() {
    let manual = include_str!("../../docs/configuration.md");
    let sections = [
        ("At the top", fields::<RawConfig>()),
        ("[listen]", fields::<RawListen>()),
        ("[listen]", fields::<RawTls>()),
        ("[page]", fields::<RawPage>()),
        ("[[upstream]]", fields::<RawUpstream>()),
        ("[sandbox]", fields::<RawSandbox>()),
        ("[[developer]]", fields::<RawDeveloper>()),
        ("[audit]", fields::<RawAudit>()),
        ("[[notify]]", fields::<RawNotify>()),
        ("[gate]", fields::<RawGate>()),
        ("[gate]", fields::<ByStage<String>>()),
        ("[limits]", fields::<RawLimits>()),
        ("[budgets]", fields::<RawBudgets>()),
    ];
    for (title, fields) in sections {
        let (_, section) = manual
            .split_once(&format!("\n## {title}\n"))
            .unwrap_or_else(|| panic!("no section {title}"));
        let section = section.split("\n## ").next().unwrap();
        assert!(!fields.is_empty());
        for field in fields {
            assert!(
                section.contains(&format!("`{field}`")),
                "{title} does not explain {field}"
            );
        }
    }
}

#[test]
fn the_audit_is_set_or_refused() {
    let parse = |lines: &str| {
        let text = format!("{lines}\n{UPSTREAM}");
        Config::parse(Path::new("/etc/devinprod.toml"), &text, &|_| None)
    };
    let places = [
        ("none", "none"),
        ("far/checks", "/etc/far/checks"),
        (
            "https://user:pw@example.com/x?token=1",
            "https://example.com",
        ),
        ("syslog+udp://192.0.2.1:514", "syslog+udp://192.0.2.1:514"),
        ("syslog+tcp://[::1]:601", "syslog+tcp://[::1]:601"),
        ("syslog+unix:///dev/log", "syslog+unix:///dev/log"),
    ];
    for (written, meant) in places {
        let config = parse(&format!("[audit]\ncheckpoints = \"{written}\""))
            .unwrap()
            .config;
        assert_eq!(config.audit.checkpoints.to_string(), meant);
        assert_eq!(config.audit.folder, Path::new("/etc/audit"));
        assert_eq!(config.audit.key_file, Path::new("/etc/audit.key"));
    }
    for (lines, expected) in [
        (
            "[audit]\ncheckpoints = \"ftp://x\"",
            "no place for checkpoints",
        ),
        (
            "[audit]\ncheckpoints = \"syslog+udp://name:514\"",
            "no place for checkpoints",
        ),
        ("[audit]\nsegment_size = \"1kB\"", "at least 64kB"),
        ("[audit]\nretention = \"0s\"", "may not be zero"),
        ("[events]\nfile = \"x\"", "[events] is gone"),
    ] {
        let report = parse(lines).unwrap_err().to_string();
        assert!(report.contains(expected), "{report}");
    }
}
