//! Compiles our `.proto` files without a system `protoc`.

use std::{env, error::Error, path::PathBuf};

use prost::Message as _;

const FILES: &[&str] = &[
    "dev/sigstore/bundle/v1/bundle.proto",
    "dev/sigstore/common/v1/common.proto",
    "dev/sigstore/fulcio/v2/fulcio.proto",
    "dev/sigstore/rekor/v1/rekor.proto",
    "dev/sigstore/rekor/v2/rekor.proto",
    "dev/sigstore/trustroot/v1/trustroot.proto",
    "google/api/httpbody.proto",
    "io/intoto/envelope.proto",
    "sealwright/ct/v1/ct.proto",
    "sealwright/error/v1/error.proto",
    "sealwright/log/v1/control.proto",
    "sealwright/log/v1/log.proto",
    "sealwright/timestamp/v1/timestamp.proto",
    "sealwright/trust/v1/trust.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["proto"])?;
    let encoded = descriptors.encode_to_vec();

    tonic_prost_build::configure()
        .out_dir(&out)
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .bytes(".google.api.HttpBody.data")
        .bytes(".sealwright.log.v1.Tile.data")
        .compile_fds(descriptors)?;

    // Bundles and log requests are refused when they hold a field that we do not know: a verdict or a receipt must
    // never rest on half of what was said.
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .out_dir(&out)
        .build(&[
            ".dev.sigstore.bundle",
            ".dev.sigstore.common",
            ".dev.sigstore.rekor",
            ".io.intoto",
        ])?;
    // The authority's clients send fields and enum names of their own and read absent fields as present ones.
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .out_dir(&out)
        .ignore_unknown_fields()
        .emit_fields()
        .exclude([".dev.sigstore.fulcio.v2.PublicKeyAlgorithm"])
        .build(&[".dev.sigstore.fulcio"])?;
    // Trust material grows by new fields, which old clients must survive.
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .out_dir(&out)
        .ignore_unknown_fields()
        .build(&[".dev.sigstore.trustroot", ".sealwright"])?;
    Ok(())
}
