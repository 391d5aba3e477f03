# The extension's image for one major of PostgreSQL, in CloudNativePG's layout (/lib, /share/extension):
#   docker build --file deploy/images/extension.Dockerfile --build-arg PG=17 --tag pgbatch/extension-17:dev .
# Not built by the tests of this repository, which have no Docker: build.sh makes the same image without it, for 15 and 18.
ARG PG=18
# The oldest C library that is still around: what is built with it loads on newer ones too. Not for alpine.
FROM postgres:${PG}-bookworm AS build
ARG PG
RUN apt-get update && apt-get install --yes --no-install-recommends \
    ca-certificates clang curl gcc libc6-dev libclang-dev "postgresql-server-dev-${PG}"
RUN curl --proto '=https' --tlsv1.2 --silent --show-error --fail https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain 1.95
ENV PATH=/root/.cargo/bin:$PATH PGRX_PG_CONFIG_PATH=/usr/lib/postgresql/${PG}/bin/pg_config
WORKDIR /build
COPY . .
RUN cargo build --locked --release --package pgbatch-extension --no-default-features --features "pg${PG}" && \
    pg_extension/install.sh "$PGRX_PG_CONFIG_PATH" && \
    mkdir -p /image/lib /image/share/extension /image/licenses/pgbatch /image/bin && \
    cp "/usr/lib/postgresql/${PG}/lib/pgbatch.so" /image/lib && \
    cp "/usr/share/postgresql/${PG}/extension"/pgbatch* /image/share/extension && \
    cp LICENSE /image/licenses/pgbatch && \
    rustc --edition 2024 --target x86_64-unknown-linux-gnu -C target-feature=+crt-static -C opt-level=s -C lto=fat \
        -C panic=abort -C strip=symbols -o /image/bin/copy-extension deploy/images/copy-extension.rs

FROM scratch
COPY --from=build /image /
USER 65532:65532
ENTRYPOINT ["/bin/copy-extension"]
