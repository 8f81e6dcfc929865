//! Name constraints (RFC 5280 section 4.2.1.10): which names an authority may certify.
//!
//! E-mail, DNS, URI, IP address and directory names are understood. A constraint on any other form refuses every
//! certificate below that carries a name of such a form, since nothing can be said about it.

use crate::asn1::{self, Element, Reader, tag};
use crate::certificate::{Certificate, GeneralName, parse_general_name};
use crate::error::{ChainFault, DerFault};
use crate::name;
use crate::oid;

/// Most subtrees in one extension.
const MAX_SUBTREES: usize = 1024;
/// Most comparisons of a name with a subtree that are made for one path: (names) x (subtrees) would let 64 KiB of
/// each cost seconds.
const MAX_COMPARISONS: usize = 65_536;

struct Constraints {
    permitted: Vec<GeneralName>,
    excluded: Vec<GeneralName>,
}

/// Checks every name of the path, leaf first, against the constraints of all authorities above it.
pub(crate) fn check(path: &[&Certificate]) -> Result<(), ChainFault> {
    let mut comparisons_left = MAX_COMPARISONS;
    for (depth, authority) in path.iter().enumerate().skip(1) {
        let Some(extension) = authority.extension(&oid::NAME_CONSTRAINTS) else {
            continue;
        };
        let unknown = ChainFault::UnknownNameConstraints { depth };
        let constraints = parse(extension.value).map_err(|_| unknown.clone())?;
        for (position, certificate) in path.iter().enumerate().take(depth) {
            // A self-issued authority is the same party under the same name, as long as it is not the leaf.
            if position > 0 && certificate.is_self_issued() {
                continue;
            }
            let names = names(certificate);
            let cost = names.len() * (constraints.permitted.len() + constraints.excluded.len());
            comparisons_left = comparisons_left
                .checked_sub(cost)
                .ok_or(ChainFault::TooComplex)?;
            for name in &names {
                match constraints.permit(name) {
                    Verdict::Permitted => {}
                    Verdict::Refused => {
                        return Err(ChainFault::NameConstraints { depth: position });
                    }
                    Verdict::NotUnderstood => return Err(unknown),
                }
            }
        }
    }
    Ok(())
}

/// All names that constraints apply to: the alternative names, the subject, and e-mail addresses within the subject.
fn names(certificate: &Certificate) -> Vec<GeneralName> {
    let mut names = certificate.subject_alt_names().to_vec();
    let subject = certificate.subject_der();
    if asn1::only(subject, tag::SEQUENCE).is_ok_and(|sequence| !sequence.value.is_empty()) {
        names.push(GeneralName::Directory(subject.to_vec()));
    }
    names.extend(
        name::email_addresses(subject)
            .into_iter()
            .map(GeneralName::Email),
    );
    names
}

fn parse(value: &[u8]) -> Result<Constraints, DerFault> {
    let mut reader = asn1::only(value, tag::SEQUENCE)?.reader();
    let permitted = reader.optional(tag::context_constructed(0))?;
    let excluded = reader.optional(tag::context_constructed(1))?;
    reader.finish()?;
    Ok(Constraints {
        permitted: subtrees(permitted)?,
        excluded: subtrees(excluded)?,
    })
}

fn subtrees(element: Option<Element<'_>>) -> Result<Vec<GeneralName>, DerFault> {
    let mut reader = Reader::new(element.map_or(&[], |element| element.value));
    let mut bases = Vec::new();
    while !reader.is_empty() {
        let mut subtree = reader.sequence()?;
        bases.push(parse_general_name(subtree.element()?)?);
        // minimum is 0, which DER leaves out, and maximum is absent in this profile.
        subtree.finish()?;
        if bases.len() > MAX_SUBTREES {
            return Err(DerFault::Length);
        }
    }
    Ok(bases)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Permitted,
    Refused,
    NotUnderstood,
}

impl Constraints {
    fn permit(&self, name: &GeneralName) -> Verdict {
        let mut constrained = false;
        let mut permitted = false;
        for base in self.permitted.iter().filter(|base| same_form(base, name)) {
            constrained = true;
            match within(name, base) {
                Some(inside) => permitted |= inside,
                None => return Verdict::NotUnderstood,
            }
        }
        for base in self.excluded.iter().filter(|base| same_form(base, name)) {
            match within(name, base) {
                Some(true) => return Verdict::Refused,
                Some(false) => {}
                None => return Verdict::NotUnderstood,
            }
        }
        if constrained && !permitted {
            Verdict::Refused
        } else {
            Verdict::Permitted
        }
    }
}

fn same_form(base: &GeneralName, name: &GeneralName) -> bool {
    let form = |name: &GeneralName| match name {
        GeneralName::Username(_) | GeneralName::Other { .. } => tag::context_constructed(0),
        GeneralName::Email(_) => 1,
        GeneralName::Dns(_) => 2,
        GeneralName::Directory(_) => 4,
        GeneralName::Uri(_) => 6,
        GeneralName::Ip(_) => 7,
        GeneralName::Raw { tag, .. } => *tag,
    };
    form(base) == form(name)
}

/// Whether `name` lies in the subtree of `base`; `None` when that cannot be told.
fn within(name: &GeneralName, base: &GeneralName) -> Option<bool> {
    match (name, base) {
        (GeneralName::Email(name), GeneralName::Email(base)) => email_within(name, base),
        (GeneralName::Dns(name), GeneralName::Dns(base)) => Some(dns_within(name, base)),
        (GeneralName::Uri(name), GeneralName::Uri(base)) => {
            uri_host(name).map(|host| host_within(host, base))
        }
        (GeneralName::Ip(name), GeneralName::Ip(base)) => ip_within(name, base),
        (GeneralName::Directory(name), GeneralName::Directory(base)) => {
            directory_within(name, base)
        }
        _ => None,
    }
}

/// A base of `user@host` is that mailbox, `host` every mailbox at it, `.domain` every mailbox at its subdomains.
fn email_within(name: &str, base: &str) -> Option<bool> {
    let (local, host) = name.rsplit_once('@')?;
    Some(match base.rsplit_once('@') {
        Some((base_local, base_host)) => {
            local == base_local && host.eq_ignore_ascii_case(base_host)
        }
        None => host_within(host, base),
    })
}

/// A base of `host` is that host alone, `.domain` every host below it.
fn host_within(host: &str, base: &str) -> bool {
    if base.starts_with('.') {
        ends_with_ignoring_case(host, base)
    } else {
        host.eq_ignore_ascii_case(base)
    }
}

/// A base of `domain` is it and everything below; the empty base is everything.
fn dns_within(name: &str, base: &str) -> bool {
    let base = base.strip_prefix('.').unwrap_or(base);
    let start = name.len().checked_sub(base.len());
    let below = start
        .and_then(|start| name.split_at_checked(start))
        .is_some_and(|(head, tail)| {
            tail.eq_ignore_ascii_case(base) && (head.is_empty() || head.ends_with('.'))
        });
    base.is_empty() || below
}

fn ends_with_ignoring_case(text: &str, end: &str) -> bool {
    let start = text.len().checked_sub(end.len());
    start
        .and_then(|start| text.get(start..))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

/// The host of a URI with an authority part; `None` for others and for IP literals, which cannot be constrained.
fn uri_host(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host_and_port = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    if host_and_port.starts_with('[') {
        return None;
    }
    let host = host_and_port
        .split_once(':')
        .map_or(host_and_port, |(host, _)| host);
    let is_address = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    (!host.is_empty() && !is_address).then_some(host)
}

/// A base is an address followed by a mask of the same length.
fn ip_within(address: &[u8], base: &[u8]) -> Option<bool> {
    let (network, mask) = base.split_at_checked(base.len() / 2)?;
    if !matches!(base.len(), 8 | 32) {
        return None;
    }
    let same = |((a, n), m): ((&u8, &u8), &u8)| a & m == n & m;
    Some(address.len() == network.len() && address.iter().zip(network).zip(mask).all(same))
}

/// A base is a prefix of relative distinguished names. They are compared as DER: an authority that writes one name in
/// two encodings is refused rather than understood.
fn directory_within(name: &[u8], base: &[u8]) -> Option<bool> {
    let content = |der| {
        asn1::only(der, tag::SEQUENCE)
            .ok()
            .map(|element| element.value)
    };
    let (name, base) = (content(name)?, content(base)?);
    let mut parts = Reader::new(name);
    let mut prefix = Reader::new(base);
    while !prefix.is_empty() {
        if parts.is_empty() || parts.element().ok()?.whole != prefix.element().ok()?.whole {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(permitted: &[GeneralName], excluded: &[GeneralName], name: GeneralName) -> Verdict {
        Constraints {
            permitted: permitted.to_vec(),
            excluded: excluded.to_vec(),
        }
        .permit(&name)
    }

    fn email(text: &str) -> GeneralName {
        GeneralName::Email(text.to_owned())
    }

    fn uri(text: &str) -> GeneralName {
        GeneralName::Uri(text.to_owned())
    }

    fn dns(text: &str) -> GeneralName {
        GeneralName::Dns(text.to_owned())
    }

    #[test]
    fn email_bases_are_mailboxes_hosts_or_domains() {
        let permits = |base: &str, name: &str| {
            verdict(&[email(base)], &[], email(name)) == Verdict::Permitted
        };
        assert!(permits("example.com", "a@EXAMPLE.com"));
        assert!(!permits("example.com", "a@sub.example.com"));
        assert!(permits(".example.com", "a@sub.example.com"));
        assert!(!permits(".example.com", "a@example.com"));
        assert!(permits("a@example.com", "a@example.com"));
        assert!(!permits("a@example.com", "b@example.com"));
        assert!(!permits("example.com", "a@badexample.com"));
    }

    #[test]
    fn uri_bases_look_at_the_host_alone() {
        let permits = |base: &str, name: &str| verdict(&[uri(base)], &[], uri(name));
        assert_eq!(
            permits("example.com", "https://example.com/a"),
            Verdict::Permitted
        );
        assert_eq!(
            permits("example.com", "https://example.com:8443/a"),
            Verdict::Permitted
        );
        assert_eq!(
            permits("example.com", "https://example.com@evil.test/"),
            Verdict::Refused
        );
        assert_eq!(
            permits("example.com", "https://evil.test/?x=https://example.com"),
            Verdict::Refused
        );
        assert_eq!(
            permits(".example.com", "https://a.example.com"),
            Verdict::Permitted
        );
        assert_eq!(permits("example.com", "urn:isbn:1"), Verdict::NotUnderstood);
        assert_eq!(
            permits("example.com", "https://10.0.0.1/"),
            Verdict::NotUnderstood
        );
        assert_eq!(
            permits("example.com", "https://[::1]/"),
            Verdict::NotUnderstood
        );
    }

    #[test]
    fn excluded_wins_over_permitted() {
        let name = || dns("a.b.example.com");
        assert_eq!(
            verdict(&[dns("example.com")], &[], name()),
            Verdict::Permitted
        );
        assert_eq!(
            verdict(&[dns("example.com")], &[dns("b.example.com")], name()),
            Verdict::Refused
        );
        assert_eq!(verdict(&[dns("xample.com")], &[], name()), Verdict::Refused);
        assert_eq!(verdict(&[], &[dns("")], name()), Verdict::Refused);
    }

    #[test]
    fn a_form_without_constraints_is_free_and_an_unknown_form_is_not() {
        assert_eq!(
            verdict(&[dns("example.com")], &[], email("a@b.test")),
            Verdict::Permitted
        );
        let other = GeneralName::Other {
            type_id: oid::COMMON_NAME,
            value: vec![5, 0],
        };
        let username = GeneralName::Username("a!b".to_owned());
        assert_eq!(
            verdict(std::slice::from_ref(&other), &[], username.clone()),
            Verdict::NotUnderstood
        );
        assert_eq!(verdict(&[], &[other], username), Verdict::NotUnderstood);
    }

    #[test]
    fn addresses_are_compared_under_the_mask() {
        let net = GeneralName::Ip(vec![10, 1, 0, 0, 255, 255, 0, 0]);
        let check = |address: &[u8]| {
            verdict(
                std::slice::from_ref(&net),
                &[],
                GeneralName::Ip(address.to_vec()),
            )
        };
        assert_eq!(check(&[10, 1, 2, 3]), Verdict::Permitted);
        assert_eq!(check(&[10, 2, 2, 3]), Verdict::Refused);
        assert_eq!(check(&[0; 16]), Verdict::Refused);
        let broken = GeneralName::Ip(vec![10]);
        assert_eq!(
            verdict(&[broken], &[], GeneralName::Ip(vec![10, 1, 2, 3])),
            Verdict::NotUnderstood
        );
    }
}
