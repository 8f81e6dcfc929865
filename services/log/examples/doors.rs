//! Measures both kinds of log through their HTTP doors: rate, latency, and the server's CPU an entry.
//!
//! ```text
//! cargo run --release -p sealwright-log --example doors -- [FOLDER]
//! ```
//!
//! The server is a process of its own, so that its CPU can be told from the clients'. Signatures are made beforehand.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sealwright_crypto::{
    Algorithm, KeyType, MemorySigner, PrivateKey, Signer, base64, random_bytes, sha256,
};
use sealwright_host::Clock as _;
use sealwright_host::clock::SystemClock;
use sealwright_host::run::{HostConfig, Server};
use sealwright_log::{Config, Deps, Kind, LogConfig, LogService};
use sealwright_pki::authority::{self, AuthorityName, Envelope};
use sealwright_pki::issue::{IssuanceProfile, Issuer, Order, prepare};
use sealwright_pki::{Certificate, Identity, SerialNumber, SubjectAlternativeName};
use serde_json::json;

const FOR: Duration = Duration::from_secs(5);
const CLIENTS: [usize; 3] = [1, 16, 64];
/// More than the largest rate times [`FOR`] on the machine this was written on.
const BODIES: usize = 60_000;
const CHAINS: usize = 45_000;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["serve", folder] => serve(Path::new(folder)),
        [folder] => measure(Path::new(folder)),
        [] => measure(&std::env::temp_dir()),
        _ => bail!("usage: doors [FOLDER]"),
    }
}

fn serve(folder: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let host = HostConfig {
            listen: vec!["127.0.0.1:0".parse()?],
            ..HostConfig::default()
        };
        let server = Server::bind(&host)?;
        let root = Certificate::from_pem(&std::fs::read_to_string(folder.join("root.pem"))?)?;
        let log = |name: &str, kind, path: &str| LogConfig {
            name: name.to_owned(),
            kind,
            url: format!("{}{path}", server.public_url()),
            public_submission: true,
            ..LogConfig::default()
        };
        let signer = |name: &str, key_type| -> anyhow::Result<(String, Arc<dyn Signer>)> {
            Ok((
                name.to_owned(),
                Arc::new(MemorySigner::new(PrivateKey::generate(key_type)?)),
            ))
        };
        let deps = Deps {
            clock: SystemClock::shared(),
            registry: server.registry().clone(),
            state: folder.to_owned(),
            signers: vec![
                signer("signatures", KeyType::Ed25519)?,
                signer("dev", KeyType::EcP256)?,
            ],
            ct_roots: vec![root],
            create: true,
        };
        let logs = vec![
            log("signatures", Kind::Rekor, ""),
            log("dev", Kind::Ct, "/ct/dev"),
        ];
        let service = LogService::open(Config { logs }, deps).await?;
        println!("{}", server.address());
        server.start(service.router()).wait().await;
        Ok(())
    })
}

fn measure(parent: &Path) -> anyhow::Result<()> {
    let folder = parent.join(format!("sealwright-doors-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (issuer, signer) = authority(&folder)?;
    let entries = Arc::new(entries()?);
    let chains = Arc::new(chains(&issuer, &signer)?);
    let mut server = Command::new(std::env::current_exe()?)
        .arg("serve")
        .arg(&folder)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut ready = String::new();
    BufReader::new(server.stdout.take().context("no output")?).read_line(&mut ready)?;
    let address: SocketAddr = ready.trim().parse()?;
    let process = server.id();
    let outcome = CLIENTS.into_iter().try_for_each(|clients| {
        load(
            "entry",
            address,
            process,
            "/api/v2/log/entries",
            201,
            &entries,
            clients,
        )?;
        load(
            "precertificate",
            address,
            process,
            "/ct/dev/ct/v1/add-pre-chain",
            200,
            &chains,
            clients,
        )
    });
    server.kill()?;
    server.wait()?;
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn envelope() -> Envelope {
    let now = SystemClock.unix();
    Envelope {
        serial: SerialNumber::from_random(random_bytes()),
        not_before: now - 60,
        not_after: now + 86_400,
    }
}

fn authority(folder: &Path) -> anyhow::Result<(Issuer, MemorySigner)> {
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let name = AuthorityName {
        common_name: "root".into(),
        organization: "Example".into(),
        development: true,
    };
    let root = authority::root(&key, &name, 0, &envelope())?;
    std::fs::write(folder.join("root.pem"), root.to_pem())?;
    let signer = MemorySigner::new(key);
    Ok((Issuer::new(root, &signer)?, signer))
}

type Bodies = Mutex<VecDeque<String>>;

/// Requests for entries over different artifacts, all by one key with a certificate of its own.
fn entries() -> anyhow::Result<Bodies> {
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let name = AuthorityName {
        common_name: "subject".into(),
        organization: "Example".into(),
        development: true,
    };
    let certificate = base64::encode(authority::root(&key, &name, 0, &envelope())?.der());
    let body = |number: usize| -> anyhow::Result<String> {
        let data = number.to_le_bytes();
        let signature = key.sign(Algorithm::EcdsaP256Sha256, &data)?;
        let request = json!({ "hashedRekordRequestV002": {
            "digest": base64::encode(&sha256(&data)),
            "signature": { "content": base64::encode(&signature), "verifier": {
                "x509Certificate": { "rawBytes": certificate }, "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            } },
        } });
        Ok(request.to_string())
    };
    Ok(Mutex::new(
        (0..BODIES).map(body).collect::<anyhow::Result<_>>()?,
    ))
}

/// Chains of different precertificates of one issuer.
fn chains(issuer: &Issuer, signer: &MemorySigner) -> anyhow::Result<Bodies> {
    let identity = Identity {
        subject_alternative_name: SubjectAlternativeName::Uri("https://a.example".into()),
        issuer: "https://issuer.example".into(),
        extensions: Default::default(),
    };
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let root = base64::encode(issuer.certificate().der());
    let mut bodies = VecDeque::with_capacity(CHAINS);
    for _ in 0..CHAINS {
        let serial = SerialNumber::from_random(random_bytes());
        let order = Order {
            identity: &identity,
            public_key: key.public_key(),
            serial,
            now: SystemClock.unix(),
        };
        let permit = prepare(issuer, &IssuanceProfile::default(), order)?.lint()?;
        let precertificate = runtime.block_on(permit.sign(signer))?;
        bodies.push_back(
            json!({ "chain": [base64::encode(precertificate.certificate().der()), root] })
                .to_string(),
        );
    }
    Ok(Mutex::new(bodies))
}

/// Keeps `clients` connections busy and prints what came of it.
fn load(
    what: &str,
    address: SocketAddr,
    process: u32,
    path: &str,
    status: u16,
    bodies: &Arc<Bodies>,
    clients: usize,
) -> anyhow::Result<()> {
    let (before, started) = (cpu_ticks(process)?, Instant::now());
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let (bodies, path) = (bodies.clone(), path.to_owned());
            std::thread::spawn(move || client(address, &path, status, &bodies, started + FOR))
        })
        .collect();
    let mut latencies = Vec::new();
    for thread in threads {
        latencies.extend(
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))??,
        );
    }
    let (took, spent) = (started.elapsed(), cpu_ticks(process)? - before);
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
        "{what}, {clients} clients: {:.0} a second, p50 {:.2} ms, p99 {:.2} ms, server CPU {cpu_us:.0} us each",
        latencies.len() as f64 / took.as_secs_f64(),
        at(50),
        at(99),
    );
    Ok(())
}

fn client(
    address: SocketAddr,
    path: &str,
    status: u16,
    bodies: &Bodies,
    until: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (mut latencies, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while Instant::now() < until {
        let Some(body) = bodies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
        else {
            break;
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let sent = Instant::now();
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        read_response(&mut stream, &mut buffer, status)?;
        latencies.push(sent.elapsed());
    }
    Ok(latencies)
}

/// Reads one response with a Content-Length and insists on its status.
fn read_response(stream: &mut TcpStream, buffer: &mut [u8], status: u16) -> anyhow::Result<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(buffer.get_mut(filled..).context("a large response")?)?;
        filled += read;
        let so_far = buffer.get(..filled).context("in range")?;
        let Some(end) = so_far.windows(4).position(|window| window == b"\r\n\r\n") else {
            if read == 0 {
                bail!("the server closed the connection");
            }
            continue;
        };
        let head = String::from_utf8_lossy(so_far.get(..end).context("in range")?).to_lowercase();
        if !head.starts_with(&format!("http/1.1 {status}")) {
            bail!("{}", String::from_utf8_lossy(so_far));
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if filled >= end + 4 + length.context("no Content-Length")? {
            return Ok(());
        }
    }
}

/// User and system time of a process, in hundredths of a second.
fn cpu_ticks(process: u32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(PathBuf::from(format!("/proc/{process}/stat")))?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .context("no fields")?
        .split_whitespace()
        .collect();
    let field = |position: usize| -> anyhow::Result<u64> {
        Ok(fields.get(position).context("too few fields")?.parse()?)
    };
    Ok(field(11)? + field(12)?)
}
