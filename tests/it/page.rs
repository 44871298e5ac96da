//! The web page, as a browser shows it and as somebody meets it who is up to no good.

use devinprod::audit::EventKind;

use crate::changeset_masked::masked_with;
use crate::harness::{self, Proxy, Setup, connect, proxy_with};
use crate::page_kit::{Browser, post, request, session, set_cookie};

/// What is no developer's business in the tables of `masked`.
const MARKERS: [&str; 4] = ["Real Name", "secret.example", "+1 555", "real note"];

async fn with_page() -> Proxy {
    let setup = Setup {
        page: true,
        ..Setup::default()
    };
    proxy_with(harness::database().await, setup).await
}

fn page(proxy: &Proxy) -> String {
    proxy.page.clone().unwrap()
}

/// Something that blocks, beside the proxy of this process.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn a_developer_sees_their_own_in_a_browser() {
    let setup = Setup {
        page: true,
        ..Setup::default()
    };
    let proxy = masked_with(harness::database().await, setup).await;
    let developer = connect(&proxy.url()).await;
    for sql in [
        "UPDATE users SET city = '<script>document.title = ''owned''</script>' WHERE id = 1",
        "UPDATE users SET email = 'mine@own.example', phone = NULL WHERE id = 2",
        "INSERT INTO plain VALUES (100, '\"><img src=x onerror=alert(1)>')",
        "DELETE FROM plain WHERE id = 3",
        "DELETE FROM vault",
        "CREATE TABLE \"<b>made</b>\" (id int)",
    ] {
        developer.batch_execute(sql).await.unwrap();
    }
    let other = connect(&proxy.url_for("dev2+other-world")).await;
    other
        .batch_execute("UPDATE plain SET v = 'of the other' WHERE id = 9")
        .await
        .unwrap();
    let console = connect(&proxy.url().replace("/app", "/devinprod")).await;
    console
        .batch_execute("SAVE SANDBOX default AS '<i>point</i>'")
        .await
        .unwrap();
    let page = page(&proxy);
    beside(move || {
        let browser = Browser::start();
        browser.open(&page);
        assert!(browser.text().contains("Log in"));
        browser.shoot("login");
        browser.log_in(&page, "dev1", "wrong");
        assert!(
            browser
                .text()
                .contains("The name or the password is not right")
        );
        browser.log_in(&page, "dev1", "secret");

        let seen = browser.text();
        for part in [
            "Your sandboxes",
            "default",
            "has written",
            "<i>point</i>",
            "dev1",
        ] {
            assert!(seen.contains(part), "{part}: {seen}");
        }
        assert!(!seen.contains("other-world"), "{seen}");
        assert_eq!(browser.count("main i"), 0);
        browser.shoot("sandboxes");
        // No script of a page has this cookie.
        assert_eq!(browser.run("document.cookie"), "");

        browser.follow("What it would have changed");
        let (seen, html) = (browser.text(), browser.html());
        for part in [
            "Changes of sandbox default",
            "public.users",
            "mine@own.example",
            "<script>document.title = 'owned'</script>",
            "\"><img src=x onerror=alert(1)>",
            "public.\"<b>made</b>\"",
            "developers may not read it; 9 deleted",
        ] {
            assert!(seen.contains(part), "{part}: {seen}");
        }
        for marker in MARKERS {
            assert!(!html.contains(marker), "{marker}: {html}");
        }
        assert!(!html.contains("of the other"));
        assert_eq!(browser.run("document.title"), "Changes · devinprod");
        assert_eq!(browser.count("script, img"), 0);
        assert_eq!(browser.count("tr.update"), 2);
        assert_eq!(browser.count("tr.insert"), 1);
        assert_eq!(browser.count("tr.delete"), 1);
        // The stylesheet came through the page's own policy.
        let shape = "getComputedStyle(document.querySelector('tr.delete td')).backgroundColor";
        assert_ne!(browser.run(shape), "rgba(0, 0, 0, 0)");
        browser.shoot("changes");

        browser.open(&format!("{page}changes?on=app&of=other-world"));
        let seen = browser.text();
        assert!(
            seen.contains("you have no sandbox \"other-world\""),
            "{seen}"
        );

        browser.follow("Budgets");
        assert!(browser.text().contains("Your read budgets"));
        browser.shoot("budgets");
        browser.follow("Comparisons");
        assert!(browser.text().contains("The proxy was told of no folder"));
        browser.follow("Record");
        assert!(browser.text().contains("on record of you"));

        browser.lead("document.querySelector('nav form button').click()");
        assert!(browser.text().contains("Log in"));
        browser.open(&page);
        assert!(browser.text().contains("Log in"));
    })
    .await;
    let happened = proxy.events();
    let of_dev1 = |kind: fn(&EventKind) -> bool| {
        happened
            .iter()
            .filter(|event| event.developer.as_deref() == Some("dev1") && kind(&event.kind))
            .count()
    };
    assert_eq!(
        of_dev1(|kind| matches!(kind, EventKind::AuthenticationFailed)),
        1
    );
    // What was read is on record, as a read of theirs.
    let reads = happened.iter().filter(|event| {
        event.developer.as_deref() == Some("dev1")
            && event
                .sandbox
                .as_deref()
                .is_some_and(|name| name.starts_with("connection-"))
            && matches!(event.kind, EventKind::Statement(_))
    });
    assert!(reads.count() > 3);
}

#[tokio::test]
async fn a_stranger_sees_nothing() {
    let proxy = with_page().await;
    let developer = connect(&proxy.url_for("dev1+hidden-place")).await;
    developer.batch_execute("SELECT 1").await.unwrap();
    let page = page(&proxy);
    beside(move || {
        for path in [
            "/",
            "/changes?on=app&of=hidden-place",
            "/budgets",
            "/record",
            "/comparisons",
            "/none",
        ] {
            for cookie in [
                "X: y",
                "Cookie: devinprod_page=",
                "Cookie: devinprod_page=00ff",
            ] {
                let answer = request(
                    &page,
                    &format!("GET {path} HTTP/1.1\nHost: localhost\n{cookie}"),
                    "",
                );
                assert!(answer.starts_with("HTTP/1.1 303 "), "{path}: {answer}");
                assert!(answer.contains("location: /login"), "{path}: {answer}");
                assert!(!answer.contains("hidden-place"), "{path}: {answer}");
            }
        }
        for (name, password) in [
            ("dev1", "wrong"),
            ("dev1", ""),
            ("nobody", "secret"),
            ("", ""),
        ] {
            let (answer, cookie) = session(&page, name, password);
            assert!(answer.starts_with("HTTP/1.1 401 "), "{name}: {answer}");
            assert_eq!(cookie, None);
        }
        let (_, cookie) = session(&page, "dev2", "secret");
        let cookie = cookie.unwrap();
        for path in ["/", "/changes?on=app&of=hidden-place"] {
            let answer = request(
                &page,
                &format!("GET {path} HTTP/1.1\nHost: localhost\n{cookie}"),
                "",
            );
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert!(answer.contains("dev2"));
            let shown = answer.replace("you have no sandbox &quot;hidden-place&quot;", "");
            let shown = shown.replace("Changes of sandbox hidden-place", "");
            assert!(!shown.contains("hidden-place"), "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn every_answer_is_kept_from_others() {
    let proxy = with_page().await;
    let page = page(&proxy);
    beside(move || {
        let get = |host: &str, path: &str| {
            request(&page, &format!("GET {path} HTTP/1.1\nHost: {host}"), "")
        };
        for path in ["/", "/login", "/style.css", "/none"] {
            let answer = get("localhost", path).to_lowercase();
            for header in [
                "content-security-policy: default-src 'none'; style-src 'self';",
                "frame-ancestors 'none'",
                "cache-control: no-store",
                "x-content-type-options: nosniff",
                "referrer-policy: same-origin",
            ] {
                assert!(answer.contains(header), "{path}, {header}: {answer}");
            }
            assert!(!answer.contains("<script"), "{path}");
        }
        // Somebody's DNS has turned their name to this address.
        for host in ["evil.example.com", "localhost.evil.example.com:80"] {
            let answer = get(host, "/login");
            assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
            assert!(!answer.contains("password"), "{answer}");
        }
        let (answer, cookie) = session(&page, "dev1", "secret");
        let line = answer
            .lines()
            .find(|line| line.starts_with("set-cookie: devinprod_page="))
            .unwrap();
        assert!(line.contains("; HttpOnly; SameSite=Strict"), "{line}");
        let cookie = cookie.unwrap();
        let host = format!("Host: localhost\n{cookie}");
        // Another site's form has no token, and the browser says whose it is.
        for (headers, form) in [
            (host.clone(), "token="),
            (host.clone(), "token=00"),
            (
                format!("{host}\nOrigin: http://evil.example.com"),
                "token=00",
            ),
            (format!("{host}\nSec-Fetch-Site: cross-site"), "token=00"),
        ] {
            let answer = post(&page, "/logout", &headers, form);
            assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        }
        for method in ["PUT", "DELETE", "HEAD", "OPTIONS"] {
            let answer = request(
                &page,
                &format!("{method} / HTTP/1.1\n{host}\nContent-Length: 0"),
                "",
            );
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        }
        let shown = request(&page, &format!("GET / HTTP/1.1\n{host}"), "");
        assert!(shown.starts_with("HTTP/1.1 200 "), "{shown}");
        let (_, token) = shown.split_once("name=\"token\" value=\"").unwrap();
        let (token, _) = token.split_once('"').unwrap();
        let answer = post(&page, "/logout", &host, &format!("token={token}"));
        assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
        assert_eq!(set_cookie(&answer, "devinprod_page").as_deref(), Some(""));
        let after = request(&page, &format!("GET / HTTP/1.1\n{host}"), "");
        assert!(after.contains("location: /login"), "{after}");
        // A login without the form's own cookie is no login.
        let answer = post(
            &page,
            "/login",
            "Host: localhost",
            "token=00&name=dev1&password=secret",
        );
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert_eq!(set_cookie(&answer, "devinprod_page"), None);
        let large = "x".repeat(20_000);
        let answer = post(&page, "/login", "Host: localhost", &large);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn passwords_cannot_be_tried_for_long() {
    let proxy = with_page().await;
    let page = page(&proxy);
    beside(move || {
        let refused = (0..12).any(|_| {
            let (answer, cookie) = session(&page, "dev1", "wrong");
            assert_eq!(cookie, None);
            answer.starts_with("HTTP/1.1 429 ")
        });
        assert!(refused);
        let (answer, cookie) = session(&page, "dev1", "secret");
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert_eq!(cookie, None);
    })
    .await;
}

#[tokio::test]
async fn a_budget_is_shown_and_holds_for_the_page() {
    let setup = Setup {
        page: true,
        policy: Some(
            "default = { as = \"clear\", opens_unclassified = true, because = \"a test\" }\n\
             [[budget]]\nwho = [\"*\"]\ntable = \"public.accounts\"\nper = \"1h\"\nrows = 2050\n"
                .to_owned(),
        ),
        ..Setup::default()
    };
    let proxy = proxy_with(harness::database().await, setup).await;
    let developer = connect(&proxy.url()).await;
    developer
        .batch_execute(
            "INSERT INTO accounts (email, name) SELECT n || '@own.example', 'n' FROM generate_series(1, 200) n",
        )
        .await
        .unwrap();
    let page = page(&proxy);
    beside(move || {
        let (_, cookie) = session(&page, "dev1", "secret");
        let cookie = cookie.unwrap();
        let get = |path: &str| {
            request(
                &page,
                &format!("GET {path} HTTP/1.1\nHost: localhost\n{cookie}"),
                "",
            )
        };
        let before = get("/budgets");
        assert!(
            before.contains("rows of public.accounts per 1h"),
            "{before}"
        );
        assert!(before.contains(" of 2,050<"), "{before}");
        // It is counted; and in the end it is enough.
        let changes = || get("/changes?on=app&of=default");
        assert!(changes().contains("200 inserted"));
        assert_ne!(get("/budgets"), before);
        let refused = (0..20)
            .map(|_| changes())
            .find(|seen| !seen.contains("200 inserted"))
            .expect("it is never used up");
        assert!(refused.contains("<small>53400</small>"));
    })
    .await;
}
