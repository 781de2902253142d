//! The configuration of the upstream and of each peer.
//!
//! Every peer passes the client's `Host` on, keeps its upstream connections
//! open, adds one header and writes its usual access log. Limits on requests
//! per connection are lifted where there are any, so that no peer pays for
//! reconnecting.

use crate::{peers::Setup, tls::Certificate};

/// The name every request asks for.
pub(crate) const HOST: &str = "bench.example";

/// The body of the measured response: 100 bytes.
pub(crate) const BODY: &str = "The quick brown fox jumps over the lazy dog. \
    Pack my box with five dozen liquor jugs. 0123456789 ab.";

/// The path of the large body.
pub(crate) const LARGE: &str = "/large";

/// The path that answers with what reached the upstream.
pub(crate) const ECHO: &str = "/echo";

/// Where a peer listens, and what it leads to.
#[derive(Clone, Copy)]
pub(crate) struct Route<'a> {
    pub(crate) port: u16,
    pub(crate) upstream: u16,
    /// How many upstream connections nginx keeps: as many as can be busy at once.
    pub(crate) connections: u32,
    /// What it presents if it talks TLS. Only nginx and Doorward are told to.
    pub(crate) certificate: Option<&'a Certificate>,
}

/// The parts that every nginx here shares; temporary files stay in its own directory.
const NGINX: &str = "\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log;
events { worker_connections 12000; }
";
const NGINX_HTTP: &str = "
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
";
const NGINX_PROXY: &str = r#"
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
"#;

/// The upstream: a fixed body, an echo of the headers, the auth server and the counters.
pub(crate) fn upstream(port: u16) -> String {
    format!(
        r#"{NGINX}
user root;
http {{{NGINX_HTTP}
    access_log off;
    sendfile on;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 "{BODY}"; }}
        location = {LARGE} {{ root .; }}
        location = {ECHO} {{
            return 200 "user=$http_x_auth_user&remote=$http_remote_user&assertion=$http_x_doorward_assertion&host=$http_host&protocol=$server_protocol&nth=$connection_requests";
        }}
        location = /auth {{
            add_header X-Auth-User alice;
            return 204;
        }}
        location = /counters {{ stub_status; }}
    }}
}}
"#
    )
}

fn nginx_server(route: Route<'_>, log: &str, locations: &str) -> String {
    let Route { port, upstream, connections, certificate } = route;
    // TLS 1.3 only; all else about TLS and HTTP/2 as nginx has it by default.
    let (flags, tls) = certificate.map_or_else(Default::default, |Certificate { chain, key }| {
        let (chain, key) = (chain.display(), key.display());
        let files = format!("ssl_certificate {chain};\n        ssl_certificate_key {key};");
        (" ssl http2", format!("        {files}\n        ssl_protocols TLSv1.3;"))
    });
    format!(
        "{NGINX}
http {{{NGINX_HTTP}
    access_log access.log combined{log};
    upstream bench {{
        server 127.0.0.1:{upstream};
        keepalive {connections};
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen 127.0.0.1:{port}{flags};
{tls}
{locations}
    }}
}}
"
    )
}

/// nginx as a plain reverse proxy; `extra` goes into its location.
pub(crate) fn nginx(route: Route<'_>, log: &str, extra: &str) -> String {
    let locations = format!(
        "        location / {{
            proxy_pass http://bench;{NGINX_PROXY}
            proxy_set_header X-Auth-User alice;
            {extra}
        }}"
    );
    nginx_server(route, log, &locations)
}

/// nginx asking an auth server first, and passing its answer's user on.
pub(crate) fn nginx_auth(route: Route<'_>) -> String {
    let locations = format!(
        r#"        location / {{
            auth_request /auth;
            auth_request_set $user $upstream_http_x_auth_user;
            proxy_pass http://bench;{NGINX_PROXY}
            proxy_set_header X-Auth-User $user;
        }}
        location = /auth {{
            internal;
            proxy_pass http://bench/auth;{NGINX_PROXY}
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Original-URI $request_uri;
        }}"#
    );
    nginx_server(route, "", &locations)
}

fn haproxy_server(mode: &str, upstream: u16, frontend: &str, backend: &str) -> String {
    format!(
        "global
    nbthread 1
    maxconn 4096
    log stdout format raw local0

defaults
    mode {mode}
    log global
    option {mode}log
    timeout connect 5s
    timeout client 1h
    timeout server 1h

frontend bench
{frontend}
    default_backend upstream

backend upstream
{backend}
    server upstream 127.0.0.1:{upstream}
"
    )
}

/// HAProxy as an HTTP proxy, its log on standard output.
pub(crate) fn haproxy(route: Route<'_>) -> String {
    let frontend = format!(
        "    bind 127.0.0.1:{}
    http-request set-header X-Auth-User alice",
        route.port
    );
    haproxy_server("http", route.upstream, &frontend, "    http-reuse always")
}

/// HAProxy passing bytes; its log has a line per connection.
pub(crate) fn haproxy_tcp(route: Route<'_>) -> String {
    haproxy_server("tcp", route.upstream, &format!("    bind 127.0.0.1:{}", route.port), "")
}

/// Envoy with its router alone; what it adds of its own accord is turned off where it can be.
pub(crate) fn envoy(route: Route<'_>) -> String {
    let socket = |port: u16| serde_json::json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let router = serde_json::json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": true,
        },
    });
    let log = serde_json::json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": "access.log",
        },
    });
    let routes = serde_json::json!({
        "name": "bench",
        "virtual_hosts": [{
            "name": "bench",
            "domains": ["*"],
            "request_headers_to_add": [{
                "header": { "key": "X-Auth-User", "value": "alice" },
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "bench" } }],
        }],
    });
    let manager = serde_json::json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "HTTP1",
        "generate_request_id": false,
        "access_log": [log],
        "http_filters": [router],
        "route_config": routes,
    });
    let config = serde_json::json!({
        "static_resources": {
            "listeners": [{
                "name": "bench",
                "address": socket(route.port),
                "filter_chains": [{ "filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager,
                }] }],
            }],
            "clusters": [{
                "name": "bench",
                "type": "STATIC",
                "connect_timeout": "5s",
                "load_assignment": {
                    "cluster_name": "bench",
                    "endpoints": [{ "lb_endpoints": [{
                        "endpoint": { "address": socket(route.upstream) },
                    }] }],
                },
            }],
        },
    });
    config.to_string()
}

/// Doorward with one worker; its log is on standard output.
pub(crate) fn doorward(
    route: Route<'_>,
    operations: u16,
    &Setup { store, listener, extra, .. }: &Setup<'_>,
) -> String {
    let Route { port, upstream, certificate, .. } = route;
    let tls = certificate.map_or_else(String::new, |Certificate { chain, key }| {
        let (chain, key) = (chain.display(), key.display());
        format!("[[listener.tls]]\nchain_file = \"{chain}\"\nkey_file = \"{key}\"\n")
    });
    format!(
        r#"public_url = "https://{HOST}"
workers = 1

[[listener]]
address = "127.0.0.1:{port}"
{listener}
{tls}
[upstream.bench]
address = "http://127.0.0.1:{upstream}"

[store]
path = "doorward.db"
{store}

[operations]
address = "127.0.0.1:{operations}"

{extra}
"#
    )
}
