# The dispatcher's image, for those who have Docker: docker build --file deploy/images/dispatcher.Dockerfile .
# Not built by the tests of this repository, which have no Docker: build.sh makes the same image without it.
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN RUSTFLAGS='-C target-feature=+crt-static' \
    cargo build --locked --release --target x86_64-unknown-linux-gnu --package pgbatch-dispatcher && \
    strip target/x86_64-unknown-linux-gnu/release/pgbatch

FROM scratch
COPY --from=build /build/target/x86_64-unknown-linux-gnu/release/pgbatch /pgbatch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 65532:65532
ENTRYPOINT ["/pgbatch"]
