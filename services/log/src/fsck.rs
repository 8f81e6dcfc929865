//! Checks every hash of a log from its leaves to its checkpoint.
//!
//! Reads a folder whose log is not open, or a copy of one; changes nothing. It goes on after a fault where it can, and
//! names the file of each.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use sealwright_crypto::{PublicKey, base64, sha256};
use sealwright_tlog::hash::merkle_tree_hash;
use sealwright_tlog::tile::{TILE_HEIGHT, TILE_WIDTH, TileId, TileKind, changed_tiles, parse_tile};
use sealwright_tlog::{Hash, NoteKey};

use crate::dedup::{Hints, IndexFile};
use crate::disk::{Disk, FileDisk};
use crate::error::Error;
use crate::identity::{IDENTITY_FILE, IdentityRecord};
use crate::kind::{Kind, LeafFacts};
use crate::recover::{self, public_checkpoint};
use crate::tree::{PUBLIC, Tree, public_path};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Origin of the log.
    pub origin: String,
    /// Entries in the write-ahead log's last checkpoint.
    pub size: u64,
    /// Entries whose bundle, leaf hash and path to the root were checked.
    pub entries: u64,
    /// Tile files that were compared.
    pub tiles: u64,
    /// Everything that is wrong; empty for a sound log.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// File, relative to the log's folder.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.problem)
    }
}

impl Report {
    /// True when nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, file: impl Into<String>, problem: impl Into<String>) {
        self.faults.push(Fault {
            file: file.into(),
            problem: problem.into(),
        });
    }
}

/// Checks the log in `dir`. Blocks; a large log takes as long as reading it.
///
/// Fails when the folder cannot be read at all or holds no log; a fault in the log is in the report.
pub fn fsck(dir: &Path) -> Result<Report, Error> {
    if !dir.join(IDENTITY_FILE).exists() {
        return Err(Error::NotALog {
            dir: dir.to_owned(),
        });
    }
    let disk = FileDisk::open(dir)
        .map_err(|error| Error::disk("opening", dir.display().to_string(), error))?;
    fsck_on(Arc::new(disk), dir)
}

fn fsck_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<Report, Error> {
    let record = IdentityRecord::read(&*disk)?.ok_or(Error::NotALog {
        dir: dir.to_owned(),
    })?;
    let key = log_key(&record)?;
    let mut report = Report {
        origin: record.origin.clone(),
        ..Report::default()
    };
    // The same reading as at a start: write-ahead log, chain, roots, signatures, edge, public checkpoint.
    let recovered = match recover::read(&disk, record.kind, &key, record.checksum_key()?, None) {
        Ok(recovered) => recovered,
        Err(error @ (Error::Corrupt { .. } | Error::RolledBack { .. } | Error::Forked { .. })) => {
            report.fault(file_of(&error), error.to_string());
            // Files can be judged by the public checkpoint even where the write-ahead log cannot be read.
            if let Ok(Some(checkpoint)) = public_checkpoint(&*disk, &key) {
                check_files(
                    &*disk,
                    record.kind,
                    checkpoint.size,
                    checkpoint.root,
                    &mut report,
                )?;
            }
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    let public_size = recovered.public_size;
    let Some(snapshot) = recovered.snapshot else {
        report.fault("wal", "it holds no frame");
        return Ok(report);
    };
    let tree = Tree::new(record.kind, disk.clone(), snapshot, recovered.overlay);
    report.size = tree.snapshot().size();
    if public_size > 0 {
        check_files(
            &*disk,
            record.kind,
            public_size,
            tree.root_at(public_size)?,
            &mut report,
        )?;
    }
    Ok(report)
}

fn log_key(record: &IdentityRecord) -> Result<NoteKey, Error> {
    let der = base64::decode(&record.public_key).ok();
    let key = der.and_then(|der| PublicKey::from_spki_der(&der).ok());
    let key = key.ok_or(Error::corrupt(IDENTITY_FILE, "publicKey is not a key"))?;
    record
        .kind
        .note_key(&record.origin, key)
        .map_err(|error| Error::corrupt(IDENTITY_FILE, error.to_string()))
}

fn file_of(error: &Error) -> String {
    match error {
        Error::Corrupt { file, .. } => file.clone(),
        Error::RolledBack { .. } | Error::Forked { .. } => "public/checkpoint".into(),
        _ => String::new(),
    }
}

/// Recomputes the tree of `size` entries from the bundle files and compares every tile file and the root.
fn check_files(
    disk: &dyn Disk,
    kind: Kind,
    size: u64,
    root: Hash,
    report: &mut Report,
) -> Result<(), Error> {
    let full_bundles = size >> TILE_HEIGHT;
    let mut levels: Vec<Vec<Hash>> = vec![Vec::new()];
    let index_file = read(disk, IndexFile::NAME)?.unwrap_or_default();
    for bundle in 0..full_bundles {
        let id = TileId::full(kind.bundle(), bundle);
        let tile = tile_hashes(disk, bundle)?;
        let facts = bundle_facts(disk, kind, id)?;
        match (facts, tile) {
            (Ok(facts), tile) => {
                report.entries += facts.len() as u64;
                check_issuers(disk, kind, id, report)?;
                levels[0].extend(leaf_hashes(
                    disk,
                    kind,
                    bundle,
                    &facts,
                    tile,
                    &index_file,
                    report,
                )?);
            }
            (Err(problem), tile) => {
                report.fault(public_path(id), problem);
                // The tile says what the entries were, so that the rest can still be judged.
                let Some(hashes) = tile else { return Ok(()) };
                levels[0].extend(hashes);
            }
        }
    }
    // Upper levels follow from lower ones; only what is full has a file that must exist.
    for id in changed_tiles(0, full_bundles << TILE_HEIGHT)
        .into_iter()
        .filter(TileId::is_full)
    {
        let TileKind::Hashes(level) = id.kind else {
            continue;
        };
        let level = usize::from(level);
        let start = (id.index << TILE_HEIGHT) as usize;
        let Some(hashes) = levels
            .get(level)
            .and_then(|hashes| hashes.get(start..start + usize::from(TILE_WIDTH)))
        else {
            continue;
        };
        let hashes = hashes.to_vec();
        if levels.len() == level + 1 {
            levels.push(Vec::new());
        }
        levels[level + 1].push(merkle_tree_hash(&hashes));
        compare_tile(disk, id, &hashes.concat(), report)?;
    }
    check_partial(disk, kind, size, root, &levels, report)
}

/// The leaves of a bundle file, or what is wrong with it.
fn bundle_facts(
    disk: &dyn Disk,
    kind: Kind,
    id: TileId,
) -> Result<Result<Vec<LeafFacts>, String>, Error> {
    let Some(bytes) = read(disk, &public_path(id))? else {
        return Ok(Err("it is missing".into()));
    };
    let facts = kind
        .split_bundle(&bytes)
        .and_then(|leaves| leaves.into_iter().map(|leaf| kind.facts(leaf)).collect());
    Ok(match facts {
        Err(error) => Err(error.to_string()),
        Ok(facts) => {
            let facts: Vec<LeafFacts> = facts;
            if facts.len() == usize::from(id.width) {
                Ok(facts)
            } else {
                Err(format!("it has {} entries", facts.len()))
            }
        }
    })
}

/// The leaf hashes of a bundle according to its tile.
fn tile_hashes(disk: &dyn Disk, bundle: u64) -> Result<Option<Vec<Hash>>, Error> {
    let bytes = read(
        disk,
        &public_path(TileId::full(TileKind::Hashes(0), bundle)),
    )?
    .unwrap_or_default();
    Ok(parse_tile(&bytes)
        .ok()
        .filter(|hashes| hashes.len() == usize::from(TILE_WIDTH)))
}

fn compare_tile(
    disk: &dyn Disk,
    id: TileId,
    expected: &[u8],
    report: &mut Report,
) -> Result<(), Error> {
    let path = public_path(id);
    match read(disk, &path)? {
        None => report.fault(path, "it is missing"),
        Some(bytes) if bytes == expected => report.tiles += 1,
        Some(_) => report.fault(path, "its hashes do not follow from the entries"),
    }
    Ok(())
}

/// The leaf hashes of a bundle that can be read, where its tile may say something else. The hash on the level above and
/// the hints are witnesses of which of the two is wrong; a wrong tile is reported when tiles are compared.
fn leaf_hashes(
    disk: &dyn Disk,
    kind: Kind,
    bundle: u64,
    facts: &[LeafFacts],
    tile: Option<Vec<Hash>>,
    index_file: &[u8],
    report: &mut Report,
) -> Result<Vec<Hash>, Error> {
    let own: Vec<Hash> = facts.iter().map(|facts| facts.leaf_hash).collect();
    let own_hints: Vec<Hints> = facts
        .iter()
        .map(|facts| Hints::new(&facts.identity, &facts.leaf_hash))
        .collect();
    let form = IndexFile::new(kind.identity_is_leaf_hash());
    // A missing or damaged block is made again at the next start, and says nothing here.
    let hints = form.decode(bundle, index_file);
    let Some(tile) = tile.filter(|tile| *tile != own) else {
        if hints.is_some_and(|hints| hints != own_hints) {
            report.fault(
                IndexFile::NAME,
                format!("the hints of bundle {bundle} are those of other entries"),
            );
        }
        return Ok(own);
    };
    let above = TileId::full(TileKind::Hashes(1), bundle >> TILE_HEIGHT);
    let above =
        parse_tile(&read(disk, &public_path(above))?.unwrap_or_default()).unwrap_or_default();
    let above = above.get((bundle % u64::from(TILE_WIDTH)) as usize);
    let bundle_is_wrong = match above {
        Some(above) if *above == merkle_tree_hash(&tile) => true,
        Some(above) if *above == merkle_tree_hash(&own) => false,
        _ => hints.is_some_and(|hints| hints != own_hints),
    };
    if !bundle_is_wrong {
        return Ok(own);
    }
    let position = own
        .iter()
        .zip(&tile)
        .position(|(own, tile)| own != tile)
        .unwrap_or_default() as u64;
    let entry = (bundle << TILE_HEIGHT) + position;
    report.fault(
        public_path(TileId::full(kind.bundle(), bundle)),
        format!("entry {entry} is not the one in the tree"),
    );
    Ok(tile)
}

/// Every issuer that a data tile names must be kept, and be what its name says.
fn check_issuers(
    disk: &dyn Disk,
    kind: Kind,
    id: TileId,
    report: &mut Report,
) -> Result<(), Error> {
    if kind != Kind::Ct {
        return Ok(());
    }
    let bytes = read(disk, &public_path(id))?.unwrap_or_default();
    let leaves = sealwright_tlog::ct::TileLeaf::parse_tile(&bytes).unwrap_or_default();
    let mut fingerprints: Vec<Hash> = leaves
        .into_iter()
        .flat_map(|leaf| leaf.chain_fingerprints)
        .collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    for fingerprint in fingerprints {
        let path = format!("{PUBLIC}/issuer/{}", hex::encode(fingerprint));
        match read(disk, &path)? {
            None => report.fault(path, "it is missing, but an entry names it"),
            Some(bytes) if sha256(&bytes) == fingerprint => {}
            Some(_) => report.fault(path, "it is another certificate than its name says"),
        }
    }
    Ok(())
}

/// The entries behind the last full bundle, where static files hold them, and the root over everything.
fn check_partial(
    disk: &dyn Disk,
    kind: Kind,
    size: u64,
    root: Hash,
    levels: &[Vec<Hash>],
    report: &mut Report,
) -> Result<(), Error> {
    let full = levels.first().map(Vec::as_slice).unwrap_or_default();
    let mut leaves = full.to_vec();
    let rest = TileId::in_tree(kind.bundle(), size >> TILE_HEIGHT, size).filter(|id| !id.is_full());
    if let Some(id) = rest {
        if read(disk, &public_path(id))?.is_none() {
            // Partial files are optional; the write-ahead log holds these entries and was read already.
            return Ok(());
        }
        match bundle_facts(disk, kind, id)? {
            Ok(facts) => {
                report.entries += facts.len() as u64;
                leaves.extend(facts.iter().map(|facts| facts.leaf_hash));
            }
            Err(problem) => {
                report.fault(public_path(id), problem);
                return Ok(());
            }
        }
    }
    if merkle_tree_hash(&leaves) == root {
        return check_partial_tiles(disk, size, leaves, report);
    }
    let (file, problem) = match rest {
        Some(id) if report.is_sound() => (
            public_path(id),
            "its entries do not lead to the root in the checkpoint".into(),
        ),
        _ => (
            "public/checkpoint".into(),
            format!("its root at size {size} does not follow from the entries"),
        ),
    };
    report.fault(file, problem);
    Ok(())
}

/// Partial tile files are optional, but those of the checkpoint's size must be right.
fn check_partial_tiles(
    disk: &dyn Disk,
    size: u64,
    leaves: Vec<Hash>,
    report: &mut Report,
) -> Result<(), Error> {
    let mut hashes = leaves;
    for level in 0.. {
        if hashes.is_empty() {
            break;
        }
        let index = hashes.len() as u64 >> TILE_HEIGHT;
        if let Some(id) = TileId::in_tree(TileKind::Hashes(level), index, size) {
            let own = hashes
                .get((index << TILE_HEIGHT) as usize..)
                .unwrap_or_default()
                .concat();
            let path = public_path(id);
            if read(disk, &path)?.is_some_and(|bytes| bytes != own) {
                report.fault(path, "its hashes do not follow from the entries");
            }
        }
        let (tiles, _) = hashes.as_chunks::<{ TILE_WIDTH as usize }>();
        hashes = tiles.iter().map(|tile| merkle_tree_hash(tile)).collect();
    }
    Ok(())
}

fn read(disk: &dyn Disk, path: &str) -> Result<Option<Vec<u8>>, Error> {
    disk.read(path)
        .map_err(|error| Error::disk("reading", path, error))
}
