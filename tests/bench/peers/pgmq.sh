#!/usr/bin/env bash
# pgmq's SQL-only installation, as its crate carries it.
set -euo pipefail
version=0.33.7
mkdir src
touch src/lib.rs
cat >Cargo.toml <<TOML
[package]
name = "peer"
version = "0.0.0"
edition = "2024"

[dependencies]
pgmq = { version = "=$version", default-features = false }

[workspace]
TOML
cargo fetch
crate=$(cargo metadata --format-version 1 | grep -o "\"manifest_path\":\"[^\"]*/pgmq-$version/Cargo.toml\"" | cut -d'"' -f4)
embedded=$(dirname "$crate")/src/install/embedded
cp "$embedded/sql/pgmq.sql" install.sql
sed -n "s/^default_version = '\(.*\)'/\1/p" "$embedded/pgmq.control" >version
