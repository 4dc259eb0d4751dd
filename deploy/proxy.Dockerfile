# Caddy as another user than root; a new volume gets the owner of the folder in its place.
FROM caddy:2
COPY deploy/Caddyfile /etc/caddy/Caddyfile
RUN chown -R 1000:1000 /data /config
USER 1000:1000
