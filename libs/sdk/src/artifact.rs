//! What is signed or verified: a file, bytes, or a digest that somebody else computed.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use sealwright_bundle::verify::{Needs, possible_needs};
use sealwright_bundle::{ArtifactHasher, Bundle, Policy};
use sealwright_crypto::{Digest, HashAlgorithm};

use crate::error::Error;
use crate::file::{open_input, read_capped};

/// Files up to this length are read on the spot; starting a thread costs more than hashing them.
const SMALL_BYTES: u64 = 1024 * 1024;
const CHUNK_BYTES: usize = 256 * 1024;
/// Pieces of a large file that are read while others are hashed.
const PIECES_AHEAD: usize = 4;
/// Most that is held in memory for the one algorithm that needs the bytes themselves.
const MAX_MESSAGE_BYTES: usize = 512 * 1024 * 1024;

/// An artifact. Files are streamed: memory does not grow with them. What is neither a regular file nor open already (a named
/// pipe, a device) is refused.
///
/// ```
/// use sealwright_sdk::Artifact;
/// use sealwright_sdk::crypto::HashAlgorithm;
///
/// # tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(async {
/// let digest = Artifact::Bytes(b"release".to_vec()).digest(HashAlgorithm::Sha256).await?;
/// let same = Artifact::Digest(digest.clone()).digest(HashAlgorithm::Sha256).await?;
/// assert_eq!(digest, same);
/// # Ok::<(), sealwright_sdk::Error>(())
/// # }).expect("it is hashed");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Artifact {
    /// A file, read when it is needed.
    Path(PathBuf),
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A digest.
    Digest(Digest),
    /// What a pipe gave, as [`Artifact::read_once`] keeps it.
    Read(ReadArtifact),
}

/// What remains of an artifact that could be read only once: its digests, and the bytes where a key may have signed those.
#[derive(Clone, Debug)]
pub struct ReadArtifact {
    digests: Vec<Digest>,
    bytes: Option<Arc<Vec<u8>>>,
}

impl Artifact {
    /// What a person means by an argument: a digest when it is written as one (`sha256:HEX`, `sha384:HEX` or `sha512:HEX`),
    /// a file otherwise.
    ///
    /// Which of the two it is does not depend on what lies in the directory: whoever can put a file there could otherwise
    /// have another artifact judged under the name of this digest. A file with such a name is given as `./sha256:HEX`.
    #[must_use]
    pub fn from_argument(argument: &str) -> Self {
        parse_digest(argument).map_or_else(|| Self::Path(argument.into()), Self::Digest)
    }

    /// An artifact that can be judged as often as anybody likes. What can be read only once (standard input, a pipe) is read
    /// now, and every digest kept that the verification of `bundle` may ask for; memory does not grow with it. Other
    /// artifacts stay as they are.
    ///
    /// Only pure Ed25519 signs the bytes themselves: where the key could have, they are held as well, up to 512 MiB. From a
    /// longer pipe such a signature is refused, and one over a digest still verifies.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, [`Error::Input`] when it is something that would be waited for without end.
    pub async fn read_once(self, bundle: &Bundle, policy: &Policy) -> Result<Self, Error> {
        let Self::Path(path) = self else {
            return Ok(self);
        };
        let file = open_input("artifact", &path)?;
        let metadata = file
            .metadata()
            .map_err(|source| file_error(&path, source))?;
        if metadata.is_file() {
            return Ok(Self::Path(path));
        }
        let needs = possible_needs(bundle, policy);
        on_a_thread(move || {
            let read = read_pipe(file, &needs, MAX_MESSAGE_BYTES);
            read.map(Self::Read)
                .map_err(|source| file_error(&path, source))
        })
        .await
    }

    /// Its digest by one algorithm.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be read, [`Error::Input`] when only another digest is known.
    pub async fn digest(&self, algorithm: HashAlgorithm) -> Result<Digest, Error> {
        let digests = self.all_digests(&[algorithm]).await?;
        let found = digests
            .iter()
            .find(|digest| digest.algorithm() == algorithm);
        found.cloned().ok_or_else(|| {
            let known: Vec<String> = digests.iter().map(ToString::to_string).collect();
            Error::input(
                format!("artifact {}", known.join(", ")),
                format!(
                    "the key signs {} digests; give the file itself or its {} digest",
                    algorithm,
                    algorithm.short_name()
                ),
            )
        })
    }

    /// The digests a verifier asks for, in one pass; the ones that are there when it is known by digests alone.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be read.
    pub async fn digests(
        &self,
        algorithms: &[HashAlgorithm],
    ) -> Result<sealwright_bundle::Artifact<'static>, Error> {
        let digests = self.all_digests(algorithms).await?;
        Ok(sealwright_bundle::Artifact::from_digests(digests))
    }

    async fn all_digests(&self, algorithms: &[HashAlgorithm]) -> Result<Vec<Digest>, Error> {
        if self.is_quick() {
            return self.digests_now(algorithms, &Reading::AHEAD);
        }
        let (artifact, algorithms) = (self.clone(), algorithms.to_vec());
        on_a_thread(move || artifact.digests_now(&algorithms, &Reading::AHEAD)).await
    }

    /// Whether its digests are there at once, so that no thread is needed to wait for them. A file that is not there is.
    pub(crate) fn is_quick(&self) -> bool {
        match self {
            Self::Path(path) => std::fs::metadata(path)
                .map_or(true, |found| found.is_file() && found.len() <= SMALL_BYTES),
            Self::Bytes(_) | Self::Digest(_) | Self::Read(_) => true,
        }
    }

    /// The digests, on this thread.
    pub(crate) fn digests_now(
        &self,
        algorithms: &[HashAlgorithm],
        reading: &Reading<'_>,
    ) -> Result<Vec<Digest>, Error> {
        let mut hasher = ArtifactHasher::new(algorithms);
        match self {
            Self::Digest(digest) => return Ok(vec![digest.clone()]),
            Self::Read(read) => return Ok(read.digests.clone()),
            Self::Bytes(bytes) => hasher.update(bytes),
            Self::Path(path) => {
                let file = open_input("artifact", path)?;
                in_pieces(file, reading, &mut |piece| hasher.update(piece))
                    .map_err(|source| file_error(path, source))?;
            }
        }
        Ok(hasher.into_digests())
    }

    /// The bytes themselves, for the key that signs them and not their digest; `None` when they are not to be had.
    pub(crate) fn message(&self) -> Result<Option<Cow<'_, [u8]>>, Error> {
        match self {
            Self::Path(path) => read_capped("artifact", path, MAX_MESSAGE_BYTES)
                .map(|bytes| Some(Cow::Owned(bytes)))
                .map_err(say_why_so_short),
            Self::Bytes(bytes) => Ok(Some(Cow::Borrowed(bytes))),
            Self::Read(read) => Ok(read
                .bytes
                .as_ref()
                .map(|bytes| Cow::Borrowed(bytes.as_slice()))),
            Self::Digest(_) => Ok(None),
        }
    }
}

fn say_why_so_short(error: Error) -> Error {
    match error {
        Error::Input { what, problem } => Error::Input {
            what,
            problem: format!(
                "{problem}, and a pure Ed25519 signature is over the file itself, which is held in memory for it; \
                 sign large files with Ed25519ph or an ECDSA key"
            ),
        },
        other => other,
    }
}

/// `sha256:HEX` and its like.
fn parse_digest(text: &str) -> Option<Digest> {
    let (name, digits) = text.split_once(':')?;
    Digest::new(
        HashAlgorithm::from_short_name(name)?,
        hex::decode(digits).ok()?,
    )
    .ok()
}

fn file_error(path: &Path, source: io::Error) -> Error {
    Error::File {
        what: "artifact",
        path: path.to_owned(),
        source,
    }
}

/// Runs what takes long where it stops nothing else.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Internal(format!("hashing: {error}")))?
}

/// How a file is read.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// Whether a second thread reads while this one hashes: for who has a processor to spare.
    pub(crate) ahead: bool,
    /// Asked between pieces; when it says no, reading ends with an error that nobody waits for.
    pub(crate) still_wanted: &'a dyn Fn() -> bool,
}

impl Reading<'static> {
    /// One file, as fast as it goes.
    pub(crate) const AHEAD: Self = Self {
        ahead: true,
        still_wanted: &|| true,
    };
}

/// Gives `each` piece of a file in order, to its end.
fn in_pieces(mut file: File, reading: &Reading<'_>, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let large = file
        .metadata()
        .is_ok_and(|found| !found.is_file() || found.len() > SMALL_BYTES);
    if reading.ahead && large {
        return in_pieces_ahead(file, reading, each);
    }
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Some(piece) = read_piece(&mut file, &mut buffer)? {
        each(piece);
        check_wanted(reading)?;
    }
    Ok(())
}

/// The same with a thread that reads the next pieces while `each` has one. A few buffers go back and forth, so that a fast
/// disk fills no memory.
fn in_pieces_ahead(
    file: File,
    reading: &Reading<'_>,
    each: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    let (filled, pieces) = mpsc::sync_channel(PIECES_AHEAD);
    let (emptied, buffers) = mpsc::channel();
    for _ in 0..PIECES_AHEAD {
        // The other end is in the next line's scope; a send cannot fail before it is dropped.
        let _ = emptied.send(vec![0; CHUNK_BYTES]);
    }
    thread::scope(move |scope| {
        thread::Builder::new()
            .name("sealwright-read".into())
            .spawn_scoped(scope, move || read_ahead(file, &buffers, &filled))?;
        for piece in pieces {
            let (buffer, length): (Vec<u8>, usize) = piece?;
            each(buffer.get(..length).unwrap_or(&buffer));
            check_wanted(reading)?;
            let _ = emptied.send(buffer);
        }
        Ok(())
    })
}

/// Ends with the file, with an error, or when nobody takes the pieces any more.
fn read_ahead(
    mut file: File,
    buffers: &Receiver<Vec<u8>>,
    filled: &SyncSender<io::Result<(Vec<u8>, usize)>>,
) {
    while let Ok(mut buffer) = buffers.recv() {
        let sent = match read_piece(&mut file, &mut buffer).map(|piece| piece.map(<[u8]>::len)) {
            Ok(None) => return,
            Ok(Some(length)) => filled.send(Ok((buffer, length))),
            Err(error) => filled.send(Err(error)),
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The next piece; `None` at the end.
fn read_piece<'a>(file: &mut impl io::Read, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    let length = loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    Ok(buffer.get(..length).filter(|piece| !piece.is_empty()))
}

fn check_wanted(reading: &Reading<'_>) -> io::Result<()> {
    if (reading.still_wanted)() {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "nobody waits for it",
        ))
    }
}

/// Reads a pipe to its end. Bytes beyond `most` are hashed and not kept, and then none are.
fn read_pipe(file: File, needs: &Needs, most: usize) -> io::Result<ReadArtifact> {
    let mut hasher = ArtifactHasher::new(&needs.digests);
    let mut bytes = needs.bytes.then(Vec::new);
    in_pieces(file, &Reading::AHEAD, &mut |piece| {
        hasher.update(piece);
        match &mut bytes {
            Some(kept) if kept.len() + piece.len() <= most => kept.extend_from_slice(piece),
            kept => *kept = None,
        }
    })?;
    Ok(ReadArtifact {
        digests: hasher.into_digests(),
        bytes: bytes.map(Arc::new),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_of_any_size_has_the_digest_of_its_bytes() {
        let dir = tempfile::tempdir().expect("a directory");
        for length in [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 7, 2 * 1024 * 1024] {
            let path = dir.path().join(length.to_string());
            let bytes: Vec<u8> = (0..length)
                .map(|index| u8::try_from(index % 251).expect("below 251"))
                .collect();
            std::fs::write(&path, &bytes).expect("it is written");
            let digest = Artifact::Path(path)
                .digest(HashAlgorithm::Sha384)
                .await
                .expect("it is read");
            assert_eq!(digest, HashAlgorithm::Sha384.digest(&bytes));
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let missing = Artifact::from_argument("/nonexistent/artifact")
            .digest(HashAlgorithm::Sha256)
            .await;
        assert!(
            missing
                .expect_err("there is no file")
                .to_string()
                .contains("/nonexistent/artifact")
        );
        let digest = Artifact::Digest(HashAlgorithm::Sha256.digest(b"x"));
        let error = digest
            .digest(HashAlgorithm::Sha512)
            .await
            .expect_err("another digest");
        assert!(error.to_string().contains("sha512"), "{error}");
    }

    #[tokio::test]
    async fn what_is_read_ahead_comes_in_order_and_ends_with_who_wants_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("large");
        let pieces: u8 = 40;
        let bytes: Vec<u8> = (0..pieces)
            .flat_map(|piece| vec![piece; CHUNK_BYTES])
            .collect();
        std::fs::write(&path, &bytes).expect("it is written");
        let open = || open_input("artifact", &path).expect("it opens");
        let mut seen = Vec::new();
        in_pieces(open(), &Reading::AHEAD, &mut |piece| {
            seen.extend_from_slice(piece);
        })
        .expect("it is read");
        assert!(seen == bytes, "the pieces make the file again");

        for ahead in [true, false] {
            let taken = std::cell::Cell::new(0);
            let reading = Reading {
                ahead,
                still_wanted: &|| taken.get() < 3,
            };
            let ended = in_pieces(open(), &reading, &mut |_| taken.set(taken.get() + 1));
            assert!(ended.is_err() && taken.get() == 3, "ahead {ahead}");
        }
    }

    #[test]
    fn a_pipe_is_read_once_and_bytes_are_kept_only_where_a_key_signs_them() {
        use std::io::Write as _;
        let message = vec![7; 100_000];
        let from_pipe = |bytes: bool, most: usize| {
            let (reader, mut writer) = io::pipe().expect("a pipe");
            let sent = message.clone();
            let feeder = thread::spawn(move || writer.write_all(&sent));
            let mut needs = needs_of_nobody();
            needs.bytes = bytes;
            let file = File::from(std::os::fd::OwnedFd::from(reader));
            let read = read_pipe(file, &needs, most).expect("it is read");
            feeder.join().expect("no panic").expect("it is written");
            read
        };
        for (bytes, most, kept) in [
            (false, 1_000_000, false),
            (true, 100_000, true),
            (true, 99_999, false),
        ] {
            let read = from_pipe(bytes, most);
            assert_eq!(read.digests, [HashAlgorithm::Sha256.digest(&message)]);
            let held = read.bytes.as_deref();
            assert_eq!(held, kept.then_some(&message), "{most}");
        }
    }

    /// One SHA-256, which is what a bundle without a digest and a policy without the signer come to.
    fn needs_of_nobody() -> Needs {
        use sealwright_bundle::IdentityRule;
        use sealwright_testkit::bundle_factory::{EMAIL, ISSUER, Signing, World};
        let bundle = World::new().sign_blob(b"x", &Signing::default());
        let bundle = Bundle::from_proto(bundle).expect("a bundle");
        let rule = IdentityRule::exact(EMAIL, ISSUER).expect("a rule");
        possible_needs(&bundle, &Policy::signed_by_identity(rule).blob())
    }

    #[test]
    fn what_is_too_long_for_memory_is_refused_unread_and_says_why() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let long = MAX_MESSAGE_BYTES as u64 + 1;
        file.as_file().set_len(long).expect("a hole");
        let artifact = Artifact::Path(file.path().into());
        let refused = artifact.message().expect_err("too long").to_string();
        assert!(
            refused.contains("536870912") && refused.contains("Ed25519ph"),
            "{refused}"
        );
    }

    #[test]
    fn a_digest_can_be_given_instead_of_a_file() {
        let hex = hex::encode(HashAlgorithm::Sha256.digest(b"x").as_bytes());
        assert!(matches!(
            Artifact::from_argument(&format!("sha256:{hex}")),
            Artifact::Digest(_)
        ));
        for path in [hex.as_str(), "sha256:abcd", "md5:00", "a.tar"] {
            assert!(
                matches!(Artifact::from_argument(path), Artifact::Path(_)),
                "{path}"
            );
        }
    }
}
