//! Servers that notifications go to: they answer, fail, hang, close.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// No test waits longer for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a web server does with a request.
#[derive(Debug, Clone)]
pub enum Does {
    /// Answers with this status, these further headers and this body.
    Answers(u16, String, String),
    /// Takes the request and never answers.
    Hangs,
    /// Takes the request and closes.
    Closes,
}

impl Does {
    /// Answers with this status.
    pub fn status(status: u16) -> Self {
        Self::Answers(status, String::new(), String::new())
    }
}

/// What a web server got.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST /path HTTP/1.1`
    pub line: String,
    /// Lower-case names.
    pub headers: Vec<String>,
    /// The body.
    pub json: serde_json::Value,
}

impl Request {
    /// The title, or the text, whichever it has.
    pub fn says(&self) -> String {
        let json = &self.json;
        let text = json.get("title").or_else(|| json.get("text"));
        text.and_then(|text| text.as_str()).unwrap().to_owned()
    }
}

/// A web server on this machine.
pub struct Web {
    /// Its port.
    pub port: u16,
    requests: Receiver<Request>,
}

impl Web {
    /// Does with each request what `script` says in turn, and the last again and again.
    pub fn start(script: Vec<Does>) -> Self {
        Self::start_over(script, None)
    }

    /// The same, over TLS if there is any.
    pub fn start_over(script: Vec<Does>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            let mut script = script.into_iter();
            let mut last = Does::Closes;
            for stream in listener.incoming() {
                last = script.next().unwrap_or(last);
                let (stream, does, sender) = (stream.unwrap(), last.clone(), sender.clone());
                let tls = tls.clone().map(|tls| ServerConnection::new(tls).unwrap());
                std::thread::spawn(move || match tls {
                    Some(tls) => serve(StreamOwned::new(tls, stream), does, sender),
                    None => serve(stream, does, sender),
                });
            }
        });
        Self { port, requests }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The next request.
    #[track_caller]
    pub fn next(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).unwrap()
    }

    /// The first request that says this.
    #[track_caller]
    pub fn next_with(&self, text: &str) -> Request {
        let mut others = Vec::new();
        loop {
            match self.requests.recv_timeout(PATIENCE) {
                Ok(request) if request.says().contains(text) => return request,
                Ok(request) => others.push(request.says()),
                Err(_) => panic!("nothing says {text:?}, but {others:#?}"),
            }
        }
    }

    /// Has nothing come that was not asked for?
    pub fn is_quiet(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

fn serve(stream: impl Read + Write, does: Does, requests: Sender<Request>) {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let length = head
        .iter()
        .find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let _ = requests.send(Request {
        line: head.remove(0),
        headers: head,
        json: serde_json::from_slice(&body).unwrap(),
    });
    match does {
        Does::Answers(status, headers, body) => {
            let length = body.len();
            let _ = write!(
                reader.get_mut(),
                "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
        // Until the other side has had enough.
        Does::Hangs => drop(reader.read(&mut [0])),
        Does::Closes => {}
    }
}

/// A mail server on this machine.
pub struct MailServer {
    /// Its port.
    pub port: u16,
    /// Every line that it got, in clear text or not.
    pub lines: Arc<Mutex<Vec<String>>>,
    letters: Receiver<String>,
}

impl MailServer {
    /// Answers the mails that it gets with these codes in turn, and the last again and again. With `tls` it takes
    /// none before STARTTLS.
    pub fn start(codes: &'static [u16], tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, letters) = channel();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = lines.clone();
        std::thread::spawn(move || {
            let mut codes = codes.iter().copied();
            let mut last = 250;
            for stream in listener.incoming() {
                last = codes.next().unwrap_or(last);
                let _ = talk(stream.unwrap(), last, tls.as_ref(), &seen, &sender);
            }
        });
        Self {
            port,
            lines,
            letters,
        }
    }

    /// The next mail, its lines joined by line feeds.
    #[track_caller]
    pub fn next(&self) -> String {
        self.letters.recv_timeout(PATIENCE).unwrap()
    }

    /// Has any line come that begins like this?
    pub fn has_seen(&self, start: &str) -> bool {
        let lines = self.lines.lock().unwrap();
        lines.iter().any(|line| line.starts_with(start))
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn talk(
    stream: TcpStream,
    code: u16,
    tls: Option<&Arc<ServerConfig>>,
    seen: &Mutex<Vec<String>>,
    letters: &Sender<String>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream: Box<dyn ReadWrite> = Box::new(stream);
    let mut safe = tls.is_none();
    stream.write_all(b"220 here\r\n")?;
    loop {
        let line = line(&mut stream)?;
        seen.lock().unwrap().push(line.clone());
        let answer = match line.split(' ').next().unwrap_or_default() {
            "EHLO" if safe => "250-here\r\n250 AUTH PLAIN LOGIN".to_owned(),
            "EHLO" => "250-here\r\n250 STARTTLS".to_owned(),
            "STARTTLS" => {
                stream.write_all(b"220 go\r\n")?;
                let connection = ServerConnection::new(tls.unwrap().clone()).unwrap();
                stream = Box::new(StreamOwned::new(connection, stream));
                safe = true;
                continue;
            }
            "AUTH" => "235 welcome".to_owned(),
            "DATA" => {
                stream.write_all(b"354 go\r\n")?;
                let mut letter = Vec::new();
                loop {
                    match self::line(&mut stream)? {
                        line if line == "." => break,
                        line => letter.push(line),
                    }
                }
                let _ = letters.send(letter.join("\n"));
                format!("{code} that is it")
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n")?;
                return Ok(());
            }
            _ if safe => "250 fine".to_owned(),
            _ => "530 STARTTLS first".to_owned(),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes())?;
    }
}

fn line(stream: &mut impl Read) -> std::io::Result<String> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        match byte {
            [b'\n'] => return Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            [byte] => line.push(byte),
        }
    }
}
