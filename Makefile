# The two commands are `make demo` and `make test`. Everything they need is set up by themselves: Debian packages through
# apt when run as root (otherwise the missing ones are named), published clients into folders that git ignores.

CARGO ?= cargo
JOBS ?= 2
# `make bench BENCH_PROFILE=dist` measures what is shipped; that build takes longer.
BENCH_PROFILE ?= release
PYTHON ?= python3
VENV := .venv
# Published clients, pinned so that a failure is ours and not a release of the night.
CLIENTS := sigstore==4.5.1 tuf==7.0.1 rfc3161-client==1.0.9
# Their npm sisters, pinned by the lock file there; Node comes with them, since they want a newer one than Debian has.
JS := integration-tests/clients/js
# An identity provider that is not ours, for logins.
PROVIDER := integration-tests/clients/provider

.PHONY: help demo test soak bench conformance mutants peers setup packages lint fmt clean

help:
	@echo "make demo    build and show a file signed and verified with no key to keep"
	@echo "make test    everything a code change can break"
	@echo "make lint    formatting, clippy, documentation, dependency rules"
	@echo "make bench   figures, in under 10 minutes"
	@echo "make soak    long proofs, resumable; SOAK_MINUTES sets the size (default 60)"
	@echo "make mutants CRATE=tlog    which breaks of a crate its tests do not notice"
	@echo "make conformance SUITE=DIR TUF_SUITE=DIR    the published suites, from folders fetched beforehand (either or both)"

demo: packages
	$(CARGO) build --release -j $(JOBS) -p sealwright-stack -p sealwright-cli
	./target/release/sealwrightd demo

test: setup
	@rm -f target/skipped.txt
	$(CARGO) test -j $(JOBS) --workspace
	@.ci/test-summary

setup: packages test-packages $(VENV)/.clients js-client foreign-provider
	@.ci/clients cosign tessera-fsck tesseract-fsck tessera-posix litewitness java rust go

$(VENV)/.clients: Makefile
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check $(CLIENTS)
	@touch $@

# Without npm the tests of its clients print SKIPPED.
.PHONY: js-client
js-client:
	@if command -v npm >/dev/null 2>&1; then $(MAKE) --no-print-directory $(JS)/node_modules/.installed; \
	else echo "npm is missing: its clients are not installed"; fi

$(JS)/node_modules/.installed: $(JS)/package-lock.json
	npm ci --prefix $(JS) --silent
	@touch $@

.PHONY: foreign-provider
foreign-provider:
	@if command -v npm >/dev/null 2>&1; then $(MAKE) --no-print-directory $(PROVIDER)/node_modules/.installed; \
	else echo "npm is missing: the foreign identity provider is not installed"; fi

$(PROVIDER)/node_modules/.installed: $(PROVIDER)/package-lock.json
	npm ci --prefix $(PROVIDER) --silent
	@touch $@

packages:
	@.ci/packages

.PHONY: test-packages
test-packages: packages
	@.ci/packages tests

lint:
	$(CARGO) fmt --all -- --check
	$(CARGO) fmt --manifest-path integration-tests/clients/rust/Cargo.toml -- --check
	$(CARGO) clippy -j $(JOBS) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc -j $(JOBS) --workspace --no-deps --document-private-items
	@.ci/check-dependencies

fmt:
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path integration-tests/clients/rust/Cargo.toml

# Servers of others that the figures are measured beside. Only the benchmark wants them.
peers:
	@.ci/clients cosign timestamp-server

bench: peers
	$(CARGO) build --profile $(BENCH_PROFILE) -j $(JOBS) -p sealwright-stack -p sealwright-cli -p sealwright-integration-tests
	./target/$(BENCH_PROFILE)/bench

soak:
	@.ci/soak

# The published suites: SUITE is a checkout of sigstore-conformance, TUF_SUITE one of tuf-conformance.
conformance: test-packages $(VENV)/.clients
	$(CARGO) build --release -j $(JOBS) -p sealwright-stack -p sealwright-cli
	@.ci/conformance release

# Breaks a crate in every place, one at a time: CRATE=tlog, perhaps with FILES=proof,tile. Outcomes are kept in
# target/mutants, so that an interrupted run goes on where it stopped.
mutants:
	$(CARGO) build -q -j $(JOBS) -p sealwright-mutants
	./target/debug/sealwright-mutants --crate $(or $(CRATE),$(error CRATE=tlog or tuf or bundle)) $(if $(FILES),--files $(FILES)) --jobs $(JOBS)

clean:
	$(CARGO) clean
	rm -rf $(VENV) $(JS)/node_modules $(PROVIDER)/node_modules
