//! A headless Chromium, driven over a pipe by the DevTools protocol; and requests by hand, for what no browser would send.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use serde_json::{Value, json};

/// A browser with one tab; it and its folder go away with this.
pub struct Browser {
    child: Child,
    pipe: RefCell<Pipe>,
    session: String,
    _folder: tempfile::TempDir,
}

struct Pipe {
    to: File,
    from: BufReader<File>,
    next: u64,
}

impl Browser {
    /// Starts one.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let made = Command::new("mkfifo").args([at("in"), at("out")]).status();
        assert!(made.unwrap().success());
        // It reads from descriptor 3 and writes to 4: only a shell can give it those.
        let child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<\"$0/in\" 4>\"$0/out\""])
            .arg(folder.path())
            .args([
                "chromium",
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--window-size=1280,900",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", at("profile").display()))
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = File::options().write(true).open(at("in")).unwrap();
        let from = BufReader::new(File::open(at("out")).unwrap());
        let mut pipe = Pipe { to, from, next: 1 };
        let tab = pipe.ask(None, "Target.createTarget", &json!({"url": "about:blank"}));
        let attached = pipe.ask(
            None,
            "Target.attachToTarget",
            &json!({"targetId": tab["targetId"], "flatten": true}),
        );
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        let browser = Self {
            child,
            pipe: RefCell::new(pipe),
            session,
            _folder: folder,
        };
        browser.ask("Page.enable", &json!({}));
        browser
    }

    fn ask(&self, method: &str, parameters: &Value) -> Value {
        let mut pipe = self.pipe.borrow_mut();
        pipe.ask(Some(&self.session), method, parameters)
    }

    /// Goes to a page, and waits until it is there.
    pub fn open(&self, url: &str) {
        let answer = self.ask("Page.navigate", &json!({"url": url}));
        assert_eq!(answer["errorText"], Value::Null, "{url}");
        self.loaded();
    }

    /// Does something that leads to another page, and waits until that is there.
    pub fn lead(&self, script: &str) {
        self.run(script);
        self.loaded();
    }

    fn loaded(&self) {
        let mut pipe = self.pipe.borrow_mut();
        while pipe.message()["method"] != "Page.loadEventFired" {}
    }

    /// Takes any certificate from now on.
    pub fn trust_anybody(&self) {
        self.ask(
            "Security.setIgnoreCertificateErrors",
            &json!({"ignore": true}),
        );
    }

    /// The cookies that it would send.
    pub fn cookies(&self) -> Value {
        self.ask("Network.getCookies", &json!({}))["cookies"].take()
    }

    /// What a script says.
    pub fn run(&self, script: &str) -> Value {
        let answer = self.ask(
            "Runtime.evaluate",
            &json!({"expression": script, "returnByValue": true}),
        );
        assert_eq!(answer["exceptionDetails"], Value::Null, "{script}");
        answer["result"]["value"].clone()
    }

    /// What a person reads on the page.
    pub fn text(&self) -> String {
        let text = self.run("document.body.innerText");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// The page as it is in the browser.
    pub fn html(&self) -> String {
        let html = self.run("document.documentElement.outerHTML");
        html.as_str().unwrap_or_default().to_owned()
    }

    /// How many elements there are.
    pub fn count(&self, selector: &str) -> u64 {
        let script = format!("document.querySelectorAll({selector:?}).length");
        self.run(&script).as_u64().unwrap()
    }

    /// Fills in the form of the login and sends it.
    pub fn log_in(&self, page: &str, name: &str, password: &str) {
        self.open(page);
        self.lead(&format!(
            "document.querySelector('[name=name]').value = {name:?};
             document.querySelector('[name=password]').value = {password:?};
             document.querySelector('form button').click()"
        ));
    }

    /// Follows the link with this text.
    pub fn follow(&self, text: &str) {
        self.lead(&format!(
            "[...document.links].find(link => link.innerText == {text:?}).click()"
        ));
    }

    /// Keeps a picture of the page where `DEVINPROD_SHOTS` names a folder for them, in both colours.
    pub fn shoot(&self, name: &str) {
        let Some(folder) = std::env::var_os("DEVINPROD_SHOTS") else {
            return;
        };
        for colours in ["light", "dark"] {
            let feature = json!([{"name": "prefers-color-scheme", "value": colours}]);
            self.ask("Emulation.setEmulatedMedia", &json!({"features": feature}));
            let shot = self.ask("Page.captureScreenshot", &json!({"format": "png"}));
            let png = base64::engine::general_purpose::STANDARD
                .decode(shot["data"].as_str().unwrap())
                .unwrap();
            let file = Path::new(&folder).join(format!("{name}-{colours}.png"));
            std::fs::write(file, png).unwrap();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pipe {
    fn ask(&mut self, session: Option<&str>, method: &str, parameters: &Value) -> Value {
        let id = self.next;
        self.next += 1;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        self.to
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        loop {
            let mut answer = self.message();
            if answer["id"] == id {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].take();
            }
        }
    }

    fn message(&mut self) -> Value {
        let mut message = Vec::new();
        self.from.read_until(0, &mut message).unwrap();
        assert_eq!(message.pop(), Some(0), "the browser is gone");
        serde_json::from_slice(&message).unwrap()
    }
}

/// The whole answer to a request, its head first.
pub fn request(page: &str, head: &str, body: &str) -> String {
    let place = page.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut stream = TcpStream::connect(place).unwrap();
    let head = head.replace('\n', "\r\n");
    write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// A form, posted with these headers.
pub fn post(page: &str, path: &str, headers: &str, form: &str) -> String {
    let head = format!(
        "POST {path} HTTP/1.1\n{headers}\nContent-Type: application/x-www-form-urlencoded\nContent-Length: {}",
        form.len()
    );
    request(page, &head, form)
}

/// The value of a cookie that an answer sets.
pub fn set_cookie(answer: &str, name: &str) -> Option<String> {
    answer.lines().find_map(|line| {
        let value = line.strip_prefix("set-cookie: ")?.strip_prefix(name)?;
        let (value, _) = value.strip_prefix('=')?.split_once(';')?;
        Some(value.to_owned())
    })
}

/// Logs in without a browser; the session's cookie, as the header that sends it.
pub fn session(page: &str, name: &str, password: &str) -> (String, Option<String>) {
    let shown = request(page, "GET /login HTTP/1.1\nHost: localhost", "");
    let token = set_cookie(&shown, "devinprod_form").unwrap();
    let answer = post(
        page,
        "/login",
        &format!("Host: localhost\nCookie: devinprod_form={token}"),
        &format!("token={token}&name={name}&password={password}"),
    );
    let cookie = set_cookie(&answer, "devinprod_page");
    (
        answer,
        cookie.map(|cookie| format!("Cookie: devinprod_page={cookie}")),
    )
}
