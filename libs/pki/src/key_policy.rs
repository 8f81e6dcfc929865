//! Which subject keys an authority certifies: types and sizes, and the known ways in which keys of a good type are bad.
//!
//! That points lie on their curve is settled when a [`PublicKey`] of a NIST curve is read. An Ed25519 key that is no
//! point at all verifies nothing, so it fails the proof of possession.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use num_bigint::BigUint;
use sealwright_crypto::{KeyType, PublicKey};

use crate::error::{Error, KeyFault};

/// What is accepted beyond the fixed rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPolicy {
    /// Whether RSA keys of 2048 bits are certified. Off by default: the algorithm registry keeps them for verification.
    pub accept_rsa_2048: bool,
    /// SHA-256 of SubjectPublicKeyInfos that are never certified.
    pub blocked: BTreeSet<[u8; 32]>,
}

const ACCEPTED: &str = "ECDSA P-256, P-384 and P-521, Ed25519, RSA 3072 and 4096";
const ACCEPTED_WITH_2048: &str = "ECDSA P-256, P-384 and P-521, Ed25519, RSA 2048, 3072 and 4096";

/// Rounds of Fermat's method. Two random primes are never that close; broken generators' are (CVE-2022-26320).
const FERMAT_ROUNDS: u32 = 100;

impl KeyPolicy {
    /// Refuses a key that must not be certified.
    pub fn check(&self, key: &PublicKey) -> Result<(), Error> {
        if self.blocked.contains(&key.fingerprint()) {
            return Err(Error::WeakKey(KeyFault::Blocked));
        }
        self.check_type(key)
            .and_then(|()| match key.key_type() {
                KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521 => Ok(()),
                KeyType::Ed25519 => check_ed25519(key),
                KeyType::Rsa { .. } => check_rsa(key),
            })
            .map_err(Error::WeakKey)
    }

    fn check_type(&self, key: &PublicKey) -> Result<(), KeyFault> {
        let found = key.key_type();
        match found {
            KeyType::Rsa { bits: 3072 | 4096 } => Ok(()),
            KeyType::Rsa { bits: 2048 } if self.accept_rsa_2048 => Ok(()),
            KeyType::Rsa { .. } => {
                let accepted = if self.accept_rsa_2048 {
                    ACCEPTED_WITH_2048
                } else {
                    ACCEPTED
                };
                Err(KeyFault::NotAccepted { found, accepted })
            }
            KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521 | KeyType::Ed25519 => Ok(()),
        }
    }
}

/// The y coordinates, little endian, of all points whose order divides 8, and the two that encode such a point without
/// being reduced modulo 2^255-19. With such a key one signature verifies for many messages.
const SMALL_ORDER_Y: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

fn check_ed25519(key: &PublicKey) -> Result<(), KeyFault> {
    let Some(mut y) = key.ed25519_raw() else {
        return Ok(());
    };
    // The top bit is the sign of x, which does not change the order.
    y[31] &= 0x7f;
    if SMALL_ORDER_Y.contains(&hex::encode(y).as_str()) {
        Err(KeyFault::SmallOrder)
    } else {
        Ok(())
    }
}

fn check_rsa(key: &PublicKey) -> Result<(), KeyFault> {
    const F4: [u8; 3] = [0x01, 0x00, 0x01];
    let Some((modulus, exponent)) = key.rsa_components() else {
        return Err(KeyFault::Exponent);
    };
    let significant = exponent.iter().skip_while(|octet| **octet == 0);
    if !significant.eq(F4.iter()) {
        return Err(KeyFault::Exponent);
    }
    let residues = small_residues(modulus);
    if let Some((factor, _)) = residues.iter().find(|(_, residue)| *residue == 0) {
        return Err(KeyFault::SmallFactor { factor: *factor });
    }
    if has_roca_fingerprint(&residues) {
        return Err(KeyFault::Roca);
    }
    if factors_by_fermat(&BigUint::from_bytes_be(modulus)) {
        Err(KeyFault::CloseFactors)
    } else {
        Ok(())
    }
}

/// Primes below 752: the bound of the certificate authorities' baseline requirements (section 6.1.6).
const SMALL_PRIME_BOUND: u32 = 752;

fn small_primes() -> &'static [u32] {
    static PRIMES: OnceLock<Vec<u32>> = OnceLock::new();
    PRIMES.get_or_init(|| {
        (2..SMALL_PRIME_BOUND)
            .filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0))
            .collect()
    })
}

/// The modulus modulo each small prime. Primes are taken in groups whose product fits 32 bits, so that the long number
/// is walked once a group.
fn small_residues(modulus: &[u8]) -> Vec<(u32, u32)> {
    let mut residues = Vec::with_capacity(small_primes().len());
    let mut rest = small_primes();
    while !rest.is_empty() {
        let mut product = 1_u64;
        let fitting = rest.iter().take_while(|prime| {
            let next = product * u64::from(**prime);
            let fits = next <= u64::from(u32::MAX);
            if fits {
                product = next;
            }
            fits
        });
        let (group, tail) = rest.split_at(fitting.count().max(1));
        let residue = modulus
            .iter()
            .fold(0, |sum, octet| ((sum << 8) | u64::from(*octet)) % product);
        let residue = u32::try_from(residue).unwrap_or_default();
        residues.extend(group.iter().map(|prime| (*prime, residue % prime)));
        rest = tail;
    }
    residues
}

/// Largest prime whose residue the fingerprint looks at.
const ROCA_PRIME_BOUND: u32 = 167;

/// Primes made by the broken generator are `k*M + 65537^a mod M` with M a product of small primes, so the modulus is a
/// power of 65537 modulo each of them. A random modulus passes all of these tests about once in 2^28 times.
fn has_roca_fingerprint(residues: &[(u32, u32)]) -> bool {
    let looked_at = residues
        .iter()
        .filter(|(prime, _)| (3..=ROCA_PRIME_BOUND).contains(prime));
    looked_at
        .into_iter()
        .all(|(prime, residue)| is_power_of_f4(*residue, *prime))
}

fn is_power_of_f4(residue: u32, prime: u32) -> bool {
    let generator = 65_537 % prime;
    let mut power = 1;
    loop {
        if power == residue {
            return true;
        }
        power = power * generator % prime;
        if power == 1 {
            return false;
        }
    }
}

/// Looks for a, b with n = a^2 - b^2 = (a+b)(a-b), beginning with the least possible a.
fn factors_by_fermat(n: &BigUint) -> bool {
    let mut a = n.sqrt();
    if &a * &a < *n {
        a += 1_u32;
    }
    let mut b_squared = &a * &a - n;
    for _ in 0..FERMAT_ROUNDS {
        if is_square(&b_squared) {
            return true;
        }
        // (a+1)^2 - n = (a^2 - n) + 2a + 1
        b_squared += (&a << 1_u8) + 1_u32;
        a += 1_u32;
    }
    false
}

/// Squares modulo 64 have 12 residues, which spares four of five roots.
fn is_square(n: &BigUint) -> bool {
    const SQUARES_MODULO_64: u64 = {
        let mut mask = 0_u64;
        let mut i = 0_u64;
        while i < 64 {
            mask |= 1 << (i * i % 64);
            i += 1;
        }
        mask
    };
    let low = n.iter_u64_digits().next().unwrap_or_default() % 64;
    if SQUARES_MODULO_64 & (1 << low) == 0 {
        return false;
    }
    let root = n.sqrt();
    &root * &root == *n
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealwright_crypto::PrivateKey;

    fn rsa(modulus: &BigUint) -> PublicKey {
        PublicKey::from_rsa_components(&modulus.to_bytes_be(), &[1, 0, 1]).unwrap()
    }

    fn fault(policy: &KeyPolicy, key: &PublicKey) -> KeyFault {
        match policy.check(key) {
            Err(Error::WeakKey(fault)) => fault,
            other => panic!("{other:?}"),
        }
    }

    /// A number with the size of a 3072-bit modulus and no factor below 752, except what is multiplied in.
    fn modulus_without_small_factors(start: &BigUint) -> BigUint {
        let mut n = start.clone() | BigUint::from(1_u8);
        while small_residues(&n.to_bytes_be())
            .iter()
            .any(|(_, residue)| *residue == 0)
        {
            n += 2_u8;
        }
        n
    }

    fn pattern(bits: u64) -> BigUint {
        let digest = sealwright_crypto::sha256(b"a fixed pattern");
        let mut n = (0..=bits / 256).fold(BigUint::from(1_u8), |sum, _| {
            (sum << 256) | BigUint::from_bytes_be(&digest)
        });
        n >>= n.bits() - bits;
        n.set_bit(bits - 1, true);
        n.set_bit(bits - 2, true);
        n
    }

    #[test]
    fn good_keys_of_every_accepted_type_pass() {
        let policy = KeyPolicy::default();
        for key_type in [
            KeyType::EcP256,
            KeyType::EcP384,
            KeyType::EcP521,
            KeyType::Ed25519,
            KeyType::Rsa { bits: 3072 },
        ] {
            let key = PrivateKey::generate(key_type).unwrap();
            assert_eq!(policy.check(key.public_key()), Ok(()), "{key_type}");
        }
    }

    #[test]
    fn rsa_2048_passes_only_where_it_was_switched_on() {
        let key = PrivateKey::generate(KeyType::Rsa { bits: 2048 }).unwrap();
        let found = KeyType::Rsa { bits: 2048 };
        assert_eq!(
            fault(&KeyPolicy::default(), key.public_key()),
            KeyFault::NotAccepted {
                found,
                accepted: ACCEPTED
            }
        );
        let policy = KeyPolicy {
            accept_rsa_2048: true,
            ..KeyPolicy::default()
        };
        assert_eq!(policy.check(key.public_key()), Ok(()));
    }

    #[test]
    fn odd_sizes_and_exponents_are_refused() {
        let policy = KeyPolicy {
            accept_rsa_2048: true,
            ..KeyPolicy::default()
        };
        let odd_size = rsa(&pattern(2560));
        assert!(matches!(
            fault(&policy, &odd_size),
            KeyFault::NotAccepted {
                accepted: ACCEPTED_WITH_2048,
                ..
            }
        ));
        let modulus = modulus_without_small_factors(&pattern(3072));
        let exponent_3 = PublicKey::from_rsa_components(&modulus.to_bytes_be(), &[3]).unwrap();
        assert_eq!(fault(&policy, &exponent_3), KeyFault::Exponent);
    }

    #[test]
    fn a_small_factor_is_found_and_named() {
        let cofactor = modulus_without_small_factors(&pattern(3062));
        let modulus = cofactor * 743_u32;
        assert_eq!(modulus.bits(), 3072);
        assert_eq!(
            fault(&KeyPolicy::default(), &rsa(&modulus)),
            KeyFault::SmallFactor { factor: 743 }
        );
    }

    #[test]
    fn close_factors_are_found() {
        let p = modulus_without_small_factors(&pattern(1536));
        let q = modulus_without_small_factors(&(&p + 1000_u32));
        let modulus = &p * &q;
        assert_eq!(modulus.bits(), 3072);
        assert_eq!(
            fault(&KeyPolicy::default(), &rsa(&modulus)),
            KeyFault::CloseFactors
        );
        let square = &p * &p;
        assert_eq!(
            fault(&KeyPolicy::default(), &rsa(&square)),
            KeyFault::CloseFactors
        );
    }

    #[test]
    fn the_broken_generators_form_is_recognised() {
        // Factors of the form k*M + 65537^a mod M, with M the product of the primes that are looked at.
        let m: BigUint = small_primes()
            .iter()
            .filter(|p| **p <= ROCA_PRIME_BOUND)
            .map(|p| BigUint::from(*p))
            .product();
        let factor = |bits: u64, a: u32| {
            let mut k = pattern(bits) / &m;
            loop {
                let candidate = &k * &m + BigUint::from(65_537_u32).modpow(&BigUint::from(a), &m);
                if small_residues(&candidate.to_bytes_be())
                    .iter()
                    .all(|(_, residue)| *residue != 0)
                {
                    return candidate;
                }
                k += 1_u32;
            }
        };
        let modulus = factor(1500, 123_457) * factor(1572, 987_653);
        assert_eq!(modulus.bits(), 3072);
        assert_eq!(fault(&KeyPolicy::default(), &rsa(&modulus)), KeyFault::Roca);
    }

    #[test]
    fn points_of_small_order_are_refused_with_either_sign() {
        for text in SMALL_ORDER_Y {
            let mut raw = <[u8; 32]>::try_from(hex::decode(text).unwrap()).unwrap();
            for _ in 0..2 {
                if let Ok(key) = PublicKey::from_ed25519_raw(&raw) {
                    assert_eq!(fault(&KeyPolicy::default(), &key), KeyFault::SmallOrder);
                }
                raw[31] ^= 0x80;
            }
        }
    }

    #[test]
    fn blocked_keys_are_refused() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let blocked = BTreeSet::from([key.public_key().fingerprint()]);
        let policy = KeyPolicy {
            blocked,
            ..KeyPolicy::default()
        };
        assert_eq!(fault(&policy, key.public_key()), KeyFault::Blocked);
    }
}
