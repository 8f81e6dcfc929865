//! Runs a timestamp authority with a throw-away key, and measures one.
//!
//! `cargo run --release -p sealwright-tsa --example tsa -- serve DIR [ADDRESS]` serves until killed; DIR gets the state,
//! `chain.pem` and `root.pem`, and keeps the key, so that it can be started again.
//! `cargo run --release -p sealwright-tsa --example tsa` prints what a timestamp costs: the core alone, and with HTTP.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealwright_crypto::{KeyType, MemorySigner, PrivateKey, random_bytes, sha256};
use sealwright_host::clock::SystemClock;
use sealwright_host::run::{HostConfig, Server};
use sealwright_pki::authority::{self, AuthorityName, Envelope, Parent};
use sealwright_pki::timestamp::TimeStampReq;
use sealwright_pki::{Certificate, Purpose, SerialNumber, parse_pem_chain, pem_chain};
use sealwright_tsa::{Config, Deps, Tsa};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["serve", dir] => serve(Path::new(dir), "127.0.0.1:0".parse()?),
        ["serve", dir, address] => serve(Path::new(dir), address.parse()?),
        [] => measure(),
        _ => Err("usage: tsa [serve DIR [ADDRESS]]".into()),
    }
}

fn serve(dir: &Path, address: SocketAddr) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let config = HostConfig {
            listen: vec![address],
            ..HostConfig::default()
        };
        let server = Server::bind(&config)?;
        let (signer, chain) = load_or_make(dir)?;
        let deps = Deps {
            clock: SystemClock::shared(),
            registry: server.registry().clone(),
            state: dir.to_owned(),
            signer: Arc::new(signer),
            chain,
        };
        let tsa = Tsa::open(Config::default(), deps).await?;
        println!("ready http://{}/api/v1/timestamp", server.address());
        server.start(tsa.router()).wait().await;
        Ok(())
    })
}

fn load_or_make(dir: &Path) -> Outcome<(MemorySigner, Vec<Certificate>)> {
    fs::create_dir_all(dir)?;
    if let Ok(pem) = fs::read_to_string(dir.join("tsa.key")) {
        let chain = parse_pem_chain(&fs::read_to_string(dir.join("chain.pem"))?)?;
        return Ok((MemorySigner::new(PrivateKey::from_pem(&pem)?), chain));
    }
    let (root_key, issuer_key, key) = (generate()?, generate()?, generate()?);
    let root = authority::root(&root_key, &name("root"), 1, &envelope())?;
    let above = Parent {
        certificate: &root,
        key: &root_key,
    };
    let issuer = authority::intermediate(
        issuer_key.public_key(),
        &name("issuer"),
        Purpose::TimeStamping,
        &envelope(),
        above,
    )?;
    let parent = Parent {
        certificate: &issuer,
        key: &issuer_key,
    };
    let leaf =
        authority::time_stamping_leaf(key.public_key(), &name("signer"), &envelope(), parent)?;
    fs::write(dir.join("tsa.key"), key.to_pkcs8_pem().as_bytes())?;
    fs::write(dir.join("root.pem"), root.to_pem())?;
    let chain = vec![leaf, issuer, root];
    fs::write(dir.join("chain.pem"), pem_chain(&chain))?;
    Ok((MemorySigner::new(key), chain))
}

fn generate() -> Outcome<PrivateKey> {
    Ok(PrivateKey::generate(KeyType::EcP256)?)
}

fn name(common_name: &str) -> AuthorityName {
    AuthorityName {
        common_name: common_name.to_owned(),
        organization: "Example".to_owned(),
        development: true,
    }
}

fn envelope() -> Envelope {
    use sealwright_host::Clock as _;
    let now = SystemClock.unix();
    Envelope {
        serial: SerialNumber::from_random(random_bytes()),
        not_before: now - 60,
        not_after: now + 365 * 86_400,
    }
}

fn measure() -> Outcome<()> {
    let dir = std::env::temp_dir().join(format!("sealwright-tsa-{}", std::process::id()));
    let (signer, chain) = load_or_make(&dir)?;
    core(&signer, &chain)?;
    let mut server = Command::new(std::env::current_exe()?)
        .arg("serve")
        .arg(&dir)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut ready = String::new();
    BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut ready)?;
    let address: SocketAddr = ready
        .trim()
        .split('/')
        .nth(2)
        .ok_or("no address")?
        .parse()?;
    for clients in [1, 16, 64] {
        http(address, server.id(), clients)?;
    }
    server.kill()?;
    server.wait()?;
    fs::remove_dir_all(&dir)?;
    Ok(())
}

fn core(signer: &MemorySigner, chain: &[Certificate]) -> Outcome<()> {
    use sealwright_crypto::Signer as _;
    use sealwright_pki::timestamp::{Stamp, TokenTemplate};
    const ROUNDS: u32 = 20_000;
    let template = TokenTemplate::new(chain, signer.algorithm(), None)?;
    let query = TimeStampReq::sha256(&sha256(b"x"), &[1, 2, 3, 4, 5, 6, 7, 8]).to_der();
    let policy = "1.3.6.1.4.1.99999.1".parse().map_err(|_| "a policy")?;
    let started = Instant::now();
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let request = TimeStampReq::parse(&query)?;
        let stamp = Stamp {
            policy,
            message_imprint: request.message_imprint,
            serial: random_bytes(),
            gen_time: 1_800_000_000,
            nonce: request.nonce,
            with_certificates: request.cert_req,
        };
        let token = template.prepare(&stamp)?;
        bytes = token
            .finish(&signer.sign_now(token.message()).ok_or("a memory key")??)
            .len();
    }
    let each = started.elapsed() / ROUNDS;
    println!(
        "core: {:.1} us a timestamp of {bytes} bytes, one thread",
        each.as_secs_f64() * 1e6
    );
    Ok(())
}

/// Keeps `clients` connections busy for a while and prints rate, latency and the server's CPU per request.
fn http(address: SocketAddr, server: u32, clients: usize) -> Outcome<()> {
    const FOR: Duration = Duration::from_secs(5);
    let body = TimeStampReq::sha256(&sha256(b"x"), &[1, 2, 3, 4, 5, 6, 7, 8]).to_der();
    let head = format!(
        "POST /api/v1/timestamp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/timestamp-query\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let request = Arc::new([head.into_bytes(), body].concat());
    let before = cpu_ticks(server)?;
    let started = Instant::now();
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let request = request.clone();
            std::thread::spawn(move || client(address, &request, started + FOR).unwrap_or_default())
        })
        .collect();
    let mut latencies: Vec<Duration> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap_or_default())
        .collect();
    let (took, spent) = (started.elapsed(), cpu_ticks(server)? - before);
    latencies.sort_unstable();
    let at = |share: usize| {
        latencies
            .get(latencies.len() * share / 100)
            .copied()
            .unwrap_or_default()
            .as_secs_f64()
            * 1e3
    };
    // The kernel counts in hundredths of a second.
    let cpu_us = spent as f64 * 10_000.0 / latencies.len().max(1) as f64;
    println!(
        "HTTP, {clients} clients: {:.0} a second, p50 {:.2} ms, p99 {:.2} ms, server CPU {cpu_us:.1} us each",
        latencies.len() as f64 / took.as_secs_f64(),
        at(50),
        at(99),
    );
    Ok(())
}

fn client(address: SocketAddr, request: &[u8], until: Instant) -> std::io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut latencies = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    while Instant::now() < until {
        let sent = Instant::now();
        stream.write_all(request)?;
        read_response(&mut stream, &mut buffer)?;
        latencies.push(sent.elapsed());
    }
    Ok(latencies)
}

/// Reads one response with a Content-Length and insists on 200.
fn read_response(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    let broken = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let mut filled = 0;
    loop {
        filled += stream.read(buffer.get_mut(filled..).ok_or_else(broken)?)?;
        let so_far = buffer.get(..filled).ok_or_else(broken)?;
        let Some(end) = so_far.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(so_far.get(..end).ok_or_else(broken)?).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if !head.starts_with("http/1.1 200") {
            return Err(broken());
        }
        if filled >= end + 4 + length.ok_or_else(broken)? {
            return Ok(());
        }
    }
}

/// User and system time of a process, in hundredths of a second.
fn cpu_ticks(process: u32) -> Outcome<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .ok_or("no fields")?
        .split_whitespace()
        .collect();
    let field = |position: usize| -> Outcome<u64> {
        Ok(fields.get(position).ok_or("too few fields")?.parse()?)
    };
    Ok(field(11)? + field(12)?)
}
