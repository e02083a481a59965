# puerta as a container: docker build -t puerta . && docker run -v "$PWD/puerta.lua:/etc/puerta/puerta.lua:ro" -p 6380:6380 puerta
# The configuration binds to an address of the container (0.0.0.0:6380). `docker kill -s HUP` reloads it. The log is on stderr.
FROM debian:bookworm-slim AS build
WORKDIR /src
COPY tools/deps.sh tools/
RUN tools/deps.sh build deb
COPY . .
RUN make deb && mv build/puerta_*.deb /puerta.deb

FROM debian:bookworm-slim
COPY --from=build /puerta.deb /tmp/
# The standalone sysusers makes the user; the package would take all of systemd for it.
RUN apt-get update && apt-get install -y --no-install-recommends systemd-standalone-sysusers /tmp/puerta.deb && rm -rf /tmp/puerta.deb /var/lib/apt/lists/*
USER puerta
ENTRYPOINT ["puerta"]
CMD ["run", "/etc/puerta/puerta.lua"]
