//! The server over real connections.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tidegate_edge::serve::{Limits, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

async fn start(router: Router, limits: Limits) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = serve(listener, router, limits, async {
        let _ = stopped.await;
    });
    (address, stop, tokio::spawn(server))
}

/// Everything until the server closes the connection; fails when it does not.
async fn to_end(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all));
    // A reset is an end, too.
    let _ = read.await.unwrap();
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn clients_that_are_slow_with_their_headers_are_dropped() {
    let limits = Limits { headers: Duration::from_millis(50), ..Limits::default() };
    let router = Router::new().route("/", get(async || "hello"));
    let (address, _stop, _server) = start(router, limits).await;
    let mut nothing = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(&REQUEST[..20]).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(REQUEST).await.unwrap();
    assert!(!to_end(&mut nothing).await.contains("hello"));
    assert!(!to_end(&mut half).await.contains("hello"));
    assert!(to_end(&mut idle).await.ends_with("hello"), "answered, then closed");
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_a_place() {
    let limits = Limits { connections: 1, headers: Duration::from_secs(3600), ..Limits::default() };
    let router = Router::new().route("/", get(async || "hello"));
    let (address, _stop, _server) = start(router, limits).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(REQUEST).await.unwrap();
    let mut byte = [0];
    first.read_exact(&mut byte).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    drop(first);
    assert!(to_end(&mut second).await.ends_with("hello"));
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_takes_no_more() {
    let (begun, mut has_begun) = tokio::sync::mpsc::channel::<()>(1);
    let (go, may_go) = tokio::sync::watch::channel(false);
    let slow = move || {
        let (begun, mut may_go) = (begun.clone(), may_go.clone());
        async move {
            let _ = begun.send(()).await;
            let _ = may_go.wait_for(|go| *go).await;
            "slow"
        }
    };
    let router = Router::new().route("/", get(slow));
    let (address, stop, server) = start(router, Limits::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    has_begun.recv().await.unwrap();
    stop.send(()).unwrap();
    // The listener closes although a request is under way.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go.send(true).unwrap();
    assert!(to_end(&mut stream).await.ends_with("slow"));
    server.await.unwrap();
}
