//! The wire contracts of Sealwright: protobuf messages, gRPC services and their proto3 JSON.
//!
//! Where a Sigstore client speaks to us (`dev.sigstore.*`, `io.intoto`) the messages are wire-compatible; where no
//! contract exists (`sealwright.*`) they are ours. This crate knows no other crate of ours: wire types become domain
//! types in each service's `api.rs` and in `sealwright-bundle`.
//!
//! JSON is strict for bundles and log requests (an unknown field is an error) and lenient for the certificate
//! authority and for trust material (an unknown field is passed over). Bytes are read in both base64 alphabets,
//! padded or not, and written in the standard one; 64-bit integers are written as strings and read as either.

#![expect(
    missing_docs,
    reason = "generated code; the .proto files carry the documentation"
)]
#![expect(clippy::all, clippy::allow_attributes, reason = "generated code")]
#![expect(unused_qualifications, reason = "generated code")]

/// Sigstore's packages, nested as protobuf nests them.
pub mod dev {
    pub mod sigstore {
        pub mod bundle {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/dev.sigstore.bundle.v1.rs"));
                include!(concat!(env!("OUT_DIR"), "/dev.sigstore.bundle.v1.serde.rs"));
            }
        }
        pub mod common {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/dev.sigstore.common.v1.rs"));
                include!(concat!(env!("OUT_DIR"), "/dev.sigstore.common.v1.serde.rs"));
            }
        }
        pub mod fulcio {
            pub mod v2 {
                include!(concat!(env!("OUT_DIR"), "/dev.sigstore.fulcio.v2.rs"));
                include!(concat!(env!("OUT_DIR"), "/dev.sigstore.fulcio.v2.serde.rs"));
                include!("fulcio_algorithm.rs");
            }
        }
        pub mod rekor {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/dev.sigstore.rekor.v1.rs"));
                include!(concat!(env!("OUT_DIR"), "/dev.sigstore.rekor.v1.serde.rs"));
            }
            pub mod v2 {
                include!(concat!(env!("OUT_DIR"), "/dev.sigstore.rekor.v2.rs"));
                include!(concat!(env!("OUT_DIR"), "/dev.sigstore.rekor.v2.serde.rs"));
            }
        }
        pub mod trustroot {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/dev.sigstore.trustroot.v1.rs"));
                include!(concat!(
                    env!("OUT_DIR"),
                    "/dev.sigstore.trustroot.v1.serde.rs"
                ));
            }
        }
    }
}

pub mod google {
    pub mod api {
        include!(concat!(env!("OUT_DIR"), "/google.api.rs"));
    }
}

pub mod io {
    pub mod intoto {
        include!(concat!(env!("OUT_DIR"), "/io.intoto.rs"));
        include!(concat!(env!("OUT_DIR"), "/io.intoto.serde.rs"));
    }
}

/// Our own contracts.
pub mod sealwright {
    pub mod ct {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/sealwright.ct.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/sealwright.ct.v1.serde.rs"));
        }
    }
    pub mod error {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/sealwright.error.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/sealwright.error.v1.serde.rs"));
        }
    }
    pub mod log {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/sealwright.log.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/sealwright.log.v1.serde.rs"));
        }
    }
    pub mod timestamp {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/sealwright.timestamp.v1.rs"));
            include!(concat!(
                env!("OUT_DIR"),
                "/sealwright.timestamp.v1.serde.rs"
            ));
        }
    }
    pub mod trust {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/sealwright.trust.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/sealwright.trust.v1.serde.rs"));
            include!("trust_proof.rs");
        }
    }
}

pub use dev::sigstore::{bundle, common, fulcio, rekor, trustroot};
pub use io::intoto as dsse;
/// Messages of protobuf itself that our services use, with their JSON form.
pub use pbjson_types::{Empty, Timestamp};
