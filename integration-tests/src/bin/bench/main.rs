//! `make bench`: figures of the stack on this machine, beside their goals and those of the peers.
//!
//! It measures and never asserts: a goal that is missed is printed as missed. Peers that are installed (`.clients`, which
//! `make peers` fills) run in the same minutes on the same machine; for the others their published figures stand in the
//! table, from a 2-core machine of the same kind. The load generator shares the machine with the server, so the server's
//! CPU time per request (from `/proc`) is the robust figure, and the rates are indications: beside them stands the rate of
//! the page that does nothing, which is the ceiling of whatever is asked over HTTP here.

mod client;
mod load;
mod peers;
mod services;
mod spread;
mod table;
mod verify;

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use sealwright_integration_tests::Daemon;

use crate::table::{Goal, Table};

/// One part of the benchmark.
type Part = fn(&Daemon, &mut Table) -> anyhow::Result<()>;

/// Parts by name, in their order; `bench certificates timestamps` runs two of them.
const PARTS: [(&str, Part); 9] = [
    ("binary", client::binary),
    ("sign", client::sign_and_verify),
    ("verify", verify::bundles),
    ("large-file", verify::large_file),
    ("timestamps", services::timestamps),
    ("certificates", services::certificates),
    ("lone-entry", services::lone_entry),
    ("entries", services::entries),
    ("engine", services::engine),
];

fn main() -> anyhow::Result<()> {
    let started = Instant::now();
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known = |name: &String| PARTS.iter().any(|part| part.0 == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        anyhow::bail!(
            "no part is called {unknown:?}; there are {:?}",
            PARTS.map(|part| part.0)
        );
    }
    let scratch = tempfile::tempdir()?;
    println!("{} cores", thread::available_parallelism()?);
    let mut table = Table::default();
    let daemon = start_up(&scratch.path().join("dev"), &mut table)?;
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("\n{name}");
            part(&daemon, &mut table)?;
        }
    }
    let loaded = megabytes(&daemon)?;
    table.add(
        "resident after the load, MB",
        Goal::None,
        loaded,
        "41 to 441 each",
    );
    println!("\n{table}");
    println!("all in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn megabytes(daemon: &Daemon) -> anyhow::Result<f64> {
    Ok(daemon.resident_kib()? as f64 / 1024.0)
}

/// First and second start, and the memory of an idle stack.
fn start_up(dir: &Path, table: &mut Table) -> anyhow::Result<Daemon> {
    let begun = Instant::now();
    let mut daemon = Daemon::on(dir, &[])?;
    let first = begun.elapsed();
    daemon.terminate()?;
    drop(daemon);
    let begun = Instant::now();
    let daemon = Daemon::on(dir, &[])?;
    let again = begun.elapsed();
    let milliseconds = |took: Duration| took.as_secs_f64() * 1e3;
    let (goal, peer) = (Goal::Under(1000.0), "31 to 102, each of four");
    table.add(
        "first start of the whole stack, ms",
        goal,
        milliseconds(first),
        peer,
    );
    table.add("next start, ms", goal, milliseconds(again), peer);
    thread::sleep(Duration::from_secs(2));
    let idle = megabytes(&daemon)?;
    let peer = "26 to 45, each of four";
    table.add("resident idle, MB", Goal::Under(100.0), idle, peer);
    Ok(daemon)
}
