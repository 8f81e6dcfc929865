"""Puts bundles before the published PyPI package `sigstore`, one a line.

A line on standard input is a JSON object:

    trusted_root   base64 of the trusted root's bytes
    bundle         base64 of the bundle's bytes
    digest         hexadecimal SHA-256 of the artifact
    identity       the subject that should have signed
    issuer         its identity provider

The answer is one line on standard output, in the order of the questions:

    verdict   "accepted", "refused" or "crashed"
    kind      class of the exception, empty when accepted
    message   its text

"refused" is an error of the package's own, which its command line reports as a failed verification. "crashed" is any
other exception: its command line would end with a traceback. Neither accepts anything. The steps are those of
`sigstore verify identity` with a trusted root that is given.
"""

import base64
import json
import logging
import sys

from sigstore import dsse
from sigstore.errors import Error, VerificationError
from sigstore.hashes import Hashed
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity
from sigstore_models.common.v1 import HashAlgorithm
from sigstore_models.trustroot.v1 import TrustedRoot as TrustedRootMessage

# Trusted roots seldom change from one question to the next, and a verifier for one is dear to make.
KEPT_VERIFIERS = 16
LONGEST_MESSAGE = 400


class Verifiers:
    """Verifiers by trusted root."""

    def __init__(self):
        self._made = {}

    def for_root(self, encoded):
        if encoded not in self._made:
            message = TrustedRootMessage.from_json(base64.b64decode(encoded))
            if len(self._made) >= KEPT_VERIFIERS:
                self._made.clear()
            self._made[encoded] = Verifier(trusted_root=TrustedRoot(message))
        return self._made[encoded]


def verify(verifiers, question):
    """Returns when the bundle is accepted."""
    verifier = verifiers.for_root(question["trusted_root"])
    bundle = Bundle.from_json(base64.b64decode(question["bundle"]))
    artifact = Hashed(digest=bytes.fromhex(question["digest"]), algorithm=HashAlgorithm.SHA2_256)
    policy = Identity(identity=question["identity"], issuer=question["issuer"])
    if not bundle._dsse_envelope:
        verifier.verify_artifact(artifact, bundle, policy)
        return
    payload_type, payload = verifier.verify_dsse(bundle, policy)
    if payload_type != dsse.Envelope._TYPE:
        raise VerificationError(f"a payload of type {payload_type}")
    if not dsse.Statement(payload)._matches_digest(artifact):
        raise VerificationError("no subject of the statement is the artifact")


def judge(verifiers, question):
    """The verdict in words."""
    try:
        verify(verifiers, question)
    except Error as error:
        return answer("refused", error)
    # Anything may come out of hostile input, also what does not derive from Exception (a panic of an extension module).
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        return answer("crashed", error)
    return {"verdict": "accepted", "kind": "", "message": ""}


def answer(verdict, error):
    kind = type(error).__name__
    return {"verdict": verdict, "kind": kind, "message": str(error)[:LONGEST_MESSAGE]}


def main():
    logging.disable(logging.CRITICAL)
    verifiers = Verifiers()
    for line in sys.stdin:
        # ASCII escapes keep lone surrogates of hostile texts printable.
        print(json.dumps(judge(verifiers, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
