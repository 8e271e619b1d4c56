# SPDX-License-Identifier: Apache-2.0
FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        cmake ninja-build gcc libc6-dev pkg-config \
        libuv1-dev libmicrohttpd-dev libpq-dev libcurl4-openssl-dev \
        libcjson-dev libssl-dev zlib1g-dev uthash-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY CMakeLists.txt CMakePresets.json ./
COPY cmake cmake
COPY src src
COPY migrations migrations
COPY sql sql
RUN cmake --preset release && cmake --build --preset release

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        libuv1 libmicrohttpd12 libpq5 libcurl4 \
        libcjson1 libssl3 zlib1g ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --user-group --no-create-home --shell /usr/sbin/nologin switchboard
COPY --from=build /src/build/release/switchboard /usr/local/bin/switchboard
COPY scripts/start.sh /usr/local/bin/start.sh
USER switchboard
# 8080: WebSockets.  8081: management API, health, metrics; keep it private.
EXPOSE 8080 8081
ENV SWITCHBOARD_LISTEN_ADDRESS=0.0.0.0 \
    SWITCHBOARD_ADMIN_ADDRESS=0.0.0.0
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["switchboard", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["start.sh"]
CMD ["serve"]
