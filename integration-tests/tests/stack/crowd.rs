//! A crowd at the door: ten thousand connections that say nothing more and a thousand that say it slowly cost bounded memory
//! and no other client.
//!
//! The server starts with the soft limit of open files that shells give, and raises it itself. The crowd comes from many
//! addresses, since one address has only its share. Latencies are printed; what is asserted is that everybody else is
//! answered, that memory stays below a bound, and that the crowd is cut off once its time is over.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sealwright_crypto::{KeyType, PrivateKey};
use sealwright_integration_tests::{Daemon, binary, entry_request, http, skipped};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Connections that send nothing at all, and that rest after an answer.
const SILENT: usize = 5000;
const RESTING: usize = 5000;
/// Connections of each [`Slow`] kind.
const SLOW: usize = 204;
/// Addresses the crowd comes from: 127.0.1.1 and up.
const ADDRESSES: usize = 24;
/// Connections being opened at once; the kernel's queue of the listener holds 1024.
const OPENING: usize = 128;
/// Files that this process needs beside the crowd.
const OTHER_FILES: u64 = 512;
/// What 11,020 connections may add to the server: 32 KiB each, of which two buffers of the HTTP parser are half.
const MAX_GROWTH_KIB: u64 = 11_020 * 32;
/// Between two drops of a slow sender.
const DRIP: Duration = Duration::from_millis(500);
/// By when all are cut: the longest limit is 30 s, for a reader that stalls.
const CUT_BY: Duration = Duration::from_secs(60);

/// Ways to be slow. (A reader that stalls over HTTP/1.1 is missing: the kernel takes any answer of this server whole, so it
/// would not be noticed. The listener's own tests have one.)
#[derive(Clone, Copy, Debug)]
enum Slow {
    Head,
    Body,
    Chunks,
    Http2Head,
    Http2Reader,
}

const WAYS: [Slow; 5] = [
    Slow::Head,
    Slow::Body,
    Slow::Chunks,
    Slow::Http2Head,
    Slow::Http2Reader,
];

/// An HTTP/2 frame on stream 0 or 1.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, stream]);
    frame.extend_from_slice(payload);
    frame
}

/// The preface, with a window of no bytes for answers.
fn http2_opening() -> Vec<u8> {
    let mut opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    opening.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    opening
}

/// HPACK of a GET, without Huffman codes and without the dynamic table.
fn http2_get(path: &str) -> Vec<u8> {
    let literal = |index: u8, value: &str| {
        let length = u8::try_from(value.len()).expect("a short value");
        [&[index, length][..], value.as_bytes()].concat()
    };
    [vec![0x82, 0x86], literal(0x04, path), literal(0x01, "x")].concat()
}

impl Slow {
    /// What is sent at once.
    fn opening(self) -> Vec<u8> {
        const CHECKPOINT: &str = "/api/v2/checkpoint";
        let post =
            "POST /api/v2/log/entries HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        match self {
            Self::Head => b"GET /api/v2/checkpoint HTTP/1.1\r\nhost: x\r\nx-long: ".to_vec(),
            Self::Body => format!("{post}content-length: 1000000\r\n\r\n{{").into_bytes(),
            Self::Chunks => format!("{post}transfer-encoding: chunked\r\n\r\n").into_bytes(),
            // The head does not end here: a CONTINUATION is to follow.
            Self::Http2Head => {
                let headers = frame(1, 0x01, 1, &http2_get(CHECKPOINT));
                [http2_opening(), headers].concat()
            }
            Self::Http2Reader => {
                let headers = frame(1, 0x05, 1, &http2_get(CHECKPOINT));
                [http2_opening(), headers].concat()
            }
        }
    }

    /// What drips after it; nothing from those that only do not read.
    fn drop(self) -> Option<Vec<u8>> {
        match self {
            Self::Head | Self::Body => Some(b"a".to_vec()),
            Self::Chunks => Some(b"1\r\n \r\n".to_vec()),
            Self::Http2Head => Some(frame(9, 0, 1, &[])),
            Self::Http2Reader => None,
        }
    }
}

async fn connect(target: SocketAddr, from: usize) -> anyhow::Result<TcpStream> {
    let octet = u8::try_from(1 + from % ADDRESSES)?;
    let socket = TcpSocket::new_v4()?;
    socket.bind((IpAddr::from([127, 0, 1, octet]), 0).into())?;
    Ok(socket.connect(target).await?)
}

/// Opens `count` connections, each by `open`, a bounded number at once.
async fn gather<F>(count: usize, open: impl Fn(usize) -> F) -> anyhow::Result<Vec<TcpStream>>
where
    F: Future<Output = anyhow::Result<TcpStream>> + Send + 'static,
{
    let (mut opening, mut streams) = (JoinSet::new(), Vec::new());
    for n in 0..count {
        opening.spawn(open(n));
        if opening.len() == OPENING
            && let Some(opened) = opening.join_next().await
        {
            streams.push(opened??);
        }
    }
    while let Some(opened) = opening.join_next().await {
        streams.push(opened??);
    }
    Ok(streams)
}

async fn resting(target: SocketAddr, from: usize) -> anyhow::Result<TcpStream> {
    let mut stream = connect(target, from).await?;
    let get = b"GET /api/v2/checkpoint HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(get).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    anyhow::ensure!(&head == b"HTTP/1.1 200", "{head:?}");
    Ok(stream)
}

/// Waits until the server ends the connection; how it does so is its own business.
async fn cut(mut stream: TcpStream, drop: Option<Vec<u8>>, reads: bool) {
    let mut sink = vec![0; 1024];
    loop {
        if let Some(drop) = &drop
            && stream.write_all(drop).await.is_err()
        {
            return;
        }
        if reads {
            // Who sends nothing more needs no timer.
            let patience = if drop.is_some() { DRIP } else { CUT_BY };
            match tokio::time::timeout(patience, stream.read(&mut sink)).await {
                Ok(Ok(0) | Err(_)) => return,
                _ => continue,
            }
        }
        tokio::time::sleep(DRIP).await;
        // Without reading, only the error on the socket tells.
        if matches!(stream.take_error(), Ok(Some(_)) | Err(_)) || closed_by_peer(&stream).await {
            return;
        }
    }
}

/// Whether the kernel knows that the other end is gone, told without reading.
async fn closed_by_peer(stream: &TcpStream) -> bool {
    let told = tokio::time::timeout(Duration::from_millis(1), stream.ready(Interest::READABLE));
    match told.await {
        Ok(Ok(ready)) => ready.is_read_closed() || ready.is_error(),
        Ok(Err(_)) => true,
        Err(_) => false,
    }
}

/// A client that behaves: it asks on a new connection, logs an entry, and says how long both took.
fn behave(daemon: &Daemon, done: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let (log, mut took) = (daemon.endpoints().log.clone(), Vec::new());
    while !done.load(Ordering::Relaxed) {
        let began = Instant::now();
        let client = http();
        let read = client.get(format!("{log}/api/v2/checkpoint")).send()?;
        anyhow::ensure!(read.status() == 200, "{}", read.status());
        let request = entry_request(&key, format!("entry {}", took.len()).as_bytes())?;
        let logged = client.post(format!("{log}/api/v2/log/entries"));
        let logged = logged.json(&request).send()?;
        anyhow::ensure!(logged.status() == 201, "{}", logged.text()?);
        took.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(took)
}

/// Whether this process may have as many files open as the crowd needs; raises the soft limit to find out.
fn files_suffice(needed: u64) -> bool {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _unimportant = setrlimit(Resource::Nofile, raised);
    limit.maximum.is_none_or(|maximum| maximum >= needed)
}

#[test]
fn ten_thousand_idle_and_a_thousand_slow_connections_cost_bounded_memory_and_no_other_client()
-> anyhow::Result<()> {
    let crowd = SILENT + RESTING + SLOW * WAYS.len();
    let needed = u64::try_from(crowd)? + OTHER_FILES;
    if !files_suffice(needed) {
        skipped(
            "crowd",
            &format!("a process needs {needed} open files and may not have them"),
        );
        return Ok(());
    }
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -Sn 1024 && exec \"$0\" \"$@\""]);
    limited.arg(binary("sealwrightd"));
    let temporary = tempfile::tempdir()?;
    let daemon = Daemon::command(limited, &temporary.path().join("dev"), &[])?;
    let target: SocketAddr = daemon.address().parse()?;
    // What the first requests allocate for good is not the crowd's.
    let (_dir, file) = sealwright_integration_tests::artifact(b"before")?;
    daemon.sign(&file)?;
    let before = daemon.resident_kib()?;

    let (done, began) = (AtomicBool::new(false), Instant::now());
    std::thread::scope(|scope| {
        let good = scope.spawn(|| behave(&daemon, &done));
        let outcome = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?
            .block_on(stand_at_the_door(&daemon, target, before, began));
        done.store(true, Ordering::Relaxed);
        let mut took = good.join().expect("no panic")?;
        anyhow::ensure!(!took.is_empty(), "no well-behaved client was answered");
        took.sort();
        let at = |percent: usize| took.get(took.len() * percent / 100).copied();
        println!(
            "{} well-behaved clients meanwhile: p50 {:?}, p99 {:?}, slowest {:?}",
            took.len(),
            at(50),
            at(99),
            took.last()
        );
        outcome
    })?;
    daemon.verify(&file, &daemon.sign(&file)?)?.success()?;
    assert!(!daemon.stderr().contains("panicked"));
    println!("the crowd took {:?}", began.elapsed());
    Ok(())
}

async fn stand_at_the_door(
    daemon: &Daemon,
    target: SocketAddr,
    before: u64,
    began: Instant,
) -> anyhow::Result<()> {
    let silent = gather(SILENT, move |n| connect(target, n)).await?;
    let with_silent = daemon.resident_kib()?;
    let resting = gather(RESTING, move |n| resting(target, n)).await?;
    let with_resting = daemon.resident_kib()?;
    let mut waiting = JoinSet::new();
    let left = Arc::new(AtomicUsize::new(0));
    let mut wait_for = |stream: TcpStream, drop: Option<Vec<u8>>, reads: bool| {
        let left = left.clone();
        left.fetch_add(1, Ordering::Relaxed);
        waiting.spawn(async move {
            cut(stream, drop, reads).await;
            left.fetch_sub(1, Ordering::Relaxed);
        });
    };
    for way in WAYS {
        let slow = gather(SLOW, move |n| async move {
            let mut stream = connect(target, n).await?;
            let opening = way.opening();
            // A server that does not take all of it yet is no fault.
            let sending = stream.write_all(&opening);
            let _unimportant = tokio::time::timeout(DRIP, sending).await;
            Ok(stream)
        });
        let reads = !matches!(way, Slow::Http2Reader);
        for stream in slow.await? {
            wait_for(stream, way.drop(), reads);
        }
    }
    for stream in silent.into_iter().chain(resting) {
        wait_for(stream, None, true);
    }
    let standing = left.load(Ordering::Relaxed);
    let mut most = daemon.resident_kib()?;
    println!(
        "{standing} connections stand after {:?}; resident {before} KiB before, {with_silent} KiB with {SILENT} silent ones, \
         {with_resting} KiB with {RESTING} resting ones, {most} KiB with all",
        began.elapsed(),
    );
    let all_cut = async {
        while waiting.join_next().await.is_some() {
            most = most.max(daemon.resident_kib().unwrap_or(0));
        }
    };
    let in_time = tokio::time::timeout(CUT_BY, all_cut).await.is_ok();
    println!(
        "all were cut after {:?}; resident {most} KiB at most",
        began.elapsed()
    );
    anyhow::ensure!(in_time, "{} are still open", left.load(Ordering::Relaxed));
    anyhow::ensure!(
        most < before + MAX_GROWTH_KIB,
        "from {before} to {most} KiB, more than {MAX_GROWTH_KIB} KiB for the crowd"
    );
    Ok(())
}
