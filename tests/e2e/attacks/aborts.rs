//! Clients that leave in the middle of a lookup: nobody else gets their answer (THREATS S1, S2, S3). And those that stay,
//! but take no answer (THREATS S11).

use std::time::Duration;

use e2e::fixture::{ANA, BEN};
use e2e::proxy::COOKIE;
use e2e::raw::RawUpstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::frames::impatient;
use crate::setup::{Site, on_every_backend};

on_every_backend! {
    async fn after_mass_aborts_every_request_still_has_its_own_identity(stores) {
        let site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await.cookie(COOKIE).unwrap();
        let ben = site.logged_in(BEN).await.cookie(COOKIE).unwrap();
        let _ = site.app.take();
        let address = site.proxy.addresses().http1;
        let mut clients = Vec::new();
        for client in 0..16_u64 {
            let (ana, ben) = (ana.clone(), ben.clone());
            clients.push(tokio::spawn(async move {
                for round in 0..30_u64 {
                    let (path, token) = if (client + round) % 2 == 0 { ("ana", &ana) } else { ("ben", &ben) };
                    let request = format!(
                        "GET /session/{path} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\nCookie: {COOKIE}={token}\r\n\r\n"
                    );
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    stream.write_all(request.as_bytes()).await.unwrap();
                    if (client * 7 + round * 3) % 4 < 2 {
                        // Gone, some before the lookup, some within it, some after.
                        tokio::time::sleep(Duration::from_micros(client * round * 10)).await;
                        continue;
                    }
                    let mut answer = String::new();
                    let _ = stream.read_to_string(&mut answer).await;
                    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                }
            }));
        }
        for client in clients {
            client.await.unwrap();
        }
        let arrived = site.app.take();
        assert!(arrived.len() >= 240, "{} requests arrived", arrived.len());
        for request in arrived {
            let owner = if request.target == "/session/ana" { ANA } else { BEN };
            assert_eq!(request.context("user-id"), Some(owner), "{}", request.target);
        }
    }
}

/// Heads are answers too, and whoever takes none holds a connection of the application.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_no_heads_is_not_waited_for_without_end() {
    let lines = format!("X: {}\r\n", "x".repeat(1000)).repeat(60);
    let answer = format!("HTTP/1.1 200 OK\r\n{lines}Set-Cookie: a=b\r\nContent-Length: 0\r\n\r\n");
    let app = RawUpstream::answering(answer.as_bytes()).await;
    let proxy = impatient(&app).await;
    for method in ["GET", "HEAD"] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(proxy.addresses().http1).await.unwrap();
        let request = format!("{method} /public/x HTTP/1.1\r\nHost: app.test\r\n\r\n");
        // More than the proxy reads ahead; what cannot be sent waits.
        let sending = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
        timeout(Duration::from_mins(1), sending).await.expect("the proxy gives up");
    }
}
