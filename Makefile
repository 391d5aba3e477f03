# One command a job; CI runs the same ones. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PG_CONFIG ?= /usr/lib/postgresql/15/bin/pg_config
export PGRX_PG_CONFIG_PATH := $(PG_CONFIG)
export PGBATCH_PG_CONFIG := $(PG_CONFIG)
EXECUTOR ?= process
export EXECUTOR KEEP

TARGET := x86_64-unknown-linux-gnu

.PHONY: help tools build dispatcher extension install demo test test-core test-sql test-sql-only test-pg16 test-pg17 test-pg18 test-process test-cli test-dashboard test-kafka \
	test-spring test-cluster test-faults test-faults-short \
	bench lint simulate fuzz deb release cluster cluster-down kafka kafka-down images image-spring-batch

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

tools: ## Install what is missing (as root), or say the one line that does
	@pg_extension/tools.sh

build: dispatcher extension ## Release builds: target/release/pgbatch and target/release/libpgbatch.so

# One static binary serves the host and the image.
dispatcher:
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --target $(TARGET) -p pgbatch-dispatcher
	@mkdir -p target/release && ln -sfn ../$(TARGET)/release/pgbatch target/release/pgbatch

extension: tools
	cargo build --release -p pgbatch-extension

install: extension ## Install the extension into the PostgreSQL of PG_CONFIG
	pg_extension/install.sh $(PG_CONFIG)

deb: extension ## The extension as a Debian package: target/release-files/postgresql-15-pgbatch_VERSION_ARCH.deb, checked
	@deploy/release/deb.sh $(PG_CONFIG)
	@deploy/release/check.sh $(PG_CONFIG)

release: build deb ## The package, the dispatcher, an SBOM of each (CycloneDX) and SHA256SUMS: target/release-files
	@cp target/release/pgbatch target/release-files/
	@deploy/release/sbom.py pgbatch-dispatcher $(TARGET) >target/release-files/pgbatch.cdx.json
	@deploy/release/sbom.py pgbatch-extension $(TARGET) >target/release-files/extension.cdx.json
	@cd target/release-files && rm -f SHA256SUMS && sha256sum -- * >SHA256SUMS && sha256sum --check --quiet SHA256SUMS

demo: build ## The claps, from nothing to 60 succeeded (EXECUTOR=process|kubernetes, KEEP=1 leaves it running)
ifeq ($(EXECUTOR),kubernetes)
	@$(MAKE) --no-print-directory cluster images
endif
	@cargo run --quiet -p e2e --bin demo

test: tools ## Everything, cheapest first
	@$(MAKE) --no-print-directory test-core
	@$(MAKE) --no-print-directory test-sql
	@$(MAKE) --no-print-directory test-sql-only
	@$(MAKE) --no-print-directory deb
	@$(MAKE) --no-print-directory test-pg18
	@$(MAKE) --no-print-directory test-process
	@$(MAKE) --no-print-directory test-cli
	@$(MAKE) --no-print-directory test-kafka
	@$(MAKE) --no-print-directory test-spring
	@$(MAKE) --no-print-directory test-dashboard
	@$(MAKE) --no-print-directory test-cluster
	@$(MAKE) --no-print-directory test-faults-short

test-core: ## Decisions and adapters without services: seconds
	cargo test --workspace --exclude pgbatch-extension --exclude e2e --exclude fuzz

SEEDS ?= 100000
simulate: ## The simulation of faults by hand: SEEDS=1000000 of them, from SEED=1 on; a failing one is told
	SEED=$(or $(SEED),1) SEEDS=$(SEEDS) cargo test --release -p pgbatch-dispatcher --test simulation no_seed -- --nocapture

fuzz: ## What reads other people's text, by hand: SECONDS=1200 each of TARGETS="template cron scaled_job kafka_options"
	@tests/fuzz/run.sh $(or $(SECONDS),60) $(TARGETS)

test-sql-only: build ## The same without the library, as in a managed PostgreSQL
	@tests/pgbouncer/install.sh
	tests/sql_only.sh

test-sql: build ## SQL functions and races against a private PostgreSQL
	@tests/pgbouncer/install.sh
	cargo test -p e2e --test sql

test-pg18: tools ## The same on PostgreSQL 18; test-pg16 and test-pg17 where these are installed
test-pg16 test-pg17 test-pg18: tools
	@tests/pgbouncer/install.sh
	@tests/postgres.sh $(@:test-pg%=%)

test-process: build ## The whole path with local processes
	cargo test -p e2e --test process

test-cli: build ## The command line in a real terminal (tmux) and piped
	@tests/cli/install.sh
	cargo test -p e2e --test cli

test-dashboard: build ## The dashboard in a real browser; its pictures are in target/tests/dashboard
	@tests/dashboard/install.sh
	cargo test -p e2e --test dashboard

test-kafka: build ## Triggers on topics of a real Kafka broker: a minute
	@tests/kafka/install.sh
	cargo test -p e2e --test kafka

test-spring: build ## The PartitionHandler for Spring Batch 5 and 6, with local processes: a minute and a half
	@tests/spring/build.sh
	cargo test -p e2e --test spring -- --test-threads=1

# Of the dashboard's tests, those of every page, every action, both themes, a phone, the keyboard and what is live.
DASHBOARD_ON_CLUSTER := pages::the_pages accessibility::no_page actions::each keys::every live::an_open

test-cluster: build cluster images image-spring-batch ## The whole path on the real cluster
	@deploy/helm/tool.sh >/dev/null
	@deploy/helm/prometheus.sh prometheus >/dev/null
	@tests/kafka/install.sh
	@tests/keda/install.sh
	@tests/spring/build.sh
	PGBATCH_TEST_KUBECONFIG=$(CURDIR)/target/cluster/kubeconfig cargo test -p pgbatch-dispatcher --test kubernetes
	cargo test -p e2e --test cluster -- --test-threads=1
	@tests/dashboard/install.sh
	PGBATCH_TEST_EXECUTOR=kubernetes cargo test -p e2e --test dashboard -- --test-threads=3 $(DASHBOARD_ON_CLUSTER)

# Of the faults, the most telling. A line of the table for each is added to target/tests/faults.txt.
SHORT_FAULTS := history killed_dispatcher stopped_immediately parted_from

test-faults-short: build cluster images ## A few faults, with small batches: three minutes
	PGBATCH_FAULT_ITEMS=40 cargo test -p e2e --test faults -- --test-threads=1 --nocapture $(SHORT_FAULTS)

test-faults: build cluster images ## Every fault, with batches of 200 items: half an hour
	cargo test -p e2e --test faults -- --test-threads=1 --nocapture

# WHAT=enqueue chooses one bench (README has the list); ROUNDS, SECONDS and ITEMS change its size. With the dispatcher's
# flags, so that what that has built serves here too.
bench: build $(if $(filter all jobs burst keda kafka sizes idle takeover,$(or $(WHAT),all)),cluster images) ## Every figure of the README beside its peers: target/bench/results.md
	@tests/bench/peers/install.sh
	$(if $(filter all kafka,$(or $(WHAT),all)),@tests/kafka/install.sh)
	$(if $(filter all dashboard,$(or $(WHAT),all)),@tests/dashboard/install.sh)
	@PGBATCH_BENCH_WHAT='$(WHAT)' PGBATCH_BENCH_ROUNDS='$(ROUNDS)' PGBATCH_BENCH_SECONDS='$(SECONDS)' PGBATCH_BENCH_ITEMS='$(ITEMS)' \
		RUSTFLAGS='-C target-feature=+crt-static' cargo run --quiet --release --target $(TARGET) -p e2e --bin bench

lint: tools ## Format, clippy with warnings denied, cargo deny, shellcheck, helm lint
	@.ci/lint

cluster: ## A real Kubernetes in a network namespace of its own; leaves target/cluster/kubeconfig
	@tests/kubernetes/install.sh
	@tests/kubernetes/build.sh
	@tests/kubernetes/up.sh

cluster-down: ## Stop it, and the one that tests break
	@tests/kubernetes/down.sh
	@PGBATCH_CLUSTER_DIR=$(CURDIR)/target/broken-cluster tests/kubernetes/down.sh

kafka: ## A real Kafka broker on loopback, with a plain, a TLS and two SASL listeners; its files are in target/kafka
	@tests/kafka/install.sh
	@tests/kafka/up.sh

kafka-down: ## Stop it
	@tests/kafka/down.sh

images: dispatcher extension ## Image tarballs under target/images, loaded into the cluster if it is up
	@deploy/images/build.sh

image-spring-batch: ## That of deploy/examples/spring-batch, by Maven
	@deploy/images/build.sh spring-batch
