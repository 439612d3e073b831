#!/usr/bin/env bash
# Coverage-guided fuzzing of every target for SECONDS_EACH (default 60) seconds, one after the other; the corpora grow
# in fuzz/corpus. Needs cargo-fuzz; the sanitizer's flag is a nightly one, which RUSTC_BOOTSTRAP allows here.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
export RUSTC_BOOTSTRAP=1
for target in ${TARGETS:-head body path hello proxy yaml compile}; do
  echo "== $target"
  cargo fuzz run "$target" -- -max_total_time="${SECONDS_EACH:-60}" -max_len="${MAX_LEN:-4096}" -timeout=10 \
    -dict=fuzz/dictionaries/"$target".txt -print_final_stats=1 2>&1 | grep -E '^(stat::|#[0-9]+\s+DONE|==|thread|SUMMARY|Test unit)' || true
  ls fuzz/artifacts/"$target"/* 2>/dev/null && { echo "findings of $target stand above"; exit 1; }
done
exit 0
