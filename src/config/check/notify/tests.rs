use std::path::Path;

use crate::config::Config;
use crate::notify::{Security, Way};

const UPSTREAM: &str =
    "[[upstream]]\nname = \"shop\"\nurl = \"postgres://p@h/d\"\nstage = \"local\"\n";

#[test]
fn who_is_told_is_set_or_refused() {
    let environment = |name: &str| match name {
        "HOOK" => Some("https://hooks.example.com/services/T0/B0/secret".to_owned()),
        "MAIL" => Some("smtps://bot:pa%40ss@mail.example.com".to_owned()),
        "TOKEN" => Some("12:token\n".to_owned()),
        "BAD" => Some("to\nken".to_owned()),
        _ => None,
    };
    let parse = |lines: &str| {
        let text = format!("{UPSTREAM}\n[[notify]]\n{lines}\n");
        Config::parse(Path::new("/etc/devinprod.toml"), &text, &environment)
    };
    let smtp = "name = \"n\"\nkind = \"smtp\"\nfrom = \"a@example.com\"\nto = [\"b@example.com\"]";
    let webhook = "name = \"n\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:1/x\"";
    let told = |lines: &str| parse(lines).unwrap_or_else(|report| panic!("{report}"));
    let way = |lines: &str| told(lines).config.notify.remove(0).way;
    let Way::Telegram { url, token, .. } =
        way("name = \"n\"\nkind = \"telegram\"\ntoken_env = \"TOKEN\"\nchat = \"-1\"")
    else {
        panic!("no Telegram");
    };
    assert_eq!(url.get().as_str(), "https://api.telegram.org/");
    assert_eq!(token.get(), "12:token");
    for (url, security, port) in [
        ("url_env = \"MAIL\"", Security::Tls, 465),
        ("url = \"smtp://mail.example.com\"", Security::StartTls, 587),
        ("url = \"smtp://localhost?tls=none\"", Security::Plain, 25),
        (
            "url = \"smtp://[::1]:2525?tls=none\"",
            Security::Plain,
            2525,
        ),
    ] {
        let Way::Smtp(mail) = way(&format!("{smtp}\n{url}")) else {
            panic!("no mail");
        };
        assert_eq!((mail.security, mail.port), (security, port), "{url}");
        if security == Security::Tls {
            let login = mail.login.as_ref().unwrap().get();
            assert_eq!(login, &("bot".to_owned(), "pa@ss".to_owned()));
            assert!(!format!("{mail:?}").contains("pa@ss"));
        }
    }
    let clear = told("name = \"n\"\nkind = \"webhook\"\nurl = \"http://example.com/x\"");
    assert!(clear.warnings.to_string().contains("clear text"));
    assert!(told(webhook).warnings.is_empty());

    for (lines, expected) in [
        ("name = \"n\"\nkind = \"slack\"", "exactly one of `url`"),
        (
            "name = \"n\"\nkind = \"slack\"\nurl = \"https://hooks.example.com/secret\"",
            "this URL is a secret",
        ),
        (
            &format!("{smtp}\nurl = \"smtps://bot:secret@mail.example.com\""),
            "this URL is a secret",
        ),
        (
            &format!("{smtp}\nurl = \"smtp://mail.example.com?tls=none\""),
            "on this machine",
        ),
        (
            &format!("{smtp}\nurl = \"smtp://mail.example.com?tls=opportunistic\""),
            "no mail server",
        ),
        (&format!("{smtp}\nurl_env = \"HOOK\""), "no mail server"),
        (&smtp.replace("b@", "b"), "no mail address"),
        (
            "name = \"n\"\nkind = \"smtp\"\nurl = \"smtp://localhost?tls=none\"",
            "needs `from`",
        ),
        (
            "name = \"n\"\nkind = \"telegram\"\nchat = \"1\"",
            "needs `token_env`",
        ),
        (
            "name = \"n\"\nkind = \"telegram\"\ntoken_env = \"TOKEN\"",
            "needs `chat`",
        ),
        (&format!("{webhook}\ntoken_env = \"BAD\""), "holds no token"),
        (
            &format!("{webhook}\ntoken_env = \"MISSING\""),
            "no variable MISSING",
        ),
        (&format!("{webhook}\nchat = \"1\""), "means nothing"),
        (&format!("{webhook}\nevents = []"), "about nothing"),
        (
            &format!("{webhook}\nevents = [\"test\"]"),
            "unknown variant `test`",
        ),
        (&format!("{webhook}\nstreak = 0"), "at least 1"),
        (&format!("{webhook}\nstreak = 1001"), "at most 1000"),
        (&format!("{webhook}\nquiet = \"2d\""), "at most 1d"),
        (
            &format!("{webhook}\n[[notify]]\n{webhook}"),
            "stands here twice",
        ),
        (&webhook.replace("http:", "ftp:"), "go to https"),
    ] {
        let report = parse(lines).unwrap_err().to_string();
        assert!(report.contains(expected), "{expected}: {report}");
        assert!(
            !report.contains("/secret") && !report.contains(":secret"),
            "{report}"
        );
    }
}
