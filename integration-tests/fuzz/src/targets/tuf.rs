//! A TUF client between a repository and a disk, either of which hands out the input in place of one file.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::Context as _;
use futures::FutureExt as _;
use sealwright_crypto::{BoxFuture, MemorySigner, Signer as _, sha256};
use sealwright_testkit::bundle_factory::{DAY, NOW};
use sealwright_tuf::{
    Client, DelegatedRole, Delegations, Envelope, Error, Expiry, Fetch, FetchError, MemoryStore,
    MetaFile, Metadata, Place, Role, Root, Snapshot, Store, Targets, Timestamp, bootstrap, key_of,
    target_file_name, whole_file,
};

use super::{Target, outcome};
use crate::mutate::Format;
use crate::seeds::key;

pub(super) const TUF_CLIENT: Target = Target {
    name: "tuf_client",
    format: Format::Json,
    dictionary: &[
        "signatures",
        "signed",
        "_type",
        "version",
        "expires",
        "keyids",
        "threshold",
        "snapshot.json",
        "targets.json",
        "team.json",
        "length",
        "hashes",
        "sha512",
        "delegations",
        "terminating",
        "paths",
        "2199-01-01T00:00:00Z",
    ],
    cases: 120,
    peak_factor: 64,
    check,
};

const PATH: &str = "folder/file";
const CONTENT: &[u8] = b"what the repository holds";

/// What is honest: a first root, and everything after it by the name a client asks for. Nothing pins the bytes of metadata,
/// so that another spelling of what was signed is as good.
#[derive(Debug)]
pub(crate) struct Honest {
    pub(crate) first_root: Vec<u8>,
    pub(crate) files: BTreeMap<(Place, String), Vec<u8>>,
}

impl Honest {
    /// Made of the keys of the corpus. The team has one of its own, or its file could stand for that of the top role.
    pub(crate) fn make() -> anyhow::Result<Self> {
        let signer = MemorySigner::new(key("ed25519"));
        let team_signer = MemorySigner::new(key("p256"));
        let team_key = key_of(team_signer.public_key())?;
        let key = key_of(signer.public_key())?;
        let expires = Expiry::from_unix(NOW + 365 * DAY);
        let version_only = |version| MetaFile {
            length: None,
            hashes: None,
            ..MetaFile::of(version, b"")
        };
        let mut root = Root::new(expires);
        for role in Role::ALL {
            root.set_role(role, &[&key], 1);
        }
        let mut targets = Targets::new(1, expires);
        targets.delegations = Some(Delegations {
            keys: BTreeMap::from([(team_key.id(), team_key.clone())]),
            roles: Some(vec![DelegatedRole {
                name: "team".to_owned(),
                keyids: vec![team_key.id()],
                threshold: 1,
                terminating: true,
                paths: Some(vec!["folder/*".to_owned()]),
                path_hash_prefixes: None,
                extra: serde_json::Map::new(),
            }]),
            succinct_roles: None,
            extra: serde_json::Map::new(),
        });
        let mut team = Targets::new(1, expires);
        team.add(PATH, CONTENT);
        let mut snapshot = Snapshot::new(1, expires, version_only(1));
        let listed = &mut snapshot.meta;
        listed.insert("team.json".to_owned(), version_only(1));
        let timestamp = Timestamp::new(1, expires, version_only(1));
        let name = target_file_name(PATH, Some(&hex::encode(sha256(CONTENT))));
        let metadata = [
            ("2.root.json", signed(root.next(expires)?, &signer)?),
            ("timestamp.json", signed(timestamp, &signer)?),
            ("1.snapshot.json", signed(snapshot, &signer)?),
            ("1.targets.json", signed(targets, &signer)?),
            ("1.team.json", signed(team, &team_signer)?),
        ];
        let mut files: BTreeMap<_, _> = metadata
            .into_iter()
            .map(|(name, bytes)| ((Place::Metadata, name.to_owned()), bytes))
            .collect();
        files.insert((Place::Targets, name), CONTENT.to_vec());
        let first_root = signed(root, &signer)?;
        Ok(Self { first_root, files })
    }

    fn read<T: Metadata>(&self, name: &str) -> T {
        let bytes = self.files.get(&(Place::Metadata, name.to_owned()));
        let bytes = bytes.expect("it is published");
        let read = Envelope::<T>::parse(bytes).expect("our own metadata");
        read.signed().clone()
    }
}

fn signed<T: Metadata>(metadata: T, signer: &MemorySigner) -> anyhow::Result<Vec<u8>> {
    let mut envelope = Envelope::unsigned(metadata)?;
    let signing = envelope.sign(signer).now_or_never();
    signing.context("a key in memory answers at once")??;
    Ok(envelope.to_bytes())
}

static HONEST: LazyLock<Honest> = LazyLock::new(|| Honest::make().expect("a repository"));

/// The honest repository, one file of which is the input.
struct Dishonest<'a> {
    place: Option<&'a (Place, String)>,
    input: &'a [u8],
}

impl Fetch for Dishonest<'_> {
    fn fetch<'a>(
        &'a self,
        place: Place,
        name: &'a str,
        max_length: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        let asked = (place, name.to_owned());
        let found = match self.place == Some(&asked) {
            true => Some(self.input.to_vec()),
            false => HONEST.files.get(&asked).cloned(),
        };
        Box::pin(std::future::ready(whole_file(found, max_length)))
    }
}

fn check(input: &[u8]) -> String {
    let mut said = Vec::new();
    for place in HONEST.files.keys() {
        let source = Dishonest {
            place: Some(place),
            input,
        };
        let mut store = MemoryStore::new();
        bootstrap(&mut store, &HONEST.first_root).expect("an honest root");
        said.push(outcome(session(&source, store).1, |()| String::new()));
    }
    let honest = Dishonest { place: None, input };
    let mut store = MemoryStore::new();
    said.push(outcome(bootstrap(&mut store, input), |()| String::new()));

    // What is damaged on disk is fetched again; only the root cannot be.
    let mut whole = MemoryStore::new();
    bootstrap(&mut whole, &HONEST.first_root).expect("an honest root");
    let (whole, outcome) = session(&honest, whole);
    outcome.expect("an honest repository is followed");
    for name in [
        "timestamp.json",
        "snapshot.json",
        "targets.json",
        "team.json",
    ] {
        let mut damaged = whole.clone();
        damaged.save(name, input).expect("memory takes it");
        let (_, outcome) = session(&honest, damaged);
        outcome.expect("a damaged file locks nobody out");
    }
    said.join(" ")
}

/// Follows the repository to its target. Whatever is believed in the end is what was signed.
fn session(source: &Dishonest<'_>, store: MemoryStore) -> (MemoryStore, Result<(), Error>) {
    let mut client = Client::open(source, store, NOW).expect("an honest root");
    let outcome = follow(&mut client).now_or_never();
    let outcome = outcome.expect("nothing here waits");
    if outcome.is_ok() {
        let root: Root = HONEST.read("2.root.json");
        let first = Envelope::<Root>::parse(&HONEST.first_root).expect("an honest root");
        assert!(
            [&root, first.signed()].contains(&client.root()),
            "a root that nobody signed"
        );
        let timestamp = client.timestamp().expect("it was refreshed");
        assert_eq!(
            timestamp,
            &HONEST.read("timestamp.json"),
            "a timestamp that nobody signed"
        );
        let snapshot = client.snapshot().expect("it was refreshed");
        assert_eq!(
            snapshot,
            &HONEST.read("1.snapshot.json"),
            "a snapshot that nobody signed"
        );
        let targets = client.targets().expect("it was refreshed");
        assert_eq!(
            targets,
            &HONEST.read("1.targets.json"),
            "targets that nobody signed"
        );
    }
    (client.into_store(), outcome)
}

async fn follow(client: &mut Client<&Dishonest<'_>, MemoryStore>) -> Result<(), Error> {
    client.refresh().await?;
    let target = client
        .target(PATH)
        .await?
        .expect("the role that is delegated to lists it");
    let content = client.download(&target).await?;
    assert_eq!(content, CONTENT, "content that nobody signed");
    Ok(())
}
