#!/usr/bin/env bash
# The conformance suites of the adapters, and the end-to-end tests with every role a process of its own, against real Kafka, CQL and Redis. Starts
# them and ends them, unless they are up already.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! deploy/backends status >/dev/null; then
    trap 'deploy/backends down' EXIT
    deploy/backends up
fi
eval "$(deploy/backends env)"
# The workspace's one set of features, as in `make test`: nothing is compiled twice.
PLATEN_TEST_FORM=distributed MUST_RUN='PLATEN_TEST_(KAFKA|CQL|REDIS)' \
    deploy/cargo-test.sh --test cql --test kafka --test redis --test e2e
