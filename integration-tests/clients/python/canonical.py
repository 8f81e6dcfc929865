"""Canonical JSON by the PyPI package `securesystemslib`, one document a line; both sides in hex.

Answers a line of hex for what has a canonical form, and an empty line for what has none.
"""

import json
import sys

from securesystemslib.exceptions import FormatError
from securesystemslib.formats import encode_canonical

# All of it is read before anything is said: whoever writes does not listen meanwhile.
for line in sys.stdin.readlines():
    try:
        form = encode_canonical(json.loads(bytes.fromhex(line)))
        print(form.encode().hex())
    except (FormatError, ValueError, RecursionError):
        print()
