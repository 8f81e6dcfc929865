//! Keys of an organisation's own PKI, which OpenSSL runs: sign with the client, log and timestamp with the daemon, verify.

use std::fs;
use std::path::{Path, PathBuf};

use sealwright_crypto::base64;
use sealwright_integration_tests::{Daemon, Outcome, Tool, artifact, skipped, workspace_root};
use sealwright_pki::parse_pem_chain;
use serde_json::{Value, json};

const RELEASE: &str = "release@example.com";
const FAKETIME: &str = "/usr/bin/faketime";

/// An authority's configuration. `PATHLEN` and `MORE` are filled in for each authority.
const CONFIGURATION: &str = "\
[ca]\ndefault_ca = own\n\
[own]\ndatabase = index.txt\nrand_serial = yes\nnew_certs_dir = .\ncrlnumber = crlnumber\ndefault_md = sha256\n\
default_days = 365\ndefault_crl_days = 7\npolicy = any\nunique_subject = no\ncrl_extensions = list\ncopy_extensions = none\n\
[any]\ncommonName = supplied\n\
[list]\nauthorityKeyIdentifier = keyid:always\n\
[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = own root\n\
[authority]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash\n\
[issuing]\nbasicConstraints = critical, CA:TRUE, pathlen:0\nkeyUsage = critical, keyCertSign, cRLSign\n\
subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid:always\nnameConstraints = critical, permitted;email:example.com\n\
[signing]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\nextendedKeyUsage = codeSigning\n\
subjectAltName = email:release@example.com, URI:https://build.example.com/release\nauthorityKeyIdentifier = keyid:always\n\
[plain]\nkeyUsage = critical, digitalSignature\nextendedKeyUsage = codeSigning\nsubjectAltName = email:release@example.com\n\
[elsewhere]\nkeyUsage = critical, digitalSignature\nextendedKeyUsage = codeSigning\nsubjectAltName = email:release@example.org\n\
[tls]\nkeyUsage = critical, digitalSignature\nextendedKeyUsage = serverAuth\nsubjectAltName = email:release@example.com\n\
";

/// A folder in which OpenSSL runs a root (RSA 3072), an issuing authority below it (P-256), and what they issue.
struct Office {
    dir: tempfile::TempDir,
}

impl Office {
    fn open() -> anyhow::Result<Self> {
        let office = Self {
            dir: tempfile::tempdir()?,
        };
        for authority in ["root", "issuing"] {
            let folder = office.path(authority);
            fs::create_dir(&folder)?;
            fs::write(folder.join("ca.cnf"), CONFIGURATION)?;
            fs::write(folder.join("index.txt"), "")?;
            fs::write(folder.join("crlnumber"), "01\n")?;
        }
        office.key("root", "RSA", "rsa_keygen_bits:3072")?;
        office.key("issuing", "EC", "ec_paramgen_curve:P-256")?;
        office.openssl(
            "req -x509 -new -config root/ca.cnf -extensions authority -key root.key -sha256 -days 7300 -out root.pem",
        )?;
        office.request("issuing", "own issuing")?;
        office.ca(
            "root",
            "-days 3650 -extfile ca.cnf -extensions issuing -in ../issuing.csr -out ../issuing.pem",
        )?;
        let chain = [office.read("issuing.pem")?, office.read("root.pem")?].concat();
        fs::write(office.path("chain.pem"), chain)?;
        Ok(office)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.path(name))?)
    }

    fn openssl(&self, line: &str) -> anyhow::Result<String> {
        self.openssl_in("", line)
    }

    fn openssl_in(&self, folder: &str, line: &str) -> anyhow::Result<String> {
        let tool = Tool::new("openssl").args(line.split_whitespace());
        tool.dir(&self.path(folder)).run()?.success()
    }

    fn key(&self, name: &str, kind: &str, option: &str) -> anyhow::Result<()> {
        self.openssl(&format!(
            "genpkey -algorithm {kind} -pkeyopt {option} -out {name}.key"
        ))?;
        Ok(())
    }

    fn request(&self, name: &str, common_name: &str) -> anyhow::Result<()> {
        // The subject has a space, which the other lines have not.
        let tool = Tool::new("openssl").args(["req", "-new", "-key"]);
        let tool =
            tool.arg(format!("{name}.key"))
                .args(["-subj", &format!("/CN={common_name}"), "-out"]);
        tool.arg(format!("{name}.csr"))
            .dir(self.dir.path())
            .run()?
            .success()?;
        Ok(())
    }

    /// `openssl ca` of an authority, in its folder.
    fn ca(&self, authority: &str, rest: &str) -> anyhow::Result<()> {
        let line = format!(
            "ca -config ca.cnf -cert ../{authority}.pem -keyfile ../{authority}.key -batch -notext {rest}"
        );
        self.openssl_in(authority, &line)?;
        Ok(())
    }

    /// A key of this curve, or RSA, and its certificate by the issuing authority, with the extensions of a section.
    fn issue(&self, name: &str, kind: &str, section: &str) -> anyhow::Result<()> {
        match kind {
            "RSA" => self.key(name, "RSA", "rsa_keygen_bits:3072")?,
            curve => self.key(name, "EC", &format!("ec_paramgen_curve:{curve}"))?,
        }
        self.request(name, name)?;
        self.ca(
            "issuing",
            &format!("-extfile ca.cnf -extensions {section} -in ../{name}.csr -out ../{name}.pem"),
        )
    }

    /// A list of each authority, in one file.
    fn lists(&self, name: &str, options: &str) -> anyhow::Result<PathBuf> {
        let mut both = String::new();
        for authority in ["issuing", "root"] {
            self.ca(authority, &format!("-gencrl {options} -out list.pem"))?;
            both += &self.read(&format!("{authority}/list.pem"))?;
        }
        fs::write(self.path(name), both)?;
        Ok(self.path(name))
    }

    fn signing(&self, daemon: &Daemon, verb: &str, name: &str, bundle: &Path) -> Tool {
        let [key, certificate] = ["key", "pem"].map(|end| self.path(&format!("{name}.{end}")));
        let tool = Tool::sealwright().arg(verb).args(daemon.trust());
        let tool = tool
            .arg("--key")
            .arg(key)
            .arg("--certificate")
            .arg(certificate);
        tool.arg("--bundle").arg(bundle)
    }

    /// Signs a file with a key and its certificate; answers the bundle.
    fn sign(&self, daemon: &Daemon, name: &str, file: &Path) -> anyhow::Result<PathBuf> {
        let bundle = self.path(&format!("{name}.sigstore.json"));
        let tool = self.signing(daemon, "sign-blob", name, &bundle);
        tool.arg(file).run()?.success()?;
        Ok(bundle)
    }

    /// Asks whether `bundle` is the release's signature over `file`, with more arguments.
    fn verify(
        &self,
        daemon: &Daemon,
        bundle: &Path,
        file: &Path,
        rest: &[&str],
    ) -> anyhow::Result<Outcome> {
        self.verification(Tool::sealwright(), daemon, bundle, rest)
            .arg(file)
            .run()
    }

    fn verification(&self, client: Tool, daemon: &Daemon, bundle: &Path, rest: &[&str]) -> Tool {
        let client = client.args(["verify-blob", "--output", "json"]);
        let client = client.args(daemon.trust()).arg("--bundle").arg(bundle);
        let client = if rest.contains(&"--certificate-identity") {
            client
        } else {
            client.args(["--certificate-identity", RELEASE])
        };
        client.args(rest).dir(self.dir.path())
    }
}

/// The code of a refusal in JSON.
fn refused(outcome: Outcome) -> anyhow::Result<String> {
    let shown = outcome.to_string();
    let report: Value = serde_json::from_str(&outcome.code(1)?)?;
    let code = report["error"]["code"].as_str();
    Ok(code
        .unwrap_or_else(|| panic!("no code in {shown}"))
        .to_owned())
}

fn verdict(outcome: Outcome) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&outcome.success()?)?)
}

fn warnings(verdict: &Value) -> Vec<&str> {
    let warnings = verdict["warnings"].as_array().expect("a list");
    warnings
        .iter()
        .filter_map(|warning| warning["code"].as_str())
        .collect()
}

#[test]
fn a_key_with_a_certificate_of_an_own_pki_signs_and_the_chain_verifies_it() -> anyhow::Result<()> {
    let (daemon, office) = (Daemon::fresh()?, Office::open()?);
    let (_dir, file) = artifact(b"signed by an own PKI")?;
    for (name, kind) in [("p256", "P-256"), ("p384", "P-384"), ("rsa", "RSA")] {
        office.issue(name, kind, "signing")?;
        let bundle = office.sign(&daemon, name, &file)?;
        let written: Value = serde_json::from_slice(&fs::read(&bundle)?)?;
        let material = &written["verificationMaterial"];
        assert!(
            material["certificate"]["rawBytes"].is_string(),
            "{material}"
        );
        for anchors in [
            &["--certificate-chain", "chain.pem"][..],
            &[
                "--ca-roots",
                "root.pem",
                "--ca-intermediates",
                "issuing.pem",
            ],
            &["--ca-roots", "chain.pem"],
        ] {
            let verdict = verdict(office.verify(&daemon, &bundle, &file, anchors)?)?;
            assert_eq!(verdict["signer"]["kind"], "certificate");
            assert_eq!(
                verdict["signer"]["name"],
                json!({"kind": "email", "value": RELEASE})
            );
            assert_eq!(verdict["signer"]["subject"], format!("CN={name}"));
            assert_eq!(
                verdict["times"].as_array().map(Vec::len),
                Some(1),
                "the daemon's timestamp"
            );
            assert_eq!(
                verdict["logs"].as_array().map(Vec::len),
                Some(1),
                "the daemon's log"
            );
        }
    }
    let bundle = office.path("p256.sigstore.json");
    let chain = ["--certificate-chain", "chain.pem"];
    let with = |more: &[&str]| office.verify(&daemon, &bundle, &file, &[&chain, more].concat());
    let identity = |name: &str| with(&["--certificate-identity", name]);
    let other = "https://build.example.com/release";
    assert_eq!(verdict(identity(other)?)?["signer"]["name"]["kind"], "uri");
    assert_eq!(refused(identity("joe@example.com")?)?, "IDENTITY_MISMATCH");
    assert_eq!(with(&["--certificate", "p256.pem"])?.code, Some(0));
    assert_eq!(
        refused(with(&["--certificate", "p384.pem"])?)?,
        "CERTIFICATE_MISMATCH"
    );
    assert_eq!(
        refused(with(&[
            "--certificate-oidc-issuer",
            "https://idp.example.com"
        ])?)?,
        "IDENTITY_MISSING"
    );
    // The instance's own authority did not issue it.
    let keyless = office.verify(
        &daemon,
        &bundle,
        &file,
        &["--certificate-oidc-issuer", "https://idp.example.com"],
    )?;
    assert_eq!(refused(keyless)?, "CERTIFICATE_UNTRUSTED");
    // The root alone does not know the way, and another root leads nowhere.
    assert_eq!(
        refused(office.verify(&daemon, &bundle, &file, &["--ca-roots", "root.pem"])?)?,
        "CERTIFICATE_UNTRUSTED"
    );
    let stranger = Office::open()?;
    let strange = stranger.path("chain.pem").display().to_string();
    assert_eq!(
        refused(office.verify(&daemon, &bundle, &file, &["--certificate-chain", &strange])?)?,
        "CERTIFICATE_UNTRUSTED"
    );
    fs::write(&file, b"something else")?;
    assert_eq!(refused(with(&[])?)?, "SIGNATURE_INVALID");
    Ok(())
}

#[test]
fn a_statement_is_signed_with_an_own_certificate_too() -> anyhow::Result<()> {
    let (daemon, office) = (Daemon::fresh()?, Office::open()?);
    office.issue("release", "P-256", "signing")?;
    let (_dir, file) = artifact(b"attested by an own PKI")?;
    fs::write(office.path("predicate.json"), r#"{"built": true}"#)?;
    let bundle = office.path("attestation.sigstore.json");
    let tool = office.signing(&daemon, "attest-blob", "release", &bundle);
    let tool = tool.arg("--predicate").arg(office.path("predicate.json"));
    tool.args(["--certificate-chain"])
        .arg(office.path("chain.pem"))
        .arg(&file)
        .run()?
        .success()?;
    let verify = |anchors: &str| {
        let tool = Tool::sealwright().args(["verify-blob-attestation", "--output", "json"]);
        let tool = tool.args(daemon.trust()).arg("--bundle").arg(&bundle);
        let tool = tool.args([
            "--certificate-identity",
            RELEASE,
            "--certificate-chain",
            anchors,
        ]);
        tool.dir(office.dir.path()).arg(&file).run()
    };
    assert_eq!(
        verdict(verify("chain.pem")?)?["statement"]["predicate"]["built"],
        true
    );
    // An intermediate authority may be an anchor.
    verdict(verify("issuing.pem")?)?;
    Ok(())
}

#[test]
fn certificates_that_cannot_sign_are_refused_before_anything_is_sent() -> anyhow::Result<()> {
    let (daemon, office) = (Daemon::fresh()?, Office::open()?);
    let (_dir, file) = artifact(b"never signed")?;
    office.issue("release", "P-256", "signing")?;
    office.issue("other", "P-256", "signing")?;
    office.issue("tls", "P-256", "tls")?;
    office.issue("outside", "P-256", "elsewhere")?;
    let bundle = office.path("none.sigstore.json");
    let sign = |key: &str, certificate: &str, rest: &[&str]| -> anyhow::Result<String> {
        let tool = Tool::sealwright().arg("sign-blob").args(daemon.trust());
        let tool = tool
            .args(["--key", key, "--certificate", certificate])
            .args(rest);
        let tool = tool.arg("--bundle").arg(&bundle).arg(&file);
        tool.dir(office.dir.path()).run()?.code(2)
    };
    let chain = ["--certificate-chain", "chain.pem"];
    for (key, certificate, rest, words) in [
        ("release.key", "other.pem", &[][..], "another key"),
        ("tls.key", "tls.pem", &[], "code signing"),
        ("outside.key", "outside.pem", &chain, "name constraints"),
        (
            "release.key",
            "release.pem",
            &["--certificate-chain", "root.pem"],
            "no certificate of the issuer",
        ),
        ("release.key", "release.key", &[], "BEGIN CERTIFICATE"),
        ("release.key", "chain.pem", &[], "2 certificates"),
    ] {
        let said = sign(key, certificate, rest)?;
        assert!(said.contains(words), "{words} is missing in {said}");
        assert!(!bundle.exists());
    }
    Ok(())
}

#[test]
fn a_certificate_for_something_else_or_of_another_name_is_refused_by_the_verifier()
-> anyhow::Result<()> {
    let (daemon, office) = (Daemon::fresh()?, Office::open()?);
    let (_dir, file) = artifact(b"for tls")?;
    office.issue("tls", "P-256", "tls")?;
    office.issue("outside", "P-256", "elsewhere")?;
    // Without its chain the signer does not know that a name is outside.
    let outside = office.sign(&daemon, "outside", &file)?;
    let chain = [
        "--certificate-chain",
        "chain.pem",
        "--certificate-identity",
        "release@example.org",
    ];
    let outcome = office.verify(&daemon, &outside, &file, &chain)?;
    assert!(outcome.stdout.contains("name constraints"), "{outcome}");
    assert_eq!(refused(outcome)?, "CERTIFICATE_UNTRUSTED");

    // Signed as by a key alone, and verified with the certificate that the verifier has.
    let bundle = office.path("hinted.sigstore.json");
    let tool = Tool::sealwright().arg("sign-blob").args(daemon.trust());
    let tool = tool
        .arg("--key")
        .arg(office.path("tls.key"))
        .arg("--bundle")
        .arg(&bundle);
    tool.arg(&file).run()?.success()?;
    let pinned = |purpose: &str| {
        let rest = [
            "--certificate",
            "tls.pem",
            "--certificate-chain",
            "chain.pem",
            "--certificate-purpose",
            purpose,
        ];
        office.verify(&daemon, &bundle, &file, &rest)
    };
    assert_eq!(refused(pinned("codeSigning")?)?, "CERTIFICATE_UNTRUSTED");
    assert_eq!(
        refused(pinned("1.3.6.1.4.1.55555.7")?)?,
        "CERTIFICATE_UNTRUSTED"
    );
    assert_eq!(pinned("serverAuth")?.code, Some(0));
    assert_eq!(pinned("any")?.code, Some(0));
    Ok(())
}

#[test]
fn a_bundle_may_bring_intermediates_and_never_a_root() -> anyhow::Result<()> {
    let (daemon, office) = (Daemon::fresh()?, Office::open()?);
    let (_dir, file) = artifact(b"with its chain")?;
    office.issue("release", "P-256", "signing")?;
    let bundle = office.path("chained.sigstore.json");
    let tool = office.signing(&daemon, "sign-blob", "release", &bundle);
    let tool = tool
        .arg("--certificate-chain")
        .arg(office.path("chain.pem"));
    tool.arg("--include-certificate-chain")
        .arg(&file)
        .run()?
        .success()?;
    let written: Value = serde_json::from_slice(&fs::read(&bundle)?)?;
    let sent = &written["verificationMaterial"]["x509CertificateChain"]["certificates"];
    assert_eq!(
        sent.as_array().map(Vec::len),
        Some(2),
        "leaf and intermediate"
    );
    let root = ["--ca-roots", "root.pem"];
    let outcome = office.verify(&daemon, &bundle, &file, &root)?;
    assert_eq!(
        refused(outcome)?,
        "BUNDLE_STRUCTURE",
        "it has to be allowed"
    );
    let allowed = [&root[..], &["--allow-certificate-chain"]].concat();
    assert_eq!(
        office.verify(&daemon, &bundle, &file, &allowed)?.code,
        Some(0)
    );
    // Who brings intermediates is no more trusted for it.
    let stranger = Office::open()?;
    let strange = stranger.path("root.pem").display().to_string();
    let outcome = office.verify(
        &daemon,
        &bundle,
        &file,
        &["--ca-roots", &strange, "--allow-certificate-chain"],
    )?;
    assert_eq!(refused(outcome)?, "CERTIFICATE_UNTRUSTED");
    Ok(())
}

#[test]
fn revoked_certificates_are_refused_and_orderly_later_revocations_are_told() -> anyhow::Result<()> {
    let (daemon, office) = (Daemon::fresh()?, Office::open()?);
    let (_dir, file) = artifact(b"revoked or not")?;
    for name in ["good", "stolen", "replaced", "before"] {
        office.issue(name, "P-256", "signing")?;
    }
    let sign = |name: &str| office.sign(&daemon, name, &file);
    let [good, stolen, replaced, before] = [
        sign("good")?,
        sign("stolen")?,
        sign("replaced")?,
        sign("before")?,
    ];
    office.ca("issuing", "-revoke ../stolen.pem -crl_reason keyCompromise")?;
    office.ca(
        "issuing",
        "-revoke ../before.pem -crl_compromise 20250101000000Z",
    )?;
    let lists = office.lists("lists.pem", "")?.display().to_string();
    let judge = |bundle: &Path, lists: &[&str]| {
        let mut rest = vec!["--certificate-chain", "chain.pem"];
        lists.iter().for_each(|list| rest.extend(["--crl", *list]));
        office.verify(&daemon, bundle, &file, &rest)
    };
    let verified = verdict(judge(&good, &[&lists])?)?;
    let consulted = &verified["signer"]["revocationLists"];
    assert_eq!(consulted[0]["issuer"], "CN=own issuing", "{verified}");
    assert_eq!(consulted[1]["issuer"], "CN=own root", "{verified}");
    assert_eq!(refused(judge(&stolen, &[&lists])?)?, "CERTIFICATE_REVOKED");
    assert_eq!(refused(judge(&before, &[&lists])?)?, "CERTIFICATE_REVOKED");

    // Superseded a second later at the earliest: OpenSSL counts in seconds, and so does the timestamp.
    let stamped = verdict(judge(&replaced, &[&lists])?)?["times"][0]["time"]
        .as_str()
        .expect("a time")
        .to_owned();
    // Times in this form sort as text.
    while date("now", "+%Y-%m-%dT%H:%M:%SZ")? <= stamped {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    office.ca("issuing", "-revoke ../replaced.pem -crl_reason superseded")?;
    let later = office.lists("later.pem", "")?.display().to_string();
    let told = verdict(judge(&replaced, &[&later])?)?;
    assert!(
        warnings(&told).contains(&"CERTIFICATE_REVOKED_LATER"),
        "{told}"
    );

    // One list is missing, then one is another's, then the authority itself is taken back.
    assert_eq!(refused(judge(&good, &["root/list.pem"])?)?, "CRL_MISSING");
    let stranger = Office::open()?;
    let strange = stranger.lists("lists.pem", "")?.display().to_string();
    assert_eq!(refused(judge(&good, &[&strange])?)?, "CRL_INVALID");
    office.ca("root", "-revoke ../issuing.pem -crl_reason CACompromise")?;
    let none = office.lists("none.pem", "")?.display().to_string();
    assert_eq!(refused(judge(&good, &[&none])?)?, "CERTIFICATE_REVOKED");
    // Without a list nobody asks.
    assert_eq!(judge(&good, &[])?.code, Some(0));
    let told = judge(&good, &["chain.pem"])?.code(2)?;
    assert!(told.contains("BEGIN X509 CRL"), "{told}");
    Ok(())
}

/// A moment in UTC, such as `+390 days`, in a form of `date`.
fn date(moment: &str, form: &str) -> anyhow::Result<String> {
    let tool = Tool::new("date").args(["-u", "-d", moment, form]);
    Ok(tool.run()?.success()?.trim().to_owned())
}

#[test]
fn an_expired_certificate_counts_for_what_was_timestamped_before() -> anyhow::Result<()> {
    if !Path::new(FAKETIME).exists() {
        skipped(
            "own_pki::an_expired_certificate",
            "faketime is not installed: run `make setup`",
        );
        return Ok(());
    }
    let (daemon, office) = (Daemon::fresh()?, Office::open()?);
    let (_dir, file) = artifact(b"old release")?;
    office.issue("release", "P-256", "signing")?;
    let stamped = office.sign(&daemon, "release", &file)?;
    // The same signature without its timestamp, as somebody would make who asked for none.
    let mut written: Value = serde_json::from_slice(&fs::read(&stamped)?)?;
    written["verificationMaterial"]["timestampVerificationData"] = json!({});
    let untimed = office.path("untimed.sigstore.json");
    fs::write(&untimed, written.to_string())?;

    let judge = |days: u32, bundle: &Path, rest: &[&str]| {
        let client = Tool::new(FAKETIME).arg("-f").arg(format!("+{days}d"));
        let client = client.arg(sealwright_integration_tests::binary("sealwright"));
        let rest = [&["--certificate-chain", "chain.pem"], rest].concat();
        office
            .verification(client, &daemon, bundle, &rest)
            .arg(&file)
            .run()
    };
    let present = ["--allow-current-time"];
    // Today.
    assert_eq!(judge(0, &stamped, &[])?.code, Some(0));
    assert_eq!(refused(judge(0, &untimed, &[])?)?, "NO_TIME_SOURCE");
    let told = verdict(judge(0, &untimed, &present)?)?;
    assert!(warnings(&told).contains(&"CURRENT_TIME"), "{told}");
    assert!(told["signer"]["judgedAt"].is_string(), "{told}");
    // The certificate expired a month ago.
    assert_eq!(judge(395, &stamped, &[])?.code, Some(0));
    assert_eq!(judge(395, &stamped, &present)?.code, Some(0));
    assert_eq!(
        refused(judge(395, &untimed, &present)?)?,
        "EXPIRED_WITHOUT_TIME"
    );
    assert_eq!(refused(judge(395, &untimed, &[])?)?, "NO_TIME_SOURCE");
    // Lists of today are stale by then; lists of then say that they may have dropped it.
    let today = office.lists("today.pem", "")?.display().to_string();
    assert_eq!(judge(0, &stamped, &["--crl", &today])?.code, Some(0));
    assert_eq!(
        refused(judge(395, &stamped, &["--crl", &today])?)?,
        "CRL_STALE"
    );
    let stamp = |moment: &str| date(moment, "+%Y%m%d%H%M%SZ");
    let dates = format!(
        "-crl_lastupdate {} -crl_nextupdate {}",
        stamp("+390 days")?,
        stamp("+400 days")?
    );
    let then = office.lists("then.pem", &dates)?.display().to_string();
    let told = verdict(judge(395, &stamped, &["--crl", &then])?)?;
    assert!(
        warnings(&told).contains(&"REVOCATION_OF_EXPIRED_UNKNOWN"),
        "{told}"
    );
    assert_eq!(
        refused(judge(0, &stamped, &["--crl", &then])?)?,
        "CRL_STALE",
        "made in the future"
    );
    Ok(())
}

/// cosign has no flags for an own PKI at `verify-blob`, and takes its authority from a trusted root instead.
fn trusted_root_with(daemon: &Daemon, office: &Office) -> anyhow::Result<PathBuf> {
    let mut root: Value =
        serde_json::from_slice(&fs::read(daemon.client_file("trusted_root.json"))?)?;
    let chain: Vec<Value> = parse_pem_chain(&office.read("chain.pem")?)?
        .iter()
        .map(|certificate| json!({"rawBytes": base64::encode(certificate.der())}))
        .collect();
    let authorities = root["certificateAuthorities"].as_array_mut();
    authorities.expect("a list").push(json!({
        "subject": {"organization": "Example", "commonName": "own root"},
        "uri": "https://pki.example.com",
        "certChain": {"certificates": chain},
        "validFor": {"start": "2020-01-01T00:00:00Z"},
    }));
    let path = office.path("trusted_root.json");
    fs::write(&path, root.to_string())?;
    Ok(path)
}

#[test]
fn cosign_and_the_client_read_each_others_signatures_with_own_certificates() -> anyhow::Result<()> {
    let program = workspace_root().join(".clients/bin/cosign");
    if !program.exists() {
        skipped(
            "own_pki::cosign",
            "cosign is not installed: run `make setup`",
        );
        return Ok(());
    }
    let (daemon, office) = (Daemon::fresh()?, Office::open()?);
    let (_dir, file) = artifact(b"for cosign")?;
    // Of several alternative names cosign sees one, a URI before an e-mail address.
    office.issue("release", "P-256", "plain")?;
    let root = trusted_root_with(&daemon, &office)?;
    let cosign = |verb: &str| {
        let tool = Tool::new(&program).arg(verb).dir(office.dir.path());
        let tool = tool.env("HOME", office.dir.path());
        tool.env("COSIGN_PASSWORD", "")
    };
    let judge = |bundle: &Path, more: &[&str]| {
        let tool = cosign("verify-blob").arg("--bundle").arg(bundle);
        let tool = tool.arg("--trusted-root").arg(&root);
        let tool = tool.args(["--certificate-identity", RELEASE]);
        tool.args(["--certificate-oidc-issuer-regexp", ".*"])
            .args(more)
            .arg(&file)
            .run()
    };
    let no_sct = ["--insecure-ignore-sct"];

    let ours = office.sign(&daemon, "release", &file)?;
    judge(&ours, &no_sct)?.success()?;
    let said = judge(&ours, &[])?.failure()?;
    assert!(said.contains("signed certificate timestamp"), "{said}");

    let import = cosign("import-key-pair").args(["--key", "release.key"]);
    import
        .args(["--output-key-prefix", "imported"])
        .run()?
        .success()?;
    let theirs = office.path("theirs.sigstore.json");
    let sign = cosign("sign-blob").args(["--yes", "--key", "imported.key"]);
    let sign = sign.args(["--certificate", "release.pem", "--trusted-root"]);
    let sign = sign.arg(&root).arg("--signing-config");
    let sign = sign.arg(daemon.client_file("signing_config.json"));
    sign.arg("--bundle")
        .arg(&theirs)
        .arg(&file)
        .run()?
        .success()?;
    judge(&theirs, &no_sct)?.success()?;
    let chain = ["--certificate-chain", "chain.pem"];
    let verdict = verdict(office.verify(&daemon, &theirs, &file, &chain)?)?;
    assert_eq!(verdict["signer"]["name"]["value"], RELEASE);

    fs::write(&file, b"changed")?;
    judge(&ours, &no_sct)?.failure()?;
    assert_eq!(
        refused(office.verify(&daemon, &theirs, &file, &chain)?)?,
        "SIGNATURE_INVALID"
    );
    Ok(())
}
