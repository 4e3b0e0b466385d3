//! Every RPC, asked for the largest, the slowest and the most that the API allows.

use std::collections::BTreeMap;
use std::time::Duration;

use bpfgate_server::layer::table::{ROWS, Shape};
use bpfgate_tests::hostile::{Hostile, MALLORY, claimed};
use bytes::Bytes;

use super::Trial;

const CANCELLED: i32 = 1;
const DEADLINE_EXCEEDED: i32 = 4;

/// Longer than any deadline of the agent's here.
const ENOUGH: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn no_rpc_waits_for_ever_for_its_request() {
    let trial = Trial::begin().await;
    let mut waiting = Vec::new();
    let mut hostile = Hostile::connect(&trial.agent, MALLORY, 1 << 16).await;
    for row in ROWS.iter().filter(|row| row.shape != Shape::Both) {
        let nothing = hostile.begin(row.path, Bytes::new(), false).await.unwrap();
        let mut half = hostile.begin(row.path, claimed(1000).freeze(), false).await.unwrap();
        half.body.send_data(Bytes::from_static(&[0; 500]), false).unwrap();
        waiting.extend([(row, nothing), (row, half)]);
    }
    for (row, sent) in waiting {
        // An upload has a time of its own, a minute, and so has health's watch for a client.
        if row.path.ends_with("/LoadObject") {
            continue;
        }
        let ended = tokio::time::timeout(ENOUGH, sent.status()).await;
        let ended = ended.unwrap_or_else(|_| panic!("{} waits on", row.path));
        let (code, message) = ended.unwrap();
        assert_eq!(code, DEADLINE_EXCEEDED, "{}: {message}", row.path);
    }
    drop(hostile);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rpc_breaks_on_its_largest_message() {
    let trial = Trial::begin().await;
    for row in ROWS {
        let mut hostile = Hostile::connect(&trial.agent, MALLORY, 1 << 16).await;
        // Fields that no message has: as large as any message may be, and decoded to nothing.
        let largest = usize::try_from(row.message_bytes(16 << 20)).unwrap();
        let mut body = claimed(largest);
        body.extend_from_slice(&[0xfa, 0x7f]);
        let mut rest = largest - 2;
        prost_varint(rest - varint_length(rest), &mut body);
        rest = largest + 5 - body.len();
        body.resize(body.len() + rest, 0);
        let sent = hostile.begin(row.path, body.freeze(), true).await.unwrap();
        if matches!(row.shape, Shape::Unary | Shape::ClientStream) {
            let ended = tokio::time::timeout(ENOUGH, sent.status()).await;
            let ended = ended.unwrap_or_else(|_| panic!("{} waits on", row.path));
            let (code, message) = ended.unwrap();
            assert!((0..17).contains(&code) && code != 13, "{}: {code} {message}", row.path);
        }
        trial.check_memory();
    }
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_of_any_rpc_harm_nobody() {
    let trial = Trial::begin().await;
    for row in ROWS {
        let mut hostile = Hostile::connect(&trial.agent, MALLORY, 0).await;
        let mut all = Vec::new();
        for _ in 0..1000 {
            // An empty message: every call's defaults.
            let Ok(sent) = hostile.begin(row.path, claimed(0).freeze(), true).await else { break };
            all.push(sent);
        }
        trial.check_memory();
        let mut codes: BTreeMap<i32, usize> = BTreeMap::new();
        if row.shape == Shape::Unary {
            for sent in all {
                let head = tokio::time::timeout(ENOUGH, sent.head()).await;
                let head = head.unwrap_or_else(|_| panic!("{} waits on", row.path));
                let Ok((headers, ..)) = head else { continue };
                let code = headers.get("grpc-status").and_then(|code| code.to_str().ok());
                *codes.entry(code.map_or(0, |code| code.parse().unwrap())).or_default() += 1;
            }
            let mistakes = codes.keys().filter(|code| [CANCELLED, 2, 13].contains(code)).count();
            assert_eq!(mistakes, 0, "{}: {codes:?}", row.path);
        }
    }
    trial.end().await;
}

fn varint_length(number: usize) -> usize {
    let mut bytes = bytes::BytesMut::new();
    prost_varint(number, &mut bytes);
    bytes.len()
}

fn prost_varint(number: usize, into: &mut bytes::BytesMut) {
    prost::encoding::encode_varint(number as u64, into);
}
