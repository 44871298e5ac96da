//! Brings checkpoints to their second place. It never holds the log up: what cannot be delivered is tried again, and
//! the log gets a note of it.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::CertificateDer;

use super::desk::{Desk, Next};
use super::event::{Event, EventKind};
use super::post::post;
use super::settings::{AuditSettings, SecondPlace, Syslog};
use super::time::Utc;

/// How many checkpoints may wait; of more, the oldest are dropped, as each later one binds all that came before it.
const WAITING: usize = 1_024;
/// The pause after a failure; doubled with each, up to the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long one delivery may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the last delivery.
const GOODBYE: Duration = Duration::from_secs(2);

/// The lines that wait.
type Waiting = VecDeque<Arc<[u8]>>;

/// Takes checkpoints and brings them on in a thread of its own.
#[derive(Debug)]
pub(super) struct Courier {
    /// None: there is no second place.
    desk: Option<Arc<Desk<Waiting>>>,
}

impl Courier {
    /// Starts the thread, if there is a second place.
    pub fn start(settings: &AuditSettings) -> Self {
        if matches!(settings.checkpoints, SecondPlace::Nowhere) {
            return Self { desk: None };
        }
        let place = settings.checkpoints.clone();
        let authorities = settings.authorities.clone();
        let desk = Desk::start(
            "checkpoints",
            Waiting::new(),
            move |desk| run(desk, &place, &authorities),
            |reason| EventKind::SecondPlaceLost { reason },
        );
        Self { desk: Some(desk) }
    }

    /// Takes a checkpoint's line.
    pub fn carry(&self, line: Vec<u8>) {
        let Some(desk) = &self.desk else { return };
        desk.with(|waiting| {
            if waiting.len() >= WAITING {
                waiting.pop_front();
            }
            waiting.push_back(line.into());
        });
    }

    /// What should be noted in the log since the last call.
    pub fn news(&self) -> Vec<Event> {
        let news = self.desk.as_ref().map(|desk| desk.news());
        news.unwrap_or_default()
            .into_iter()
            .map(Event::now)
            .collect()
    }

    /// Waits, not for long, until everything is delivered.
    pub fn finish(&self) {
        let Some(desk) = &self.desk else { return };
        desk.end();
        desk.wait(Instant::now() + GOODBYE);
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        if let Some(desk) = &self.desk {
            desk.end();
        }
    }
}

/// What the thread does.
fn run(desk: &Desk<Waiting>, place: &SecondPlace, authorities: &[CertificateDer<'_>]) {
    let mut pause = PAUSE;
    let mut lost = false;
    let first = |waiting: &mut Waiting, _| match waiting.front() {
        Some(line) => Next::Do(line.clone()),
        None => Next::Wait,
    };
    while let Some(line) = desk.next(first) {
        match deliver(place, authorities, &line) {
            Ok(()) => {
                pause = PAUSE;
                desk.with(|waiting| {
                    // Only if it is still the first: it may have been dropped for room.
                    if waiting
                        .front()
                        .is_some_and(|first| Arc::ptr_eq(first, &line))
                    {
                        waiting.pop_front();
                    }
                });
                if std::mem::take(&mut lost) {
                    desk.note(EventKind::SecondPlaceBack);
                }
            }
            Err(error) => {
                tracing::warn!(%place, %error, "a checkpoint could not be brought to its second place");
                if !std::mem::replace(&mut lost, true) {
                    let reason = error.to_string();
                    desk.note(EventKind::SecondPlaceLost { reason });
                }
                if desk.rest(pause) {
                    break;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn deliver(place: &SecondPlace, authorities: &[CertificateDer<'_>], line: &[u8]) -> io::Result<()> {
    match place {
        SecondPlace::Nowhere => Ok(()),
        SecondPlace::File(path) => append(path, line),
        SecondPlace::Http(url) => send_post(url, authorities, line),
        SecondPlace::Syslog(syslog) => send(syslog, line),
    }
}

fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    // A line that was cut short is left as it is; readers skip it.
    file.write_all(&[line, b"\n"].concat())?;
    file.sync_data()
}

fn send_post(url: &url::Url, authorities: &[CertificateDer<'_>], line: &[u8]) -> io::Result<()> {
    let answer = post(url, None, line, authorities, PATIENCE)?;
    match answer.is_success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("it answered {}", answer.status))),
    }
}

fn send(syslog: &Syslog, line: &[u8]) -> io::Result<()> {
    let message = syslog_message(line, SystemTime::now());
    match syslog {
        Syslog::Udp(address) => {
            let any: SocketAddr = match address {
                SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
                SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
            };
            let socket = std::net::UdpSocket::bind(any)?;
            socket.send_to(&message, address).map(|_| ())
        }
        Syslog::Tcp(address) => {
            let mut stream = std::net::TcpStream::connect_timeout(address, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let mut frame = format!("{} ", message.len()).into_bytes();
            frame.extend_from_slice(&message);
            stream.write_all(&frame)?;
            stream.shutdown(std::net::Shutdown::Write)
        }
        Syslog::Unix(path) => {
            let socket = std::os::unix::net::UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(PATIENCE))?;
            socket.send_to(&message, path).map(|_| ())
        }
    }
}

/// Facility 13 (log audit), severity 6 (informational), as [RFC 5424, 6](https://www.rfc-editor.org/rfc/rfc5424#section-6)
/// has it: no host name, which is not known for sure, no structured data.
fn syslog_message(line: &[u8], now: SystemTime) -> Vec<u8> {
    let header = format!(
        "<{}>1 {} - devinprod {} checkpoint - ",
        13 * 8 + 6,
        Utc(now),
        std::process::id()
    );
    let mut message = header.into_bytes();
    message.extend_from_slice(line);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read};
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixDatagram;

    const LINE: &[u8] = br#"{"metadata":{}}"#;

    fn check_syslog(message: &[u8]) {
        let text = std::str::from_utf8(message).unwrap();
        assert!(text.starts_with("<110>1 20"), "{text}");
        let id = std::process::id();
        let end = format!(" - devinprod {id} checkpoint - {{\"metadata\":{{}}}}");
        assert!(text.ends_with(&end), "{text}");
    }

    #[test]
    fn syslog_over_udp_and_a_local_socket() {
        let mut buffer = [0; 2_048];
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let place = Syslog::Udp(server.local_addr().unwrap());
        send(&place, LINE).unwrap();
        let length = server.recv(&mut buffer).unwrap();
        check_syslog(&buffer[..length]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let server = UnixDatagram::bind(&path).unwrap();
        send(&Syslog::Unix(path), LINE).unwrap();
        let length = server.recv(&mut buffer).unwrap();
        check_syslog(&buffer[..length]);
    }

    #[test]
    fn syslog_over_tcp_counts_its_octets() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Syslog::Tcp(server.local_addr().unwrap());
        send(&place, LINE).unwrap();
        let mut text = String::new();
        server
            .accept()
            .unwrap()
            .0
            .read_to_string(&mut text)
            .unwrap();
        let (length, message) = text.split_once(' ').unwrap();
        assert_eq!(length.parse(), Ok(message.len()));
        check_syslog(message.as_bytes());
    }

    /// Answers one request with this status; gives the request.
    fn answer_one(server: TcpListener, status: &'static str) -> std::thread::JoinHandle<String> {
        std::thread::spawn(move || {
            let (stream, _) = server.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") {
                reader.read_line(&mut request).unwrap();
            }
            let mut body = vec![0; LINE.len()];
            reader.read_exact(&mut body).unwrap();
            request.push_str(std::str::from_utf8(&body).unwrap());
            let answer = format!(
                "HTTP/1.1 {status} Status\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            (&stream).write_all(answer.as_bytes()).unwrap();
            request
        })
    }

    #[test]
    fn http_is_one_post_each_and_says_no_token_when_it_fails() {
        let place = |server: &TcpListener| {
            let address = server.local_addr().unwrap();
            url::Url::parse(&format!("http://{address}/in?token=s3cret")).unwrap()
        };
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = place(&server);
        let answered = answer_one(server, "204");
        send_post(&url, &[], LINE).unwrap();
        let request = answered.join().unwrap();
        assert!(
            request.starts_with("POST /in?token=s3cret HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.ends_with("\r\n\r\n{\"metadata\":{}}"), "{request}");
        // A redirect has not taken it.
        for status in ["500", "302"] {
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = place(&server);
            let answered = answer_one(server, status);
            let error = send_post(&url, &[], LINE).unwrap_err().to_string();
            answered.join().unwrap();
            assert_eq!(error, format!("it answered {status}"));
        }
        let nobody = send_post(&url, &[], LINE).unwrap_err().to_string();
        assert!(!nobody.contains("s3cret"), "{nobody}");
    }

    #[test]
    fn what_fails_is_tried_again_in_order_and_noted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/there/yet");
        let courier = Courier::start(&AuditSettings {
            checkpoints: SecondPlace::File(path.clone()),
            ..AuditSettings::in_folder(folder.path())
        });
        courier.carry(b"one".to_vec());
        courier.carry(b"two".to_vec());
        let wait_for = |expected: &EventKind| {
            let same = |event: &Event| {
                std::mem::discriminant(&event.kind) == std::mem::discriminant(expected)
            };
            while !courier.news().iter().any(same) {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        wait_for(&EventKind::SecondPlaceLost {
            reason: String::new(),
        });
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        wait_for(&EventKind::SecondPlaceBack);
        courier.finish();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\n");
    }
}
