# Each target does its own set-up: `make demo` and `make test` work on a fresh Debian 12 or
# Ubuntu 24.04, as root or with sudo. scripts/setup.sh says what it installs and why.

.DEFAULT_GOAL := help
.PHONY: help install uninstall demo test bench fuzz check

# Arguments for the tests or the benchmarks: make test ARGS='-p bpfgate-tests lookup'
ARGS ?=

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# make install PREFIX=/usr DESTDIR=package; scripts/install.sh has the other variables.
install: ## The agent, the command line, completions and a systemd unit into PREFIX (/usr/local)
	@scripts/setup.sh build
	@scripts/install.sh

uninstall: ## What install put there
	@scripts/install.sh --remove

demo: ## Packets counted in the kernel, read and watched by a user without rights
	@scripts/setup.sh build demo
	@scripts/demo.sh

test: ## Unit, integration, doc and end-to-end tests on the running kernel
	@scripts/setup.sh build kernel-test
	@scripts/test.sh $(ARGS)

bench: ## The performance contract: a table, and target/bench/report.json
	@scripts/setup.sh build kernel-test
	@scripts/bench.sh $(ARGS)

fuzz: ## Every fuzzer for ten seconds (FUZZ_SECONDS), from its corpus in fuzz/corpus
	@scripts/setup.sh build
	@scripts/fuzz.sh $(ARGS)

check: ## Formatting, lints, documentation, licences and advisories
	@scripts/setup.sh build check
	@scripts/check.sh
