//! Published clients, unchanged, against a running stack.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use sealwright_integration_tests::{
    Daemon, EMAIL, Tool, artifact, python, skipped,
    strangers::{
        self, Call, Client, Instance, Question, Signer, Statement, Trust, Verdict,
        matrix::{Matrix, Results},
        ours::Ours,
        table,
    },
    workspace_root,
};

/// Says which clients this machine lacks; answers whether all are there.
fn all_present(test: &str, clients: &[Box<dyn Client>]) -> bool {
    let mut all = true;
    for client in clients {
        if let Some(reason) = client.absent() {
            skipped(test, &format!("{}: {reason}", client.name()));
            all = false;
        }
    }
    all
}

/// Each client signs, attests, bootstraps and logs in; each verifies each other's and refuses what it must; and the
/// README says exactly that.
#[test]
fn every_client_agrees_with_every_other_and_the_readme_says_so() -> anyhow::Result<()> {
    let daemon = Daemon::fresh_with(&["--login", EMAIL, "--tls-listen", "127.0.0.1:0"])?;
    // The entry at index 0 is ours: what one client makes of it is a claim of its own, below.
    let (_dir, file) = artifact(b"first of the log")?;
    daemon.sign(&file)?;
    let clients = strangers::all();
    let complete = all_present("every_client_agrees_with_every_other", &clients);
    let matrix = Matrix::new(&daemon, &clients)?;
    let mut results = matrix.run();
    let Results { cells, failures } = matrix.logins();
    results.cells.extend(cells);
    results.failures.extend(failures);
    ensure!(
        results.failures.is_empty(),
        "{} questions were not answered as they should be\n\n{}",
        results.failures.len(),
        results.failures.join("\n\n")
    );
    readme_says(&table::render(&clients, &results), complete)
}

fn readme_says(table: &str, complete: bool) -> anyhow::Result<()> {
    let path = workspace_root().join("README.md");
    let readme = fs::read_to_string(&path)?;
    if complete && std::env::var_os("SEALWRIGHT_UPDATE").is_some() {
        let new = table::with_block(&readme, table).context("the README has no table")?;
        fs::write(path, new)?;
        return Ok(());
    }
    let said = table::block(&readme).context("the README has no table")?;
    assert_eq!(
        said, table,
        "the README's table of clients is not what the clients do: run this test with SEALWRIGHT_UPDATE=1"
    );
    Ok(())
}

/// Our client, but for its verdicts, which are always the same.
#[derive(Debug)]
struct Stubborn(Verdict);

impl Client for Stubborn {
    fn name(&self) -> &'static str {
        "stubborn"
    }

    fn absent(&self) -> Option<String> {
        None
    }

    fn bootstrap(&self, call: Call<'_>) -> anyhow::Result<()> {
        Ours.bootstrap(call)
    }

    fn sign(
        &self,
        call: Call<'_>,
        signer: Signer<'_>,
        artifact: &Path,
        bundle: &Path,
    ) -> anyhow::Result<()> {
        Ours.sign(call, signer, artifact, bundle)
    }

    fn attest(
        &self,
        call: Call<'_>,
        token: &str,
        statement: &Statement,
        bundle: &Path,
    ) -> anyhow::Result<()> {
        Ours.attest(call, token, statement, bundle)
    }

    fn verify(&self, _call: Call<'_>, _question: Question<'_>) -> anyhow::Result<Verdict> {
        Ok(self.0.clone())
    }

    fn verify_attestation(
        &self,
        _call: Call<'_>,
        _question: Question<'_>,
    ) -> anyhow::Result<Verdict> {
        Ok(self.0.clone())
    }
}

/// The matrix finds a verifier that accepts everything and one that refuses everything; so no cell is green for nothing.
#[test]
fn a_verifier_that_does_not_look_is_found_out() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    for (verdict, wrong) in [
        // A changed file, another identity, a part of the identity and another issuer, for both kinds of bundle.
        (Verdict::Accepted, 8),
        // What TUF gave, and two bundles each of two signers; what it refuses is then not asked.
        (Verdict::Refused("no".to_owned()), 5),
    ] {
        let clients: Vec<Box<dyn Client>> = vec![Box::new(Ours), Box::new(Stubborn(verdict))];
        let results = Matrix::new(&daemon, &clients)?.run();
        let about = |name: &str| {
            let failures = results.failures.iter();
            failures.filter(|told| told.starts_with(name)).count()
        };
        assert_eq!(about("stubborn"), wrong, "{:#?}", results.failures);
        assert_eq!(about("sealwright"), 0, "{:#?}", results.failures);
    }
    Ok(())
}

/// The npm packages leave fields that are zero out of a bundle, as proto3 JSON does, so a bundle over the first entry of
/// a log has no index. Whoever reads proto3 JSON must take it; the Python client does not, and says so.
#[test]
fn a_bundle_of_the_first_entry_without_its_index_verifies() -> anyhow::Result<()> {
    let packages = strangers::js::Packages;
    if let Some(reason) = packages.absent() {
        skipped(
            "a_bundle_of_the_first_entry_without_its_index_verifies",
            &reason,
        );
        return Ok(());
    }
    let daemon = Daemon::fresh()?;
    let instance = Instance::of(&daemon);
    let (dir, file) = artifact(b"the first entry")?;
    let call = Call {
        instance: &instance,
        trust: Trust::Files,
        home: dir.path(),
    };
    let bundle = file.with_extension("sigstore.json");
    packages.sign(call, Signer::Token(&daemon.token()?), &file, &bundle)?;
    let content: serde_json::Value = serde_json::from_slice(&fs::read(&bundle)?)?;
    let entry = &content["verificationMaterial"]["tlogEntries"][0];
    assert!(entry.get("logIndex").is_none(), "{entry}");
    let question = Question {
        bundle: &bundle,
        artifact: &file,
        identity: EMAIL,
        issuer: &instance.issuer,
    };
    let accepted: [&dyn Client; 2] = [&Ours, &packages];
    for client in accepted {
        assert_eq!(client.verify(call, question)?, Verdict::Accepted);
    }
    let python = strangers::python::Python;
    if python.absent().is_none() {
        let error = python
            .verify(call, question)
            .expect_err("the Python client has no verdict on it");
        assert!(format!("{error:#}").contains("rootHash"), "{error:#}");
    }
    Ok(())
}

#[test]
fn python_tuf_reads_the_repository() -> anyhow::Result<()> {
    const SCRIPT: &str = r#"
import sys, os, tempfile
from tuf.ngclient import Updater
base, root, out = sys.argv[1:4]
metadata = os.path.join(out, "metadata"); targets = os.path.join(out, "targets")
os.makedirs(metadata); os.makedirs(targets)
updater = Updater(metadata, base, targets, base + "targets/", bootstrap=open(root, "rb").read())
updater.refresh()
for name in sys.argv[4:]:
    info = updater.get_targetinfo(name)
    assert info is not None, name
    print(name, open(updater.download_target(info), "rb").read().decode()[:60].replace("\n", " "))
"#;
    let Some(python) = python("python_tuf_reads_the_repository") else {
        return Ok(());
    };
    let daemon = Daemon::fresh()?;
    let out = tempfile::tempdir()?;
    let base = format!("{}/", daemon.endpoints().tuf.trim_end_matches('/'));
    let shown = Tool::new(python)
        .args(["-c", SCRIPT, &base])
        .arg(daemon.client_file("root.json"))
        .arg(out.path().join("store"))
        .args(["trusted_root.json", "signing_config.v0.2.json"])
        .run()?
        .success()?;
    assert_eq!(shown.lines().count(), 2, "{shown}");
    let json = |path: &Path| -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    };
    let downloaded = json(&out.path().join("store/targets/trusted_root.json"))?;
    assert_eq!(downloaded, json(&daemon.client_file("trusted_root.json"))?);
    Ok(())
}
