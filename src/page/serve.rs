//! Connections to the page: TLS, HTTP/1.1, and the names by which it may be called.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::answer::sorry;
use super::route::Page;
use super::{House, PageSettings};
use crate::wire::socket::Socket;

/// So many connections at a time; a browser has a handful.
const CONNECTIONS: usize = 100;
/// How long a TLS handshake, and a request's head, may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest head of a request, in bytes.
const HEAD: usize = 16 << 10;
/// What HTTP is called in TLS' ALPN (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

impl PageSettings {
    /// Listens, and says what to type into a browser on this machine.
    ///
    /// # Errors
    /// The address is in use, or none of this machine.
    pub async fn bind(&self) -> io::Result<(TcpListener, String)> {
        let listener = TcpListener::bind(self.listen.address).await?;
        let scheme = match self.listen.tls {
            Some(_) => "https",
            None => "http",
        };
        let url = format!("{scheme}://{}/", listener.local_addr()?);
        Ok((listener, url))
    }
}

/// Serves the page until `stop`.
pub async fn serve(
    listener: TcpListener,
    settings: PageSettings,
    house: Arc<dyn House>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let tls = settings.listen.tls.as_ref().map(|tls| tls.with_alpn(ALPN));
    let page = Arc::new(Page::new(settings, house));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors: the next accept would fail at once, too.
                tracing::error!(%error, "a connection to the page could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            continue;
        };
        if tls.is_none() && !page.settings.listen.accepts_plaintext_from(peer.ip()) {
            continue;
        }
        let (page, stop, tls) = (page.clone(), stop.clone(), tls.clone());
        tokio::spawn(async move {
            let socket = match tls {
                None => Some(Socket::Tcp(tcp)),
                Some(tls) => {
                    let accepted = tokio::time::timeout(PATIENCE, tls.accept(tcp)).await;
                    accepted.ok().and_then(Result::ok)
                }
            };
            if let Some(socket) = socket {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = connection(socket, peer, page) => {}
                }
            }
            drop(place);
        });
    }
}

async fn connection(socket: Socket, peer: SocketAddr, page: Arc<Page>) {
    let service = service_fn(move |request| {
        let page = page.clone();
        async move {
            Ok::<_, Infallible>(if is_ours(&request, &page.settings) {
                page.answer(request, peer).await
            } else {
                sorry(
                    StatusCode::MISDIRECTED_REQUEST,
                    "This is not the name of this page",
                    "Use its address, or let [page] names in the proxy's configuration have this name.",
                )
            })
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(socket), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a connection to the page ended");
    }
}

/// Does the request name a host that is ours? A browser that was told by somebody else's DNS that their name is at our address, names
/// theirs.
fn is_ours(request: &Request<Incoming>, settings: &PageSettings) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    host.to_str()
        .is_ok_and(|host| is_name_of(host, settings.listen.address, &settings.names))
}

fn is_name_of(host: &str, address: SocketAddr, names: &[String]) -> bool {
    let Ok(authority) = host.parse::<hyper::http::uri::Authority>() else {
        return false;
    };
    let host = authority.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<std::net::IpAddr>() {
        // An address is no name that DNS could turn.
        Ok(ip) => ip == address.ip() || ip.is_loopback() || address.ip().is_unspecified(),
        Err(_) => {
            host.eq_ignore_ascii_case("localhost")
                || names.iter().any(|name| host.eq_ignore_ascii_case(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        let names = ["devinprod.example.com".to_owned()];
        let loopback: SocketAddr = "127.0.0.1:6480".parse().unwrap();
        let all: SocketAddr = "[::]:6480".parse().unwrap();
        for (host, address, expected) in [
            ("127.0.0.1:6480", loopback, true),
            ("localhost:6480", loopback, true),
            ("LOCALHOST", loopback, true),
            ("[::1]:6480", loopback, true),
            ("devinprod.example.com", loopback, true),
            ("192.0.2.7:6480", all, true),
            ("192.0.2.7:6480", loopback, false),
            ("evil.example.com:6480", loopback, false),
            ("localhost.evil.example.com", loopback, false),
            ("127.0.0.1.evil.example.com", all, false),
            ("x@evil.example.com", loopback, false),
            ("", loopback, false),
        ] {
            assert_eq!(is_name_of(host, address, &names), expected, "{host:?}");
        }
    }
}
