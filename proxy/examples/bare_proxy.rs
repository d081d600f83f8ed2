//! Bare Pingora of the same version with Countersign's settings: server, time-outs, allocator.

#[path = "shared/bare.rs"]
mod bare;

use std::time::Duration;

use countersign::server::server_conf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // The same as in `gateway/admit.rs` and `gateway/peer.rs`: without them a proxy on the open network is held up by
    // whoever likes, and each of them registers timers.
    let tuning = bare::Tuning {
        session: |session| {
            if session.get_keepalive().is_some() {
                session.set_keepalive(Some(60));
            }
            session.set_read_timeout(Some(Duration::from_mins(1)));
            session.set_write_timeout(Some(Duration::from_mins(1)));
        },
        peer: |peer| {
            peer.options.connection_timeout = Some(Duration::from_secs(2));
            peer.options.total_connection_timeout = Some(Duration::from_secs(2));
            peer.options.read_timeout = Some(Duration::from_mins(1));
            peer.options.write_timeout = Some(Duration::from_mins(1));
            peer.options.idle_timeout = Some(Duration::from_secs(30));
        },
    };
    bare::run(server_conf(), tuning);
}
