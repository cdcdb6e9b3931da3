# The gateway, built from source and run without root:  docker build -t pgdog-jwt .
FROM rust:1-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY pgdog-jwt pgdog-jwt
COPY pgdog-jwt-guard pgdog-jwt-guard
COPY pgdog-jwt-host pgdog-jwt-host
COPY pgdog-jwt-plugin pgdog-jwt-plugin
COPY pgdog-jwt-protocol pgdog-jwt-protocol
COPY patches patches
COPY gateway gateway
COPY sql sql
# Not built here, but a member of the workspace.
COPY integration/rust integration/rust
RUN cargo build --release --locked -p pgdog-jwt-gateway

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home pgdog-jwt \
    && install -d -o pgdog-jwt /etc/pgdog-jwt /keys
COPY --from=build /source/target/release/pgdog-jwt /usr/local/bin/pgdog-jwt
USER pgdog-jwt
WORKDIR /etc/pgdog-jwt
EXPOSE 6432
ENTRYPOINT ["pgdog-jwt"]
