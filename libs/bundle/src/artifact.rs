//! The thing that was signed, as far as verification needs it: its digests.
//!
//! An artifact may be gigabytes, so it is read once, in pieces, and only the digests remain.

use std::borrow::Cow;
use std::io::Read;

use sealwright_crypto::{Digest, HashAlgorithm, Hasher};

use crate::error::VerifyError;

/// Bytes per read: large enough that hashing dominates, small enough for any stack of buffers.
const CHUNK: usize = 64 * 1024;

/// What a bundle is verified against.
#[derive(Debug, Clone)]
pub struct Artifact<'a>(Source<'a>);

#[derive(Debug, Clone)]
enum Source<'a> {
    Bytes(&'a [u8]),
    Digests(Vec<Digest>),
    Named(NamedDigest),
    Unbound,
}

/// A digest under a name of in-toto's that no hash function here computes, such as `gitCommit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedDigest {
    pub(crate) name: String,
    /// Hexadecimal.
    pub(crate) value: String,
}

impl std::fmt::Display for NamedDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.value)
    }
}

impl<'a> Artifact<'a> {
    /// The artifact itself, in memory. Digests are computed as verification asks for them.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        Self(Source::Bytes(bytes))
    }

    /// One digest that the caller knows, for instance of an image.
    #[must_use]
    pub fn from_digest(digest: Digest) -> Self {
        Self(Source::Digests(vec![digest]))
    }

    /// The digests of one artifact that was read before, each of another algorithm.
    #[must_use]
    pub fn from_digests(digests: Vec<Digest>) -> Self {
        Self(Source::Digests(digests))
    }

    /// What a statement names by another digest than a hash of its bytes, such as `gitCommit` or `dirHash`: the caller
    /// says which of in-toto's names it is, and vouches for the value. `value` is compared as hexadecimal text.
    ///
    /// For attestations alone; a signature over a file is over its bytes. A name of SHA-2 is taken for what it is: use
    /// [`Self::from_digest`].
    #[must_use]
    pub fn from_named_digest(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self(Source::Named(NamedDigest {
            name: name.into(),
            value: value.into(),
        }))
    }

    /// No artifact: the statement in an attestation is returned without tying it to anything.
    ///
    /// The caller takes over check V10. Message signatures cannot be verified this way.
    #[must_use]
    pub fn unbound_statement() -> Self {
        Self(Source::Unbound)
    }

    /// Reads an artifact to its end in one pass, keeping one digest per algorithm.
    ///
    /// [`crate::verify::digest_algorithms`] says which algorithms a bundle needs.
    ///
    /// # Errors
    /// Whatever the reader reports.
    pub fn from_reader(
        reader: &mut dyn Read,
        algorithms: &[HashAlgorithm],
    ) -> std::io::Result<Artifact<'static>> {
        let mut hasher = ArtifactHasher::new(algorithms);
        let mut chunk = vec![0; CHUNK];
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(read) => hasher.update(chunk.get(..read).unwrap_or(&chunk)),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn is_unbound(&self) -> bool {
        matches!(self.0, Source::Unbound)
    }

    pub(crate) fn named_digest(&self) -> Option<&NamedDigest> {
        match &self.0 {
            Source::Named(named) => Some(named),
            _ => None,
        }
    }

    /// The artifact's bytes, when they are in memory.
    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        match self.0 {
            Source::Bytes(bytes) => Some(bytes),
            Source::Digests(_) | Source::Named(_) | Source::Unbound => None,
        }
    }

    pub(crate) fn digest(&self, algorithm: HashAlgorithm) -> Result<Cow<'_, Digest>, VerifyError> {
        match &self.0 {
            Source::Bytes(bytes) => Ok(Cow::Owned(algorithm.digest(bytes))),
            Source::Digests(digests) => digests
                .iter()
                .find(|digest| digest.algorithm() == algorithm)
                .map(Cow::Borrowed)
                .ok_or_else(|| unavailable(algorithm)),
            Source::Named(_) | Source::Unbound => Err(unavailable(algorithm)),
        }
    }

    /// The digests at hand among `algorithms`: all of them for bytes, the given ones otherwise.
    pub(crate) fn digests(&self, algorithms: &[HashAlgorithm]) -> Vec<Digest> {
        algorithms
            .iter()
            .filter_map(|algorithm| self.digest(*algorithm).ok())
            .map(Cow::into_owned)
            .collect()
    }
}

/// Takes an artifact in pieces, for callers that have no reader.
#[derive(Debug)]
pub struct ArtifactHasher(Vec<Hasher>);

impl ArtifactHasher {
    /// Prepares one digest per algorithm; repeated algorithms count once.
    #[must_use]
    pub fn new(algorithms: &[HashAlgorithm]) -> Self {
        let mut unique: Vec<HashAlgorithm> = Vec::new();
        for algorithm in algorithms {
            if !unique.contains(algorithm) {
                unique.push(*algorithm);
            }
        }
        Self(unique.into_iter().map(Hasher::new).collect())
    }

    /// The next piece.
    pub fn update(&mut self, piece: &[u8]) {
        for hasher in &mut self.0 {
            hasher.update(piece);
        }
    }

    /// The artifact, once all pieces are in.
    #[must_use]
    pub fn finish(self) -> Artifact<'static> {
        Artifact::from_digests(self.into_digests())
    }

    /// Its digests, for whoever wants to keep them.
    #[must_use]
    pub fn into_digests(self) -> Vec<Digest> {
        self.0.into_iter().map(Hasher::finish).collect()
    }
}

fn unavailable(algorithm: HashAlgorithm) -> VerifyError {
    VerifyError::DigestUnavailable {
        needed: algorithm.short_name().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_fed_and_given_artifacts_have_the_same_digest() {
        let bytes = vec![7; 3 * CHUNK + 1];
        let algorithms = [
            HashAlgorithm::Sha256,
            HashAlgorithm::Sha512,
            HashAlgorithm::Sha256,
        ];
        let read =
            Artifact::from_reader(&mut bytes.as_slice(), &algorithms).expect("a slice reads");
        let mut hasher = ArtifactHasher::new(&algorithms);
        bytes.chunks(1000).for_each(|piece| hasher.update(piece));
        let fed = hasher.finish();
        for algorithm in algorithms {
            let expected = algorithm.digest(&bytes);
            assert_eq!(*read.digest(algorithm).expect("read"), expected);
            assert_eq!(*fed.digest(algorithm).expect("fed"), expected);
            assert_eq!(
                *Artifact::from_bytes(&bytes)
                    .digest(algorithm)
                    .expect("bytes"),
                expected
            );
        }
    }

    #[test]
    fn a_digest_that_was_not_computed_is_named() {
        let given = Artifact::from_digest(HashAlgorithm::Sha256.digest(b"x"));
        let error = given
            .digest(HashAlgorithm::Sha384)
            .expect_err("only SHA-256 was given");
        assert_eq!(
            error,
            VerifyError::DigestUnavailable {
                needed: "sha384".into()
            }
        );
        assert_eq!(
            Artifact::unbound_statement().digests(&[HashAlgorithm::Sha256]),
            []
        );
    }

    /// Gives its answers one after the other, then the end.
    struct Answers(Vec<std::io::Result<&'static [u8]>>);

    impl Read for Answers {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let mut piece = self.0.remove(0)?;
            piece.read(buffer)
        }
    }

    #[test]
    fn an_interrupted_read_is_tried_again_and_every_other_failure_is_reported() {
        use std::io::{Error, ErrorKind};
        let read = |kind: ErrorKind| {
            let mut reader = Answers(vec![Ok(b"one "), Err(Error::from(kind)), Ok(b"two")]);
            Artifact::from_reader(&mut reader, &[HashAlgorithm::Sha256])
                .map(|read| read.digests(&[HashAlgorithm::Sha256]))
                .map_err(|error| error.kind())
        };
        let whole = HashAlgorithm::Sha256.digest(b"one two");
        assert_eq!(read(ErrorKind::Interrupted), Ok(vec![whole]));
        assert_eq!(read(ErrorKind::TimedOut), Err(ErrorKind::TimedOut));
    }
}
