# SPDX-License-Identifier: GPL-3.0-or-later
"""The request headers that no edge passes on, whoever sends them: one list for all edges. Pure."""
from __future__ import annotations

# Headers by which a proxy in front of an app says who asks, for what, and how. Frameworks and servers believe them, and no edge of ours sets
# them, so what arrives under these names comes from a visitor. Headers that an edge sets itself (X-Forwarded-For, -Host, -Port, -Proto,
# X-Real-Ip) are overwritten instead. Sources: RFC 7239, RFC 3875 (CGI), and what gunicorn, uvicorn, IIS, Symfony and authelia read.
SPOOFED = (
    "Forwarded", "Proxy", "Remote-User", "Remote-Email", "Remote-Groups", "Remote-Name", "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded-Protocol",
    "X-Forwarded-Prefix", "X-Forwarded-Path", "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username",
    "X-Forwarded-Server", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-By", "X-Forwarded-Client-Cert", "X-Original-Url", "X-Original-Uri",
    "X-Original-Host", "X-Original-Method", "X-Original-Forwarded-For", "X-Rewrite-Url", "X-Url-Scheme", "X-Scheme", "X-Script-Name", "Script-Name",
    "Path-Info", "X-Host", "X-Http-Host-Override", "X-Remote-User", "X-Remote-Addr",
    "X-Remote-Ip", "X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Groups", "X-Authenticated-User", "X-Webauth-User", "X-Client-Ip",
    "True-Client-Ip", "X-Cluster-Client-Ip", "X-Originating-Ip", "X-Ssl-Client-Verify", "X-Ssl-Client-Cert", "X-Ssl-Client-S-Dn", "Front-End-Https",
    "X-Accel-Redirect", "X-Sendfile-Type", "X-Accel-Mapping",
)
