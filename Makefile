# `make` lists what there is. Every recipe installs what it needs, or names the one command that does.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-backends test-faults lint fmt bench load fuzz build

ARGS ?=

help: ## list the recipes
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## check for a Rust toolchain, a C compiler, make and the headers of OpenSSL; add what rustup and apt can
	@deploy/setup.sh

build: setup ## build the programs (release)
	cargo build --locked --release

demo: setup ## a dozen simulated printers, managed end to end; ARGS="--once" ends by itself
	cargo build --locked --release
	target/release/platen-swarm demo $(ARGS)

lint: setup ## formatting, lints, dependency policy
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	deploy/deny.sh

fmt: ## format the sources
	cargo fmt --all

test: setup ## format check, lints, every test that needs no outside server
	deploy/test.sh

test-backends: setup ## the suites against real Kafka, CQL and Redis, which it starts and ends
	deploy/test-backends.sh

test-faults: setup ## faults on real backends, and at random for PLATEN_FAULT_SECONDS (1800)
	deploy/test-faults.sh $(ARGS)

bench: setup ## micro-benches of the hot paths
	cargo bench --locked --workspace $(ARGS)

load: setup ## idle sessions against a fresh server; ARGS are the swarm's
	cargo build --locked --release
	deploy/load.sh $(ARGS)

fuzz: setup ## every fuzz target for FUZZ_SECONDS (60) each
	deploy/fuzz.sh
