//! A load generator that costs little: kept connections, requests that are ready to send, and no more parsing than it
//! takes to find the end of an answer. What it saves is the server's.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use crate::spread::Spread;

/// A request as it goes over the wire.
pub(crate) type Request = Vec<u8>;

/// Where requests go: `127.0.0.1:7700` of `http://127.0.0.1:7700/path`, and the path.
pub(crate) fn split(url: &str) -> anyhow::Result<(&str, &str)> {
    let rest = url.strip_prefix("http://").context("a URL of plain HTTP")?;
    let at = rest.find('/').unwrap_or(rest.len());
    Ok(match rest.split_at(at) {
        (authority, "") => (authority, "/"),
        parts => parts,
    })
}

/// A POST in full.
pub(crate) fn post(url: &str, content_type: &str, body: &[u8]) -> anyhow::Result<Request> {
    let (authority, path) = split(url)?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    Ok([head.as_bytes(), body].concat())
}

/// A GET in full.
pub(crate) fn get(url: &str) -> anyhow::Result<Request> {
    let (authority, path) = split(url)?;
    Ok(format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n").into_bytes())
}

/// One kept connection.
struct Connection {
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Connection {
    fn open(authority: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(authority)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            stream: BufReader::new(stream),
            body: Vec::new(),
        })
    }

    /// Sends a request and reads its answer to the end; only 2xx is success.
    fn exchange(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.get_mut().write_all(request)?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.get(9..12).context("a status line")?.to_owned();
        let mut length = None;
        loop {
            line.clear();
            ensure!(
                self.stream.read_line(&mut line)? > 0,
                "the answer broke off"
            );
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse::<usize>()?);
            }
        }
        self.body
            .resize(length.context("an answer that tells its length")?, 0);
        self.stream.read_exact(&mut self.body)?;
        if !status.starts_with('2') {
            bail!("{status}: {}", String::from_utf8_lossy(&self.body));
        }
        Ok(())
    }
}

/// What a load gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) per_second: f64,
    /// Microseconds of the server's processor for each request.
    pub(crate) cpu_us: f64,
    pub(crate) latency: Spread,
}

impl Outcome {
    /// Prints it as a line.
    pub(crate) fn show(&self, name: &str, clients: usize) {
        println!(
            "  {name}, {clients} clients: {:.0} per s, p50 {:.2} p99 {:.2} ms, server CPU {:.0} us each",
            self.per_second,
            self.latency.percentile(50),
            self.latency.percentile(99),
            self.cpu_us
        );
    }
}

/// Sends every request once over `clients` connections. `cpu_us` reads the server's clock.
pub(crate) fn load(
    url: &str,
    requests: &[Request],
    clients: usize,
    cpu_us: &dyn Fn() -> anyhow::Result<u64>,
) -> anyhow::Result<Outcome> {
    let (authority, _) = split(url)?;
    let next = AtomicUsize::new(0);
    let work = || -> anyhow::Result<Vec<Duration>> {
        let mut connection = Connection::open(authority)?;
        let mut samples = Vec::new();
        while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
            let sent = Instant::now();
            connection.exchange(request)?;
            samples.push(sent.elapsed());
        }
        Ok(samples)
    };
    let before = cpu_us()?;
    let begun = Instant::now();
    let samples = thread::scope(|scope| {
        let workers: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("workers do not panic"))
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    let took = begun.elapsed().as_secs_f64();
    let used = cpu_us()? - before;
    let samples: Vec<Duration> = samples.into_iter().flatten().collect();
    let count = samples.len() as f64;
    Ok(Outcome {
        per_second: count / took,
        cpu_us: used as f64 / count,
        latency: Spread::of(samples),
    })
}

/// The outcome whose CPU time is the middle one of `rounds`: other work on the machine disturbs single rounds.
pub(crate) fn middle(
    rounds: usize,
    round: impl FnMut(usize) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    let mut outcomes = (0..rounds).map(round).collect::<anyhow::Result<Vec<_>>>()?;
    outcomes.sort_by(|one, other| one.cpu_us.total_cmp(&other.cpu_us));
    ensure!(rounds > 0, "no round was asked for");
    Ok(outcomes.swap_remove(rounds / 2))
}
