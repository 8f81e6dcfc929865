//! Roles apart: four processes, each with its own directory and keys, mutual TLS and allow lists between them.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use sealwright_crypto::{Algorithm, KeyType, PrivateKey};
use sealwright_host::{
    Reason,
    metrics::Registry,
    peers::{Peers, PeersConfig},
    status::from_status,
    tls::Reloads,
};
use sealwright_integration_tests::{
    EMAIL, Tool, artifact, certificate_request,
    deployment::{Deployment, ROLES},
    http, skipped,
    strangers::{
        self,
        matrix::{Matrix, Results},
    },
};
use sealwright_proto::sealwright::{
    ct::v1::{
        AddChainRequest, GetRootsRequest,
        certificate_transparency_client::CertificateTransparencyClient,
    },
    trust::v1::{DescribeRequest, trust_material_client::TrustMaterialClient},
};
use tonic::{Code, transport::Channel};

/// Signing, attesting, bootstrapping, verifying and refusing, by our client and by every published one.
#[test]
fn clients_cannot_tell_roles_apart_from_roles_together() -> anyhow::Result<()> {
    let mut deployment = Deployment::fresh()?;
    let (_dir, file) = artifact(b"first of the log")?;
    deployment.sign(&file)?;
    let clients = strangers::all();
    for client in &clients {
        if let Some(reason) = client.absent() {
            let reason = format!("{}: {reason}", client.name());
            skipped(
                "clients_cannot_tell_roles_apart_from_roles_together",
                &reason,
            );
        }
    }
    let Results { cells, failures } = Matrix::new(&deployment, &clients)?.run();
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    ensure!(!cells.is_empty(), "our own client is always there");
    deployment.terminate()
}

/// By when the trust service has found roles that are ready.
const FOUND_BY: Duration = Duration::from_secs(60);

#[test]
fn roles_start_in_any_order_and_say_whom_they_wait_for() -> anyhow::Result<()> {
    let mut deployment = Deployment::made()?;
    deployment.start("trust")?;
    let waiting = deployment.wait_for("trust", "trust.metadata", false)?;
    for role in ["ca", "log", "tsa"] {
        assert!(
            waiting.contains(&format!("https://{role}.internal:")),
            "{waiting}"
        );
    }
    deployment.start("ca")?;
    let waiting = deployment.wait_for("ca", "ca.ct", false)?;
    assert!(waiting.contains("https://log.internal:"), "{waiting}");
    let refused = deployment.operate(&["stage"])?.failure()?;
    assert!(refused.contains("did not answer"), "{refused}");
    assert_eq!(deployment.readiness("ca")?.0, 503);

    deployment.start("tsa")?;
    deployment.start("log")?;
    for role in ["tsa", "log", "ca"] {
        deployment.ready(role)?;
    }
    // A report may be some moments old, and so may an attempt to connect.
    let began = Instant::now();
    while deployment
        .wait_for("trust", "trust.metadata", false)?
        .contains("no answer")
    {
        ensure!(began.elapsed() < FOUND_BY, "trust finds nobody");
        std::thread::sleep(Duration::from_millis(50));
    }
    deployment.publish()?;
    deployment.ready("trust")?;
    let (_dir, file) = artifact(b"signed by late comers")?;
    let bundle = deployment.sign(&file)?;
    deployment.verify(&file, &bundle)?.success()?;
    Ok(())
}

#[test]
fn an_authority_without_its_log_says_so_and_recovers_by_itself() -> anyhow::Result<()> {
    let mut deployment = Deployment::fresh()?;
    let (_dir, file) = artifact(b"before")?;
    let before = deployment.sign(&file)?;
    deployment.kill("log")?;

    let key = PrivateKey::generate(KeyType::EcP256)?;
    let token = deployment.token()?;
    let request = certificate_request(&token, &key, Algorithm::EcdsaP256Sha256, EMAIL)?;
    let url = format!("{}/api/v2/signingCert", deployment.endpoints().ca);
    let refused = http().post(&url).json(&request).send()?;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let envelope: serde_json::Value = refused.json()?;
    assert_eq!(envelope["details"][0]["reason"], "CT_LOG_UNAVAILABLE");
    let waiting = deployment.wait_for("ca", "ca.ct", false)?;
    assert!(waiting.contains("log.internal"), "{waiting}");
    // Nothing that was signed needs the log to be there.
    deployment.verify(&file, &before)?.success()?;

    deployment.start("log")?;
    deployment.ready("log")?;
    deployment.wait_for("ca", "ca.ct", true)?;
    let answer = http().post(&url).json(&request).send()?;
    assert_eq!(answer.status(), 200, "{}", answer.text()?);
    let (_dir, file) = artifact(b"after")?;
    let after = deployment.sign(&file)?;
    deployment.verify(&file, &after)?.success()?;
    Ok(())
}

#[test]
fn killed_roles_come_back_with_everything_they_promised() -> anyhow::Result<()> {
    let mut deployment = Deployment::fresh()?;
    let (_dir, file) = artifact(b"kept")?;
    let bundle = deployment.sign(&file)?;
    for role in ROLES {
        deployment.kill(role)?;
        deployment.start(role)?;
        deployment.ready(role)?;
    }
    deployment.wait_for("ca", "ca.ct", true)?;
    deployment.verify(&file, &bundle)?.success()?;
    let again = deployment.sign(&file)?;
    deployment.verify(&file, &again)?.success()?;
    // Nothing is new: the same keys prove themselves again.
    let staged = deployment.operate(&["stage"])?.success()?;
    assert!(staged.contains("nothing is new"), "{staged}");
    deployment.terminate()?;
    Tool::sealwrightd()
        .args(["fsck", "--dir"])
        .arg(deployment.dir("log"))
        .run()?
        .success()?;
    Ok(())
}

/// A channel to `called` with the certificate of `caller`.
fn channel(deployment: &Deployment, caller: &str, called: &str) -> anyhow::Result<Channel> {
    let keys = deployment.dir(caller).join("keys");
    let name = format!("{called}.internal");
    let config = PeersConfig {
        listen: None,
        certificate: keys.join("internal.pem"),
        key: keys.join("internal.pem"),
        authority: keys.join("internal_ca.pem"),
        allow: BTreeMap::new(),
        addresses: [(name.clone(), deployment.internal_address(called))].into(),
    };
    let registry = Registry::new();
    let reloads = Reloads::register(&registry);
    let peers = Peers::open(&config, Path::new("/"), &[], &registry, &reloads)?;
    Ok(peers.channel(&format!("https://{name}"))?)
}

#[test]
fn the_certificate_decides_who_may_call_what() -> anyhow::Result<()> {
    let deployment = Deployment::fresh()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let describe = || DescribeRequest {
        challenge: vec![7; 32],
    };
    runtime.block_on(async {
        for caller in ROLES {
            for called in ["ca", "log", "tsa"] {
                let mut client = TrustMaterialClient::new(channel(&deployment, caller, called)?);
                let answer = client.describe(describe()).await;
                let allowed = caller == "trust";
                match answer {
                    Ok(_) => assert!(allowed, "{caller} may not ask {called}"),
                    Err(status) => {
                        assert!(!allowed, "{caller} -> {called}: {status}");
                        assert_eq!(
                            status.code(),
                            Code::PermissionDenied,
                            "{caller} -> {called}"
                        );
                        let (reason, _) = from_status(&status).context("a reason")?;
                        assert_eq!(reason, Reason::PermissionDenied);
                        assert!(
                            status.message().contains(&format!("{caller}.internal")),
                            "{status}"
                        );
                    }
                }
            }
            let mut log = CertificateTransparencyClient::new(channel(&deployment, caller, "log")?);
            let submitted = log.add_pre_chain(AddChainRequest::default()).await;
            let listed = log.get_roots(GetRootsRequest::default()).await;
            let expected = match caller {
                // It is let in, and told that an empty chain is none.
                "ca" => Code::InvalidArgument,
                _ => Code::PermissionDenied,
            };
            assert_eq!(
                submitted.map_err(|status| status.code()).err(),
                Some(expected),
                "{caller}"
            );
            assert_eq!(listed.is_ok(), caller == "ca", "{caller}");
            let other = log.add_chain(AddChainRequest::default()).await;
            assert_eq!(
                other.map_err(|status| status.code()).err(),
                Some(Code::PermissionDenied),
                "{caller}"
            );
        }
        anyhow::Ok(())
    })?;
    assert!(deployment.log("log").contains("refused between services"));
    Ok(())
}

/// A client of TLS that trusts `authority` and shows no certificate.
fn nobody(
    deployment: &Deployment,
    authority: &Path,
    called: &str,
) -> anyhow::Result<reqwest::blocking::Client> {
    let root = reqwest::Certificate::from_pem(&fs::read(authority)?)?;
    let address = deployment.internal_address(called).parse()?;
    Ok(reqwest::blocking::Client::builder()
        .timeout(Duration::from_secs(30))
        .no_proxy()
        .tls_certs_only([root])
        .resolve(&format!("{called}.internal"), address)
        .build()?)
}

#[test]
fn without_a_certificate_nothing_is_answered_and_in_public_nothing_is_there() -> anyhow::Result<()>
{
    let deployment = Deployment::fresh()?;
    const DESCRIBE: &str = "sealwright.trust.v1.TrustMaterial/Describe";
    const SUBMIT: &str = "sealwright.ct.v1.CertificateTransparency/AddPreChain";
    let empty = vec![0, 0, 0, 0, 0];
    let grpc =
        |client: &reqwest::blocking::Client, url: String| -> anyhow::Result<Option<String>> {
            let request = client
                .post(url)
                .header("content-type", "application/grpc")
                .body(empty.clone());
            let answer = request.send()?;
            let status = answer.headers().get("grpc-status");
            Ok(status.and_then(|status| Some(status.to_str().ok()?.to_owned())))
        };
    let code = |code: Code| Some((code as i32).to_string());
    let authority = deployment.dir("ca").join("keys/internal_ca.pem");
    for called in ["ca", "log", "tsa"] {
        let client = nobody(&deployment, &authority, called)?;
        let port = deployment.internal_address(called);
        let port = port.rsplit(':').next().unwrap_or_default();
        let status = grpc(
            &client,
            format!("https://{called}.internal:{port}/{DESCRIBE}"),
        )?;
        assert_eq!(status, code(Code::Unauthenticated), "{called}");
        // Without TLS nobody is spoken to.
        let plain = http().get(format!(
            "http://{}/healthz",
            deployment.internal_address(called)
        ));
        assert!(plain.send().is_err(), "{called}");
        let public = reqwest::blocking::Client::builder()
            .no_proxy()
            .http2_prior_knowledge()
            .tls_certs_only(Vec::new())
            .build()?;
        let status = grpc(&public, format!("{}/{DESCRIBE}", deployment.url(called)))?;
        assert_eq!(status, code(Code::Unimplemented), "{called}");
    }
    let public = reqwest::blocking::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .tls_certs_only(Vec::new())
        .build()?;
    let status = grpc(&public, format!("{}/{SUBMIT}", deployment.url("log")))?;
    assert_eq!(status, code(Code::PermissionDenied));
    let submission = format!("{}/ct/v1/add-pre-chain", deployment.endpoints().ct);
    let refused = http().post(submission).body(r#"{"chain":[]}"#).send()?;
    assert_eq!(refused.status(), 403);
    let roots = http()
        .get(format!("{}/ct/v1/get-roots", deployment.endpoints().ct))
        .send()?;
    assert_eq!(roots.status(), 200, "everybody may read");

    // A certificate of another deployment's authority does not even finish the handshake.
    let other = Deployment::made()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let refused = runtime.block_on(async {
        let keys = other.dir("trust").join("keys");
        let config = PeersConfig {
            listen: None,
            certificate: keys.join("internal.pem"),
            key: keys.join("internal.pem"),
            authority: authority.clone(),
            allow: BTreeMap::new(),
            addresses: [("ca.internal".to_owned(), deployment.internal_address("ca"))].into(),
        };
        let registry = Registry::new();
        let reloads = Reloads::register(&registry);
        let peers = Peers::open(&config, Path::new("/"), &[], &registry, &reloads)?;
        let mut client = TrustMaterialClient::new(peers.channel("https://ca.internal")?);
        let request = DescribeRequest {
            challenge: vec![7; 32],
        };
        let status = client.describe(request).await.err().context("refused")?;
        // And who calls expects its own deployment at the other end.
        let mut client = TrustMaterialClient::new(channel(&other, "trust", "ca")?);
        let absent = client.describe(DescribeRequest::default()).await;
        assert!(absent.is_err());
        anyhow::Ok(status)
    })?;
    assert!(
        from_status(&refused).is_none(),
        "no answer of a service: {refused}"
    );
    Ok(())
}

#[test]
fn certificates_change_without_a_restart_and_broken_ones_leave_the_old_in_force()
-> anyhow::Result<()> {
    let deployment = Deployment::fresh()?;
    let file = deployment.dir("log").join("keys/internal.pem");
    let (_dir, signed) = artifact(b"meanwhile")?;
    fs::write(
        &file,
        "-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n",
    )?;
    let told = deployment.wait_for("log", "host.tls.internal-server", false)?;
    assert!(told.contains("stay in force"), "{told}");
    assert_eq!(
        deployment.readiness("log")?.0,
        200,
        "it serves as well as before"
    );
    assert!(deployment.log("log").contains("the old ones stay in force"));
    deployment.sign(&signed)?;

    Tool::sealwrightd()
        .args(["internal-cert", "--dir"])
        .arg(deployment.root_dir())
        .run()?
        .success()?;
    deployment.wait_for("log", "host.tls.internal-server", true)?;
    let renewed = fs::read_to_string(&file)?;
    let shown = |address: &str| -> anyhow::Result<String> {
        let tool =
            Tool::new("openssl").args(["s_client", "-alpn", "h2", "-servername", "log.internal"]);
        Ok(tool.args(["-connect", address]).run()?.stdout)
    };
    // What is shown to a new connection is what lies in the file.
    let body = |text: &str| -> Option<String> {
        let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
        Some(rest.split_once("-----END")?.0.split_whitespace().collect())
    };
    let address = deployment.internal_address("log");
    let began = Instant::now();
    while body(&shown(&address)?) != body(&renewed) {
        ensure!(
            began.elapsed() < Duration::from_secs(60),
            "the renewed certificate is not shown"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(body(&renewed).is_some());
    // Both ends have changed; a new connection between them works.
    let bundle = deployment.sign(&signed)?;
    deployment.verify(&signed, &bundle)?.success()?;
    deployment.operate(&["stage"])?.success()?;
    Ok(())
}

#[test]
fn what_would_be_said_in_the_clear_or_mean_nothing_is_refused_before_it_starts()
-> anyhow::Result<()> {
    let deployment = Deployment::made()?;
    let check = |role: &str, from: &str, to: &str| -> anyhow::Result<String> {
        let path = deployment.dir(role).join("sealwright.toml");
        let kept = fs::read_to_string(&path)?;
        ensure!(kept.contains(from), "{role} has no {from:?}");
        fs::write(&path, kept.replacen(from, to, 1))?;
        let said = Tool::sealwrightd()
            .args(["check-config", "--role", role, "--dir"])
            .arg(deployment.dir(role))
            .run()?
            .failure()?;
        fs::write(&path, kept)?;
        Ok(said)
    };
    for (role, from, to, told) in [
        (
            "ca",
            "url = \"https://log.internal:",
            "url = \"http://log.internal:",
            "plaintext to another host",
        ),
        (
            "trust",
            "\"https://tsa.internal:",
            "\"http://tsa.internal:",
            "services prove who they are",
        ),
        (
            "log",
            "CertificateTransparency/GetRoots",
            "CertificateTransparency/GetRoot",
            "GetRoot",
        ),
        ("log", "[internal.allow]", "[internal.alow]", "allow"),
        (
            "tsa",
            "authority = \"keys/internal_ca.pem\"",
            "authority = \"keys/none.pem\"",
            "none.pem",
        ),
        (
            "ca",
            "\"log.internal\" = \"127.",
            "\"log.internal\" = \"nowhere\"\n\"x\" = \"127.",
            "host:port",
        ),
    ] {
        let said = check(role, from, to)?;
        assert!(said.contains(told), "{role}: {to}: {said}");
    }
    // One process for everything has nobody to call.
    let said = Tool::sealwrightd()
        .args(["up", "--dir"])
        .arg(deployment.dir("ca"))
        .run()?
        .failure()?;
    assert!(said.contains("internal.listen"), "{said}");
    Ok(())
}

#[test]
fn the_trust_root_is_kept_by_its_operator_alone() -> anyhow::Result<()> {
    let mut deployment = Deployment::fresh()?;
    let socket = deployment.dir("trust").join("trust/control.sock");
    let mode =
        |path: &Path| Ok::<_, std::io::Error>(fs::metadata(path)?.permissions().mode() & 0o777);
    assert_eq!(mode(&socket)?, 0o600);
    assert_eq!(mode(socket.parent().context("a folder")?)?, 0o700);

    let tuf = deployment.endpoints().tuf.clone();
    let version_2 = || http().get(format!("{tuf}/2.root.json")).send();
    assert_eq!(version_2()?.status(), 404);
    let key = |name: &str| deployment.dir("offline").join(name).display().to_string();
    let wrong = deployment.operate(&["renew-root", "--key", &key("targets.pem")])?;
    wrong.failure()?;
    let renewed = deployment.operate(&["renew-root", "--key", &key("root.pem")])?;
    assert!(renewed.success()?.contains("version 2"));
    assert_eq!(version_2()?.status(), 200);

    let status = deployment.operate(&["status"])?.success()?;
    let tsa = status
        .lines()
        .find(|line| line.ends_with("/api/v1/timestamp"));
    let id = tsa
        .and_then(|line| line.split_whitespace().next())
        .context("the authority")?
        .to_owned();
    let unsaid = deployment
        .operate(&["remove", &id, "--reason", " "])?
        .failure()?;
    assert!(unsaid.contains("reason"), "{unsaid}");
    let staged = deployment.operate(&["retire", &id])?.success()?;
    assert!(staged.contains("0 of 1 signatures"), "{staged}");
    let early = deployment.operate(&["publish"])?.failure()?;
    assert!(early.contains("signature"), "{early}");
    let stranger = deployment
        .operate(&["sign", "--key", &key("root.pem")])?
        .failure()?;
    assert!(stranger.contains("targets key"), "{stranger}");
    deployment
        .operate(&["sign", "--key", &key("targets.pem")])?
        .success()?;
    deployment.operate(&["publish"])?.success()?;
    let root: serde_json::Value =
        serde_json::from_slice(&fs::read(deployment.client_file("trusted_root.json"))?)?;
    let ended = &root["timestampAuthorities"][0]["validFor"]["end"];
    assert!(ended.is_string(), "files for clients follow: {root}");

    deployment.terminate()?;
    let gone = deployment.operate(&["status"])?.failure()?;
    assert!(gone.contains("no trust service is running"), "{gone}");
    Ok(())
}

/// Killed at any moment of a publication, the trust service has all of it or nothing, and asking again is all that it takes.
#[test]
fn a_publication_that_was_cut_off_is_asked_for_again() -> anyhow::Result<()> {
    for pause in [1, 8, 25].map(Duration::from_millis) {
        let mut deployment = Deployment::made()?;
        for role in ROLES {
            deployment.start(role)?;
        }
        for role in ["log", "tsa", "ca"] {
            deployment.ready(role)?;
        }
        let key = deployment.dir("offline").join("targets.pem");
        deployment.operate(&["stage"])?.success()?;
        deployment
            .operate(&["sign", "--key", &key.display().to_string()])?
            .success()?;

        let publish = Tool::sealwrightd()
            .args(["trust", "--dir"])
            .arg(deployment.dir("trust"))
            .arg("publish");
        let publishing = std::thread::spawn(move || publish.run());
        std::thread::sleep(pause);
        deployment.kill("trust")?;
        let cut = publishing.join().expect("the thread does not panic")?;
        let told = cut.stderr.contains("asking again does no harm")
            || cut.stderr.contains("no trust service");
        ensure!(cut.code == Some(0) || told, "{cut}");

        deployment.start("trust")?;
        let began = Instant::now();
        while deployment.operate(&["status"])?.code != Some(0) {
            ensure!(began.elapsed() < FOUND_BY, "trust does not come back");
            std::thread::sleep(Duration::from_millis(50));
        }
        let again = deployment.operate(&["publish"])?;
        let done = again.code == Some(0) || again.stderr.contains("nothing is staged");
        ensure!(done, "{again}");
        deployment.operate(&["activate"])?.success()?;
        deployment.ready("trust")?;
        let (_dir, file) = artifact(b"after the cut")?;
        deployment.sign(&file)?;
        deployment.terminate()?;
    }
    Ok(())
}
