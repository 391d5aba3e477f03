#!/usr/bin/env bash
# Fuzzes one target, or all of them after each other: run.sh SECONDS [TARGET...]. What was found to be new is kept in
# target/fuzz/corpus, and what fails in target/fuzz/failures.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=$1
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(template cron scaled_job kafka_options)

command -v c++ >/dev/null || { echo "fuzz: a C++ compiler is needed (apt-get install g++)" >&2; exit 1; }
# What "cargo fuzz" asks of the compiler, but for the sanitizers: those need a nightly one, and there is no unsafe code.
flags='--cfg fuzzing -Cdebug-assertions -Coverflow-checks -Cpasses=sancov-module'
for flag in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=" -Cllvm-args=-sanitizer-coverage-$flag"
done
RUSTFLAGS=$flags CARGO_TARGET_DIR=target/fuzz cargo build --quiet --locked --release --target x86_64-unknown-linux-gnu -p fuzz --features run

seeds() {
    case $1 in
        template) echo dispatcher/core/src/job_manifest/rich_template.json ;;
        scaled_job) echo dispatcher/core/src/scaled_job/everything.yaml deploy/examples/keda/scaled-job.yaml ;;
        *) echo "tests/fuzz/seeds/$1"/* ;;
    esac
}
for target in "${targets[@]}"; do
    corpus=target/fuzz/corpus/$target
    mkdir -p "$corpus" target/fuzz/failures
    # shellcheck disable=SC2046 # Names without blanks.
    cp $(seeds "$target") "$corpus"
    echo "fuzz: $target, $seconds s"
    target/fuzz/x86_64-unknown-linux-gnu/release/"$target" "$corpus" -max_total_time="$seconds" -max_len=16384 -timeout=20 \
        -print_final_stats=1 -verbosity=0 -artifact_prefix="target/fuzz/failures/$target-"
done
