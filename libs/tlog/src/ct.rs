//! The bytes of a certificate log: RFC 6962 structures, and the leaves of static-ct-api data tiles.
//!
//! Certificates, precertificates and to-be-signed parts are opaque here; `sealwright-pki` cuts them out of ASN.1.

use crate::error::Error;
use crate::hash::{HASH_LEN, Hash, leaf_hash};
use crate::tile::TILE_WIDTH;
use crate::wire::{Reader, put_prefixed, put_uint};

/// SHA-256 and ECDSA, as RFC 5246 numbers them: the only pair a static-ct log signs with.
const SHA256_ECDSA: [u8; 2] = [4, 3];
const V1: u64 = 0;
const CERTIFICATE_TIMESTAMP: u64 = 0;
const TREE_HASH: u64 = 1;
const TIMESTAMPED_ENTRY: u64 = 0;
const X509_ENTRY: u64 = 0;
const PRECERT_ENTRY: u64 = 1;
const LEAF_INDEX_EXTENSION: u64 = 0;
/// The leaf index extension has five bytes for the index: 2^40 - 1 is the last one.
pub const MAX_LEAF_INDEX: u64 = (1 << 40) - 1;

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CtEntry {
    /// A final certificate.
    X509 {
        /// DER.
        certificate: Vec<u8>,
    },
    /// A precertificate.
    Precert {
        /// SHA-256 of the issuer's SubjectPublicKeyInfo.
        issuer_key_hash: Hash,
        /// TBSCertificate without the poison extension, DER.
        tbs_certificate: Vec<u8>,
        /// The precertificate as submitted, DER; not part of the Merkle leaf.
        pre_certificate: Vec<u8>,
    },
}

impl CtEntry {
    /// The part that SCT, Merkle leaf and tile leaf share: entry type and signed entry.
    fn put_signed_entry(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Self::X509 { certificate } => {
                put_uint::<2>(out, X509_ENTRY);
                put_prefixed::<3>(out, "certificate", certificate)
            }
            Self::Precert {
                issuer_key_hash,
                tbs_certificate,
                ..
            } => {
                put_uint::<2>(out, PRECERT_ENTRY);
                out.extend_from_slice(issuer_key_hash);
                put_prefixed::<3>(out, "TBSCertificate", tbs_certificate)
            }
        }
    }

    /// The bytes a Merkle leaf and an SCT have in common, without time and index: what makes two submissions the same.
    pub fn identity(&self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        self.put_signed_entry(&mut out)?;
        Ok(out)
    }

    /// What an SCT's signature covers (RFC 6962 section 3.2): `time_ms` in Unix milliseconds, extensions as in the SCT.
    pub fn sct_message(&self, time_ms: u64, extensions: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        put_uint::<1>(&mut out, V1);
        put_uint::<1>(&mut out, CERTIFICATE_TIMESTAMP);
        self.put_timestamped(&mut out, time_ms, extensions)?;
        Ok(out)
    }

    /// The MerkleTreeLeaf (RFC 6962 section 3.4), whose leaf hash is in the tree.
    pub fn merkle_tree_leaf(&self, time_ms: u64, extensions: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        put_uint::<1>(&mut out, V1);
        put_uint::<1>(&mut out, TIMESTAMPED_ENTRY);
        self.put_timestamped(&mut out, time_ms, extensions)?;
        Ok(out)
    }

    /// `extra_data` of RFC 6962 section 4.6: what `get-entries` gives beside the leaf. `chain` is DER, issuer first.
    pub fn extra_data(&self, chain: &[&[u8]]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        if let Self::Precert {
            pre_certificate, ..
        } = self
        {
            put_prefixed::<3>(&mut out, "precertificate", pre_certificate)?;
        }
        let mut list = Vec::new();
        for certificate in chain {
            put_prefixed::<3>(&mut list, "certificate", certificate)?;
        }
        put_prefixed::<3>(&mut out, "certificate chain", &list)?;
        Ok(out)
    }

    fn put_timestamped(
        &self,
        out: &mut Vec<u8>,
        time_ms: u64,
        extensions: &[u8],
    ) -> Result<(), Error> {
        put_uint::<8>(out, time_ms);
        self.put_signed_entry(out)?;
        put_prefixed::<2>(out, "CtExtensions", extensions)
    }
}

/// The extensions of a static-ct SCT: the leaf index and nothing else, 8 bytes. Fails beyond [`MAX_LEAF_INDEX`].
pub fn leaf_index_extensions(leaf_index: u64) -> Result<[u8; 8], Error> {
    if leaf_index > MAX_LEAF_INDEX {
        return Err(Error::OutsideTree {
            what: "leaf index",
            value: leaf_index,
            limit: MAX_LEAF_INDEX,
        });
    }
    let [_, _, _, a, b, c, d, e] = leaf_index.to_be_bytes();
    Ok([LEAF_INDEX_EXTENSION as u8, 0, 5, a, b, c, d, e])
}

/// The leaf index in an SCT's extensions. Unknown extensions are passed over; a second leaf index is refused.
pub fn parse_leaf_index(extensions: &[u8]) -> Result<u64, Error> {
    let mut reader = Reader::new("CtExtensions", extensions);
    let mut found = None;
    while !reader.is_empty() {
        let extension_type = reader.uint::<1>()?;
        let mut data = Reader::new("leaf_index extension", reader.prefixed::<2>()?);
        if extension_type != LEAF_INDEX_EXTENSION {
            continue;
        }
        if found.replace(data.uint::<5>()?).is_some() {
            return Err(reader.malformed("it has two leaf indexes"));
        }
        data.finish()?;
    }
    found.ok_or(reader.malformed("it has no leaf index"))
}

/// One entry of a data tile (static-ct-api, TileLeaf).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileLeaf {
    /// Unix milliseconds; that of the SCT.
    pub time_ms: u64,
    /// What is logged.
    pub entry: CtEntry,
    /// Extensions as in the SCT.
    pub extensions: Vec<u8>,
    /// SHA-256 of each certificate of the chain, issuer first; the certificates are served by fingerprint.
    pub chain_fingerprints: Vec<Hash>,
}

impl TileLeaf {
    /// The stored form.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        self.entry
            .put_timestamped(&mut out, self.time_ms, &self.extensions)?;
        if let CtEntry::Precert {
            pre_certificate, ..
        } = &self.entry
        {
            put_prefixed::<3>(&mut out, "precertificate", pre_certificate)?;
        }
        put_prefixed::<2>(
            &mut out,
            "certificate chain",
            &self.chain_fingerprints.concat(),
        )?;
        Ok(out)
    }

    /// Reads one leaf from the front of a data tile, and returns what follows it.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let mut reader = Reader::new("TileLeaf", bytes);
        let time_ms = reader.uint::<8>()?;
        let (entry, extensions) = match reader.uint::<2>()? {
            X509_ENTRY => {
                let certificate = reader.prefixed::<3>()?.to_vec();
                (CtEntry::X509 { certificate }, reader.prefixed::<2>()?)
            }
            PRECERT_ENTRY => {
                let issuer_key_hash = reader.array::<HASH_LEN>()?;
                let tbs_certificate = reader.prefixed::<3>()?.to_vec();
                let extensions = reader.prefixed::<2>()?;
                let pre_certificate = reader.prefixed::<3>()?.to_vec();
                (
                    CtEntry::Precert {
                        issuer_key_hash,
                        tbs_certificate,
                        pre_certificate,
                    },
                    extensions,
                )
            }
            _ => return Err(reader.malformed("its entry type is not x509_entry or precert_entry")),
        };
        let (fingerprints, rest) = reader.prefixed::<2>()?.as_chunks::<HASH_LEN>();
        if !rest.is_empty() {
            return Err(reader.malformed("its chain is not a list of fingerprints"));
        }
        let leaf = Self {
            time_ms,
            entry,
            extensions: extensions.to_vec(),
            chain_fingerprints: fingerprints.to_vec(),
        };
        Ok((leaf, reader.rest()))
    }

    /// Cuts a data tile into its leaves, 1 to 256 of them.
    pub fn parse_tile(bytes: &[u8]) -> Result<Vec<Self>, Error> {
        let mut leaves = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() && leaves.len() < usize::from(TILE_WIDTH) {
            let (leaf, after) = Self::parse(rest)?;
            leaves.push(leaf);
            rest = after;
        }
        if leaves.is_empty() || !rest.is_empty() {
            return Err(Error::Malformed {
                what: "data tile",
                problem: "it does not hold 1 to 256 leaves",
            });
        }
        Ok(leaves)
    }

    /// The hash this leaf has in the tree: that of its MerkleTreeLeaf, not of the stored form.
    pub fn leaf_hash(&self) -> Result<Hash, Error> {
        Ok(leaf_hash(
            &self
                .entry
                .merkle_tree_leaf(self.time_ms, &self.extensions)?,
        ))
    }
}

/// What a tree head's signature covers (RFC 6962 section 3.5).
pub fn tree_head_message(time_ms: u64, tree_size: u64, root: &Hash) -> Vec<u8> {
    let mut out = Vec::with_capacity(50);
    put_uint::<1>(&mut out, V1);
    put_uint::<1>(&mut out, TREE_HASH);
    put_uint::<8>(&mut out, time_ms);
    put_uint::<8>(&mut out, tree_size);
    out.extend_from_slice(root);
    out
}

/// A signature as TLS writes it: algorithms, then the DER signature behind two length bytes.
pub fn digitally_signed(signature: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = SHA256_ECDSA.to_vec();
    put_prefixed::<2>(&mut out, "signature", signature)?;
    Ok(out)
}

/// The payload of a static-ct log's note signature (RFC6962NoteSignature): time, then the tree head signature.
pub fn tree_head_signature(time_ms: u64, signature: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = time_ms.to_be_bytes().to_vec();
    out.extend(digitally_signed(signature)?);
    Ok(out)
}

/// The time and the DER signature in such a payload. Other algorithms than SHA-256 with ECDSA are refused.
pub fn parse_tree_head_signature(payload: &[u8]) -> Result<(u64, &[u8]), Error> {
    let mut reader = Reader::new("RFC6962NoteSignature", payload);
    let time_ms = reader.uint::<8>()?;
    if reader.array::<2>()? != SHA256_ECDSA {
        return Err(reader.malformed("its algorithms are not SHA-256 and ECDSA"));
    }
    let signature = reader.prefixed::<2>()?;
    reader.finish()?;
    Ok((time_ms, signature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn precert() -> CtEntry {
        CtEntry::Precert {
            issuer_key_hash: [7; 32],
            tbs_certificate: b"tbs".to_vec(),
            pre_certificate: b"pre".to_vec(),
        }
    }

    #[test]
    fn the_leaf_index_takes_eight_bytes() {
        let extensions = leaf_index_extensions(0x01_0203_0405).unwrap();
        assert_eq!(extensions, [0, 0, 5, 1, 2, 3, 4, 5]);
        assert_eq!(parse_leaf_index(&extensions), Ok(0x01_0203_0405));
        assert!(leaf_index_extensions(MAX_LEAF_INDEX).is_ok());
        assert!(leaf_index_extensions(MAX_LEAF_INDEX + 1).is_err());
    }

    #[test]
    fn extensions_with_no_or_two_indexes_are_refused() {
        let one = leaf_index_extensions(1).unwrap();
        assert!(parse_leaf_index(&[]).is_err());
        assert!(parse_leaf_index(&[one, one].concat()).is_err());
        assert!(parse_leaf_index(&one[..7]).is_err());
        assert!(parse_leaf_index(&[0, 0, 6, 0, 0, 0, 0, 0, 1]).is_err());
        let unknown = [9, 0, 1, 42];
        assert_eq!(
            parse_leaf_index(&[unknown.as_slice(), &one].concat()),
            Ok(1)
        );
    }

    #[test]
    fn the_merkle_leaf_of_a_precertificate_byte_for_byte() {
        let extensions = leaf_index_extensions(2).unwrap();
        let leaf = precert().merkle_tree_leaf(0x0102, &extensions).unwrap();
        let mut expected = vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 1];
        expected.extend([7; 32]);
        expected.extend(b"\x00\x00\x03tbs\x00\x08\x00\x00\x05\x00\x00\x00\x00\x02");
        assert_eq!(leaf, expected);
        let message = precert().sct_message(0x0102, &extensions).unwrap();
        assert_eq!(
            message, expected,
            "version, type 0 and the entry: SCT and leaf differ by meaning only"
        );
    }

    #[test]
    fn a_certificate_entry_byte_for_byte() {
        let entry = CtEntry::X509 {
            certificate: b"cert".to_vec(),
        };
        let leaf = entry.merkle_tree_leaf(1, &[]).unwrap();
        assert_eq!(leaf, b"\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\x04cert\0\0");
        assert_eq!(entry.extra_data(&[b"ab"]).unwrap(), b"\0\0\x05\0\0\x02ab");
        assert_eq!(precert().extra_data(&[]).unwrap(), b"\0\0\x03pre\0\0\0");
    }

    #[test]
    fn a_tree_head_signature_gives_back_its_parts() {
        let payload = tree_head_signature(77, b"der").unwrap();
        assert_eq!(
            parse_tree_head_signature(&payload).unwrap(),
            (77, b"der".as_slice())
        );
        assert!(parse_tree_head_signature(&payload[..payload.len() - 1]).is_err());
        assert!(parse_tree_head_signature(&[payload.as_slice(), &[0]].concat()).is_err());
        let mut other = payload;
        other[9] = 1;
        assert!(parse_tree_head_signature(&other).is_err());
        assert_eq!(tree_head_message(1, 2, &[3; 32]).len(), 50);
    }

    #[test]
    fn a_submission_is_identified_by_the_signed_entry_alone() {
        let mut expected = vec![0, 1];
        expected.extend([7; 32]);
        expected.extend(b"\x00\x00\x03tbs");
        assert_eq!(precert().identity().unwrap(), expected);
        let again = CtEntry::Precert {
            issuer_key_hash: [7; 32],
            tbs_certificate: b"tbs".to_vec(),
            pre_certificate: b"signed another time".to_vec(),
        };
        assert_eq!(again.identity().unwrap(), expected);
    }

    #[test]
    fn a_data_tile_holds_1_to_256_leaves() {
        let leaf = TileLeaf {
            time_ms: 1,
            entry: precert(),
            extensions: Vec::new(),
            chain_fingerprints: vec![[3; 32]],
        };
        let encoded = leaf.encode().unwrap();
        assert_eq!(
            TileLeaf::parse_tile(&encoded.repeat(256)),
            Ok(vec![leaf; 256])
        );
        for count in [0, 257, 258] {
            let refused = TileLeaf::parse_tile(&encoded.repeat(count));
            assert!(
                matches!(
                    refused,
                    Err(Error::Malformed {
                        what: "data tile",
                        ..
                    })
                ),
                "{count} leaves"
            );
        }
    }

    fn tile_leaf() -> impl Strategy<Value = TileLeaf> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        let entry = prop_oneof![
            bytes().prop_map(|certificate| CtEntry::X509 { certificate }),
            (any::<[u8; 32]>(), bytes(), bytes()).prop_map(
                |(issuer_key_hash, tbs_certificate, pre_certificate)| {
                    CtEntry::Precert {
                        issuer_key_hash,
                        tbs_certificate,
                        pre_certificate,
                    }
                }
            ),
        ];
        (
            any::<u64>(),
            entry,
            bytes(),
            prop::collection::vec(any::<[u8; 32]>(), 0..3),
        )
            .prop_map(
                |(time_ms, entry, extensions, chain_fingerprints)| TileLeaf {
                    time_ms,
                    entry,
                    extensions,
                    chain_fingerprints,
                },
            )
    }

    proptest! {
        #[test]
        fn a_data_tile_gives_back_its_leaves(leaves in prop::collection::vec(tile_leaf(), 1..6)) {
            let tile: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.encode().unwrap()).collect();
            prop_assert_eq!(TileLeaf::parse_tile(&tile).unwrap(), leaves);
            prop_assert!(TileLeaf::parse_tile(&tile[..tile.len() - 1]).is_err());
        }

        #[test]
        fn reading_any_data_tile_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = TileLeaf::parse_tile(&bytes);
            let _ = parse_leaf_index(&bytes);
            let _ = parse_tree_head_signature(&bytes);
        }
    }
}
