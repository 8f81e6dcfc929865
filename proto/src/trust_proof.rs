/// What every proof of possession begins with. The NUL keeps it apart from everything else these keys sign: a
/// checkpoint holds no control character, DER begins with a tag, a CT structure with its version.
const PROOF_DOMAIN: &[u8] = b"sealwright.dev/trust-material/v1\0";

impl Material {
    /// The bytes that `proof_of_possession` signs for `challenge`: all other fields, each preceded by its length, so
    /// that no two materials have the same bytes. Signer and verifier both call this.
    #[must_use]
    pub fn proof_message(&self, challenge: &[u8]) -> Vec<u8> {
        let kind = self.kind.to_be_bytes();
        let valid_from = self.valid_from.to_be_bytes();
        let fields: [&[u8]; 7] = [
            challenge,
            &kind,
            self.url.as_bytes(),
            self.origin.as_bytes(),
            self.operator.as_bytes(),
            &self.public_key,
            &valid_from,
        ];
        let chain = self.chain.iter().map(AsRef::<[u8]>::as_ref);
        let mut message = PROOF_DOMAIN.to_vec();
        for field in fields.into_iter().chain(chain) {
            // Messages are capped far below 4 GiB; a longer field would only make the proof fail.
            let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
            message.extend_from_slice(&length.to_be_bytes());
            message.extend_from_slice(field);
        }
        message
    }
}

/// Bytes of a challenge that a service answers: fewer could be guessed, more are no challenge. The trust service sends 32.
const CHALLENGE_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

impl DescribeRequest {
    /// The challenge, or the sentence with which a service refuses one that is too short or too long.
    pub fn accepted_challenge(&self) -> Result<&[u8], String> {
        let found = self.challenge.len();
        if CHALLENGE_BYTES.contains(&found) {
            return Ok(&self.challenge);
        }
        let (least, most) = (CHALLENGE_BYTES.start(), CHALLENGE_BYTES.end());
        Err(format!(
            "The challenge must have {least} to {most} bytes, not {found}"
        ))
    }
}
