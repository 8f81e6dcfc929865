//! The client as a person meets it: whole processes.

use std::fs;

use sealwright_integration_tests::{Daemon, EMAIL, Tool, binary as path_of};

use crate::{
    peers,
    spread::repeat,
    table::{Goal, Table},
};

/// How large the program is and how soon it is there.
pub(crate) fn binary(_daemon: &Daemon, table: &mut Table) -> anyhow::Result<()> {
    let megabytes = fs::metadata(path_of("sealwright"))?.len() as f64 / 1e6;
    let peer = match peers::program("cosign") {
        Some(cosign) => format!("cosign {:.0}", fs::metadata(cosign)?.len() as f64 / 1e6),
        None => "cosign 101".to_owned(),
    };
    table.add("client program, MB", Goal::Under(20.0), megabytes, peer);
    let version = repeat(100, |_| {
        Tool::sealwright()
            .arg("--version")
            .run()?
            .success()
            .map(drop)
    })?;
    println!("  sealwright --version: {version}");
    let peer = match peers::program("cosign") {
        Some(cosign) => {
            let version = repeat(20, |_| {
                Tool::new(&cosign).arg("version").run()?.success().map(drop)
            })?;
            println!("  cosign version: {version}");
            format!("cosign {:.1} here", version.median())
        }
        None => String::new(),
    };
    table.add(
        "sealwright --version, p50 ms",
        Goal::Under(10.0),
        version.median(),
        peer,
    );
    Ok(())
}

/// Signs and verifies a small file with our client, and with cosign against the same services.
pub(crate) fn sign_and_verify(daemon: &Daemon, table: &mut Table) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let scratch = scratch.path();
    let file = scratch.join("small.txt");
    fs::write(&file, "a small file")?;
    let bundle = scratch.join("small.sigstore.json");
    let token = daemon.token()?;
    let sign = repeat(60, |_| {
        let tool = Tool::sealwright()
            .args(["sign-blob", "--identity-token", "-", "--bundle"])
            .arg(&bundle);
        tool.args(daemon.trust())
            .arg(&file)
            .run_with_input(token.as_bytes())?
            .success()
            .map(drop)
    })?;
    println!("  sign-blob, process and all: {sign}");
    let verify = repeat(60, |_| daemon.verify(&file, &bundle)?.success().map(drop))?;
    println!("  verify-blob, process and all: {verify}");

    let (mut signs, mut verifies) = (String::new(), String::new());
    if let Some(cosign) = peers::program("cosign") {
        let token_file = scratch.join("token");
        fs::write(&token_file, &token)?;
        let theirs = scratch.join("cosign.sigstore.json");
        let trusted = daemon.client_file("trusted_root.json");
        let sign = repeat(20, |_| {
            Tool::new(&cosign)
                .args(["sign-blob", "--yes", "--identity-token"])
                .arg(&token_file)
                .arg("--trusted-root")
                .arg(&trusted)
                .arg("--signing-config")
                .arg(daemon.client_file("signing_config.json"))
                .arg("--bundle")
                .arg(&theirs)
                .arg(&file)
                .run()?
                .success()
                .map(drop)
        })?;
        println!("  cosign sign-blob with our services: {sign}");
        let verify = repeat(20, |_| {
            Tool::new(&cosign)
                .args(["verify-blob", "--trusted-root"])
                .arg(&trusted)
                .arg("--bundle")
                .arg(&theirs)
                .args(["--certificate-identity", EMAIL])
                .args(["--certificate-oidc-issuer", &daemon.endpoints().oidc])
                .arg(&file)
                .run()?
                .success()
                .map(drop)
        })?;
        println!("  cosign verify-blob: {verify}");
        signs = format!("cosign with our services {:.1} here; ", sign.median());
        verifies = format!("cosign {:.1} here; ", verify.median());
    }
    signs.push_str("with its own 11,000, tuned 1,500");
    verifies.push_str("published 28");
    table.add("sign-blob, p50 ms", Goal::Under(40.0), sign.median(), signs);
    table.add(
        "verify-blob, p50 ms",
        Goal::Under(10.0),
        verify.median(),
        verifies,
    );
    Ok(())
}
