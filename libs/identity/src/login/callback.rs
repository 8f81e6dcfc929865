//! The place a browser is redirected to: a listener on the loopback interface that waits for one answer (RFC 8252).
//!
//! Browsers open connections ahead of need, ask for icons and fetch addresses they only expect to be wanted, and other
//! programs of the machine may knock. So connections are served side by side, every one of them bounded, and the listener goes
//! on until an answer with the right path and the right state has come.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::{Host, Url};

use super::answer::{Answer, Expected};
use super::{CALLBACK_PATH, LoginError};

/// Connections served at the same time; further ones wait in the operating system's queue.
const MAX_CONNECTIONS: usize = 32;
/// The longest head of a request.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long one connection may take: a browser's spare connections say nothing for minutes.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(10);
/// Ports tried before giving up; the second loopback address may hold any of them.
const MAX_PORTS_TRIED: u32 = 16;

/// A bound listener.
pub(super) struct Listener {
    first: TcpListener,
    /// `localhost` means two addresses, and a browser tries either first.
    second: Option<TcpListener>,
    path: String,
    redirect_url: String,
}

/// What the listener's connections share.
struct Waiting {
    path: String,
    expected: Expected,
}

impl Listener {
    /// Binds where `redirect` says, or at any port of `localhost`.
    pub(super) async fn bind(redirect: Option<&Url>) -> Result<Self, LoginError> {
        let Some(url) = redirect else {
            let (first, second, port) = bind_any_port().await?;
            return Ok(Self {
                first,
                second,
                path: CALLBACK_PATH.to_owned(),
                redirect_url: format!("http://localhost:{port}{CALLBACK_PATH}"),
            });
        };
        let (first, second) = match fixed_address(url)? {
            Fixed::Address(address) => (bind(address).await?, None),
            Fixed::Localhost(port) => bind_both(port).await?,
        };
        Ok(Self {
            first,
            second,
            path: url.path().to_owned(),
            redirect_url: url.to_string(),
        })
    }

    pub(super) fn redirect_url(&self) -> &str {
        &self.redirect_url
    }

    /// Waits for the answer. The browser has its page before this returns.
    pub(super) async fn answer(self, expected: Expected) -> Result<Answer, LoginError> {
        let waiting = Arc::new(Waiting {
            path: self.path,
            expected,
        });
        let mut connections = JoinSet::new();
        loop {
            let room = connections.len() < MAX_CONNECTIONS;
            let accepted = tokio::select! {
                accepted = self.first.accept(), if room => accepted,
                accepted = accept(self.second.as_ref()), if room => accepted,
                Some(served) = connections.join_next() => {
                    if let Ok(Some(answer)) = served {
                        return Ok(answer);
                    }
                    continue;
                }
            };
            match accepted {
                Ok((stream, _)) => {
                    connections.spawn(served(stream, Arc::clone(&waiting)));
                }
                // Too many open files, say: the next attempt may find room.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

enum Fixed {
    Address(SocketAddr),
    Localhost(u16),
}

fn fixed_address(url: &Url) -> Result<Fixed, LoginError> {
    let refuse = |why| LoginError::redirect(url.as_str(), why);
    if url.scheme() != "http" {
        return Err(refuse("a browser is redirected to this program over http"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it must not have a query or a fragment"));
    }
    let port = url.port_or_known_default().unwrap_or(80);
    match url.host() {
        Some(Host::Domain("localhost")) => Ok(Fixed::Localhost(port)),
        Some(Host::Ipv4(ip)) if ip.is_loopback() => Ok(Fixed::Address((ip, port).into())),
        Some(Host::Ipv6(ip)) if ip.is_loopback() => Ok(Fixed::Address((ip, port).into())),
        _ => Err(refuse(
            "its host is not this machine (localhost, 127.0.0.1 or [::1]); the paste flow can use it",
        )),
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, LoginError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| LoginError::Listen { address, source })
}

/// Both loopback addresses at one port. A port whose other half is somebody else's is refused: the browser might go there.
/// A machine without IPv6 has no other half.
async fn bind_both(port: u16) -> Result<(TcpListener, Option<TcpListener>), LoginError> {
    let first = bind((Ipv4Addr::LOCALHOST, port).into()).await?;
    let port = first.local_addr().map_or(port, |address| address.port());
    match bind((Ipv6Addr::LOCALHOST, port).into()).await {
        Ok(second) => Ok((first, Some(second))),
        Err(LoginError::Listen { address, source })
            if matches!(
                source.kind(),
                ErrorKind::AddrInUse | ErrorKind::PermissionDenied
            ) =>
        {
            Err(LoginError::Listen { address, source })
        }
        Err(_) => Ok((first, None)),
    }
}

async fn bind_any_port() -> Result<(TcpListener, Option<TcpListener>, u16), LoginError> {
    let mut tried = 0;
    loop {
        tried += 1;
        match bind_both(0).await {
            Ok((first, second)) => {
                let port = first.local_addr().map(|address| address.port());
                let port = port.map_err(|source| LoginError::Listen {
                    address: (Ipv4Addr::LOCALHOST, 0).into(),
                    source,
                })?;
                return Ok((first, second, port));
            }
            Err(error) if tried >= MAX_PORTS_TRIED => return Err(error),
            Err(_) => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> std::io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn served(stream: TcpStream, waiting: Arc<Waiting>) -> Option<Answer> {
    let serving = serve(stream, &waiting);
    tokio::time::timeout(CONNECTION_PATIENCE, serving)
        .await
        .ok()?
        .ok()?
}

/// One request, one answer.
async fn serve(mut stream: TcpStream, waiting: &Waiting) -> std::io::Result<Option<Answer>> {
    let Some(head) = read_head(&mut stream).await? else {
        return Ok(None);
    };
    let (page, answer) = waiting.respond(&head);
    // Whether the browser takes its page or not, what it brought counts.
    let _ = stream.write_all(page.to_http().as_bytes()).await;
    let _ = stream.shutdown().await;
    Ok(answer)
}

/// The bytes up to the empty line; `None` when the other side ends or goes on for too long.
async fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut chunk = [0_u8; 2048];
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(None);
        }
        head.extend(chunk.iter().take(read));
        if head.windows(4).any(|window| window == b"\r\n\r\n") {
            return Ok(String::from_utf8(head).ok());
        }
        if head.len() > MAX_HEAD_BYTES {
            return Ok(None);
        }
    }
}

impl Waiting {
    fn respond(&self, head: &str) -> (Page, Option<Answer>) {
        let mut line = head.lines().next().unwrap_or_default().split(' ');
        let (method, target) = (line.next(), line.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path != self.path {
            return (Page::NOT_FOUND, None);
        }
        if method != Some("GET") {
            return (Page::NOT_ALLOWED, None);
        }
        match self.expected.answer(query) {
            Ok(answer @ Answer::Code(_)) => (Page::DONE, Some(answer)),
            Ok(answer @ Answer::Refused { .. }) => (Page::REFUSED, Some(answer)),
            Err(_) => (Page::NOT_OURS, None),
        }
    }
}

/// What the browser shows.
struct Page {
    status: &'static str,
    title: &'static str,
    text: &'static str,
}

impl Page {
    const DONE: Self = Self {
        status: "200 OK",
        title: "Login received",
        text: "Go back to the program that asked; you can close this page.",
    };
    const REFUSED: Self = Self {
        status: "200 OK",
        title: "Login refused",
        text: "Nothing was signed. The program that asked says why; you can close this page.",
    };
    const NOT_OURS: Self = Self {
        status: "400 Bad Request",
        title: "Not an answer to this login",
        text: "The program goes on waiting for the right one. Start again from the address it shows.",
    };
    const NOT_FOUND: Self = Self {
        status: "404 Not Found",
        title: "Nothing here",
        text: "This address waits for one login only.",
    };
    const NOT_ALLOWED: Self = Self {
        status: "405 Method Not Allowed\r\nAllow: GET",
        title: "Not possible",
        text: "Only GET is understood here.",
    };

    fn to_http(&self) -> String {
        let Self {
            status,
            title,
            text,
        } = self;
        let body = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\"><title>{title}</title></head>\n\
             <body><main><h1>{title}</h1><p>{text}</p></main></body>\n</html>\n"
        );
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\
             Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Security-Policy: default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\r\n{body}",
            body.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        Expected::new("s", "https://issuer.test")
    }

    async fn talk(port: u16, host: &str, request: &str) -> String {
        let mut stream = TcpStream::connect((host, port)).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    #[tokio::test]
    async fn the_right_answer_is_awaited_whatever_else_comes() {
        let listener = Listener::bind(None).await.expect("a free port");
        let url = Url::parse(listener.redirect_url()).expect("a URL");
        assert_eq!(
            (url.host_str(), url.path()),
            (Some("localhost"), "/auth/callback")
        );
        let port = url.port().expect("it has a port");
        let waiting = tokio::spawn(listener.answer(expected()));
        // A spare connection that never says anything, and one that says half of something.
        let _spare = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("it listens");
        let mut half = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("it listens");
        half.write_all(b"GET /auth/ca").await.expect("written");
        for (request, status) in [
            ("GET /favicon.ico HTTP/1.1\r\n\r\n", "404"),
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("POST /auth/callback?code=c&state=s HTTP/1.1\r\n\r\n", "405"),
            ("HEAD /auth/callback?code=c&state=s HTTP/1.1\r\n\r\n", "405"),
            (
                "GET /auth/callback?code=evil&state=t HTTP/1.1\r\n\r\n",
                "400",
            ),
            ("GET /auth/callback HTTP/1.1\r\n\r\n", "400"),
        ] {
            let answer = talk(port, "127.0.0.1", request).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{request}: {answer}"
            );
            assert!(!waiting.is_finished(), "{request}");
        }
        let answer = talk(
            port,
            "127.0.0.1",
            "GET /auth/callback?code=c&state=s HTTP/1.1\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let answer = waiting.await.expect("no panic").expect("an answer");
        assert!(matches!(answer, Answer::Code(code) if code == "c"));
        assert!(
            TcpStream::connect(("127.0.0.1", port)).await.is_err(),
            "nobody listens any more"
        );
    }

    #[tokio::test]
    async fn localhost_is_both_addresses() {
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_err() {
            eprintln!("SKIPPED: this machine has no IPv6");
            return;
        }
        let listener = Listener::bind(None).await.expect("a free port");
        let url = Url::parse(listener.redirect_url()).expect("a URL");
        let port = url.port().expect("it has a port");
        let waiting = tokio::spawn(listener.answer(expected()));
        let answer = talk(
            port,
            "::1",
            "GET /auth/callback?error=access_denied&state=s HTTP/1.1\r\n\r\n",
        )
        .await;
        assert!(answer.contains("Login refused"), "{answer}");
        let answer = waiting.await.expect("no panic").expect("an answer");
        assert!(matches!(answer, Answer::Refused { code, .. } if code == "access_denied"));
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_cut_off() {
        let listener = Listener::bind(None).await.expect("a free port");
        let url = Url::parse(listener.redirect_url()).expect("a URL");
        let port = url.port().expect("it has a port");
        let waiting = tokio::spawn(listener.answer(expected()));
        let mut stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("it listens");
        let endless = vec![b'a'; MAX_HEAD_BYTES * 2];
        let _ = stream.write_all(&endless).await;
        let mut rest = Vec::new();
        // Closed, or reset because of what was left unread.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty() && !waiting.is_finished());
        waiting.abort();
    }

    #[tokio::test]
    async fn a_registered_redirect_is_kept_to_the_letter() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let port = free.local_addr().expect("bound").port();
        drop(free);
        let url = Url::parse(&format!("http://127.0.0.1:{port}/back/here")).expect("a URL");
        let listener = Listener::bind(Some(&url)).await.expect("the port is free");
        assert_eq!(listener.redirect_url(), url.as_str());
        let again = Listener::bind(Some(&url)).await;
        assert!(matches!(again, Err(LoginError::Listen { .. })));
        let waiting = tokio::spawn(listener.answer(expected()));
        talk(
            port,
            "127.0.0.1",
            "GET /back/here?code=c&state=s HTTP/1.1\r\n\r\n",
        )
        .await;
        assert!(waiting.await.expect("no panic").is_ok());
    }

    #[tokio::test]
    async fn a_redirect_to_elsewhere_is_refused() {
        for url in [
            "https://localhost:1/a",
            "http://example.com:1/a",
            "http://192.168.0.1:1/a",
            "http://localhost.evil.test:1/a",
            "http://localhost:1/a?b",
        ] {
            let url = Url::parse(url).expect("a URL");
            let refused = Listener::bind(Some(&url)).await;
            assert!(matches!(refused, Err(LoginError::Redirect { .. })), "{url}");
        }
    }
}
