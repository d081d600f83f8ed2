//! Pingora with nothing in it: the reference that the benchmark compares Countersign with. Same version, same server
//! settings, same allocator.
//!
//! `bare_proxy LISTEN UPSTREAM`

use std::net::SocketAddr;

use async_trait::async_trait;
use countersign::server::server_conf;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::upstreams::peer::HttpPeer;

struct Bare {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (arguments.next(), arguments.next()) else {
        panic!("usage: bare_proxy LISTEN UPSTREAM");
    };
    let upstream = upstream.parse().expect("UPSTREAM is an address and a port");
    let mut server = Server::new_with_opt_and_conf(None, server_conf());
    let mut proxy = http_proxy_service(&server.configuration, Bare { upstream });
    proxy.add_tcp(&listen);
    server.add_service(proxy);
    server.bootstrap();
    server.run_forever();
}
