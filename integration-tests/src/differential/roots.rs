//! Changes to what is trusted, under a bundle that stays as it is.

use std::sync::Arc;

use sealwright_proto::common::v1 as common;
use sealwright_proto::trustroot::v1 as trust;
use sealwright_testkit::bundle_factory::{NOW, World, window};

use super::change::Change;
use super::json;
use super::specimen::Specimen;

/// All of them; `donor` is another world's trusted root.
pub fn changes(specimen: &Arc<Specimen>, donor: &str) -> Vec<Change> {
    let mut changes: Vec<Change> =
        json::changes(specimen.trusted_root.as_bytes(), Some(donor.as_bytes()))
            .into_iter()
            .map(|change| change.within("trusted root", "", Some))
            .collect();
    changes.extend(windows(specimen));
    changes.extend(neighbours(specimen));
    changes
}

type Root = trust::TrustedRoot;

/// A change to the message, written in the version that the published client reads.
fn edited(
    specimen: &Arc<Specimen>,
    kind: &'static str,
    place: String,
    edit: impl Fn(&mut Root) -> Option<()> + Send + Sync + 'static,
) -> Change {
    let specimen = specimen.clone();
    Change::new(kind, place, move || {
        let mut root: Root = serde_json::from_str(&specimen.trusted_root).ok()?;
        edit(&mut root)?;
        serde_json::to_vec(&root).ok()
    })
    .within("trusted root", "", Some)
}

type Window = fn(&mut Root) -> Option<&mut Option<common::TimeRange>>;

const WINDOWS: [(&str, Window); 4] = [
    ("tlogs", |root| {
        Some(&mut root.tlogs.first_mut()?.public_key.as_mut()?.valid_for)
    }),
    ("ctlogs", |root| {
        Some(&mut root.ctlogs.first_mut()?.public_key.as_mut()?.valid_for)
    }),
    ("certificateAuthorities", |root| {
        Some(&mut root.certificate_authorities.first_mut()?.valid_for)
    }),
    ("timestampAuthorities", |root| {
        Some(&mut root.timestamp_authorities.first_mut()?.valid_for)
    }),
];

/// Windows that begin or end around the moments of the signature, which are [`NOW`] to three seconds later.
fn windows(specimen: &Arc<Specimen>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (place, find) in WINDOWS {
        for after in -1..=4 {
            let name = format!("{place}: {after} s after the certificate");
            changes.push(edited(
                specimen,
                "window begins",
                name.clone(),
                move |root| {
                    *find(root)? = Some(window(NOW + after, None));
                    Some(())
                },
            ));
            changes.push(edited(specimen, "window ends", name, move |root| {
                *find(root)? = Some(window(NOW - 1000, Some(NOW + after)));
                Some(())
            }));
        }
        changes.push(edited(
            specimen,
            "window ends before it begins",
            place.into(),
            move |root| {
                *find(root)? = Some(window(NOW, Some(NOW - 1)));
                Some(())
            },
        ));
    }
    changes
}

/// Another world's authorities and logs beside or instead of this one's.
fn neighbours(specimen: &Arc<Specimen>) -> Vec<Change> {
    let other = Arc::new(World::new().trusted_root());
    let mut changes = Vec::new();
    let mut add = |kind, edit: fn(&mut Root, &Root) -> Option<()>| {
        let other = other.clone();
        changes.push(edited(specimen, kind, String::new(), move |root| {
            edit(root, &other)
        }));
    };
    add("foreign authorities in front", |root, other| {
        root.certificate_authorities
            .splice(0..0, other.certificate_authorities.clone());
        root.timestamp_authorities
            .splice(0..0, other.timestamp_authorities.clone());
        Some(())
    });
    add("foreign logs in front", |root, other| {
        root.tlogs.splice(0..0, other.tlogs.clone());
        root.ctlogs.splice(0..0, other.ctlogs.clone());
        Some(())
    });
    add("foreign authorities behind", |root, other| {
        root.certificate_authorities
            .extend(other.certificate_authorities.clone());
        root.timestamp_authorities
            .extend(other.timestamp_authorities.clone());
        Some(())
    });
    add("foreign logs behind", |root, other| {
        root.tlogs.extend(other.tlogs.clone());
        root.ctlogs.extend(other.ctlogs.clone());
        Some(())
    });
    add("foreign certificate authority alone", |root, other| {
        root.certificate_authorities
            .clone_from(&other.certificate_authorities);
        Some(())
    });
    add("foreign timestamp authority alone", |root, other| {
        root.timestamp_authorities
            .clone_from(&other.timestamp_authorities);
        Some(())
    });
    add("foreign log alone", |root, other| {
        root.tlogs.clone_from(&other.tlogs);
        Some(())
    });
    add("foreign certificate log alone", |root, other| {
        root.ctlogs.clone_from(&other.ctlogs);
        Some(())
    });
    add("keys of the logs exchanged", |root, _| {
        let log = root.tlogs.first_mut()?;
        std::mem::swap(
            &mut log.public_key,
            &mut root.ctlogs.first_mut()?.public_key,
        );
        Some(())
    });
    add("authorities exchanged", |root, _| {
        std::mem::swap(
            &mut root.certificate_authorities,
            &mut root.timestamp_authorities,
        );
        Some(())
    });
    add("foreign key under the log's id", |root, other| {
        let log = root.tlogs.first_mut()?;
        log.public_key.clone_from(&other.tlogs.first()?.public_key);
        Some(())
    });
    add("log under a foreign id", |root, other| {
        let log = root.tlogs.first_mut()?;
        log.log_id.clone_from(&other.tlogs.first()?.log_id);
        Some(())
    });
    add("chains in reverse", |root, _| {
        for authority in root
            .certificate_authorities
            .iter_mut()
            .chain(&mut root.timestamp_authorities)
        {
            authority.cert_chain.as_mut()?.certificates.reverse();
        }
        Some(())
    });
    add("certificate authority without its root", |root, _| {
        let authority = root.certificate_authorities.first_mut()?;
        authority.cert_chain.as_mut()?.certificates.pop().map(drop)
    });
    add("timestamp authority without its root", |root, _| {
        let authority = root.timestamp_authorities.first_mut()?;
        authority.cert_chain.as_mut()?.certificates.pop().map(drop)
    });
    add("foreign certificate inside the chain", |root, other| {
        let foreign = other.certificate_authorities.first()?.cert_chain.clone()?;
        let authority = root.certificate_authorities.first_mut()?;
        let chain = &mut authority.cert_chain.as_mut()?.certificates;
        chain.splice(1..1, foreign.certificates);
        Some(())
    });
    changes
}
