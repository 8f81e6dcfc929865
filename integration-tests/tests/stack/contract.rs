//! What other people's scripts rely on: files, lines, exit codes, refusals of `sealwrightd dev`, and `demo`.

use std::{fs, time::Duration};

use sealwright_integration_tests::{Daemon, EMAIL, Tool, artifact, http, init, workspace_root};
use serde_json::Value;

fn json(path: &std::path::Path) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

#[test]
fn dev_writes_its_files_before_it_says_ready() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    assert!(daemon.ready_line().starts_with("ready"));
    let endpoints = json(&daemon.dir().join("endpoints.json"))?;
    for name in ["ca", "log", "ct", "tsa", "tuf", "oidc", "console"] {
        assert!(
            endpoints[name]
                .as_str()
                .is_some_and(|url| url.starts_with("http://127.0.0.1:")),
            "{name}: {endpoints}"
        );
    }
    assert!(
        endpoints["tsa"]
            .as_str()
            .is_some_and(|url| url.ends_with("/api/v1/timestamp"))
    );
    let root = json(&daemon.client_file("trusted_root.json"))?;
    let signing = json(&daemon.client_file("signing_config.json"))?;
    let both = json(&daemon.client_file("trust_config.json"))?;
    assert_eq!(
        both["mediaType"],
        "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
    );
    assert_eq!(both["trustedRoot"], root);
    assert_eq!(both["signingConfig"], signing);
    assert_eq!(
        signing["mediaType"],
        "application/vnd.dev.sigstore.signingconfig.v0.2+json"
    );
    assert_eq!(
        json(&daemon.client_file("root.json"))?["signed"]["version"],
        1
    );

    // The forms that every published client accepts.
    let log = &root["tlogs"][0];
    assert_eq!(log["publicKey"]["keyDetails"], "PKIX_ED25519");
    assert_eq!(
        sealwright_crypto::base64::decode(log["logId"]["keyId"].as_str().unwrap_or_default())?
            .len(),
        32
    );
    assert!(log.get("checkpointKeyId").is_none(), "{log}");
    assert_eq!(
        root["ctlogs"][0]["publicKey"]["keyDetails"],
        "PKIX_ECDSA_P256_SHA_256"
    );
    let checkpoint = http()
        .get(format!("{}/api/v2/checkpoint", daemon.endpoints().log))
        .send()?
        .text()?;
    assert_eq!(
        checkpoint.lines().next(),
        Some("127.0.0.1"),
        "origin is the host without the port"
    );
    let ct = http()
        .get(format!("{}/checkpoint", daemon.endpoints().ct))
        .send()?
        .text()?;
    let expected = daemon
        .endpoints()
        .ct
        .trim_start_matches("http://")
        .to_owned();
    assert_eq!(
        ct.lines().next(),
        Some(expected.as_str()),
        "origin is the submission prefix without its scheme"
    );
    Ok(())
}

#[test]
fn health_and_readiness_answer() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let console = daemon.endpoints().console.trim_end_matches('/');
    for path in ["/healthz", "/readyz"] {
        let response = http().get(format!("{console}{path}")).send()?;
        assert_eq!(response.status(), 200, "{path}");
        assert!(response.headers().contains_key("x-request-id"), "{path}");
    }
    assert_eq!(http().get(format!("{console}/")).send()?.status(), 200);
    Ok(())
}

#[test]
fn a_restart_keeps_keys_port_entries_and_trust() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("dev");
    let (_dir, file) = artifact(b"before the restart")?;
    let mut daemon = Daemon::on(&dir, &[])?;
    let bundle = daemon.sign(&file)?;
    let endpoints = fs::read(dir.join("endpoints.json"))?;
    let trust = fs::read(daemon.client_file("trust_config.json"))?;
    let root = fs::read(daemon.client_file("root.json"))?;
    let (status, took) = daemon.terminate()?;
    assert_eq!(status.code(), Some(0), "SIGTERM drains and exits with 0");
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(daemon);

    let daemon = Daemon::on(&dir, &[])?;
    assert_eq!(
        fs::read(dir.join("endpoints.json"))?,
        endpoints,
        "127.0.0.1:0 keeps the port first chosen"
    );
    assert_eq!(fs::read(daemon.client_file("trust_config.json"))?, trust);
    assert_eq!(fs::read(daemon.client_file("root.json"))?, root);
    daemon.verify(&file, &bundle)?.success()?;
    daemon.sign(&file)?;
    Ok(())
}

#[test]
fn dev_refuses_what_would_surprise() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let refuse = |args: &[&str], dir: &std::path::Path| -> anyhow::Result<String> {
        Tool::sealwrightd()
            .args(["dev", "--dir"])
            .arg(dir)
            .args(args)
            .deadline(Duration::from_secs(20))
            .run()?
            .failure()
    };
    let said = refuse(&["--listen", "0.0.0.0:0"], &scratch.path().join("public"))?;
    assert!(said.contains("loopback"), "{said}");
    assert!(
        !scratch.path().join("public/endpoints.json").exists(),
        "nothing is half made"
    );

    let foreign = scratch.path().join("foreign");
    fs::create_dir(&foreign)?;
    fs::write(foreign.join("thesis.txt"), "mine")?;
    let said = refuse(&["--listen", "127.0.0.1:0"], &foreign)?;
    assert!(said.contains("foreign"), "names the directory: {said}");
    assert_eq!(
        fs::read_dir(&foreign)?.count(),
        1,
        "nothing was added to a foreign directory"
    );

    let dir = scratch.path().join("dev");
    let daemon = Daemon::on(&dir, &[])?;
    let said = refuse(&["--listen", "127.0.0.1:0"], &dir)?;
    assert!(
        said.to_lowercase().contains("another process")
            || said.contains("in use")
            || said.contains("locked"),
        "{said}"
    );
    drop(daemon);
    let said = refuse(&["--listen", "127.0.0.1:1"], &dir)?;
    assert!(said.contains("127.0.0.1:1"), "{said}");
    Ok(())
}

#[test]
fn tls_is_served_with_a_local_authority() -> anyhow::Result<()> {
    let daemon = Daemon::fresh_with(&["--tls-listen", "127.0.0.1:0"])?;
    let base = daemon
        .endpoints()
        .ca_tls
        .clone()
        .expect("ca_tls is in endpoints.json");
    let authority = reqwest::Certificate::from_pem(&fs::read(daemon.client_file("tls_ca.pem"))?)?;
    // The process-wide provider is set by whoever comes first.
    let _unimportant = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::blocking::Client::builder()
        .no_proxy()
        .tls_certs_only([authority])
        .build()?;
    assert_eq!(
        client
            .get(format!("{base}/api/v2/trustBundle"))
            .send()?
            .status(),
        200
    );
    let port = base
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .trim_end_matches('/');
    assert_eq!(
        client
            .get(format!("https://localhost:{port}/healthz"))
            .send()?
            .status(),
        200
    );
    let strangers = reqwest::blocking::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()?;
    assert!(
        strangers.get(format!("{base}/healthz")).send().is_err(),
        "a stranger's roots do not know this authority"
    );
    Ok(())
}

#[test]
fn demo_signs_verifies_and_shows_a_refusal() -> anyhow::Result<()> {
    let shown = Tool::sealwrightd().arg("demo").run()?.success()?;
    for expected in ["sign", "verif", "refus", "ms"] {
        assert!(
            shown.to_lowercase().contains(expected),
            "{expected} is missing in\n{shown}"
        );
    }
    let (_dir, file) = artifact(b"my own file")?;
    Tool::sealwrightd()
        .arg("demo")
        .arg(&file)
        .run()?
        .success()?;
    assert_eq!(
        fs::read(&file)?,
        b"my own file",
        "the demo leaves the file alone"
    );
    Ok(())
}

#[test]
fn exit_codes_say_refused_usage_and_could_not_tell() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let (dir, file) = artifact(b"exit codes")?;
    let bundle = daemon.sign(&file)?;
    daemon.verify(&file, &bundle)?.code(0)?;
    fs::write(&file, b"changed")?;
    daemon.verify(&file, &bundle)?.code(1)?;
    Tool::sealwright()
        .args(["verify-blob", "--no-such-flag"])
        .run()?
        .code(2)?;
    let absent = dir.path().join("absent.json");
    let tool = Tool::sealwright()
        .args(["verify-blob", "--trust-config"])
        .arg(absent)
        .arg("--bundle")
        .arg(&bundle);
    tool.args(daemon.identity()).arg(&file).run()?.code(3)?;
    Ok(())
}

#[test]
fn tokens_are_never_taken_for_files_nor_echoed() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let (_dir, file) = artifact(b"token")?;
    let expired = daemon.token_with(&["--email", EMAIL, "--ttl", "-3600"])?;
    let bundle = file.with_extension("json");
    let outcome = Tool::sealwright()
        .args(["sign-blob", "--identity-token", &expired, "--bundle"])
        .arg(&bundle)
        .args(daemon.trust())
        .arg(&file)
        .run()?;
    let code = outcome.code;
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(code.is_some_and(|code| code != 0), "{outcome}");
    assert!(said.contains("expired"), "{said}");
    assert!(!said.contains(&expired), "the token is echoed");
    assert!(!bundle.exists());

    // The same token handed over as a file works like one handed over directly.
    let token_file = file.with_extension("jwt");
    fs::write(&token_file, daemon.token()?)?;
    let tool = Tool::sealwright()
        .args(["sign-blob", "--identity-token"])
        .arg(&token_file)
        .arg("--bundle")
        .arg(&bundle);
    tool.args(daemon.trust()).arg(&file).run()?.success()?;
    daemon.verify(&file, &bundle)?.success()?;
    let tool = Tool::sealwright()
        .args(["sign-blob", "--bundle"])
        .arg(&bundle)
        .args(daemon.trust())
        .arg(&file);
    tool.env("SIGSTORE_ID_TOKEN", daemon.token()?)
        .run()?
        .success()?;
    Ok(())
}

#[test]
fn a_pem_key_signs_and_verifies_without_an_identity() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let (dir, file) = artifact(b"signed with a key")?;
    for (name, generate) in [
        (
            "p256",
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ][..],
        ),
        (
            "p384",
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-384",
            ][..],
        ),
        ("ed25519", &["genpkey", "-algorithm", "ed25519"][..]),
        (
            "rsa3072",
            &[
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:3072",
            ][..],
        ),
    ] {
        let (private, public) = (
            dir.path().join(format!("{name}.pem")),
            dir.path().join(format!("{name}.pub")),
        );
        Tool::new("openssl")
            .args(generate)
            .arg("-out")
            .arg(&private)
            .run()?
            .success()?;
        Tool::new("openssl")
            .args(["pkey", "-pubout", "-in"])
            .arg(&private)
            .arg("-out")
            .arg(&public)
            .run()?
            .success()?;
        let bundle = dir.path().join(format!("{name}.json"));
        let tool = Tool::sealwright()
            .args(["sign-blob", "--key"])
            .arg(&private)
            .arg("--bundle")
            .arg(&bundle);
        tool.args(daemon.trust()).arg(&file).run()?.success()?;
        let verify = |key: &std::path::Path| {
            let tool = Tool::sealwright()
                .args(["verify-blob", "--key"])
                .arg(key)
                .arg("--bundle")
                .arg(&bundle);
            tool.args(daemon.trust()).arg(&file).run()
        };
        verify(&public)?.success()?;
        if name != "p256" {
            verify(&dir.path().join("p256.pub"))?.code(1)?;
        }
    }
    Ok(())
}

#[test]
fn one_certificate_serves_many_files() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let dir = tempfile::tempdir()?;
    let files: Vec<_> = (0..5)
        .map(|n| dir.path().join(format!("file-{n}")))
        .collect();
    for (n, file) in files.iter().enumerate() {
        fs::write(file, format!("content {n}"))?;
    }
    let tool = Tool::sealwright()
        .args(["sign-blob", "--identity-token", "-"])
        .args(daemon.trust())
        .args(&files);
    tool.dir(dir.path())
        .run_with_input(daemon.token()?.as_bytes())?
        .success()?;
    let mut certificates = std::collections::BTreeSet::new();
    for file in &files {
        let bundle = std::path::PathBuf::from(format!("{}.sigstore.json", file.display()));
        daemon.verify(file, &bundle)?.success()?;
        certificates.insert(json(&bundle)?["verificationMaterial"]["certificate"].to_string());
    }
    assert_eq!(certificates.len(), 1, "one certificate for all");
    Ok(())
}

#[test]
fn init_writes_the_sample_configuration() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("instance");
    let args = [
        "--public-url",
        "https://sign.example.com",
        "--listen",
        "0.0.0.0:7700",
    ];
    init(&args, &dir)?.success()?;
    let sample = fs::read_to_string(workspace_root().join("deploy/config/sealwright.toml"))?;
    assert_eq!(fs::read_to_string(dir.join("sealwright.toml"))?, sample);
    Tool::sealwrightd()
        .args(["check-config", "--dir"])
        .arg(&dir)
        .run()?
        .success()?;

    let misspelt = sample.replace("public_url", "public_ulr");
    fs::write(dir.join("sealwright.toml"), misspelt)?;
    let said = Tool::sealwrightd()
        .args(["check-config", "--dir"])
        .arg(&dir)
        .run()?
        .failure()?;
    assert!(
        said.contains("public_ulr") && said.contains("public_url"),
        "the nearest name is given: {said}"
    );
    Ok(())
}

#[test]
fn up_refuses_a_development_directory() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let dir = daemon.dir().to_owned();
    let said = Tool::sealwrightd()
        .args(["up", "--dir"])
        .arg(&dir)
        .run()?
        .failure()?;
    assert!(said.contains("dev"), "{said}");
    Ok(())
}
