#!/usr/bin/env bash
# Installs what the tests need, then runs all of them; says how long each stage took.
set -euo pipefail
cd "$(dirname "$0")/.."

stage() {
  local name=$1 began=$SECONDS
  shift
  echo "== $name"
  "$@"
  echo "== $name: $((SECONDS - began)) s"
}

# The conformance scenarios need PyYAML and h2; the gRPC calls need grpcio.
environment() {
  [ -x target/venv/bin/python ] || python3 -m venv target/venv
  target/venv/bin/python -c 'import yaml, h2, grpc_health' 2>/dev/null ||
    target/venv/bin/pip install --quiet --disable-pip-version-check -r conformance/requirements.txt
}

mkdir -p target
stage "environment" environment
stage "format" cargo fmt --all --check
stage "lints" cargo clippy --quiet --workspace --all-targets -- -D warnings
stage "tests" cargo test --workspace
stage "release build" cargo build --release
stage "conformance" target/venv/bin/python conformance/check.py --weir target/release/weir --jobs 4
stage "http/2" target/venv/bin/python conformance/frames.py --weir target/release/weir
stage "grpc" target/venv/bin/python conformance/grpc_calls.py --weir target/release/weir
