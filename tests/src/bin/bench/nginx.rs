//! The same work in the way it is often done: nginx with Lua that asks Redis for the session and signs with HMAC, for
//! every request. CPU per request of nginx's processes, and beside it of those and the Redis that works for them.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::Failure;
use super::process::{Process, free_address};
use super::setup::Contender;
use super::table::line;

/// nginx alone, as tables call it.
pub(super) const NAME: &str = "nginx + Lua, Redis not counted";
/// nginx with what Redis spends for its requests.
pub(super) const WITH_STORE: &str = "nginx + Lua + Redis";
const SESSIONS: usize = 1000;
const MODULE: &str = "/usr/lib/nginx/modules/ngx_http_lua_module.so";

/// The same work counted in both ways.
pub(super) struct Nginx {
    pub(super) contenders: [Contender; 2],
    /// The Redis that is not counted, which ends with this value.
    pub(super) uncounted: Process,
}

/// Two nginx with a Redis for each; `None` where they are not installed.
pub(super) fn start(upstream: SocketAddr) -> Result<Option<Nginx>, Failure> {
    if !install() {
        line(
            "\nnginx with Lua: NOT MEASURED (needs the packages nginx, libnginx-mod-http-lua, lua-nginx-redis, redis-server)",
        );
        return Ok(None);
    }
    let (alone, uncounted) = start_one(NAME, upstream)?;
    let (both, store) = start_one(WITH_STORE, upstream)?;
    let both = Contender { store: Some(store), ..both };
    Ok(Some(Nginx { contenders: [alone, both], uncounted }))
}

fn start_one(name: &str, upstream: SocketAddr) -> Result<(Contender, Process), Failure> {
    let folder = tempfile::tempdir()?.keep();
    let redis = free_address()?;
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &redis.port().to_string(), "--save", "", "--bind", "127.0.0.1"])
        .stdout(Stdio::null());
    let store = Process::start(&mut command, redis)?;
    Ok((nginx(name, &folder, redis, upstream)?, store))
}

/// Debian's packages, where they are missing and may be installed.
fn install() -> bool {
    let there = || {
        Path::new(MODULE).exists()
            && Path::new("/usr/share/lua/5.1/nginx/redis.lua").exists()
            && Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok()
    };
    if there() {
        return true;
    }
    let packages = ["nginx", "libnginx-mod-http-lua", "lua-nginx-redis", "redis-server"];
    let _ = Command::new("apt-get")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages)
        .status();
    there()
}

fn nginx(name: &str, folder: &Path, redis: SocketAddr, upstream: SocketAddr) -> Result<Contender, Failure> {
    let address = free_address()?;
    let tokens: Vec<String> = (0..SESSIONS).map(|number| format!("token-{number:037}")).collect();
    fill(redis, &tokens)?;
    let file = folder.join("nginx.conf");
    std::fs::write(&file, configuration(folder, address, redis, upstream))?;
    let mut command = Command::new("nginx");
    command.arg("-e").arg(folder.join("error.log")).arg("-c").arg(&file).arg("-p").arg(folder);
    let process = Process::start(&mut command, address)?;
    Ok(Contender { name: name.to_owned(), address, process, path: "/", tokens, store: None })
}

/// Puts the sessions into Redis: values that need no parser, which favours nginx.
fn fill(redis: SocketAddr, tokens: &[String]) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(redis)?;
    for token in tokens {
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(token));
        let value = "1|Ana Fern|admin|7|mastodon|Ana on Mastodon|https://social.example.org|1795244786";
        let mut order = String::new();
        for part in ["SET", &format!("cs:session:{id}"), value] {
            write!(order, "${}\r\n{part}\r\n", part.len())?;
        }
        stream.write_all(format!("*3\r\n{order}").as_bytes())?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        if &answer != b"+OK\r\n" {
            return Err("Redis refused a session".into());
        }
    }
    Ok(())
}

fn configuration(folder: &Path, address: SocketAddr, redis: SocketAddr, upstream: SocketAddr) -> String {
    let (folder, port, cookie) = (folder.display(), redis.port(), super::setup::COOKIE.replace('-', "_"));
    // As many as Pingora has threads here: with fewer, each wakes up to more requests at a time, and spends less on each.
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // A hyphen is an operator in Lua's patterns.
    let name = super::setup::COOKIE.replace('-', "%-");
    format!(
        r#"
daemon off;
user root;
worker_processes {workers};
pid {folder}/nginx.pid;
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module {MODULE};
events {{ worker_connections 1024; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    lua_package_path "/usr/share/lua/5.1/?.lua;;";
    upstream application {{ server {upstream}; keepalive 64; keepalive_requests 100000000; }}
    init_by_lua_block {{
        local ffi = require "ffi"
        ffi.cdef [[
            const void *EVP_sha256(void);
            unsigned char *SHA256(const unsigned char *d, size_t n, unsigned char *md);
            unsigned char *HMAC(const void *md, const void *key, int key_len, const unsigned char *d, size_t n,
                                unsigned char *out, unsigned int *out_len);
        ]]
        local sum, length = ffi.new("unsigned char[32]"), ffi.new("unsigned int[1]")
        function sha256(text)
            ffi.C.SHA256(text, #text, sum)
            return ffi.string(sum, 32)
        end
        function hmac(key, text)
            ffi.C.HMAC(ffi.C.EVP_sha256(), key, #key, text, #text, sum, length)
            return ffi.string(sum, 32)
        end
        redis = require "nginx.redis"
        names = {{ "user-id", "user-name", "roles", "platform-id", "platform-type", "platform-name", "platform-url",
                  "auth-time" }}
    }}
    server {{
        listen {address};
        location / {{
            access_by_lua_block {{
                local token = ngx.var["cookie_{cookie}"] or string.match(ngx.var.http_cookie or "", "{name}=([^;]+)")
                if not token then return ngx.exit(401) end
                local id = ngx.encode_base64(sha256(token), true):gsub("+", "-"):gsub("/", "_")
                local store = redis:new()
                local ok = store:connect("127.0.0.1", {port})
                if not ok then return ngx.exit(503) end
                local value = store:get("cs:session:" .. id)
                store:set_keepalive(60000, 64)
                if value == ngx.null or not value then return ngx.exit(401) end
                local set, base, place = ngx.req.set_header, {{}}, 1
                set("x-context-authn", "session")
                set("x-context-session-id", id)
                base[1] = "\"x-context-session-id\": " .. id
                for part in string.gmatch(value, "[^|]+") do
                    local name = "x-context-" .. names[place]
                    set(name, part)
                    place = place + 1
                    base[place] = "\"" .. name .. "\": " .. part
                end
                local created = ngx.time()
                base[place + 1] = "\"@method\": " .. ngx.var.request_method
                base[place + 2] = "\"@authority\": " .. ngx.var.http_host
                base[place + 3] = "\"@path\": " .. ngx.var.uri
                base[place + 4] = "\"@signature-params\": ();created=" .. created .. ";nonce=" .. ngx.var.request_id
                local signature = hmac("a key of thirty-two bytes, or so", table.concat(base, "\n"))
                set("signature-input", "countersign=();created=" .. created .. ";nonce=" .. ngx.var.request_id)
                set("signature", "countersign=:" .. ngx.encode_base64(signature) .. ":")
            }}
            proxy_pass http://application;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"#
    )
}
