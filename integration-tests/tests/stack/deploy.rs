//! What lies in `deploy/` and the compose file: parsed, compared with what `init` writes, and run as it stands there,
//! without containers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, bail, ensure};
use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use sealwright_integration_tests::{
    Daemon, Outcome, Process, Tool, artifact, binary,
    deployment::{Deployment, ROLES, handed_out, own_address},
    init, workspace_root,
};
use serde_json::{Map, Value};

#[test]
fn samples_of_roles_apart_are_what_init_writes() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let urls = ["ca", "log", "tsa", "trust"]
        .map(|role| {
            [
                format!("--{role}-url"),
                format!("https://{role}.example.com"),
            ]
        })
        .concat();
    let mut args = vec!["--layout", "apart", "--listen", "0.0.0.0:7700"];
    args.extend(urls.iter().map(String::as_str));
    init(&args, dir.path())?.success()?;
    for role in ROLES {
        let sample =
            fs::read_to_string(workspace_root().join(format!("deploy/config/{role}.toml")))?;
        let written = dir.path().join(role).join("sealwright.toml");
        assert_eq!(fs::read_to_string(written)?, sample, "{role}");
        Tool::sealwrightd()
            .args(["check-config", "--role", role, "--dir"])
            .arg(dir.path().join(role))
            .run()?
            .success()?;
    }
    Ok(())
}

/// The compose file with merge keys resolved.
fn compose() -> anyhow::Result<Value> {
    let text = fs::read_to_string(workspace_root().join("docker-compose.yml"))?;
    let documents = Yaml::load_from_str(&text)?;
    let [document] = documents.as_slice() else {
        bail!("one document is expected")
    };
    value(document)
}

fn value(yaml: &Yaml<'_>) -> anyhow::Result<Value> {
    Ok(match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(flag)) => (*flag).into(),
        Yaml::Value(Scalar::Integer(number)) => (*number).into(),
        Yaml::Value(Scalar::String(text)) => text.as_ref().into(),
        Yaml::Sequence(items) => items.iter().map(value).collect::<anyhow::Result<_>>()?,
        Yaml::Mapping(entries) => {
            let (mut merged, mut own) = (Map::new(), Map::new());
            for (key, item) in entries {
                let key = key.as_str().context("keys are text")?.to_owned();
                match (key.as_str(), value(item)?) {
                    ("<<", Value::Object(inherited)) => merged.extend(inherited),
                    (_, item) => {
                        ensure!(
                            own.insert(key.clone(), item).is_none(),
                            "{key} stands twice"
                        );
                    }
                }
            }
            merged.extend(own);
            merged.into()
        }
        other => bail!("not expected in a compose file: {other:?}"),
    })
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// Volume -> (folder in the container, read-only).
fn mounts(service: &Value) -> BTreeMap<String, (String, bool)> {
    let volumes = texts(&service["volumes"]).into_iter();
    let parsed = volumes.filter_map(|text| {
        let mut parts = text.split(':').map(str::to_owned);
        Some((
            parts.next()?,
            (parts.next()?, parts.next().as_deref() == Some("ro")),
        ))
    });
    parsed.collect()
}

#[test]
fn the_compose_file_gives_each_role_its_own_things_and_no_more() -> anyhow::Result<()> {
    let compose = compose()?;
    let services = compose["services"].as_object().context("services")?;
    for (name, service) in services {
        assert_eq!(service["image"], "sealwright", "{name}: one image");
        assert_eq!(service["user"], "65532:65532", "{name}");
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(
            texts(&service["security_opt"]),
            ["no-new-privileges:true"],
            "{name}"
        );
        assert_eq!(
            service["build"]["dockerfile"], "deploy/Dockerfile",
            "{name}"
        );
        assert!(
            service.get("environment").is_none() && service.get("env_file").is_none(),
            "{name}"
        );
        for (volume, (folder, _)) in mounts(service) {
            assert!(
                compose["volumes"].get(&volume).is_some(),
                "{name}: {volume} is declared"
            );
            assert_eq!(folder, format!("/data/{volume}"), "{name}");
        }
        let by_hand = texts(&service["profiles"]) == ["by-hand"];
        assert_eq!(by_hand, !ROLES.contains(&name.as_str()), "{name}");
        if by_hand {
            assert_eq!(service["network_mode"], "none", "{name}");
        }
    }
    for (role, port) in ROLES.iter().zip(7701..) {
        let service = &services[*role];
        let mounted: Vec<_> = mounts(service).into_keys().collect();
        assert_eq!(
            mounted,
            [role.to_string()],
            "a role sees its own keys alone"
        );
        assert_eq!(
            texts(&service["ports"]),
            [format!("127.0.0.1:{port}:{port}")]
        );
        let networks: BTreeSet<_> = service["networks"]
            .as_object()
            .context("networks")?
            .keys()
            .cloned()
            .collect();
        assert_eq!(
            networks,
            BTreeSet::from(["internal".to_owned(), "public".to_owned()])
        );
        let names = texts(&service["networks"]["internal"]["aliases"]);
        let called = *role != "trust";
        assert_eq!(names == [format!("{role}.internal")], called, "{role}");
        let test = texts(&service["healthcheck"]["test"]);
        let url = format!("http://127.0.0.1:{port}/healthz");
        assert_eq!(test, ["CMD", "sealwrightd", "health", &url], "{role}");
        assert_eq!(service["restart"], "unless-stopped");
    }
    assert_eq!(compose["networks"]["internal"]["internal"], true);
    for reader in ["operator", "internal-cert"] {
        let (_, read_only) = &mounts(&services[reader])["offline"];
        assert!(
            read_only,
            "{reader} reads the offline keys and changes none"
        );
    }
    Ok(())
}

/// The instructions of a Dockerfile: name and arguments, lines joined.
fn instructions(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    const KNOWN: [&str; 10] = [
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "USER",
        "EXPOSE",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
        "LABEL",
    ];
    let plain = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let joined = plain.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = joined
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (name, arguments) = line.split_once(' ').with_context(|| line.to_owned())?;
            ensure!(
                KNOWN.contains(&name),
                "{name} is no instruction that is used here"
            );
            Ok((name.to_owned(), arguments.trim().to_owned()))
        })
        .collect()
}

#[test]
fn the_image_runs_as_nobody_in_particular_and_holds_what_the_compose_file_mounts()
-> anyhow::Result<()> {
    let text = fs::read_to_string(workspace_root().join("deploy/Dockerfile"))?;
    let all = instructions(&text)?;
    let stages: Vec<usize> = (0..all.len()).filter(|at| all[*at].0 == "FROM").collect();
    assert_eq!(stages.len(), 2, "what builds is not what runs");
    let (build, run) = all.split_at(stages[1]);
    let only = |stage: &[(String, String)], name: &str| -> anyhow::Result<String> {
        let found: Vec<_> = stage.iter().filter(|(one, _)| one == name).collect();
        ensure!(found.len() == 1, "{name} stands {} times", found.len());
        Ok(found[0].1.clone())
    };
    let rust = fs::read_to_string(workspace_root().join("rust-toolchain.toml"))?;
    let image = only(build, "FROM")?;
    let version = image
        .strip_prefix("rust:")
        .and_then(|rest| rest.split('-').next())
        .context("a Rust image")?;
    assert!(
        rust.contains(&format!("\"{version}")),
        "{image} is the toolchain of the workspace"
    );
    assert!(only(build, "RUN")?.contains("--locked"));

    let copied = only(run, "COPY")?;
    for program in ["sealwrightd", "sealwright"] {
        assert!(
            copied.contains(&format!("/src/target/dist/{program} ")),
            "{copied}"
        );
    }
    assert_eq!(
        only(run, "USER")?,
        compose()?["services"]["ca"]["user"]
            .as_str()
            .unwrap_or_default()
    );
    assert_eq!(only(run, "ENTRYPOINT")?, r#"["sealwrightd"]"#);
    let default: Vec<String> = serde_json::from_str(&only(run, "CMD")?)?;
    assert_eq!(default.first().map(String::as_str), Some("up"));
    let made = only(run, "RUN")?;
    for volume in compose()?["volumes"].as_object().context("volumes")?.keys() {
        assert!(
            made.contains(&format!(" /data/{volume}")),
            "/data/{volume} belongs to the user"
        );
    }
    let open: BTreeSet<String> = only(run, "EXPOSE")?
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    for port in 7701..=7704 {
        assert!(open.contains(&port.to_string()), "{port}");
    }
    Ok(())
}

/// The compose file on this machine: folders and addresses of containers become folders and addresses of the test, and
/// nothing else of a command changes.
struct Host<'a> {
    compose: Value,
    data: &'a Path,
    address: String,
    variables: BTreeMap<&'static str, String>,
}

impl Host<'_> {
    fn words(&self, service: &str, command: &[String]) -> anyhow::Result<Vec<String>> {
        let described = &self.compose["services"][service];
        let mut words = match texts(&described["entrypoint"]) {
            // The image's own.
            none if none.is_empty() => vec!["sealwrightd".to_owned()],
            words => words,
        };
        words.extend_from_slice(command);
        let seen = mounts(described);
        for word in &words {
            let path = word.split('=').next_back().unwrap_or_default();
            let below = path
                .strip_prefix("/data/")
                .and_then(|rest| rest.split('/').next());
            ensure!(
                below.is_none_or(|folder| seen.contains_key(folder)),
                "{service} does not see {path}"
            );
        }
        words.into_iter().map(|word| self.here(&word)).collect()
    }

    fn here(&self, word: &str) -> anyhow::Result<String> {
        let data = self.data.display().to_string();
        let word = word
            .replace("/data", &data)
            .replace("0.0.0.0:", &format!("{}:", self.address));
        let mut word = word.replace("http://127.0.0.1:", &format!("http://{}:", self.address));
        // Last, since what an operator sets is meant as it is.
        while let Some((before, rest)) = word.split_once("${") {
            let (inside, after) = rest.split_once('}').context("a variable ends")?;
            let name = inside.split(":-").next().unwrap_or_default();
            let value = self.variables.get(name);
            let value = value.with_context(|| format!("{name} is not set"))?;
            word = format!("{before}{value}{after}");
        }
        Ok(word)
    }

    fn command(&self, service: &str, words: &[String]) -> anyhow::Result<Command> {
        let words = self.words(service, words)?;
        let (program, arguments) = words.split_first().context("a command")?;
        let mut command = Command::new(binary(program));
        command.args(arguments);
        Ok(command)
    }

    /// `docker compose run --rm SERVICE [WORDS]`.
    fn run(&self, service: &str, words: &[&str]) -> anyhow::Result<Outcome> {
        let own = texts(&self.compose["services"][service]["command"]);
        let asked: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let words = self.words(service, if asked.is_empty() { &own } else { &asked })?;
        let (program, arguments) = words.split_first().context("a command")?;
        Tool::new(binary(program)).args(arguments).run()
    }
}

#[test]
fn the_commands_of_the_compose_file_make_run_and_publish_a_deployment() -> anyhow::Result<()> {
    let provider = Daemon::fresh()?;
    let folder = tempfile::tempdir()?;
    let address = own_address().to_string();
    let url = |port: u16| format!("http://{address}:{port}");
    let host = Host {
        compose: compose()?,
        data: folder.path(),
        variables: BTreeMap::from([
            ("SEALWRIGHT_CA_URL", url(7701)),
            ("SEALWRIGHT_LOG_URL", url(7702)),
            ("SEALWRIGHT_TSA_URL", url(7703)),
            ("SEALWRIGHT_TRUST_URL", url(7704)),
            ("SEALWRIGHT_ORGANIZATION", "Example".to_owned()),
            ("SEALWRIGHT_OIDC_ISSUER", provider.endpoints().oidc.clone()),
        ]),
        address,
    };
    host.run("init", &[])?.success()?;

    let healthy = |role: &str| -> anyhow::Result<Outcome> {
        let test = texts(&host.compose["services"][role]["healthcheck"]["test"]);
        let words: Vec<&str> = test.iter().map(String::as_str).collect();
        let ["CMD", program, arguments @ ..] = words.as_slice() else {
            bail!("{role} has no command to check its health")
        };
        let here = arguments
            .iter()
            .map(|word| host.here(word))
            .collect::<anyhow::Result<Vec<_>>>()?;
        Tool::new(binary(program)).args(here).run()
    };
    healthy("ca")?.failure()?;
    let mut running = BTreeMap::new();
    for role in ["trust", "tsa", "ca", "log"] {
        let words = texts(&host.compose["services"][role]["command"]);
        let log = folder.path().join(format!("{role}.stderr.log"));
        running.insert(role, Process::start(host.command(role, &words)?, &log)?);
    }
    for role in ["log", "tsa", "ca"] {
        running.get_mut(role).context("started")?.ready()?;
    }
    host.run("operator", &["stage"])?.success()?;
    host.run("operator", &["sign", "--key", "/data/offline/targets.pem"])?
        .success()?;
    host.run("operator", &["publish"])?.success()?;
    host.run("operator", &["activate"])?.success()?;
    running.get_mut("trust").context("started")?.ready()?;
    let status = host.run("operator", &[])?.success()?;
    assert!(status.contains("timestamp  version 1"), "{status}");
    for role in ROLES {
        healthy(role)?.success()?;
    }

    let view = handed_out(folder.path(), &provider)?;
    let (_dir, file) = artifact(b"signed in no container")?;
    let bundle = view.sign(&file)?;
    view.verify(&file, &bundle)?.success()?;
    let renewed = host.run("internal-cert", &[])?.success()?;
    assert_eq!(renewed.lines().count(), ROLES.len(), "{renewed}");
    for (role, mut process) in running {
        let (status, _) = process.terminate()?;
        assert!(status.success(), "{role}: {status}");
    }
    Ok(())
}

/// A proxy may bring one host name for all roles.
#[test]
fn roles_apart_can_share_one_public_address() -> anyhow::Result<()> {
    let deployment = Deployment::made()?;
    let dir = tempfile::tempdir()?;
    let one_address = [
        "--layout",
        "apart",
        "--public-url",
        "https://sign.example.com",
    ];
    init(&one_address, dir.path())?.success()?;
    let endpoints: Value =
        serde_json::from_slice(&fs::read(dir.path().join("trust/client/endpoints.json"))?)?;
    assert_eq!(endpoints["ca"], endpoints["log"]);
    assert_eq!(endpoints["tuf"], "https://sign.example.com/tuf");
    // And what was made is never made again.
    let again = init(&one_address, deployment.root_dir())?.failure()?;
    assert!(again.contains("never overwrites"), "{again}");
    Ok(())
}
