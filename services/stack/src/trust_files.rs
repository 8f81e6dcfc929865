//! What clients need, in files: written whole, and only when it changed.

use sealwright_trust::ceremony::repository_dir;
use sealwright_trust::{Documents, document};
use serde::Serialize;

use crate::endpoints::Endpoints;
use crate::error::Error;
use crate::files::{self, Readers};
use crate::place::Place;

/// Writes `DIR/client/{trusted_root,signing_config,trust_config,root}.json`.
pub(crate) fn write(place: &Place, documents: &Documents) -> Result<(), Error> {
    let client = place.path("client");
    files::make_folder(&client)?;
    let put = |name: &str, bytes: &[u8]| {
        files::write_if_different(&client.join(name), bytes, Readers::All).map(|_| ())
    };
    put("trusted_root.json", &document(&documents.trusted_root))?;
    put("signing_config.json", &document(&documents.signing_config))?;
    put(
        "trust_config.json",
        &document(&documents.client_trust_config()),
    )?;
    // Version 1 is what clients were told to begin from; later roots are found from it.
    let root = client.join("root.json");
    if !root.exists() {
        let first = repository_dir(&place.path("trust")).join("1.root.json");
        let bytes = std::fs::read(&first).map_err(Error::io(first))?;
        files::write_atomically(&root, &bytes, Readers::All)?;
    }
    Ok(())
}

/// Whether an earlier start came as far as telling clients whom to trust.
pub(crate) fn written_before(place: &Place) -> bool {
    place.path("client/root.json").exists()
}

/// Writes `DIR/endpoints.json`.
pub(crate) fn write_endpoints(place: &Place, endpoints: &Endpoints) -> Result<(), Error> {
    files::write_if_different(
        &place.path("endpoints.json"),
        &json(endpoints),
        Readers::All,
    )
    .map(|_| ())
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Messages of text, numbers and bytes always have a JSON form.
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
