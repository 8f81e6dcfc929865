//! In which order a search visits delegated roles, and which it leaves alone. Each graph is data; what the client asks the
//! repository for is what it visited.

use super::*;
use crate::requests::Recorder;

/// `delegator -> role`, for paths, perhaps terminating.
struct Edge(&'static str, &'static str, &'static [&'static str], bool);

const ANY: &[&str] = &["*"];

fn to(delegator: &'static str, role: &'static str) -> Edge {
    Edge(delegator, role, ANY, false)
}

fn last(delegator: &'static str, role: &'static str) -> Edge {
    Edge(delegator, role, ANY, true)
}

fn only(delegator: &'static str, role: &'static str, paths: &'static [&'static str]) -> Edge {
    Edge(delegator, role, paths, false)
}

/// A repository with these delegations, in their order, and files each named by a role.
fn repository(edges: &[Edge], files: &[(&str, &str)]) -> Repository {
    let mut repository = Repository::new();
    let signer = signer(KeyType::EcP256);
    let key = key(&signer);
    let mut roles: BTreeMap<&str, Targets> = BTreeMap::new();
    for Edge(delegator, role, paths, terminating) in edges {
        roles
            .entry(role)
            .or_insert_with(|| Targets::new(1, Expiry::from_unix(LATER)));
        let targets = match *delegator {
            "targets" => &mut repository.targets,
            other => roles
                .entry(other)
                .or_insert_with(|| Targets::new(1, Expiry::from_unix(LATER))),
        };
        let list = targets
            .delegations
            .get_or_insert_with(|| delegations(vec![], &[&key]));
        let list = list.roles.as_mut().unwrap();
        list.push(delegated(role, &key, paths, *terminating));
    }
    for (role, path) in files {
        roles.get_mut(role).unwrap().add(path, path.as_bytes());
        repository.store_target(path, path.as_bytes());
    }
    for (role, targets) in roles {
        repository.set_delegated(role, targets, &[&signer]);
    }
    repository.publish();
    repository
}

/// The delegated roles fetched while `path` is searched, and the role that names it.
fn search(repository: &Repository, path: &str) -> (Vec<String>, Option<String>) {
    let recorder = Recorder::new(&repository.files);
    let mut client = Client::open(&recorder, repository.fresh_store(), NOW).unwrap();
    now(client.refresh()).unwrap();
    recorder.forget();
    let found = now(client.target(path)).unwrap();
    let visited = recorder.asked().into_iter().map(|name| {
        let name = name.strip_prefix("1.").unwrap().to_owned();
        name.strip_suffix(".json").unwrap().to_owned()
    });
    (visited.collect(), found.map(|target| target.role))
}

#[test]
fn roles_are_visited_depth_first_in_their_order() {
    for (what, edges, expected) in [
        ("one", vec![to("targets", "red")], "red"),
        (
            "siblings",
            vec![to("targets", "red"), to("targets", "blue")],
            "red blue",
        ),
        (
            "a child of the second",
            vec![
                to("targets", "red"),
                to("targets", "blue"),
                to("blue", "sky"),
            ],
            "red blue sky",
        ),
        (
            "children before siblings",
            vec![
                to("targets", "red"),
                to("targets", "blue"),
                to("red", "rose"),
                to("red", "wine"),
            ],
            "red rose wine blue",
        ),
        (
            "grandchildren before siblings",
            vec![
                to("targets", "red"),
                to("targets", "blue"),
                to("red", "rose"),
                to("rose", "pink"),
            ],
            "red rose pink blue",
        ),
        (
            "a terminating child ends everything after it",
            vec![
                to("targets", "red"),
                to("targets", "blue"),
                last("red", "rose"),
                to("red", "wine"),
            ],
            "red rose",
        ),
        (
            "what is below a terminating role is still searched",
            vec![
                to("targets", "red"),
                to("targets", "blue"),
                last("red", "rose"),
                to("rose", "pink"),
            ],
            "red rose pink",
        ),
        (
            "a terminating role that does not match ends nothing",
            vec![
                Edge("targets", "red", &["*.txt"], true),
                to("targets", "blue"),
            ],
            "blue",
        ),
        (
            "a branch for other paths is left alone, with all below it",
            vec![
                only("targets", "red", &["*.txt"]),
                to("targets", "blue"),
                to("red", "rose"),
            ],
            "blue",
        ),
        (
            "a cycle",
            vec![
                to("targets", "red"),
                to("red", "rose"),
                to("rose", "wine"),
                to("wine", "red"),
                to("targets", "blue"),
            ],
            "red rose wine blue",
        ),
        (
            "a role that delegates to itself",
            vec![to("targets", "red"), to("red", "red")],
            "red",
        ),
        (
            "a role below two others is visited once",
            vec![
                to("targets", "red"),
                to("targets", "blue"),
                to("blue", "violet"),
                to("red", "violet"),
            ],
            "red violet blue",
        ),
        (
            "a role below two others is visited through the one that matches",
            vec![
                to("targets", "red"),
                to("targets", "blue"),
                to("blue", "violet"),
                only("red", "violet", &["*.txt"]),
            ],
            "red blue violet",
        ),
    ] {
        let repository = repository(&edges, &[]);
        let (visited, found) = search(&repository, "nowhere");
        assert_eq!(visited.join(" "), expected, "{what}");
        assert_eq!(found, None, "{what}");
    }
}

#[test]
fn patterns_decide_whose_word_counts() {
    let edges = [
        only("targets", "texts", &["*.txt", "page-?.md"]),
        only("targets", "builds", &["builds/*/*"]),
        only("builds", "linux", &["builds/linux/*"]),
        only("builds", "macos", &["builds/macos/*.dmg"]),
    ];
    let files = [
        ("texts", "a.txt"),
        ("texts", "builds/a.txt"),
        ("texts", "page-1.md"),
        ("texts", "page-10.md"),
        ("linux", "builds/linux/app"),
        ("macos", "builds/macos/app.dmg"),
        ("macos", "builds/other/app.dmg"),
    ];
    let repository = repository(&edges, &files);
    for (path, visited, found) in [
        ("hello.txt", "", Some("targets")),
        ("a.txt", "texts", Some("texts")),
        ("A.TXT", "", None),
        ("builds/a.txt", "", None),
        ("page-1.md", "texts", Some("texts")),
        ("page-10.md", "", None),
        ("builds/linux/app", "builds linux", Some("linux")),
        ("builds/macos/app.dmg", "builds macos", Some("macos")),
        ("builds/other/app.dmg", "builds", None),
        ("builds/linux/deep/app", "", None),
    ] {
        let (asked, role) = search(&repository, path);
        assert_eq!(asked.join(" "), visited, "{path}");
        assert_eq!(role.as_deref(), found, "{path}");
    }
}

#[test]
fn odd_role_names_are_one_harmless_name_everywhere() {
    for (name, encoded) in [
        ("?", "%3F"),
        ("#", "%23"),
        ("/role", "%2Frole"),
        ("../role", "..%2Frole"),
        (".", "."),
        ("a b%2F", "a%20b%252F"),
        ("r\u{f4}le\0", "r%C3%B4le%00"),
    ] {
        let repository = repository(&[to("targets", name)], &[(name, "file")]);
        let recorder = Recorder::new(&repository.files);
        let mut client = Client::open(&recorder, repository.fresh_store(), NOW).unwrap();
        now(client.refresh()).unwrap();
        let target = now(client.target("file")).unwrap().unwrap();
        assert_eq!(target.role, name);
        assert_eq!(recorder.asked().last(), Some(&format!("1.{encoded}.json")));
        let store = client.into_store();
        assert!(store.load(&format!("{encoded}.json")).unwrap().is_some());
    }
}

#[test]
fn exactly_as_many_roles_as_allowed_are_visited() {
    let names: Vec<&'static str> = (0..33)
        .map(|number| &*Box::leak(format!("role{number:02}").into_boxed_str()))
        .collect();
    for (roles, allowed) in [(32, true), (33, false)] {
        let edges: Vec<Edge> = names[..roles]
            .iter()
            .map(|name| to("targets", name))
            .collect();
        let repository = repository(&edges, &[(names[roles - 1], "file")]);
        let found = repository.find("file");
        match allowed {
            true => assert_eq!(found.unwrap().unwrap().role, "role31"),
            false => assert!(matches!(
                found,
                Err(Error::TooManyDelegations { limit: 32 })
            )),
        }
    }
}

#[test]
fn a_delegated_role_is_verified_like_any_other() {
    let expired = Expiry::from_unix(NOW);
    for fault in ["stranger", "version", "hash", "expired", "type"] {
        let mut repository = Repository::new();
        let (own, stranger) = (signer(KeyType::Ed25519), signer(KeyType::Ed25519));
        repository.delegate(
            vec![delegated("role", &key(&own), &["*"], false)],
            &[&key(&own)],
        );
        let mut targets = Targets::new(1, repository.expires);
        targets.add("file", b"content");
        match fault {
            "stranger" => repository.set_delegated("role", targets, &[&stranger]),
            "expired" => {
                targets.expires = expired;
                repository.set_delegated("role", targets, &[&own]);
            }
            "version" => {
                repository.set_delegated("role", targets, &[&own]);
                repository.delegated_versions.insert("role".to_owned(), 2);
            }
            "type" => {
                let other = Snapshot::new(1, repository.expires, MetaFile::of(1, b""));
                repository.delegated_versions.insert("role".to_owned(), 1);
                repository
                    .delegated
                    .insert("role".to_owned(), signed(other, &[&own]));
            }
            _ => repository.set_delegated("role", targets, &[&own]),
        }
        repository.publish();
        if fault == "hash" {
            let mut other = Targets::new(1, repository.expires);
            other.add("file", b"c0ntent");
            let bytes = signed(other, &[&own]);
            repository
                .files
                .insert(Place::Metadata, "1.role.json", bytes);
        }
        let refusal = repository.find("file").expect_err(fault);
        let expected = match refusal {
            Error::Threshold { valid: 0, .. } => "stranger",
            Error::WrongVersion {
                expected: 2,
                found: 1,
                ..
            } => "version",
            Error::Mismatch { .. } => "hash",
            Error::Expired { .. } => "expired",
            Error::Malformed { .. } => "type",
            other => panic!("{fault}: {other}"),
        };
        assert_eq!(fault, expected);
    }
}
