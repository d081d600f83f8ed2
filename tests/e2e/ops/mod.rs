//! Operating the proxy while it serves: reloads, upgrades, certificates, limits, the end.

mod lifecycle;
mod limits;
mod load;
mod reload;
mod rotation;
mod tls;
