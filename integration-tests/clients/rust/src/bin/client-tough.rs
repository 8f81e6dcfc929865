//! Drives the published crate `tough` by the protocol that `integration-tests/tests/stack/tuf.rs` describes.

use std::{error::Error, fs, path::PathBuf};

use tough::{Prefix, RepositoryLoader, TargetName};
use url::Url;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let mut next = || words.next().ok_or("an argument is missing");
    let metadata: Url = next()?.parse()?;
    let targets: Url = next()?.parse()?;
    let metadata_dir = PathBuf::from(next()?);
    let target_dir = PathBuf::from(next()?);
    let root = fs::read(metadata_dir.join("root.json"))?;
    let datastore = metadata_dir.join("datastore");
    fs::create_dir_all(&datastore)?;
    let repository = RepositoryLoader::new(&root, metadata, targets)
        .datastore(datastore)
        .load()
        .await?;
    for path in words {
        let name = TargetName::new(&path)?;
        repository
            .save_target(&name, &target_dir, Prefix::None)
            .await?;
        println!("{path}");
    }
    Ok(())
}
