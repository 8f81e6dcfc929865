//! A load generator that costs little: one thread for all connections, kept open; requests that are ready to send; no more
//! parsing than it takes to find the end of an answer. What it saves is the server's.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::LocalSet,
    time::timeout,
};

use crate::spread::Spread;

/// A request as it goes over the wire.
pub(crate) type Request = Vec<u8>;

/// How long all requests together may take.
const PATIENCE: Duration = Duration::from_secs(120);

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
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(authority: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            answer: Vec::with_capacity(16 * 1024),
        })
    }

    /// Sends a request and reads its answer to the end; only 2xx is success.
    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        let mut end = None;
        while end.is_none_or(|end| self.answer.len() < end) {
            let read = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "the answer broke off");
            if end.is_none() {
                end = end_of(&self.answer)?;
            }
        }
        if self.answer.get(9) != Some(&b'2') {
            bail!("{}", String::from_utf8_lossy(&self.answer));
        }
        Ok(())
    }
}

/// Where an answer ends, once its head is there.
fn end_of(answer: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = str::from_utf8(answer.get(..head).unwrap_or_default())?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>())
    });
    let length = length.context("an answer that tells its length")??;
    Ok(Some(head + 4 + length))
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Tasks of this thread may not borrow; the copy is made before the clock starts.
    let requests: Rc<[Request]> = requests.into();
    let before = cpu_us()?;
    let begun = Instant::now();
    let all = runtime.block_on(async {
        // Made inside, where there is a clock.
        timeout(PATIENCE, exchange_all(authority, requests, clients)).await
    });
    let samples = all.context("the load took longer than two minutes")??;
    let took = begun.elapsed().as_secs_f64();
    let used = cpu_us()? - before;
    let count = samples.len() as f64;
    Ok(Outcome {
        per_second: count / took,
        cpu_us: used as f64 / count,
        latency: Spread::of(samples),
    })
}

/// Each connection takes the next request when it has its answer; gives how long each took.
async fn exchange_all(
    authority: &str,
    requests: Rc<[Request]>,
    clients: usize,
) -> anyhow::Result<Vec<Duration>> {
    let next = Rc::new(Cell::new(0));
    let local = LocalSet::new();
    let work = |authority: String| {
        let (requests, next) = (requests.clone(), next.clone());
        async move {
            let mut connection = Connection::open(&authority).await?;
            let mut samples = Vec::new();
            while let Some(request) = requests.get(next.replace(next.get() + 1)) {
                let sent = Instant::now();
                connection.exchange(request).await?;
                samples.push(sent.elapsed());
            }
            Ok::<_, anyhow::Error>(samples)
        }
    };
    let workers: Vec<_> = (0..clients)
        .map(|_| local.spawn_local(work(authority.to_owned())))
        .collect();
    local
        .run_until(async move {
            let mut all = Vec::new();
            for worker in workers {
                all.extend(worker.await??);
            }
            Ok(all)
        })
        .await
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
