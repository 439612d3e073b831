# One line each; CI runs only these.
.PHONY: check test conformance bench fuzz golden
check: ; cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings
test: ; bash scripts/test.sh
conformance: ; target/venv/bin/python conformance/check.py --weir target/release/weir --jobs 4
bench: ; cargo build --profile dist && WEIR_BIN=target/dist/weir python3 bench/bench.py --proxies haproxy,weir --scenarios h1-sat,h1-hdrs,idle
fuzz: ; WEIR_FUZZ_CASES=2000000 cargo test --release -p weir-wire -p weir-config --test fuzz
golden: ; WEIR_GOLDEN=renew cargo test -p weir-config --test golden && WEIR_GOLDEN=renew cargo test -p weir-sim --test script
