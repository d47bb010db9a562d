# UNTESTED: no container engine could run where this was written; it was read and linted only.
#
#   docker build --build-arg CAUSEWAY_COMMIT="$(git rev-parse --short=12 HEAD)" -t causeway .
#   docker run -p 1883:1883 -v causeway:/data causeway start --data /data --config /data/causeway.yaml
#
# The broker listens on loopback unless a configuration says otherwise, inside a container too: to
# publish a port, configure a listener on 0.0.0.0 and who may use it.

FROM node:20-bookworm-slim AS build
ARG CAUSEWAY_COMMIT=unknown
ENV CAUSEWAY_COMMIT=${CAUSEWAY_COMMIT}
WORKDIR /build
# libatomic1 for Node 26, binutils for strip. Versions are not pinned: Debian keeps only the latest.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends binutils libatomic1 \
  && rm -rf /var/lib/apt/lists/*
# The packages are a layer of their own: they change less often than the sources.
COPY package.json package-lock.json .npmrc ./
COPY scripts/install.mjs scripts/
RUN node scripts/install.mjs
COPY . .
RUN npm run build && ./dist/causeway version

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends libatomic1 \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin causeway \
  && install -d -o causeway -g causeway -m 0700 /data
COPY --from=build /build/dist/causeway /usr/local/bin/causeway
USER 10001:10001
WORKDIR /data
VOLUME /data
# MQTT, MQTT over TLS, MQTT over WebSocket.
EXPOSE 1883 8883 8083
STOPSIGNAL SIGTERM
# There is no HTTP client in this image; bash can ask for one line.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /health/live HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\n\\r\\n' >&3 && IFS= read -r -t 2 line <&3 && [[ $line == *' 200 '* ]]"]
ENTRYPOINT ["/usr/local/bin/causeway"]
CMD ["start", "--data", "/data"]
