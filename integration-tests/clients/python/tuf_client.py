"""Drives the PyPI package `tuf` by the protocol that `integration-tests/tests/stack/tuf.rs` describes."""

import sys

from tuf.ngclient import Updater

metadata_url, targets_url, metadata_dir, target_dir, *wanted = sys.argv[1:]
updater = Updater(metadata_dir, metadata_url, target_dir, targets_url, bootstrap=None)
updater.refresh()
for path in wanted:
    target = updater.get_targetinfo(path)
    if target is None:
        sys.exit(f"no target {path}")
    print(updater.download_target(target))
