//! The shape of the workspace: arrows between crates, banned words, files that must exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sealwright_integration_tests::workspace_root;
use serde_json::Value;

/// Who may depend on whom, and the sentence that says why not the others. [`TESTS`] may use all.
const ARROWS: &[(&str, &[&str], &str)] = &[
    (
        "proto",
        &[],
        "the wire contract knows no other crate of ours",
    ),
    (
        "crypto",
        &[],
        "which algorithms exist must not depend on who asks",
    ),
    (
        "pki",
        &["crypto"],
        "encodings know keys and nothing of services, tokens or storage",
    ),
    (
        "tlog",
        &["crypto"],
        "the mathematics of logs knows neither HTTP nor ASN.1 nor storage",
    ),
    (
        "tuf",
        &["crypto"],
        "TUF metadata knows keys and nothing of Sigstore",
    ),
    (
        "bundle",
        &["crypto", "pki", "tlog", "proto"],
        "the verdict is the smallest thing an auditor must read",
    ),
    (
        "identity",
        &["crypto", "proto"],
        "tokens are judged without knowing what they are exchanged for",
    ),
    (
        "kernel-clock",
        &[],
        "one system call, and nothing that could use it otherwise",
    ),
    (
        "host",
        &["kernel-clock", "proto"],
        "what every server shares knows nothing of certificates or logs",
    ),
    (
        "sdk",
        &[
            "bundle", "crypto", "identity", "pki", "proto", "tlog", "tuf",
        ],
        "the client holds no server and no database",
    ),
    (
        "cli",
        &["sdk"],
        "a small supply chain on developers' machines",
    ),
    (
        "ca",
        &["crypto", "host", "identity", "pki", "proto"],
        "an authority never links another service",
    ),
    (
        "tsa",
        &["crypto", "host", "pki", "proto"],
        "an authority never links another service",
    ),
    (
        "log",
        &["crypto", "host", "pki", "proto", "tlog"],
        "a log never links another service",
    ),
    (
        "trust",
        &["crypto", "host", "pki", "proto", "tlog", "tuf"],
        "the trust service never links another service",
    ),
    (
        "witness",
        &["crypto", "host", "tlog"],
        "a witness knows no log but by its checkpoints",
    ),
    (
        "idp",
        &["crypto", "host", "proto"],
        "the development provider never links another service",
    ),
    (
        "stack",
        &[
            "bundle", "ca", "crypto", "host", "identity", "idp", "log", "pki", "proto", "sdk",
            "tlog", "trust", "tsa", "tuf", "witness",
        ],
        "the assembly may use everything but tests",
    ),
];

/// Rooms that hold nothing but tests and what tests share.
const TESTS: [&str; 4] = ["testkit", "integration-tests", "fuzz", "mutants"];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(workspace_root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn rooms(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata["packages"].as_array().expect("packages");
    let ours = packages
        .iter()
        .filter(|package| package["source"].is_null());
    ours.map(|package| {
        let dependencies = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter();
        let normal = dependencies.filter(|dependency| text(dependency, "kind") != "dev");
        let names =
            normal.filter_map(|dependency| text(dependency, "name").strip_prefix("sealwright-"));
        let room = text(package, "name")
            .trim_start_matches("sealwright-")
            .to_owned();
        (room, names.map(str::to_owned).collect())
    })
    .collect()
}

#[test]
fn arrows_between_crates_point_one_way() {
    let rooms = rooms(&metadata());
    for (room, dependencies) in &rooms {
        if TESTS.contains(&room.as_str()) {
            continue;
        }
        let (_, allowed, why) = ARROWS
            .iter()
            .find(|row| row.0 == room)
            .unwrap_or_else(|| panic!("{room} has no row in ARROWS"));
        for dependency in dependencies {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{room} must not depend on {dependency}: {why}"
            );
        }
    }
    assert_eq!(
        rooms.len(),
        ARROWS.len() + TESTS.len(),
        "every row is a crate"
    );
    for (room, dependencies) in &rooms {
        let forbidden = TESTS.iter().find(|name| dependencies.contains(**name));
        assert!(
            TESTS.contains(&room.as_str()) || forbidden.is_none(),
            "{room} depends on {forbidden:?} outside tests"
        );
    }
}

/// One provider of cryptography, and special libraries only in the rooms that exist for them.
#[test]
fn confined_dependencies_stay_in_their_rooms() {
    const CONFINED: &[(&str, &[&str])] = &[
        ("openidconnect", &["identity"]),
        ("rcgen", &["pki", "stack"]),
        ("sqlx", &["host", "ca", "log", "trust", "tsa", "witness"]),
        (
            "tokio",
            &[
                "ca", "cli", "host", "identity", "idp", "log", "sdk", "stack", "trust", "tsa",
                "witness",
            ],
        ),
        ("ed25519-dalek", &["crypto"]),
        ("aws-lc-rs", &["crypto"]),
    ];
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    for package in packages
        .iter()
        .filter(|package| package["source"].is_null())
    {
        let room = text(package, "name").trim_start_matches("sealwright-");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let name = text(dependency, "name");
            let dev = text(dependency, "kind") == "dev" || TESTS.contains(&room);
            if let Some((_, allowed)) = CONFINED.iter().find(|row| row.0 == name && !dev) {
                assert!(
                    allowed.contains(&room),
                    "{room} must not use {name}; it belongs to {allowed:?}"
                );
            }
        }
    }
    for name in ["openssl", "openssl-sys", "native-tls"] {
        let found = packages
            .iter()
            .find(|package| text(package, "name") == name);
        assert!(
            found.is_none(),
            "{name} is in the dependency graph; TLS and cryptography are aws-lc-rs"
        );
    }
    for name in [
        "tonic",
        "prost",
        "http",
        "rustls",
        "tracing",
        "opentelemetry",
        "sqlx",
        "axum",
        "hyper",
    ] {
        let copies = packages
            .iter()
            .filter(|package| text(package, "name") == name)
            .count();
        assert_eq!(
            copies, 1,
            "two copies of {name} do not understand each other's types"
        );
    }
}

fn tracked_files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(workspace_root())
        .output()
        .expect("git runs");
    let names = String::from_utf8(output.stdout).expect("file names are UTF-8");
    names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect()
}

/// Pure crates take bytes, time and randomness as arguments.
#[test]
fn pure_crates_do_no_input_or_output() {
    const BANNED: &[&str] = &[
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "ToSocketAddrs",
        "std::env",
        "SystemTime::now",
        "Instant::now",
        "tokio::",
        "std::process",
    ];
    for file in tracked_files() {
        let path = file.to_string_lossy();
        let pure = [
            "libs/crypto/src",
            "libs/pki/src",
            "libs/tlog/src",
            "libs/tuf/src",
            "libs/bundle/src",
        ];
        if !pure.iter().any(|room| path.starts_with(room)) || !path.ends_with(".rs") {
            continue;
        }
        let source =
            fs::read_to_string(workspace_root().join(&file)).expect("tracked files can be read");
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            let found = BANNED.iter().find(|banned| line.contains(**banned));
            assert!(found.is_none(), "{path} uses {found:?}: {line}");
        }
    }
}

#[test]
fn the_files_that_people_look_for_exist() {
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "LICENSE",
        "Makefile",
        "deny.toml",
        "clippy.toml",
        "rust-toolchain.toml",
        "docker-compose.yml",
        ".ci/run",
    ] {
        let length = fs::metadata(workspace_root().join(name))
            .map(|metadata| metadata.len())
            .unwrap_or_default();
        assert!(length > 0, "{name} is missing or empty");
    }
}

/// Commands that the README shows exist as targets of the Makefile, and paths that documents name exist.
#[test]
fn documents_name_what_exists() {
    let root = workspace_root();
    let makefile = fs::read_to_string(root.join("Makefile")).expect("Makefile");
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ] {
        let source = fs::read_to_string(root.join(document)).expect(document);
        for target in source
            .split("make ")
            .skip(1)
            .filter_map(|rest| rest.split(['`', ' ', '\n', '.', ',', ')']).next())
        {
            let is_target = !target.is_empty() && target.chars().all(|c| c.is_ascii_lowercase());
            let followed_by_backtick = source.contains(&format!("`make {target}`"));
            assert!(
                !is_target || !followed_by_backtick || makefile.contains(&format!("\n{target}:")),
                "{document} names `make {target}`, which the Makefile lacks"
            );
        }
        for quoted in source.split('`').skip(1).step_by(2) {
            let looks_like_path = [
                "libs/",
                "services/",
                "integration-tests/",
                "proto/",
                "deploy/",
            ]
            .iter()
            .any(|room| quoted.starts_with(room));
            let plain = quoted
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if looks_like_path && plain {
                assert!(
                    root.join(quoted).exists(),
                    "{document} names {quoted}, which does not exist"
                );
            }
        }
    }
}

/// The one crate that may hold unsafe code, for a system call that no safe library offers; it denies what it does not
/// excuse by name.
const UNSAFE_CRATE: &str = "libs/kernel-clock/Cargo.toml";

/// Unsafe code is forbidden by the workspace; every crate but one must take part in its lints.
#[test]
fn every_crate_takes_the_workspace_lints() {
    for file in tracked_files()
        .iter()
        .filter(|file| file.file_name().is_some_and(|name| name == "Cargo.toml"))
    {
        if file == Path::new("Cargo.toml") {
            continue;
        }
        let manifest: toml::Table = fs::read_to_string(workspace_root().join(file))
            .expect("readable")
            .parse()
            .expect("TOML");
        let lints = manifest.get("lints");
        if file == Path::new(UNSAFE_CRATE) {
            let unsafe_code = lints
                .and_then(|lints| lints.get("rust")?.get("unsafe_code"))
                .and_then(toml::Value::as_str);
            assert_eq!(unsafe_code, Some("deny"), "{}", file.display());
            continue;
        }
        let inherits = lints
            .and_then(|lints| lints.get("workspace"))
            .and_then(toml::Value::as_bool);
        assert_eq!(
            inherits,
            Some(true),
            "{} does not inherit the workspace lints",
            file.display()
        );
    }
}
