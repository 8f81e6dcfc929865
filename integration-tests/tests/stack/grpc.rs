//! gRPC says the same as HTTP, on the same port.

use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType, PrivateKey};
use sealwright_integration_tests::{Daemon, EMAIL};
use sealwright_pki::certificate::Certificate;
use sealwright_proto::{
    common::v1::PublicKeyDetails,
    fulcio::v2 as fulcio,
    rekor::v2 as rekor,
    sealwright::{ct::v1 as ct, log::v1 as log, timestamp::v1 as timestamp},
};
use tonic::{Code, transport::Channel};

fn with_channel<T>(
    daemon: &Daemon,
    act: impl AsyncFnOnce(Channel) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let endpoint = tonic::transport::Endpoint::from_shared(daemon.endpoints().ca.clone())?;
        act(endpoint.connect().await?).await
    })
}

fn entry(key: &PrivateKey, message: &[u8]) -> anyhow::Result<rekor::CreateEntryRequest> {
    let digest = HashAlgorithm::Sha256.digest(message);
    let content = key.sign_digest(Algorithm::EcdsaP256Sha256, &digest)?;
    let raw_bytes = key.public_key().spki_der().to_vec();
    let verifier = rekor::Verifier {
        verifier: Some(rekor::verifier::Verifier::PublicKey(rekor::PublicKey {
            raw_bytes,
        })),
        key_details: PublicKeyDetails::PkixEcdsaP256Sha256.into(),
    };
    let request = rekor::HashedRekordRequestV002 {
        digest: digest.as_bytes().to_vec(),
        signature: Some(rekor::Signature {
            content,
            verifier: Some(verifier),
        }),
    };
    let spec = rekor::create_entry_request::Spec::HashedRekordRequestV002(request);
    Ok(rekor::CreateEntryRequest { spec: Some(spec) })
}

#[test]
fn the_log_takes_entries_and_gives_its_checkpoint_and_tiles() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let key = PrivateKey::generate(KeyType::EcP256)?;
    with_channel(&daemon, async |channel| {
        let mut log = rekor::rekor_client::RekorClient::new(channel);
        let first = log.create_entry(entry(&key, b"one")?).await?.into_inner();
        let again = log.create_entry(entry(&key, b"two")?).await?.into_inner();
        assert_eq!((first.log_index, again.log_index), (0, 1));
        let proof = again.inclusion_proof.expect("a proof");
        let hashes = proof
            .hashes
            .iter()
            .map(|hash| hash.as_slice().try_into())
            .collect::<Result<Vec<_>, _>>()?;
        sealwright_tlog::proof::verify_inclusion(
            1,
            u64::try_from(proof.tree_size)?,
            &sealwright_tlog::hash::leaf_hash(&again.canonicalized_body),
            &hashes,
            &proof.root_hash.as_slice().try_into()?,
        )?;
        let checkpoint = log
            .get_checkpoint(sealwright_proto::Empty {})
            .await?
            .into_inner();
        assert!(
            checkpoint.data.starts_with(b"127.0.0.1\n2\n"),
            "{:?}",
            checkpoint.data
        );
        let tile = log
            .get_tile(rekor::TileRequest {
                l: 0,
                n: "000.p/2".to_owned(),
            })
            .await?
            .into_inner();
        assert_eq!(tile.data.len(), 64);
        let bundle = log
            .get_entry_bundle(rekor::EntryBundleRequest {
                n: "000.p/2".to_owned(),
            })
            .await?
            .into_inner();
        assert!(bundle.data.len() > 600);

        let mut bent = entry(&key, b"three")?;
        if let Some(rekor::create_entry_request::Spec::HashedRekordRequestV002(spec)) =
            &mut bent.spec
        {
            spec.digest[0] ^= 1;
        }
        let refused = log
            .create_entry(bent)
            .await
            .expect_err("a signature over another digest");
        assert_eq!(refused.code(), Code::InvalidArgument);
        let details = String::from_utf8_lossy(refused.details()).into_owned();
        assert!(details.contains("SIGNATURE_INVALID"), "{details:?}");
        let refused = log
            .get_tile(rekor::TileRequest {
                l: 0,
                n: "005".to_owned(),
            })
            .await
            .expect_err("no such tile");
        assert_eq!(refused.code(), Code::NotFound);
        Ok(())
    })
}

#[test]
fn the_authority_issues_with_the_token_in_the_message() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let token = daemon.token()?;
    let key = PrivateKey::generate(KeyType::EcP384)?;
    let proof_of_possession = key.sign(Algorithm::EcdsaP384Sha384, EMAIL.as_bytes())?;
    let request = |token: &str| fulcio::CreateSigningCertificateRequest {
        credentials: Some(fulcio::Credentials {
            credentials: Some(fulcio::credentials::Credentials::OidcIdentityToken(
                token.to_owned(),
            )),
        }),
        key: Some(
            fulcio::create_signing_certificate_request::Key::PublicKeyRequest(
                fulcio::PublicKeyRequest {
                    public_key: Some(fulcio::PublicKey {
                        algorithm: fulcio::PublicKeyAlgorithm::Ecdsa.into(),
                        content: key.public_key().to_pem(),
                    }),
                    proof_of_possession: proof_of_possession.clone(),
                },
            ),
        ),
    };
    with_channel(&daemon, async |channel| {
        let mut authority = fulcio::ca_client::CaClient::new(channel);
        let answer = authority
            .create_signing_certificate(request(&token))
            .await?
            .into_inner();
        let Some(fulcio::signing_certificate::Certificate::SignedCertificateEmbeddedSct(embedded)) =
            answer.certificate
        else {
            panic!("an embedded SCT, not {answer:?}");
        };
        let chain = embedded.chain.expect("a chain").certificates;
        assert!(chain.len() >= 2, "the root is in the answer");
        let leaf = Certificate::from_pem(&chain[0])?;
        assert_eq!(leaf.public_key()?, key.public_key());
        assert_eq!(leaf.not_after() - leaf.not_before(), 600);

        let bundle = authority
            .get_trust_bundle(fulcio::GetTrustBundleRequest {})
            .await?
            .into_inner();
        assert_eq!(bundle.chains.len(), 1);
        let configuration = authority
            .get_configuration(fulcio::GetConfigurationRequest {})
            .await?
            .into_inner();
        assert!(
            configuration
                .issuers
                .iter()
                .any(|issuer| issuer.challenge_claim == "email")
        );

        let refused = authority
            .create_signing_certificate(request("not.a.token"))
            .await
            .expect_err("no token");
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert!(String::from_utf8_lossy(refused.details()).contains("TOKEN_MALFORMED"));
        Ok(())
    })
}

#[test]
fn timestamps_and_the_certificate_log_answer() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    with_channel(&daemon, async |channel| {
        let mut authority =
            timestamp::timestamp_authority_client::TimestampAuthorityClient::new(channel.clone());
        let chain = authority
            .get_certificate_chain(timestamp::GetCertificateChainRequest {})
            .await?
            .into_inner();
        assert!(chain.certificates.len() >= 2);
        let refused = authority
            .get_timestamp(timestamp::GetTimestampRequest {
                query: b"garbage".to_vec(),
            })
            .await
            .expect_err("garbage");
        assert_eq!(refused.code(), Code::InvalidArgument);

        let mut log =
            ct::certificate_transparency_client::CertificateTransparencyClient::new(channel);
        let roots = log
            .get_roots(ct::GetRootsRequest { log: String::new() })
            .await?
            .into_inner();
        assert!(!roots.certificates.is_empty());
        let head = log
            .get_signed_tree_head(ct::GetSignedTreeHeadRequest { log: String::new() })
            .await?
            .into_inner();
        assert_eq!(head.root_hash.len(), 32);
        let chain = vec![b"no certificate".to_vec()];
        let refused = log
            .add_pre_chain(ct::AddChainRequest {
                log: String::new(),
                chain,
            })
            .await
            .expect_err("garbage");
        assert_eq!(refused.code(), Code::InvalidArgument);
        Ok(())
    })
}

#[test]
fn every_log_is_read_and_proven_by_name() -> anyhow::Result<()> {
    use sealwright_tlog::{Checkpoint, Hash, NoteKey, TlogProof, proof};

    let daemon = Daemon::fresh()?;
    let key = PrivateKey::generate(KeyType::EcP256)?;
    with_channel(&daemon, async |channel| {
        let mut writer = rekor::rekor_client::RekorClient::new(channel.clone());
        for number in 0..3_u8 {
            writer.create_entry(entry(&key, &[number])?).await?;
        }
        let mut reader = log::transparency_log_client::TransparencyLogClient::new(channel);
        let logs = reader
            .list_logs(log::ListLogsRequest {})
            .await?
            .into_inner();
        let kinds: Vec<log::LogKind> = logs.logs.iter().map(log::LogDescription::kind).collect();
        assert_eq!(kinds, [log::LogKind::Signature, log::LogKind::Certificate]);
        let Some(signatures) = logs.logs.into_iter().next() else {
            panic!("a signature log");
        };
        let public = sealwright_crypto::PublicKey::from_spki_der(&signatures.public_key)?;
        let keys = [NoteKey::for_log(&signatures.origin, public)?];
        let name = signatures.name;

        let head = reader.get_tree_head(log::GetTreeHeadRequest { log: name.clone() });
        let head = head.await?.into_inner();
        let opened = Checkpoint::open(head.checkpoint.as_bytes(), &signatures.origin, &keys)?;
        let root: Hash = opened.checkpoint().root;
        assert_eq!((head.tree_size, head.root_hash), (3, root.to_vec()));

        let found = reader
            .get_entry(log::GetEntryRequest {
                log: name.clone(),
                entry: Some(log::get_entry_request::Entry::LeafIndex(2)),
            })
            .await?
            .into_inner();
        let leaf = sealwright_tlog::hash::leaf_hash(&found.stored);
        assert_eq!(found.leaf_hash, leaf);
        let hashes = |list: &[Vec<u8>]| -> anyhow::Result<Vec<Hash>> {
            let list = list.iter();
            list.map(|hash| Ok(hash.as_slice().try_into()?)).collect()
        };
        let path = hashes(&found.inclusion_proof.expect("a proof").hashes)?;
        proof::verify_inclusion(2, 3, &leaf, &path, &root)?;

        let text = reader
            .get_tlog_proof(log::GetTlogProofRequest {
                log: name.clone(),
                entry: Some(log::get_tlog_proof_request::Entry::LeafHash(leaf.to_vec())),
            })
            .await?
            .into_inner()
            .text;
        TlogProof::parse(text.as_bytes())?.open(&leaf, &signatures.origin, &keys)?;

        let older = reader
            .get_inclusion_proof(log::GetInclusionProofRequest {
                log: name.clone(),
                entry: Some(log::get_inclusion_proof_request::Entry::LeafIndex(0)),
                tree_size: Some(2),
            })
            .await?
            .into_inner();
        let older: Hash = older.root_hash.as_slice().try_into()?;
        let consistency = reader
            .get_consistency_proof(log::GetConsistencyProofRequest {
                log: name.clone(),
                from: 2,
                to: None,
            })
            .await?
            .into_inner();
        let path = hashes(&consistency.hashes)?;
        proof::verify_consistency(2, &older, 3, &root, &path)?;

        let tile = reader
            .get_tile(log::GetTileRequest {
                log: name,
                path: "tile/0/000.p/3".to_owned(),
            })
            .await?
            .into_inner();
        assert_eq!(tile.data.get(64..), Some(leaf.as_slice()));
        Ok(())
    })
}
