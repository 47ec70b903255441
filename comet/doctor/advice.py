"""What to change, for each fault: a table with the words of each proxy."""

from __future__ import annotations

from dataclasses import dataclass


NGINX, HAPROXY, CADDY = "nginx", "HAProxy", "Caddy"


@dataclass(frozen=True)
class Advice:
    """``change`` is said whatever stands in front; ``proxies`` has the directive of each."""

    change: str
    proxies: dict[str, str]


ADVICE: dict[str, Advice] = {
    "stranger": Advice("", {}),
    "old answers": Advice(
        "The first machine on the path must answer by HTTP/1.1: the usual proxies do, so look for an old one, "
        "a filter or a virus scanner.",
        {},
    ),
    "old requests": Advice(
        "Let the proxy speak HTTP/1.1 to comet.",
        {
            NGINX: 'proxy_http_version 1.1; proxy_set_header Connection "";',
            HAPROXY: "it passes on the version that it is asked by: look at what stands in front of it",
            CADDY: "reverse_proxy { transport http { versions 1.1 } }",
        },
    ),
    "not ready": Advice("Its log and GET /readyz say why: it stops, is full, or its broker is away.", {}),
    "buffering": Advice(
        "Let the proxy pass on each piece of an answer at once.",
        {
            NGINX: "proxy_buffering off; (and no proxy_ignore_headers X-Accel-Buffering)",
            HAPROXY: "it holds nothing back by itself: no http-response wait-for-body",
            CADDY: "it holds nothing back by itself: no response_buffers, no encode",
        },
    ),
    "refused": Advice(
        "Let GET /channels/… through to comet, some ten at the same time from one address: the proxy's log says who "
        "refuses it.",
        {
            NGINX: "no limit_conn, limit_req, deny or auth_basic in the way",
            HAPROXY: "no http-request deny, and a maxconn that is large enough",
            CADDY: "no other handler that takes /channels/*",
        },
    ),
    "packing": Advice(
        "Let nothing compress streams, or let it flush after each piece.",
        {
            NGINX: "gzip off; proxy_buffering off; in the location of /channels/",
            HAPROXY: "no compression algo (filter compression) for /channels/",
            CADDY: "encode only elsewhere: @other not path /channels/*, then encode @other gzip",
        },
    ),
    "cut": Advice(
        "Let the proxy wait for an hour: polls take up to 60 s, and the wires text and multipart do not beat at all. "
        "Where that can't be had, set COMET_HEARTBEAT and COMET_POLL_TIMEOUT to less than half of what the path "
        "allows.",
        {
            NGINX: "proxy_read_timeout 1h;",
            HAPROXY: "timeout server 1h and timeout client 1h",
            CADDY: "it waits by itself: no read_timeout and no response_header_timeout in transport http",
        },
    ),
    "lifetime": Advice(
        "Take this limit away, or live with it: clients come back, and miss nothing that is kept.",
        {
            NGINX: "it has no such limit: look at what stands before or behind it",
            HAPROXY: "it has no such limit: look at what stands before or behind it",
            CADDY: "servers { timeouts { write 0 } }",
        },
    ),
    "heads": Advice(
        "Let the proxy take request lines and headers of 8 KiB each.",
        {
            NGINX: "large_client_header_buffers 4 16k; in http, or in the first server of the port",
            HAPROXY: "tune.bufsize 32768",
            CADDY: "it takes 1 MB by itself: no servers { max_header_size … } below 64KB",
        },
    ),
    "bodies": Advice(
        "Let the proxy take bodies of what comet takes: COMET_MAX_UPDATE, and 8 MiB where batches are published.",
        {
            NGINX: "client_max_body_size 9m;",
            HAPROXY: "no http-request deny by req.body_size below that",
            CADDY: "request_body { max_size 9MB }",
        },
    ),
    "clock": Advice("Let both take the time from the network (NTP).", {}),
    "cors": Advice("Name the site in COMET_ALLOWED_ORIGINS.", {}),
    "cors twice": Advice(
        "Take it out of the proxy: comet has a list, COMET_ALLOWED_ORIGINS.",
        {
            NGINX: "no add_header Access-Control-Allow-Origin",
            HAPROXY: "no http-response add-header Access-Control-Allow-Origin",
            CADDY: "no header Access-Control-Allow-Origin",
        },
    ),
}
