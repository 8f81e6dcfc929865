//! Claims about logs that follow others, and about logs that somebody else has signed.

use sealwright_tlog::{Checkpoint, NoteKey, note};

use super::*;

fn succession(old: &str, new: &str, overlap: i64) -> Succession {
    Succession {
        old: old.to_owned(),
        new: new.to_owned(),
        overlap,
    }
}

/// The entry whose URL has this text.
async fn entry(trust: &Trust, text: &str) -> EntryStatus {
    let entries = trust.status().await.unwrap().entries.into_iter();
    let mut found = entries.filter(|status| status.entry.url.contains(text));
    found.next().unwrap()
}

#[tokio::test]
async fn one_log_follows_another_in_one_change_that_loses_nobody() {
    let world = World::new();
    let (trust, keys) = world.production().await;
    world.clock.advance(DAY);
    let mut services = world.services.clone();
    services.0.push(log("127.0.0.2"));
    trust.ask(vec![services.channel()]);
    let old_log = trust.documents().await.unwrap().trusted_root.tlogs[0].clone();
    let old_id = {
        let entries = trust.documents().await.unwrap().entries();
        let logs = entries
            .iter()
            .filter(|entry| entry.kind == Kind::TransparencyLog);
        logs.map(|entry| entry.id.clone()).next().unwrap()
    };
    // The new one is described first, so that its id is known; nothing of it is published.
    trust.gather().await.unwrap().unwrap();
    let new_id = entry(&trust, "127.0.0.2").await.entry.id;

    for (wrong, why) in [
        (succession(&old_id, &old_id, 60), "two different"),
        (succession(&old_id, &new_id, 0), "1 second to 366 days"),
        (
            succession(&old_id, &new_id, i64::MAX),
            "1 second to 366 days",
        ),
    ] {
        let refused = trust
            .gather_with(vec![wrong], Vec::new())
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
    let unknown = trust
        .gather_with(vec![succession("00", &new_id, 60)], Vec::new())
        .await;
    assert!(matches!(unknown, Err(Error::UnknownEntry { .. })));

    let wanted = vec![succession(&old_id, &new_id, 600)];
    let staged = trust
        .gather_with(wanted.clone(), Vec::new())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(staged.changes.len(), 2, "{:?}", staged.changes);
    let new = entry(&trust, "127.0.0.2").await;
    let start = new.service_from.unwrap();
    assert_eq!(
        start,
        START + DAY + 14 * DAY,
        "a week to sign and a week of caches"
    );
    trust.sign_with(&keys.targets).await.unwrap();
    trust.publish().await.unwrap();

    let documents = trust.documents().await.unwrap();
    let believed_until = START + 7 * DAY;
    assert!(start >= believed_until);
    let end = |range: Option<&sealwright_proto::common::v1::TimeRange>| {
        range
            .and_then(|range| range.end.as_ref())
            .map(|end| end.seconds)
    };
    let services = &documents.signing_config.rekor_tlog_urls;
    assert_eq!(end(services[0].valid_for.as_ref()), Some(start + 600));
    assert_eq!(end(services[1].valid_for.as_ref()), None);
    let logs = &documents.trusted_root.tlogs;
    let validity = |position: usize| {
        logs[position]
            .public_key
            .as_ref()
            .unwrap()
            .valid_for
            .as_ref()
    };
    assert_eq!(
        end(validity(0)),
        Some(start + 1200),
        "whoever began with it can finish"
    );
    assert_eq!(end(validity(1)), None);
    let key = |log: &sealwright_proto::trustroot::v1::TransparencyLogInstance| {
        log.public_key.as_ref().unwrap().raw_bytes.clone()
    };
    assert_eq!(key(&logs[0]), key(&old_log), "the old key stays");
    // Said again it changes nothing.
    assert!(
        trust
            .gather_with(wanted, Vec::new())
            .await
            .unwrap()
            .is_none()
    );
}

/// A log of others with a checkpoint that its key has signed.
fn foreign(origin: &str, key_type: KeyType) -> (wire::ForeignLog, NoteKey, MemorySigner) {
    let signer = MemorySigner::new(generate(key_type));
    let key = NoteKey::for_log("other-name", signer.public_key().clone()).unwrap();
    let log = wire::ForeignLog {
        kind: wire::MaterialKind::TransparencyLog as i32,
        url: format!("https://{origin}"),
        origin: origin.to_owned(),
        operator: "elsewhere".to_owned(),
        public_key: signer.public_key().spki_der().to_vec(),
        key_name: "other-name".to_owned(),
        checkpoint: Vec::new(),
        valid_from: START - 100 * DAY,
        valid_until: START,
    };
    (log, key, signer)
}

async fn signed(origin: &str, key: &NoteKey, signer: &MemorySigner) -> Vec<u8> {
    let text = Checkpoint::new(origin, 1, [7; 32]).to_text();
    let mut note = sealwright_tlog::Note::new(text.clone()).unwrap();
    note.push(note::sign(&text, key, signer, 0).await.unwrap());
    note.to_string().into_bytes()
}

#[tokio::test]
async fn a_log_of_others_is_believed_on_its_checkpoint_and_never_used() {
    let world = World::new();
    let trust = world.start().await;
    let keys = OfflineKeys::open(&world.folder.path().join("offline")).unwrap();
    trust.ask(vec![world.services.channel()]);
    let origin = "log.other.example";
    let (mut offered, key, signer) = foreign(origin, KeyType::Ed25519);
    offered.checkpoint = signed(origin, &key, &signer).await;
    let fault = |change: fn(&mut wire::ForeignLog)| {
        let mut changed = offered.clone();
        change(&mut changed);
        match ForeignLog::admit(&changed) {
            Err(Error::Material { fault, .. }) => fault,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fault(|log| log.checkpoint.clear()), MaterialFault::Proof);
    assert_eq!(
        fault(|log| log.key_name = "x".to_owned()),
        MaterialFault::Proof
    );
    assert!(matches!(
        fault(|log| log.origin = "log.else.example".to_owned()),
        MaterialFault::Origin { .. }
    ));
    assert_eq!(fault(|log| log.public_key.clear()), MaterialFault::Key);
    assert_eq!(fault(|log| log.kind = 1), MaterialFault::Kind);
    assert_eq!(fault(|log| log.valid_from = 0), MaterialFault::ValidFrom(0));
    let backwards = fault(|log| log.valid_until = log.valid_from);
    assert!(matches!(backwards, MaterialFault::ValidFrom(_)));
    let (large, ..) = foreign(origin, KeyType::Rsa { bits: 2048 });
    let refused = ForeignLog::admit(&large).unwrap_err();
    assert!(refused.to_string().contains("RSA"), "{refused}");

    let admitted = ForeignLog::admit(&offered).unwrap();
    let before = trust.documents().await.unwrap();
    let staged = trust
        .gather_with(Vec::new(), vec![admitted.clone()])
        .await
        .unwrap()
        .unwrap();
    assert!(
        staged.changes[0].contains("to be believed and not used"),
        "{:?}",
        staged.changes
    );
    trust.sign_with(&keys.targets).await.unwrap();
    trust.publish().await.unwrap();
    let after = trust.documents().await.unwrap();
    assert_eq!(after.signing_config, before.signing_config);
    let log = after.trusted_root.tlogs.last().unwrap();
    assert_eq!(log.log_id.as_ref().unwrap().key_id, key.log_id());
    let status = entry(&trust, "other.example").await;
    assert_eq!(
        (status.entry.valid_from, status.entry.valid_until),
        (START - 100 * DAY, Some(START))
    );
    assert_eq!(status.service_from, None);
    assert!(
        trust
            .gather_with(Vec::new(), vec![admitted])
            .await
            .unwrap()
            .is_none()
    );
}
