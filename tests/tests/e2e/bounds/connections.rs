//! Connections: no caller has them all, and who does not speak does not stay.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use bpfgate_tests::hostile::{Hostile, MALLORY, connect_as};
use bpfgate_tests::{SOON, within};
use bytes::Bytes;

use super::{Trial, lookup};

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_cannot_have_every_connection() {
    let trial = Trial::begin().await;
    let socket = trial.agent.socket();
    let (mut held, mut closed) = (Vec::new(), 0);
    for _ in 0..3000 {
        let Ok(mut stream) = connect_as(&socket, MALLORY) else { break };
        let _ = stream.write_all(b"P");
        held.push(stream);
    }
    // The agent's share for one caller is half of `max_connections`, or what memory there is.
    for stream in &mut held {
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let end = stream.read(&mut [0; 64]);
        assert!(matches!(end, Ok(0..) | Err(_)));
        closed += 1;
    }
    trial.check_memory();
    assert_eq!(closed, held.len(), "one byte is not the preface");
    drop(held);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_one_byte_ends_with_its_preface_time() {
    let trial = Trial::begin().await;
    let sockets = trial.agent.checkpoint().sockets;
    let silent = connect_as(&trial.agent.socket(), MALLORY).unwrap();
    let mut one_byte = connect_as(&trial.agent.socket(), MALLORY).unwrap();
    one_byte.write_all(b"P").unwrap();
    let mut all_but_one = connect_as(&trial.agent.socket(), MALLORY).unwrap();
    all_but_one.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0").unwrap();
    assert!(within(SOON, || trial.agent.checkpoint().sockets == sockets), "they stay");
    drop((silent, one_byte, all_but_one));
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_have_their_own_share_of_requests() {
    let trial = Trial::begin().await;
    let mut all = Vec::new();
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut hostile = Hostile::connect(&trial.agent, MALLORY, 1 << 16).await;
        for _ in 0..1000 {
            let sent = hostile.begin("/bpfgate.v1.MapService/Lookup", Bytes::new(), false);
            all.push(sent.await.unwrap());
        }
        connections.push(hostile);
    }
    let mut other = Hostile::connect(&trial.agent, MALLORY + 1, 1 << 16).await;
    let (code, message) = other
        .call("/bpfgate.v1.MapService/Lookup", &lookup("good", false))
        .await
        .status()
        .await
        .unwrap();
    assert_eq!(code, 0, "{message}");
    drop((all, connections, other));
    trial.end().await;
}
