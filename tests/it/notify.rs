//! Notifications, brought to servers that answer, fail, hang, close or lie.

use std::io;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use devinprod::audit::search::{Filter, search};
use devinprod::audit::{Event, EventKind, Sink};
use devinprod::config::Config;
use devinprod::notify::{Alert, Notifier, State, Tap, Timing, Topic};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use super::chaos_kit::{closed_port, developers, eventually, unsealed_upstream};
use super::harness;
use super::harness::wire::Client;
use super::notify_kit::{Does, MailServer, Web};
use super::process_kit::Process;

/// As the real ones, but nobody waits for seconds.
const TIMING: Timing = Timing {
    patience: Duration::from_secs(30),
    pause: Duration::from_millis(10),
    longest_pause: Duration::from_millis(40),
    give_up: Duration::from_secs(60),
    goodbye: Duration::from_millis(50),
};

const UPSTREAM: &str =
    "[[upstream]]\nname = \"shop\"\nurl = \"postgres://p@h/d\"\nstage = \"local\"\n";

/// A notifier with these `[[notify]]` sections.
fn notifier(sections: &str) -> Notifier {
    let text = format!("{UPSTREAM}{sections}");
    let environment = |name: &str| (name == "TOKEN").then(|| "12:secret-token".to_owned());
    let loaded = Config::parse(Path::new("test.toml"), &text, &environment);
    let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
    Notifier::start(&loaded.config.notify, TIMING)
}

fn webhook(name: &str, web: &Web) -> String {
    let url = web.url("/hook");
    format!("[[notify]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"{url}\"\n")
}

fn seal_open(upstream: &str) -> Event {
    Event::now(EventKind::SealOpen {
        what: "a hole".to_owned(),
    })
    .upstream(upstream)
    .stage("prod")
}

/// What the notifier notes in the log, as soon as there is something.
async fn news(notifier: &Notifier) -> Vec<EventKind> {
    let found = Mutex::new(Vec::new());
    eventually("it has something to note", async || {
        found
            .lock()
            .unwrap()
            .extend(notifier.news().into_iter().map(|event| event.kind));
        !found.lock().unwrap().is_empty()
    })
    .await;
    found.into_inner().unwrap()
}

#[tokio::test]
async fn a_message_is_sent_again_until_it_is_taken() {
    let web = Web::start(vec![
        Does::status(500),
        Does::Closes,
        Does::status(429),
        Does::status(200),
    ]);
    let notifier = notifier(&webhook("team", &web));
    notifier.see(&[seal_open("shop")]);
    let first = web.next();
    assert_eq!(first.line, "POST /hook HTTP/1.1");
    assert_eq!(first.json["event"], "seal");
    assert_eq!(first.json["state"], "trouble");
    assert_eq!(first.json["upstream"], "shop");
    assert_eq!(first.json["stage"], "prod");
    for _ in 0..3 {
        assert_eq!(web.next().json, first.json);
    }
    // It was taken, so the next one is another, and nothing was lost.
    notifier.see(&[seal_open("other")]);
    let next = web.next();
    assert_eq!(
        (&next.json["upstream"], &next.json["lost"]),
        (&"other".into(), &0.into())
    );
}

#[tokio::test]
async fn repeats_are_one_message_and_what_follows_a_loss_says_so() {
    let web = Web::start(vec![
        Does::status(200),
        Does::status(410),
        Does::status(200),
    ]);
    let sections = webhook("team", &web) + "quiet = \"300ms\"\n";
    let notifier = notifier(&sections);
    let events: Vec<Event> = (0..13).map(|_| seal_open("shop")).collect();
    notifier.see(&events[..1]);
    assert_eq!(web.next().json["times"], 1);
    notifier.see(&events[1..]);
    // These are refused for good.
    assert_eq!(web.next().json["times"], 12);
    let [EventKind::NotifyLost { name, reason }] = &news(&notifier).await[..] else {
        panic!("it is noted, once");
    };
    assert_eq!(
        (name.as_str(), reason.as_str()),
        ("team", "it answered 410")
    );
    notifier.see(&events[..1]);
    let last = web.next();
    assert_eq!(
        (&last.json["times"], &last.json["lost"]),
        (&1.into(), &12.into())
    );
    assert!(matches!(
        &news(&notifier).await[..],
        [EventKind::NotifyBack { .. }]
    ));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_not_taken_for_an_answer() {
    let elsewhere = Web::start(vec![Does::status(200)]);
    let location = format!("location: {}\r\n", elsewhere.url("/login"));
    let web = Web::start(vec![
        Does::Answers(302, location, String::new()),
        Does::status(200),
    ]);
    let notifier = notifier(&webhook("team", &web));
    notifier.see(&[seal_open("shop")]);
    web.next();
    assert!(matches!(
        &news(&notifier).await[..],
        [EventKind::NotifyLost { .. }]
    ));
    notifier.see(&[seal_open("shop")]);
    assert_eq!(web.next().json["lost"], 1);
    assert!(elsewhere.is_quiet());
}

#[tokio::test]
async fn a_dead_channel_is_noted_once_and_others_are_told() {
    let port = closed_port().await;
    let web = Web::start(vec![Does::status(200)]);
    let sections = format!(
        "[[notify]]\nname = \"dead\"\nkind = \"slack\"\nurl = \"http://127.0.0.1:{port}/secret-path\"\n{}",
        webhook("team", &web)
    );
    let notifier = notifier(&sections);
    let mut log = Tap::new(Kept::default(), notifier);
    log.write(&[seal_open("shop")]).unwrap();
    assert_eq!(web.next().json["event"], "seal");
    let mut noted = Vec::new();
    while noted.is_empty() {
        noted = log.tend().unwrap();
    }
    let text = format!("{noted:?}");
    assert!(
        matches!(&noted[..], [Event { kind: EventKind::NotifyLost { name, .. }, .. }] if name == "dead")
    );
    assert!(!text.contains("secret"), "{text}");
    let told = web.next();
    assert_eq!(told.json["event"], "notify");
    assert_eq!(told.says(), "the notification dead cannot be delivered");
    // It goes on trying, and says no more of it.
    for n in 0..20 {
        log.write(&[seal_open(&n.to_string())]).unwrap();
        assert!(log.tend().unwrap().is_empty());
        web.next();
    }
}

#[tokio::test]
async fn who_hangs_holds_nobody_up_and_what_waits_for_it_is_bounded() {
    let (hangs, web) = (
        Web::start(vec![Does::Hangs]),
        Web::start(vec![Does::status(200)]),
    );
    let limits = "per_hour = 100000\n";
    let sections = [webhook("hangs", &hangs), webhook("team", &web)].map(|one| one + limits);
    let notifier = notifier(&sections.concat());
    let mut log = Tap::new(Kept::default(), notifier.clone());
    log.write(&[seal_open("first")]).unwrap();
    hangs.next();
    web.next();
    for n in 0..100 {
        log.write(&[seal_open(&n.to_string())]).unwrap();
        assert_eq!(web.next().json["upstream"], n.to_string());
    }
    // Far more than it keeps.
    let flood: Vec<Event> = (0..50_000).map(|n| seal_open(&format!("s{n}"))).collect();
    log.write(&flood).unwrap();
    let held = format!("{notifier:?}").matches("subject").count();
    assert!((100..2_000).contains(&held), "{held}");
    log.close().unwrap();
    assert!(hangs.is_quiet());
}

#[tokio::test]
async fn new_settings_are_taken_in_and_old_ones_go_on() {
    let webs = [0, 1, 2].map(|_| Web::start(vec![Does::status(200)]));
    let [kept, old, new] = &webs;
    let notifier = notifier(&(webhook("kept", kept) + &webhook("old", old)));
    notifier.see(&[seal_open("shop")]);
    kept.next();
    old.next();
    let text = format!("{UPSTREAM}{}{}", webhook("new", new), webhook("kept", kept));
    let loaded = Config::parse(Path::new("test.toml"), &text, &|_| None).unwrap();
    notifier.reload(&loaded.config.notify);
    notifier.see(&[seal_open("shop"), seal_open("other")]);
    for _ in ["shop", "other"] {
        new.next();
    }
    // The one that was kept knows what it has told.
    assert_eq!(kept.next().json["upstream"], "other");
    notifier.finish();
    assert!(kept.is_quiet() && old.is_quiet());
}

/// A log that fails when it is told to.
#[derive(Debug, Default, Clone)]
struct Kept {
    broken: Arc<Mutex<bool>>,
    written: Arc<Mutex<Vec<Event>>>,
}

impl Kept {
    fn works(&self) -> io::Result<()> {
        match *self.broken.lock().unwrap() {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl Sink for Kept {
    fn write(&mut self, events: &[Event]) -> io::Result<()> {
        self.works()?;
        self.written.lock().unwrap().extend_from_slice(events);
        Ok(())
    }

    fn tend(&mut self) -> io::Result<Vec<Event>> {
        self.works().map(|()| Vec::new())
    }
}

#[tokio::test]
async fn a_log_that_fails_is_told_once_and_nothing_is_told_that_is_not_on_record() {
    let web = Web::start(vec![Does::status(200)]);
    let log = Kept::default();
    let mut tap = Tap::new(log.clone(), notifier(&webhook("team", &web)));
    *log.broken.lock().unwrap() = true;
    for _ in 0..5 {
        tap.write(&[seal_open("shop")]).unwrap_err();
        tap.tend().unwrap_err();
    }
    let told = web.next();
    assert_eq!(
        (&told.json["event"], &told.json["state"]),
        (&"audit".into(), &"trouble".into())
    );
    *log.broken.lock().unwrap() = false;
    tap.write(&[seal_open("shop")]).unwrap();
    let told = web.next();
    assert_eq!(
        (&told.json["event"], &told.json["state"]),
        (&"audit".into(), &"over".into())
    );
    assert_eq!(web.next().json["event"], "seal");
    tap.close().unwrap();
    assert!(web.is_quiet());
}

#[tokio::test]
async fn each_kind_has_its_form() {
    let web = Web::start(vec![Does::status(200)]);
    let url = web.url("");
    let sections = format!(
        "[[notify]]\nname = \"a\"\nkind = \"webhook\"\nurl = \"{url}/hook?x=1\"\ntoken_env = \"TOKEN\"\nevents = [\"seal\"]\n\
         [[notify]]\nname = \"b\"\nkind = \"slack\"\nurl = \"{url}/services/T0\"\nevents = [\"budget\"]\n\
         [[notify]]\nname = \"c\"\nkind = \"telegram\"\nurl = \"{url}/api\"\ntoken_env = \"TOKEN\"\nchat = \"-100\"\nevents = [\"ledger\"]\n"
    );
    let notifier = notifier(&sections);
    let tell = |topic| {
        let time = SystemTime::now();
        notifier.tell(&Alert::new(topic, State::Trouble, "s", "<it>", "do", time));
        web.next()
    };
    let request = tell(Topic::Seal);
    assert_eq!(request.line, "POST /hook?x=1 HTTP/1.1");
    let bearer = "authorization: Bearer 12:secret-token".to_owned();
    assert!(request.headers.contains(&bearer), "{:?}", request.headers);
    assert_eq!(request.json["title"], "<it>");
    let request = tell(Topic::Budget);
    assert_eq!(request.line, "POST /services/T0 HTTP/1.1");
    assert!(request.says().starts_with("&lt;it&gt;\n"));
    let request = tell(Topic::Ledger);
    assert_eq!(
        request.line,
        "POST /api/bot12:secret-token/sendMessage HTTP/1.1"
    );
    assert_eq!(request.json["chat_id"], "-100");
    assert!(request.says().starts_with("<it>\n"));
}

fn mail(port: u16, query: &str) -> String {
    format!(
        "[[notify]]\nname = \"mail\"\nkind = \"smtp\"\nurl = \"smtp://bot:pa%20ss@localhost:{port}{query}\"\n\
         from = \"devinprod <devinprod@example.com>\"\nto = [\"a@example.com\", \"b@example.com\"]\n"
    )
}

#[tokio::test]
async fn mail_is_sent_again_until_it_is_taken() {
    let server = MailServer::start(&[451, 250], None);
    let notifier = notifier(&mail(server.port, "?tls=none"));
    notifier.see(&[seal_open("shop")]);
    let first = server.next();
    assert!(
        first.contains("Subject: [devinprod] the seal of shop is open"),
        "{first}"
    );
    assert!(
        first.contains("To: a@example.com, b@example.com"),
        "{first}"
    );
    assert!(first.contains("what to do:"), "{first}");
    assert!(!first.contains("pa ss"), "{first}");
    server.next();
    assert!(server.has_seen("RCPT TO:<b@example.com>"));
    assert!(server.has_seen("AUTH PLAIN"));
    notifier.finish();
}

/// Runs `devinprod notify` with this configuration, in this folder.
fn command(folder: &Path, sections: &str, arguments: &[&str]) -> Output {
    let file = folder.join("devinprod.toml");
    std::fs::write(&file, format!("{UPSTREAM}{sections}")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_devinprod"))
        .arg("notify")
        .args(arguments)
        .arg("--config")
        .arg(&file)
        .env("TOKEN", "12:secret-token")
        .env("SSL_CERT_FILE", folder.join("ca.pem"))
        .output()
        .unwrap()
}

fn said(output: &Output) -> (bool, String) {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.success(), String::from_utf8(both).unwrap())
}

#[test]
fn a_test_says_what_came_back_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let body = "no bot12:secret-token here\nat all";
    let fails = Web::start(vec![Does::Answers(401, String::new(), body.to_owned())]);
    let takes = Web::start(vec![Does::Answers(200, String::new(), "ok".to_owned())]);
    let sections = format!(
        "{}[[notify]]\nname = \"bot\"\nkind = \"telegram\"\nurl = \"{}\"\ntoken_env = \"TOKEN\"\nchat = \"1\"\n",
        webhook("team", &takes),
        fails.url("/")
    );
    let run = |arguments: &[&str]| said(&command(folder.path(), &sections, arguments));
    assert_eq!(
        run(&["test", "team"]),
        (
            true,
            "team (webhook): delivered, it answered 200: ok\n".to_owned()
        )
    );
    assert_eq!(takes.next().json["event"], "test");
    let (well, text) = run(&["test"]);
    assert!(!well);
    assert!(text.contains("team (webhook): delivered"), "{text}");
    assert!(
        text.contains("bot (telegram): not delivered: it answered 401: no bot… here"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
    let (well, text) = run(&["test", "nobody"]);
    assert!(
        !well && text.contains("hint: there are: team, bot"),
        "{text}"
    );
    assert_eq!(
        run(&["list"]).1,
        "notification team (webhook): everything\nnotification bot (telegram): everything\n"
    );
}

#[test]
fn mail_goes_after_starttls_to_a_server_that_is_trusted_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![key.cert.der().clone()],
            PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let server = MailServer::start(&[250], Some(Arc::new(tls)));
    let run = |port| said(&command(folder.path(), &mail(port, ""), &["test"]));
    let ca = folder.path().join("ca.pem");

    std::fs::write(&ca, "").unwrap();
    let (well, text) = run(server.port);
    assert!(!well && text.contains("not delivered"), "{text}");
    assert!(server.has_seen("STARTTLS") && !server.has_seen("AUTH"));

    std::fs::write(&ca, key.cert.pem()).unwrap();
    let (well, text) = run(server.port);
    assert!(
        well && text.contains("delivered, it answered 250 that is it"),
        "{text}"
    );
    assert!(server.next().contains("This is a test"));
    assert!(server.has_seen("AUTH"));

    // Who has no STARTTLS hears neither the password nor the message.
    let clear = MailServer::start(&[250], None);
    let (well, text) = run(clear.port);
    assert!(!well && text.contains("not delivered"), "{text}");
    assert!(!clear.has_seen("AUTH") && !clear.has_seen("MAIL"));
}

#[tokio::test]
async fn a_running_proxy_tells_of_refusals_failed_logins_and_lost_upstreams() {
    let database = harness::database().await;
    let (web, hangs) = (
        Web::start(vec![Does::status(200)]),
        Web::start(vec![Does::Hangs]),
    );
    let port = closed_port().await;
    let streak = "streak = 3\n";
    let config = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n{}{}{}{streak}{}[[notify]]\nname = \"dead\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{port}/\"\n",
        unsealed_upstream(
            "app",
            &format!("{}?sslmode=disable", database.url),
            "[upstream.sandbox]\nblock_timeout = \"1s\""
        ),
        developers(&["dev1"]),
        webhook("team", &web),
        webhook("hangs", &hangs),
    );
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start_in(folder.path(), &config, "");

    let mut client = Client::connect(&process.url("dev1")).await;
    for _ in 0..3 {
        client.simple("SELECT lo_export(1, '/tmp/a-literal')").await;
    }
    let told = web.next_with("dev1 was refused 3 times");
    assert_eq!(told.json["event"], "refusals");
    assert_eq!(told.json["developer"], "dev1");
    assert_eq!(told.json["upstream"], "app");
    assert!(!told.json.to_string().contains("literal"), "{}", told.json);

    for name in ["dev1", "nobody", "dev1"] {
        let url = process.url(name).replace(":secret@", ":wrong@");
        assert!(Client::try_connect(&url, &[]).await.is_err());
    }
    let told = web.next_with("logins failed 3 times");
    assert_eq!(told.json["event"], "logins");

    let witness = database.connect().await;
    client
        .simple("CREATE TABLE blocked (a int); DROP TABLE blocked")
        .await;
    let ended = witness
        .query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
            &[],
        )
        .await
        .unwrap();
    assert!(!ended.is_empty());
    client.simple("SELECT 1").await;
    let told = web.next_with("broke off the connection of a sandbox of dev1");
    assert_eq!(told.json["event"], "upstream");

    // Two of three hear nothing, and nobody was held up; that one of them is dead is on record.
    web.next_with("the notification dead cannot be delivered");
    assert!(process.stop().success());
    let filter = Filter {
        event: Some("notify_lost".to_owned()),
        ..Filter::default()
    };
    let mut lost = Vec::new();
    search(&folder.path().join("audit"), &filter, |record, _| {
        lost.push(record.unmapped.reason.clone().unwrap());
        io::Result::Ok(())
    })
    .unwrap();
    assert_eq!(lost.len(), 1, "{lost:?}");
}

#[tokio::test]
async fn a_seal_that_is_open_when_the_proxy_starts_is_told_and_that_it_was_closed() {
    let database = harness::database().await;
    let prefix = format!("{}_", database.name);
    let password = harness::seal_database(&database, &prefix).await;
    let admin = database.connect().await;
    let hole = format!("DELETE ON accounts TO {prefix}readers");
    admin.batch_execute(&format!("GRANT {hole}")).await.unwrap();
    let web = Web::start(vec![Does::status(200)]);
    let config = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[[upstream]]\nname = \"app\"\nurl = \"{}?sslmode=disable\"\nstage = \"preprod\"\n\
         role_prefix = \"{prefix}\"\ndevelopers = [\"dev1\"]\n{}{}",
        database.url_as(&format!("{prefix}proxy"), &password),
        developers(&["dev1"]),
        webhook("team", &web),
    );
    let process = Process::start(&config);
    let told = web.next_with("the seal of app is open").json;
    assert_eq!(
        (&told["event"], &told["state"]),
        (&"seal".into(), &"trouble".into())
    );
    assert!(
        told["title"]
            .as_str()
            .unwrap()
            .contains("DELETE on public.accounts"),
        "{told}"
    );
    let refused = Client::try_connect(&process.url("dev1"), &[]).await;
    let refused = refused.unwrap_err().unwrap().line();
    assert!(refused.contains("not safely sealed"), "{refused}");
    admin
        .batch_execute(&format!("REVOKE {}", hole.replace(" TO ", " FROM ")))
        .await
        .unwrap();
    let answer = Client::connect(&process.url("dev1"))
        .await
        .simple("SELECT 1")
        .await;
    assert!(answer.contains("DataRow"), "{answer}");
    let told = web.next_with("the seal of app is whole again").json;
    assert_eq!(told["state"], "over");
}
