# The image holds the operator, the few libraries that it links, the certificate authorities, and
# nothing else: no shell, no package manager, no git. It runs as a user without rights, and writes
# nowhere but to the cache.
#
# The final stage is `scratch`, filled by the build stage, and not a static binary: a musl build would
# be another allocator and another resolver than those that towline is tested and measured with. Nor is
# it a distroless image: it would hold the same files, as a second base to keep up to date.

ARG RUST_IMAGE=rust:1.95-slim-bookworm

FROM ${RUST_IMAGE} AS build
WORKDIR /towline
# Whether the build image has a zlib to link is no reason for the image to have one.
ENV LIBZ_SYS_STATIC=1
COPY Cargo.toml Cargo.lock ./
# A member of the workspace, which Cargo reads the manifest of and does not build here.
COPY tests/support/Cargo.toml tests/support/
COPY src src
# Made by `renderers/build renderers/built`, with Go, before the image is built.
COPY renderers/built renderers/built
RUN cargo build --locked --release --package towline --bin towline
# /image is what the image will be. `ldd` names the libraries and the loader with their paths; glibc
# resolves names by /etc/hosts and DNS without further files.
# /var/cache is there before the cache is copied into it: made by that copy, it would be the user's.
RUN mkdir -p /image/usr/bin /image/usr/lib/towline /image/etc/ssl/certs /image/var/cache /cache \
    && cp target/release/towline /image/usr/bin/ \
    && cp -r renderers/built /image/usr/lib/towline/renderers \
    && chmod -R u=rwX,go=rX /image/usr/lib/towline \
    && ldd target/release/towline | grep -o '/[^ ]*' | sort -u | xargs -I{} cp -L --parents {} /image \
    && cp -L /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && echo 'towline:x:65532:65532::/var/cache/towline:/' > /image/etc/passwd \
    && echo 'towline:x:65532:' > /image/etc/group

FROM scratch
# Which commit it is, only the one who builds it knows: --label org.opencontainers.image.revision=…
LABEL org.opencontainers.image.title="towline" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.description="A pull-based GitOps operator for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image /
COPY --from=build --chown=65532:65532 /cache /var/cache/towline
USER 65532:65532
ENV TOWLINE_CACHE_DIR=/var/cache/towline
VOLUME /var/cache/towline
# Metrics and probes.
EXPOSE 8080
ENTRYPOINT ["/usr/bin/towline"]
CMD ["run"]
