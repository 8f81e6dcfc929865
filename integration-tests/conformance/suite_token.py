"""A pytest plugin: the identity token that the published suite signs with.

The suite fetches one from a public address, made for the public instance, before any test, also before those that sign
nothing. That one request is answered with a token of the instance at hand, so that the suite runs against a private instance
and without a network. Every other request goes where it was meant to go.
"""

import os
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import urllib3

TOKEN_FILE = Path(os.environ["SUITE_TOKEN_FILE"])
TOKEN_PATH = "/sigstore-conformance-testing-token/"

_elsewhere = urllib3.request


def _request(method, url, *args, **kwargs):
    if urlsplit(url).path.startswith(TOKEN_PATH):
        return SimpleNamespace(data=TOKEN_FILE.read_bytes().strip(), status=200)
    return _elsewhere(method, url, *args, **kwargs)


urllib3.request = _request
