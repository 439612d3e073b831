#!/usr/bin/env bash
# planted.sh [PART]: plants one off-by-one at a time in a copy of the parsers and runs their property tests on it: each must be found
# within 60 seconds. With PART, only where the file or the plant contains it. Says which was found how fast; fails when one survives. The working tree is not touched.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$PWD/target/planted
rm -rf "$copy" && mkdir -p "$copy"
git ls-files -z | xargs -0 cp --parents -t "$copy"
export CARGO_TARGET_DIR=$PWD/target/planted-build WEIR_FUZZ_CASES=2000
# Built often, run for a minute: quickly built counts more than quickly run.
export PROPTEST_MAX_SHRINK_ITERS=200 CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off

# file | what stands there | what is planted | package whose tests/fuzz.rs must find it
plants='
crates/wire/src/head.rs|Span::new(start, start + colon), id|Span::new(start, (start + colon).saturating_sub(1)), id|weir-wire
crates/wire/src/field.rs|Span::new(from + 1, from + behind.len())|Span::new(from + 1, from + behind.len() - 1)|weir-wire
crates/wire/src/scan.rs|return Some(nth . 16 + at);|return Some(nth * 16 + at + 1);|weir-wire
crates/wire/src/head.rs|resume.saturating_sub(3)|resume.saturating_sub(2)|weir-wire
crates/wire/src/head.rs|head.len = cursor.at;|head.len = cursor.at - 1;|weir-wire
crates/wire/src/head.rs|fields.len() >= limits.fields|fields.len() > limits.fields|weir-wire
crates/wire/src/body.rs|if count as u64 == left { State::Done } else|if count as u64 + 1 >= left { State::Done } else|weir-wire
crates/wire/src/body.rs|return Step::Data { start, end, consumed: end + 2 };|return Step::Data { start, end, consumed: end + 1 };|weir-wire
crates/wire/src/body.rs|let consumed = end + 2;|let consumed = end + 1;|weir-wire
crates/wire/src/body.rs|Ok(Step::End { consumed: end + 4, trailers|Ok(Step::End { consumed: end + 3, trailers|weir-wire
crates/wire/src/body.rs|byte - b.a. + 10|byte - b'"'a'"' + 9|weir-wire
crates/config/src/yaml.rs|span.start.col() as u32 + 1);|span.start.col() as u32);|weir-config
crates/config/src/yaml.rs|self.stack.len() >= DEPTH|self.stack.len() > DEPTH|weir-config
crates/config/src/yaml.rs|keys.extend(entries.iter().map|keys.extend(entries.iter().skip(1).map|weir-config
'
survivors=0
while IFS='|' read -r file stands planted package; do
  [ -n "$file" ] || continue
  [[ "$file $planted" == *"${1:-}"* ]] || continue
  cp "$file" "$copy/$file"
  sed -i "s|$stands|$planted|" "$copy/$file"
  cmp -s "$file" "$copy/$file" && { echo "NOT PLANTED  $file: $stands"; survivors=$((survivors + 1)); continue; }
  (cd "$copy" && cargo test --quiet --release -p "$package" --test fuzz --no-run 2>/dev/null)
  began=$SECONDS; found=
  # Round after round of new seeds: a property that fails ends its round, and need not wait for long ones beside it.
  while [ -z "$found" ] && [ $((SECONDS - began)) -lt 60 ]; do
    (cd "$copy" && cargo test --quiet --release -p "$package" --test fuzz >"$copy/out" 2>&1) && continue
    found=$(sed -n 's/^    \([a-z0-9_]*\)$/\1/p' "$copy/out" | sort -u | head -3 | paste -sd, -)
    found=${found:-did not end}
  done
  if [ -n "$found" ]; then
    echo "found in $((SECONDS - began)) s  $file: $planted  ($found)"
  else
    echo "SURVIVED     $file: $planted"; survivors=$((survivors + 1))
  fi
  cp "$file" "$copy/$file"
done <<<"$plants"
[ "$survivors" = 0 ]
