//! Claims about the whole stack, each a test that reads like its claim.

mod ambient;
mod answers;
mod apart;
mod attacks;
mod certificate;
mod clients;
mod conformance;
mod contract;
mod crowd;
mod deploy;
mod differential;
mod doors;
mod grpc;
mod kill;
mod login;
mod openssl;
mod own_pki;
mod provider;
mod refusals;
mod shards;
mod tidy;
mod tiles;
mod timestamps;
mod trace;
mod tuf;
mod vectors;
