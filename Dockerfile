# The image holds the operator, the renderers, the few libraries that it links and the certificate
# authorities. It has no shell, no package manager and no git. It runs as an unprivileged user, and writes
# only to the cache.
#
# The final stage is `scratch` with files from the build stage. The binary is not static: a musl build would
# use another allocator and another resolver than those of the tests and benchmarks. The image is not based
# on a distroless image: that would be a second base image to update, with the same files.

ARG RUST_IMAGE=rust:1.95-slim-bookworm

FROM ${RUST_IMAGE} AS build
WORKDIR /towline
# Links zlib statically, even if the build image has a shared zlib. Relocations are packed, which saves half a megabyte; glibc
# reads them from 2.36 on. On x86_64, Rust links by its own lld, which keeps functions with equal code once: 0.2 MiB.
# What is marked `#[inline]` is inlined up to a cost of 325, also in crates that are compiled for size. It is 110 here.
ENV LIBZ_SYS_STATIC=1 \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=-Wl,-z,pack-relative-relocs -C link-arg=-Wl,--icf=all -C llvm-args=-inlinehint-threshold=110" \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=-Wl,-z,pack-relative-relocs -C llvm-args=-inlinehint-threshold=110"
COPY Cargo.toml Cargo.lock ./
# A member of the workspace. Cargo reads its manifest, but does not build it here.
COPY tests/support/Cargo.toml tests/support/
COPY src src
# Build these before the image with `renderers/build renderers/built`, which needs Go.
COPY renderers/built renderers/built
# Messages of panics name the files of crates. Without the folder of the build they say the same, and take 58 KB less.
RUN cargo fetch --locked --target "$(rustc -vV | sed -n 's/^host: //p')" \
    && crates="$(printf ' --remap-path-prefix=%s/=' "$CARGO_HOME"/registry/src/*)" \
    && export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="$CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS$crates" \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="$CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS$crates" \
    && cargo build --locked --release --package towline --bin towline
# /image becomes the root of the image. `ldd` names the libraries and the loader with their paths; glibc
# resolves names by /etc/hosts and DNS without further files.
# /var/cache exists before the cache is copied into it. Otherwise the copy would create it as the user's.
RUN mkdir -p /image/usr/bin /image/usr/lib/towline /image/etc/ssl/certs /image/var/cache /cache \
    && cp target/release/towline /image/usr/bin/ \
    && cp -r renderers/built /image/usr/lib/towline/renderers \
    && chmod -R u=rwX,go=rX /image/usr/lib/towline \
    && ldd target/release/towline | grep -o '/[^ ]*' | sort -u | xargs -I{} cp -L --parents {} /image \
    && cp -L /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && echo 'towline:x:65532:65532::/var/cache/towline:/' > /image/etc/passwd \
    && echo 'towline:x:65532:' > /image/etc/group

FROM scratch
# The builder adds the commit: --label org.opencontainers.image.revision=…
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
