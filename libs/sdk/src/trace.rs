//! W3C trace context: one trace from the command to every service it asks.

use sealwright_crypto::random_bytes;

/// The trace that the requests of one run belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    sampled: bool,
}

impl TraceContext {
    /// A trace of our own, sampled.
    #[must_use]
    pub fn fresh() -> Self {
        Self {
            trace_id: nonzero(),
            sampled: true,
        }
    }

    /// Continues the trace of a `traceparent` value (the environment variable `TRACEPARENT`); a value that is not one gives a
    /// fresh trace.
    #[must_use]
    pub fn continued(traceparent: &str) -> Self {
        Self::parse(traceparent).unwrap_or_else(Self::fresh)
    }

    /// Version 00 of the header: `00-TRACE-SPAN-FLAGS`; later versions may have more after it.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let version = parts.next()?;
        let trace_id: [u8; 16] = lower_hex(parts.next()?)?;
        let span_id: [u8; 8] = lower_hex(parts.next()?)?;
        let [flags] = lower_hex::<1>(parts.next()?)?;
        let known =
            version.len() == 2 && version != "ff" && (version != "00" || parts.next().is_none());
        (known && trace_id != [0; 16] && span_id != [0; 8]).then_some(Self {
            trace_id,
            sampled: flags & 1 == 1,
        })
    }

    /// The header of one request: this trace, a span of its own.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let span_id: [u8; 8] = nonzero();
        format!(
            "00-{}-{}-{:02x}",
            hex::encode(self.trace_id),
            hex::encode(span_id),
            u8::from(self.sampled)
        )
    }

    /// The trace id in hexadecimal: what an operator searches for.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace_id)
    }
}

/// Hexadecimal in lower case and of the exact length, as the header demands.
fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// Random bytes; all zeros would mean "no trace".
fn nonzero<const N: usize>() -> [u8; N] {
    let mut bytes = random_bytes();
    while bytes.iter().all(|byte| *byte == 0) {
        bytes = random_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    #[test]
    fn a_given_trace_is_continued_with_spans_of_our_own() {
        let trace = TraceContext::continued(PARENT);
        let (first, second) = (trace.traceparent(), trace.traceparent());
        assert!(
            first.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && first.ends_with("-00")
        );
        assert_ne!(first, second);
        assert_eq!(TraceContext::parse(&first), Some(trace));
    }

    #[test]
    fn anything_else_starts_a_trace() {
        for bad in [
            "",
            "00",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
            assert_eq!(TraceContext::continued(bad).trace_id().len(), 32);
        }
        assert!(
            TraceContext::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x")
                .is_some()
        );
    }
}
