//! Witness policies (C2SP tlog-policy): which logs are known, which witnesses, and how many of them have to have
//! cosigned a checkpoint before it is believed.
//!
//! The reader is strict: a policy decides what is accepted, so one that is cut short, repeats itself or speaks of what it
//! has not defined is refused as a whole. Names are octets and mean nothing outside the file; witnesses and logs are
//! known by their keys.

use std::collections::HashMap;

use sealwright_crypto::{base64, sha256_concat};

use crate::cosignature::{self, Cosignature};
use crate::error::Error;
use crate::note::{Note, NoteKey, SignatureKind, is_valid_name};

/// Bytes of one policy file.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;
/// Logs, witnesses and groups that one policy may define, each. The specification asks for at least 32.
pub const MAX_DEFINITIONS: usize = 128;

/// The name that stands for "no witness is needed".
const NO_QUORUM: &[u8] = b"none";

/// A policy file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessPolicy {
    logs: Vec<NoteKey>,
    witnesses: Vec<NoteKey>,
    /// Where each of the witnesses is asked, and what it is called.
    places: Vec<Place>,
    /// Witnesses and groups in the order of their definition, so that members stand before their groups.
    members: Vec<Member>,
    /// Position among the members; `None` when no witness is needed.
    quorum: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    name: String,
    url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    name: Vec<u8>,
    kind: MemberKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum MemberKind {
    /// Position in the list of witnesses.
    Witness(usize),
    /// A witness that signs with ML-DSA-44. Its cosignatures cannot be checked here, so it never counts.
    Unverifiable,
    Group {
        threshold: usize,
        /// Positions of earlier members.
        members: Vec<usize>,
    },
}

/// What a policy says about one checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// The valid cosignatures of the policy's witnesses, the latest of each; positions are those of
    /// [`WitnessPolicy::witnesses`].
    pub cosignatures: Vec<Cosignature>,
    /// Whether they are enough.
    pub quorum_met: bool,
}

impl WitnessPolicy {
    /// Reads a policy file.
    ///
    /// Fails with [`Error::WitnessPolicy`], which names the line.
    pub fn parse(file: &[u8]) -> Result<Self, Error> {
        if file.len() > MAX_POLICY_BYTES {
            return Err(Error::TooLong {
                what: "witness policy",
                actual: file.len(),
                limit: MAX_POLICY_BYTES,
            });
        }
        let mut reader = Reader::default();
        // Every line ends with a line end, the last one too: a file cut short must not pass for a weaker policy.
        let mut lines = file.split(|byte| *byte == b'\n');
        let after_the_last = lines.next_back().unwrap_or_default();
        let mut number = 0;
        for line in lines {
            number += 1;
            reader.line(line).map_err(|what| refused(number, what))?;
        }
        if !after_the_last.is_empty() {
            return Err(refused(number + 1, "the last line has no line end"));
        }
        let quorum = reader
            .quorum
            .ok_or_else(|| refused(number, "there is no quorum line"))?;
        Ok(Self {
            logs: reader.logs,
            witnesses: reader.witnesses,
            places: reader.places,
            members: reader.members,
            quorum,
        })
    }

    /// The keys of the known logs, whose names are their origins. Empty when they are known from elsewhere.
    pub fn logs(&self) -> &[NoteKey] {
        &self.logs
    }

    /// The keys of the known witnesses.
    pub fn witnesses(&self) -> &[NoteKey] {
        &self.witnesses
    }

    /// What the policy calls the witness at this position among [`WitnessPolicy::witnesses`].
    pub fn witness_name(&self, witness: usize) -> &str {
        self.places
            .get(witness)
            .map_or("", |place| place.name.as_str())
    }

    /// Where the witness at this position is asked (its submission prefix, C2SP tlog-witness), if the policy says so.
    pub fn witness_url(&self, witness: usize) -> Option<&str> {
        self.places.get(witness)?.url.as_deref()
    }

    /// Whether cosignatures of the witnesses at these positions are enough.
    pub fn is_met_by(&self, witnesses: &[usize]) -> bool {
        self.is_met(|witness| witnesses.contains(&witness))
    }

    /// Whether the policy believes this log: it names no log at all, or this one by origin and key.
    pub fn accepts_log(&self, key: &NoteKey) -> bool {
        self.logs.is_empty() || self.logs.contains(key)
    }

    /// Checks the cosignatures on a note and counts them. The log's own signature is the caller's to check.
    ///
    /// Fails with [`Error::BadSignature`] when a known witness's signature is wrong, as for every signature.
    pub fn judge(&self, note: &Note) -> Result<Witnessed, Error> {
        let cosignatures = cosignature::verify(note, &self.witnesses)?;
        let cosigned = |witness: usize| cosignatures.iter().any(|one| one.witness == witness);
        Ok(Witnessed {
            quorum_met: self.is_met(cosigned),
            cosignatures,
        })
    }

    /// Whether these witnesses are enough.
    fn is_met(&self, cosigned: impl Fn(usize) -> bool) -> bool {
        let Some(quorum) = self.quorum else {
            return true;
        };
        let mut witnessed: Vec<bool> = Vec::with_capacity(self.members.len());
        for member in &self.members {
            witnessed.push(match &member.kind {
                MemberKind::Witness(witness) => cosigned(*witness),
                MemberKind::Unverifiable => false,
                MemberKind::Group { threshold, members } => {
                    let count = members
                        .iter()
                        .filter(|member| witnessed.get(**member) == Some(&true));
                    count.count() >= *threshold
                }
            });
        }
        witnessed.get(quorum) == Some(&true)
    }

    /// The quorum in words, such as `2 of (a, b, 1 of (c, d))`.
    pub fn quorum(&self) -> String {
        match self.quorum {
            None => "no witness".into(),
            Some(quorum) => self.describe(quorum),
        }
    }

    /// A name may be the member of one group only, so that no path is walked twice; groups stand after their members.
    fn describe(&self, position: usize) -> String {
        let Some(member) = self.members.get(position) else {
            return String::new();
        };
        match &member.kind {
            MemberKind::Witness(_) => String::from_utf8_lossy(&member.name).into_owned(),
            MemberKind::Unverifiable => {
                format!("{} (never)", String::from_utf8_lossy(&member.name))
            }
            MemberKind::Group { threshold, members } => {
                let inner: Vec<_> = members.iter().map(|inner| self.describe(*inner)).collect();
                format!("{threshold} of ({})", inner.join(", "))
            }
        }
    }
}

fn refused(line: usize, what: &'static str) -> Error {
    Error::WitnessPolicy { line, what }
}

/// What the lines so far have defined.
#[derive(Default)]
struct Reader {
    logs: Vec<NoteKey>,
    witnesses: Vec<NoteKey>,
    places: Vec<Place>,
    /// ML-DSA-44 keys, which are compared and not used.
    unverifiable: Vec<Vec<u8>>,
    members: Vec<Member>,
    by_name: HashMap<Vec<u8>, usize>,
    /// Per member: whether a group has it already.
    grouped: Vec<bool>,
    quorum: Option<Option<usize>>,
}

impl Reader {
    fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if line
            .iter()
            .any(|byte| *byte == 0x7f || (*byte < b' ' && *byte != b'\t'))
        {
            return Err("it has control characters");
        }
        let mut items = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|item| !item.is_empty());
        let Some(keyword) = items.next().filter(|first| !first.starts_with(b"#")) else {
            return Ok(());
        };
        let items: Vec<&[u8]> = items.collect();
        match (keyword, items.as_slice()) {
            (b"log", [key] | [key, _]) => self.log(key),
            (b"log", _) => Err("expected: log VKEY [URL]"),
            (b"witness", [name, key]) => self.witness(name, key, None),
            (b"witness", [name, key, url]) => self.witness(name, key, Some(url)),
            (b"witness", _) => Err("expected: witness NAME VKEY [URL]"),
            (b"group", [name, threshold, members @ ..]) if !members.is_empty() => {
                self.group(name, threshold, members)
            }
            (b"group", _) => Err("expected: group NAME all|any|K MEMBER..."),
            (b"quorum", [name]) => self.quorum(name),
            (b"quorum", _) => Err("expected: quorum NAME|none"),
            _ => Err("a line begins with log, witness, group, quorum or #"),
        }
    }

    fn log(&mut self, key: &[u8]) -> Result<(), &'static str> {
        let key = note_key(key)?;
        if key.kind() == SignatureKind::CosignatureV1 {
            return Err("the key is a witness's, not a log's");
        }
        refuse_both(&self.witnesses, &key)?;
        add_key(&mut self.logs, key)
    }

    fn witness(&mut self, name: &[u8], key: &[u8], url: Option<&[u8]>) -> Result<(), &'static str> {
        if let Some(key) = ml_dsa_key(key) {
            return self.unverifiable(name, key);
        }
        let key = note_key(key)?;
        if key.kind() != SignatureKind::CosignatureV1 {
            return Err("the key is no witness's: its type must be 0x04, cosignature/v1");
        }
        refuse_both(&self.logs, &key)?;
        let position = self.witnesses.len();
        add_key(&mut self.witnesses, key)?;
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        self.places.push(Place {
            name: text(name),
            url: url.map(text),
        });
        self.define(name, MemberKind::Witness(position))
    }

    fn unverifiable(&mut self, name: &[u8], key: Vec<u8>) -> Result<(), &'static str> {
        if self.unverifiable.contains(&key) {
            return Err("the key is defined already");
        }
        if self.unverifiable.len() >= MAX_DEFINITIONS {
            return Err("there are too many keys");
        }
        self.unverifiable.push(key);
        self.define(name, MemberKind::Unverifiable)
    }

    fn group(
        &mut self,
        name: &[u8],
        threshold: &[u8],
        members: &[&[u8]],
    ) -> Result<(), &'static str> {
        let threshold = match threshold {
            b"all" => members.len(),
            b"any" => 1,
            digits => decimal(digits).ok_or("a threshold is all, any or a decimal number")?,
        };
        if !(1..=members.len()).contains(&threshold) {
            return Err("the threshold must be from 1 to the number of members");
        }
        let members = members
            .iter()
            .map(|member| self.take_member(member))
            .collect::<Result<Vec<_>, _>>()?;
        self.define(name, MemberKind::Group { threshold, members })
    }

    fn take_member(&mut self, name: &[u8]) -> Result<usize, &'static str> {
        let position = *self
            .by_name
            .get(name)
            .ok_or("a member is not defined on an earlier line")?;
        match self.grouped.get_mut(position) {
            Some(grouped) if !*grouped => {
                *grouped = true;
                Ok(position)
            }
            _ => Err("a name can be the member of one group only, and once"),
        }
    }

    fn define(&mut self, name: &[u8], kind: MemberKind) -> Result<(), &'static str> {
        if name == NO_QUORUM {
            return Err("the name none has a meaning of its own");
        }
        if self.members.len() >= 2 * MAX_DEFINITIONS {
            return Err("there are too many witnesses and groups");
        }
        let position = self.members.len();
        if self.by_name.insert(name.to_vec(), position).is_some() {
            return Err("the name is defined already");
        }
        self.members.push(Member {
            name: name.to_vec(),
            kind,
        });
        self.grouped.push(false);
        Ok(())
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), &'static str> {
        let quorum = match self.by_name.get(name) {
            _ if name == NO_QUORUM => None,
            Some(position) => Some(*position),
            None => return Err("the quorum is not defined on an earlier line"),
        };
        match self.quorum.replace(quorum) {
            None => Ok(()),
            Some(_) => Err("there is a quorum already"),
        }
    }
}

fn note_key(text: &[u8]) -> Result<NoteKey, &'static str> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| NoteKey::from_vkey(text).ok())
        .ok_or("the verifier key cannot be read, or is of a type that is not supported")
}

/// The key bytes of a verifier key of type 0x06, ML-DSA-44; `None` for any other and for one that is none.
fn ml_dsa_key(text: &[u8]) -> Option<Vec<u8>> {
    const TYPE: u8 = 0x06;
    const KEY_BYTES: usize = 1312;
    let (name, rest) = std::str::from_utf8(text).ok()?.split_once('+')?;
    let (id, encoded) = rest.split_once('+')?;
    let bytes = base64::decode(encoded).ok()?;
    let key = bytes.strip_prefix(&[TYPE])?;
    let digest = sha256_concat(&[name.as_bytes(), b"\n", &bytes]);
    let known = key.len() == KEY_BYTES && is_valid_name(name);
    let stated = hex::encode(digest.get(..4)?);
    (known && stated == id).then(|| key.to_vec())
}

/// A log that is its own witness is seen by nobody else.
fn refuse_both(others: &[NoteKey], key: &NoteKey) -> Result<(), &'static str> {
    if others
        .iter()
        .any(|other| other.public_key() == key.public_key())
    {
        return Err("the key is defined as a log's and as a witness's");
    }
    Ok(())
}

/// Two lines with one key would let one holder count twice, whatever names they carry.
fn add_key(keys: &mut Vec<NoteKey>, key: NoteKey) -> Result<(), &'static str> {
    if keys
        .iter()
        .any(|known| known.public_key() == key.public_key())
    {
        return Err("the key is defined already");
    }
    if keys.len() >= MAX_DEFINITIONS {
        return Err("there are too many keys");
    }
    keys.push(key);
    Ok(())
}

fn decimal(digits: &[u8]) -> Option<usize> {
    let plain = digits.iter().all(u8::is_ascii_digit) && !digits.starts_with(b"0");
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| plain)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sealwright_crypto::{Algorithm, KeyType, PrivateKey};

    const TEXT: &str = "log.example\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";

    struct Holder {
        key: NoteKey,
        private: PrivateKey,
    }

    impl Holder {
        fn new(name: &str, kind: SignatureKind) -> Self {
            let private = PrivateKey::generate(KeyType::Ed25519).unwrap();
            let key = NoteKey::new(name, kind, private.public_key().clone()).unwrap();
            Self { key, private }
        }

        fn witness(name: &str) -> Self {
            Self::new(name, SignatureKind::CosignatureV1)
        }

        fn log(name: &str) -> Self {
            Self::new(name, SignatureKind::Ed25519)
        }

        fn vkey(&self) -> String {
            self.key.to_vkey().unwrap()
        }

        fn cosign(&self, note: &mut Note, time: u64) {
            let message = cosignature::message(time, note.text());
            let raw = self.private.sign(Algorithm::Ed25519, &message).unwrap();
            note.push(self.key.signature(&raw, time * 1000).unwrap());
        }
    }

    fn witnesses(count: usize) -> Vec<Holder> {
        (0..count)
            .map(|number| Holder::witness(&format!("w{number}.example")))
            .collect()
    }

    fn definitions(holders: &[Holder]) -> String {
        holders
            .iter()
            .enumerate()
            .map(|(number, holder)| format!("witness w{number} {}\n", holder.vkey()))
            .collect()
    }

    fn refusal(file: &str) -> (usize, &'static str) {
        match WitnessPolicy::parse(file.as_bytes()) {
            Err(Error::WitnessPolicy { line, what }) => (line, what),
            other => panic!("{other:?} for {file}"),
        }
    }

    #[test]
    fn two_levels_of_groups_are_counted() {
        let holders = witnesses(5);
        let log = Holder::log("log.example");
        let file = format!(
            "# a comment\n\n \t log {} https://log.example/ \n{}group x 2 w0 w1 w2\n\tgroup y any w3 w4\ngroup both all x y\nquorum both\n",
            log.vkey(),
            definitions(&holders)
        );
        let policy = WitnessPolicy::parse(file.as_bytes()).unwrap();
        assert_eq!(policy.witnesses().len(), 5);
        assert!(policy.accepts_log(&log.key));
        assert!(!policy.accepts_log(&Holder::log("log.example").key));
        assert_eq!(policy.quorum(), "2 of (2 of (w0, w1, w2), 1 of (w3, w4))");
        for (cosigned, met) in [
            (vec![0, 2, 4], true),
            (vec![0, 1, 2], false),
            (vec![0, 3, 4], false),
            (vec![], false),
            (vec![0, 1, 2, 3, 4], true),
        ] {
            let mut note = Note::new(TEXT).unwrap();
            for position in &cosigned {
                holders[*position].cosign(&mut note, 100 + *position as u64);
            }
            let witnessed = policy.judge(&note).unwrap();
            assert_eq!(witnessed.quorum_met, met, "{cosigned:?}");
            let found: Vec<_> = witnessed
                .cosignatures
                .iter()
                .map(|one| (one.witness, one.time))
                .collect();
            let expected: Vec<_> = cosigned.iter().map(|at| (*at, 100 + *at as u64)).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_witness_counts_once_however_often_it_signs() {
        let holders = witnesses(2);
        let file = format!("{}group g 2 w0 w1\nquorum g\n", definitions(&holders));
        let policy = WitnessPolicy::parse(file.as_bytes()).unwrap();
        let mut note = Note::new(TEXT).unwrap();
        holders[0].cosign(&mut note, 1);
        holders[0].cosign(&mut note, 2);
        assert!(!policy.judge(&note).unwrap().quorum_met);
    }

    #[test]
    fn a_wrong_cosignature_of_a_known_witness_refuses_the_note() {
        let holders = witnesses(2);
        let file = format!("{}quorum w0\n", definitions(&holders));
        let policy = WitnessPolicy::parse(file.as_bytes()).unwrap();
        let mut note = Note::new(TEXT).unwrap();
        holders[0].cosign(&mut note, 1);
        note.push(holders[1].key.signature(&[7; 64], 1000).unwrap());
        assert!(matches!(
            policy.judge(&note),
            Err(Error::BadSignature { .. })
        ));
    }

    #[test]
    fn no_quorum_needs_nobody_and_a_single_witness_is_one() {
        let policy = WitnessPolicy::parse(b"quorum none\n").unwrap();
        let note = Note::new(TEXT).unwrap();
        assert!(policy.judge(&note).unwrap().quorum_met);
        assert!(policy.accepts_log(&Holder::log("any.example").key));
        let holders = witnesses(1);
        let file = format!("{}quorum w0\n", definitions(&holders));
        let policy = WitnessPolicy::parse(file.as_bytes()).unwrap();
        assert_eq!(policy.quorum(), "w0");
        assert!(!policy.judge(&note).unwrap().quorum_met);
    }

    #[test]
    fn what_is_not_to_the_letter_is_refused_with_its_line() {
        let holders = witnesses(3);
        let all = definitions(&holders);
        let w0 = holders[0].vkey();
        let renamed = NoteKey::new(
            "other.example",
            SignatureKind::CosignatureV1,
            holders[0].key.public_key().clone(),
        )
        .unwrap()
        .to_vkey()
        .unwrap();
        let log = Holder::log("log.example").vkey();
        let log_of_w0 = NoteKey::for_log("log.example", holders[0].key.public_key().clone())
            .unwrap()
            .to_vkey()
            .unwrap();
        for (file, line, what) in [
            (String::new(), 0, "no quorum"),
            ("# nothing\n".into(), 1, "no quorum"),
            ("quorum none".into(), 1, "no line end"),
            ("quorum none\n# cut".into(), 2, "no line end"),
            ("quorum none\nquorum none\n".into(), 2, "quorum already"),
            ("quorum nobody\n".into(), 1, "not defined"),
            ("quorum\n".into(), 1, "expected: quorum"),
            ("quorum none none\n".into(), 1, "expected: quorum"),
            ("quorum\u{a0}none\n".into(), 1, "begins with"),
            ("Quorum none\n".into(), 1, "begins with"),
            ("quorum none\r\n".into(), 1, "control"),
            ("quorum none\u{7f}\n".into(), 1, "control"),
            (format!("witness none {w0}\nquorum none\n"), 1, "of its own"),
            (
                format!("witness w0 {w0} u v\nquorum w0\n"),
                1,
                "expected: witness",
            ),
            (format!("witness w0 {log}\nquorum w0\n"), 1, "no witness's"),
            (format!("log {w0}\nquorum none\n"), 1, "not a log's"),
            (
                format!("log {log}\nlog {log}\nquorum none\n"),
                2,
                "defined already",
            ),
            (
                format!("log {log_of_w0}\nwitness w0 {w0}\nquorum w0\n"),
                2,
                "as a witness's",
            ),
            (
                format!("witness w0 {w0}\nlog {log_of_w0}\nquorum w0\n"),
                2,
                "as a witness's",
            ),
            (
                "log log.example+00000000+AAAA\nquorum none\n".into(),
                1,
                "cannot be read",
            ),
            (
                format!("{all}witness w3 {renamed}\nquorum w0\n"),
                4,
                "key is defined",
            ),
            (
                format!(
                    "witness a {w0}\nwitness a {}\nquorum a\n",
                    holders[1].vkey()
                ),
                2,
                "name is defined",
            ),
            (format!("{all}group g 0 w0\nquorum g\n"), 4, "decimal"),
            (format!("{all}group g 3 w0 w1\nquorum g\n"), 4, "from 1 to"),
            (format!("{all}group g 01 w0 w1\nquorum g\n"), 4, "decimal"),
            (format!("{all}group g +1 w0 w1\nquorum g\n"), 4, "decimal"),
            (
                format!("{all}group g 18446744073709551616 w0\nquorum g\n"),
                4,
                "decimal",
            ),
            (
                format!("{all}group g all\nquorum g\n"),
                4,
                "expected: group",
            ),
            (
                format!("{all}group g any w0 w0\nquorum g\n"),
                4,
                "one group only",
            ),
            (
                format!("{all}group g any w0\ngroup h any w0 w1\nquorum h\n"),
                5,
                "one group only",
            ),
            (format!("{all}group g any g\nquorum g\n"), 4, "earlier line"),
            (
                format!("{all}group g any none\nquorum g\n"),
                4,
                "earlier line",
            ),
            (
                format!("{all}quorum g\ngroup g any w0\n"),
                4,
                "earlier line",
            ),
        ] {
            let refusal = refusal(&file);
            assert_eq!(refusal.0, line, "{file}: {refusal:?}");
            assert!(refusal.1.contains(what), "{file}: {refusal:?}");
        }
    }

    #[test]
    fn a_witness_has_a_name_and_perhaps_an_address() {
        let [a, b] = [Holder::witness("a.example"), Holder::witness("b.example")];
        let file = format!(
            "witness first {} https://a.example/w/\nwitness second {}\nquorum none\n",
            a.vkey(),
            b.vkey()
        );
        let policy = WitnessPolicy::parse(file.as_bytes()).unwrap();
        assert_eq!(
            [
                policy.witness_name(0),
                policy.witness_name(1),
                policy.witness_name(2)
            ],
            ["first", "second", ""]
        );
        assert_eq!(
            [
                policy.witness_url(0),
                policy.witness_url(1),
                policy.witness_url(2)
            ],
            [Some("https://a.example/w/"), None, None]
        );
        assert!(policy.is_met_by(&[]));
    }

    #[test]
    fn a_witness_with_a_key_of_the_future_is_defined_and_never_counts() {
        let w0 = Holder::witness("w0.example");
        let vkey = |name: &str, fill: u8, length: usize| {
            let material = [&[6], vec![fill; length].as_slice()].concat();
            let id = sha256_concat(&[name.as_bytes(), b"\n", &material]);
            format!(
                "{name}+{}+{}",
                hex::encode(&id[..4]),
                base64::encode(&material)
            )
        };
        let good = vkey("pq.example", 1, 1312);
        let file = |pq: &str, rest: &str| {
            format!(
                "witness w0 {}\nwitness pq {pq} https://pq.example\n{rest}",
                w0.vkey()
            )
        };
        let mut note = Note::new(TEXT).unwrap();
        w0.cosign(&mut note, 1);
        for (rest, met) in [
            ("group g any w0 pq\nquorum g\n", true),
            ("group g all w0 pq\nquorum g\n", false),
            ("quorum pq\n", false),
            ("quorum w0\n", true),
        ] {
            let policy = WitnessPolicy::parse(file(&good, rest).as_bytes()).unwrap();
            assert_eq!(policy.witnesses().len(), 1);
            assert_eq!(policy.judge(&note).unwrap().quorum_met, met, "{rest}");
        }
        let policy = file(&good, "group g any w0 pq\nquorum g\n");
        let policy = WitnessPolicy::parse(policy.as_bytes()).unwrap();
        assert_eq!(policy.quorum(), "1 of (w0, pq (never))");
        let twice = file(&good, &format!("witness again {good}\nquorum w0\n"));
        assert_eq!(refusal(&twice), (3, "the key is defined already"));
        let wrong_id = good.replace("pq.example", "pr.example");
        for bad in [vkey("pq.example", 1, 1311), wrong_id] {
            assert_eq!(refusal(&file(&bad, "quorum w0\n")).0, 2);
        }
    }

    #[test]
    fn names_are_octets() {
        let holders = witnesses(2);
        let mut file = Vec::new();
        for (name, holder) in [b"K".as_slice(), b"\xe2\x84\xaa"].iter().zip(&holders) {
            file.extend([b"witness ", *name, b" ", holder.vkey().as_bytes(), b"\n"].concat());
        }
        file.extend(b"quorum \xe2\x84\xaa\n");
        let policy = WitnessPolicy::parse(&file).unwrap();
        let mut note = Note::new(TEXT).unwrap();
        holders[0].cosign(&mut note, 1);
        assert!(!policy.judge(&note).unwrap().quorum_met);
        holders[1].cosign(&mut note, 1);
        assert!(policy.judge(&note).unwrap().quorum_met);
    }

    #[test]
    fn a_policy_as_large_as_the_limits_is_read_and_no_larger() {
        let holders = witnesses(MAX_DEFINITIONS + 1);
        let at_the_limit = format!("{}quorum none\n", definitions(&holders[..MAX_DEFINITIONS]));
        assert!(WitnessPolicy::parse(at_the_limit.as_bytes()).is_ok());
        let above = format!("{}quorum none\n", definitions(&holders));
        assert_eq!(
            refusal(&above),
            (MAX_DEFINITIONS + 1, "there are too many keys")
        );
        let mut long = b"quorum none\n#".to_vec();
        long.resize(MAX_POLICY_BYTES - 1, b'a');
        long.push(b'\n');
        assert!(WitnessPolicy::parse(&long).is_ok());
        long.insert(MAX_POLICY_BYTES - 1, b'a');
        assert!(matches!(
            WitnessPolicy::parse(&long),
            Err(Error::TooLong { .. })
        ));
    }

    #[test]
    fn groups_of_groups_end_at_the_limit() {
        let nested = |groups: usize| {
            let mut file = definitions(&witnesses(1));
            let mut inner = "w0".to_owned();
            for number in 0..groups {
                file.push_str(&format!("group g{number} all {inner}\n"));
                inner = format!("g{number}");
            }
            format!("{file}quorum {inner}\n")
        };
        let deepest = WitnessPolicy::parse(nested(2 * MAX_DEFINITIONS - 1).as_bytes()).unwrap();
        assert!(!deepest.is_met(|_| false));
        assert!(deepest.is_met(|_| true));
        assert_eq!(
            refusal(&nested(2 * MAX_DEFINITIONS)),
            (
                2 * MAX_DEFINITIONS + 1,
                "there are too many witnesses and groups"
            )
        );
    }

    #[test]
    fn a_log_line_without_a_key_says_what_it_should_be() {
        for line in ["log", "log a b c"] {
            assert_eq!(
                refusal(&format!("{line}\n")),
                (1, "expected: log VKEY [URL]")
            );
        }
    }

    proptest! {
        /// The quorum is what its definition says, for every subset of the witnesses.
        #[test]
        fn a_quorum_is_met_by_exactly_the_subsets_that_its_definition_names(k in 1_usize..=4, l in 1_usize..=2, cosigned in 0_u8..64) {
            let holders = witnesses(6);
            let file = format!(
                "{}group x {k} w0 w1 w2 w3\ngroup q {l} x w4\nquorum q\n", definitions(&holders)
            );
            let policy = WitnessPolicy::parse(file.as_bytes()).unwrap();
            let has = |witness: usize| cosigned & (1 << witness) != 0;
            let x = (0..4).filter(|witness| has(*witness)).count() >= k;
            let expected = usize::from(x) + usize::from(has(4)) >= l;
            prop_assert_eq!(policy.is_met(has), expected);
        }

        #[test]
        fn reading_anything_does_not_panic(file in "((log|witness|group|quorum|#) ?[a-z0-9 ]{0,12}\n?){0,6}") {
            let _ = WitnessPolicy::parse(file.as_bytes());
        }
    }
}
