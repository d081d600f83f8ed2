//! Pingora with nothing in it: the reference that the benchmark compares Countersign with.
//!
//! `bare_proxy LISTEN UPSTREAM [h2c]`

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::proxy::{ProxyHttp, Session, http_proxy};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::services::listening::Service;
use pingora::upstreams::peer::HttpPeer;

/// What is set besides the settings of the server, once for the client's side and once for the application's.
#[derive(Clone, Copy)]
pub(crate) struct Tuning {
    pub(crate) session: fn(&mut Session),
    pub(crate) peer: fn(&mut HttpPeer),
}

struct Bare {
    upstream: SocketAddr,
    tuning: Tuning,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn early_request_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<()> {
        (self.tuning.session)(session);
        Ok(())
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.upstream, false, String::new());
        (self.tuning.peer)(&mut peer);
        Ok(Box::new(peer))
    }
}

pub(crate) fn run(conf: ServerConf, tuning: Tuning) {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (arguments.next(), arguments.next()) else {
        panic!("usage: bare_proxy LISTEN UPSTREAM [h2c]");
    };
    let upstream = upstream.parse().expect("UPSTREAM is an address and a port");
    let mut server = Server::new_with_opt_and_conf(None, conf);
    let mut proxy = http_proxy(&Arc::clone(&server.configuration), Bare { upstream, tuning });
    let mut options = HttpServerOptions::default();
    options.h2c = arguments.next().is_some_and(|argument| argument == "h2c");
    proxy.server_options = Some(options);
    let mut service = Service::new("bare".to_owned(), proxy);
    service.add_tcp(&listen);
    server.add_service(service);
    server.bootstrap();
    server.run_forever();
}
