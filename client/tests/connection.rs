//! What a caller is told when the other end is not what it should be.

use std::time::Duration;

use bpfgate_client::{Client, ConnectProblem, Endpoint, Error, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

fn problem(result: Result<Client, Error>) -> (ConnectProblem, String) {
    match result {
        Err(Error::Connect(error)) => (error.problem, error.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_missing_agent_is_told_apart_from_a_dead_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let endpoint = Endpoint::unix(&path).to_string();

    let (kind, text) = problem(Client::connect(&endpoint).await);
    assert_eq!(kind, ConnectProblem::NoSocket);
    assert!(text.contains(&format!("bpfgated --listen {endpoint}")), "{text}");

    std::fs::write(&path, "").unwrap();
    let (kind, text) = problem(Client::connect(&endpoint).await);
    assert_eq!(kind, ConnectProblem::NotASocket, "{text}");

    std::fs::remove_file(&path).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    let (kind, text) = problem(Client::connect(&endpoint).await);
    assert_eq!(kind, ConnectProblem::Refused);
    assert!(text.contains("left over"), "{text}");

    let port = unused_port().await;
    let (kind, text) = problem(Client::connect(&format!("http://127.0.0.1:{port}")).await);
    assert_eq!(kind, ConnectProblem::Refused);
    assert!(text.contains(&format!("--listen tcp:127.0.0.1:{port}")), "{text}");

    let (kind, text) = problem(Client::connect("http://no-such-host.invalid:1").await);
    assert_eq!(kind, ConnectProblem::UnknownHost, "{text}");
}

#[tokio::test]
async fn a_web_server_is_no_agent() {
    let endpoint = serve(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
    let said = whoami(&endpoint).await;
    assert!(matches!(&said, Error::NotAnAgent { .. }), "{said:?}");
}

#[tokio::test]
async fn another_grpc_server_is_no_agent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let empty = tonic::service::Routes::default();
    tokio::spawn(
        tonic::transport::Server::builder().add_routes(empty).serve_with_incoming(incoming),
    );
    let said = whoami(&endpoint).await;
    assert!(matches!(&said, Error::NotAnAgent { .. }), "{said:?}");
    assert!(said.to_string().contains("has no WhoAmI"), "{said}");
}

#[tokio::test]
async fn a_peer_that_hangs_up_or_says_nothing_does_not_hold_the_caller() {
    let said = whoami(&serve(b"").await).await;
    assert!(matches!(&said, Error::NotAnAgent { .. }), "{said:?}");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let said = whoami(&endpoint).await;
    assert!(matches!(&said, Error::TimedOut { .. }), "{said:?}");
}

async fn unused_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// Answers every connection with these bytes, then closes it.
async fn serve(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            let mut preface = [0; 512];
            let _ = peer.read(&mut preface).await;
            let _ = peer.write_all(answer).await;
        }
    });
    endpoint
}

async fn whoami(endpoint: &str) -> Error {
    let options = Options { timeout: Duration::from_millis(300), ..Options::default() };
    let client = Client::connect_with(endpoint.parse().unwrap(), options).await.unwrap();
    client.agent().whoami().await.unwrap_err()
}
