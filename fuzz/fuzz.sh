#!/bin/sh
# Fuzzes every target, or the named ones, for SECONDS_EACH (default 120) at low priority.
# Needs cargo-fuzz. Seeds are the small hand-made ones here and, where present, recorded traffic.
set -eu
cd "$(dirname "$0")/.."
export RUSTC_BOOTSTRAP=1
python3 fuzz/seeds.py
for target in ${*:-$(cargo fuzz list)}; do
    nice -n 19 cargo fuzz run "$target" "fuzz/corpus/$target" -- -max_total_time="${SECONDS_EACH:-120}" -max_len=4096 -timeout=10
done
