# The official PostgreSQL with the extension in it:
#   docker build --file deploy/images/postgres.Dockerfile --build-arg PG=17 --build-arg EXTENSION=pgbatch/extension-17:dev .
# Bitnami's image wants other folders: /opt/bitnami/postgresql/lib and /opt/bitnami/postgresql/share/extension.
# Not built by the tests of this repository, which have no Docker: build.sh makes one of Debian's packages without it, for 15.
ARG PG=15
ARG EXTENSION=pgbatch/extension-15:dev
FROM ${EXTENSION} AS extension
FROM postgres:${PG}-bookworm
ARG PG
COPY --from=extension /lib/pgbatch.so /usr/lib/postgresql/${PG}/lib/
COPY --from=extension /share/extension/ /usr/share/postgresql/${PG}/extension/
