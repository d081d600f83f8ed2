//! Bare Pingora out of the box: its own settings but for as many threads, no time-outs, the system's allocator.

#[path = "shared/bare.rs"]
mod bare;

use pingora::server::configuration::ServerConf;

fn main() {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let conf = ServerConf { threads, ..ServerConf::default() };
    bare::run(conf, bare::Tuning { session: |_| {}, peer: |_| {} });
}
