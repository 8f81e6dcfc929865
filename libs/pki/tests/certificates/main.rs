//! What the crate claims about certificates, told with certificates: issued by ourselves and judged by OpenSSL, forged
//! one flaw at a time and refused for that flaw, mutated at random and survived.

mod chains;
mod crls;
mod forge;
mod hostile;
mod issuance;
mod openssl;
mod paths;
mod requests;
mod timestamps;
