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

# The conformance scenarios need PyYAML (and h2 for those that speak HTTP/2).
environment() {
  [ -x target/venv/bin/python ] || python3 -m venv target/venv
  target/venv/bin/python -c 'import yaml, h2' 2>/dev/null ||
    target/venv/bin/pip install --quiet --disable-pip-version-check -r conformance/requirements.txt
}

mkdir -p target
stage "environment" environment
stage "format" cargo fmt --all --check
stage "lints" cargo clippy --quiet --workspace --all-targets -- -D warnings
stage "tests" cargo test --workspace
stage "release build" cargo build --release
stage "conformance" target/venv/bin/python conformance/check.py --weir target/release/weir --jobs 4
