# The service as an image: `docker build -t entrenous .`
# On an address that others can reach it needs a token key: see `entrenous serve --help`.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc g++ libc6-dev make cmake perl && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin entrenous

FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --create-home entrenous
COPY --from=build /source/target/release/entrenous /usr/local/bin/entrenous
USER entrenous
VOLUME /data
ENV ENTRENOUS_DATA=/data ENTRENOUS_LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["entrenous"]
CMD ["serve"]
