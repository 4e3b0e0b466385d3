//! Maps of sockets: by address or inode, told by cookie.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use bpfgate_client::v1::{MapType, Reference};
use bpfgate_client::{Client, Code, UpdateMode};
use bpfgate_tests::{Agent, NewMap, SOON, bpftool, refused, within};
use rustix::net::sockopt::{set_socket_reuseport, socket_cookie};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

fn slot(index: u32) -> [u8; 4] {
    index.to_ne_bytes()
}

fn inode(socket: impl AsFd) -> Reference {
    Reference::socket(format!("inode:{}", rustix::fs::fstat(socket).expect("a socket").st_ino))
}

fn cookie(socket: impl AsFd) -> u64 {
    socket_cookie(socket).expect("a cookie")
}

fn told(socket: impl AsFd) -> Reference {
    Reference::socket(format!("cookie:{}", cookie(socket)))
}

async fn point(client: &Client, map: &str, key: &[u8], to: Reference) {
    let updated = client.maps().update(map, key, to.clone(), UpdateMode::Any).await;
    updated.unwrap_or_else(|error| panic!("{map} to {to}: {error}"));
}

/// A listener, and a connection to it: the near end and the far one.
fn connection(agent: &Agent) -> (TcpListener, TcpStream, TcpStream) {
    agent.netns().within(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let near = TcpStream::connect(listener.local_addr().unwrap()).expect("a connection");
        let far = listener.accept().expect("a connection").0;
        (listener, near, far)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_found_by_its_address_and_told_by_its_cookie() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let id = NewMap::new("socks", MapType::Sockmap).make(&client).await.id;
    let (listener, near, far) = connection(&agent);
    let datagrams = agent.netns().within(|| UdpSocket::bind("[::1]:0").unwrap());
    let (local, remote) = (near.local_addr().unwrap(), near.peer_addr().unwrap());

    // The listener and the accepted end have the same address; without a remote one it is the
    // listener.
    point(&client, "socks", &slot(0), Reference::socket(format!("tcp:{remote}"))).await;
    point(&client, "socks", &slot(1), Reference::socket(format!("tcp:{remote}-{local}"))).await;
    point(&client, "socks", &slot(2), Reference::socket(format!("tcp:{local}"))).await;
    let address = datagrams.local_addr().unwrap();
    point(&client, "socks", &slot(3), Reference::socket(format!("udp:{address}"))).await;
    let sockets: [&dyn AsFd; 4] = [&listener, &far, &near, &datagrams];
    for (index, socket) in (0..).zip(sockets) {
        let fd = socket.as_fd();
        assert_eq!(maps.lookup_reference("socks", slot(index)).await.unwrap(), told(fd));
        let theirs = bpftool::lookup(id, &slot(index)).unwrap();
        assert_eq!(theirs.values, [cookie(fd).to_ne_bytes()]);
    }

    maps.delete_entry("socks", slot(0)).await.unwrap();
    refused(maps.lookup_reference("socks", slot(0)).await, Code::NotFound, &["socks"]);
    refused(maps.delete_entry("socks", slot(0)).await, Code::NotFound, &["socks"]);
    // Nothing keeps a socket that is closed.
    drop(near);
    assert!(within(SOON, || bpftool::lookup(id, &slot(2)).is_none()));
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_found_by_its_inode_wherever_it_is() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    NewMap::new("socks", MapType::Sockhash).sizes(6, 8).make(&client).await;
    // In the test's network namespace, not in the agent's.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    point(&client, "socks", b"a name", inode(&listener)).await;
    assert_eq!(maps.lookup_reference("socks", *b"a name").await.unwrap(), told(&listener));
    let by_address = Reference::socket(format!("tcp:{address}"));
    let elsewhere = maps.update("socks", *b"a name", by_address, UpdateMode::Any).await;
    refused(elsewhere, Code::NotFound, &["socket", &address.to_string()]);
    let there = maps.update("socks", *b"a name", inode(&listener), UpdateMode::Noexist).await;
    refused(there, Code::AlreadyExists, &["socks"]);
    maps.delete_entry("socks", *b"a name").await.unwrap();
    refused(maps.delete_entry("socks", *b"a name").await, Code::NotFound, &["socks"]);
    drop(client);
    agent.stop();
}

fn socket(family: AddressFamily, kind: SocketType) -> rustix::io::Result<OwnedFd> {
    socket_with(family, kind, SocketFlags::CLOEXEC, None)
}

/// Sockets that listen on one and the same address.
fn reusing(agent: &Agent) -> [OwnedFd; 2] {
    agent.netns().within(|| {
        let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        [0, 1].map(|_| {
            let socket = socket(AddressFamily::INET, SocketType::STREAM).unwrap();
            set_socket_reuseport(&socket, true).unwrap();
            bind(&socket, &address).unwrap();
            listen(&socket, 8).unwrap();
            address = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
            socket
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_share_an_address_are_told_apart_by_inode() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    NewMap::new("socks", MapType::ReuseportSockarray).make(&client).await;
    let sockets = reusing(&agent);
    let address: SocketAddr = rustix::net::getsockname(&sockets[0]).unwrap().try_into().unwrap();
    let either = Reference::socket(format!("tcp:{address}"));
    let update = maps.update("socks", slot(0), either, UpdateMode::Any).await;
    refused(update, Code::InvalidArgument, &["more than one", "inode:N"]);
    for (index, socket) in (0..).zip(&sockets) {
        point(&client, "socks", &slot(index), inode(socket)).await;
        assert_eq!(maps.lookup_reference("socks", slot(index)).await.unwrap(), told(socket));
    }
    // One without SO_REUSEPORT.
    let other = agent.netns().within(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let update = maps.update("socks", slot(2), inode(&other), UpdateMode::Any).await;
    refused(update, Code::InvalidArgument, &["SO_REUSEPORT"]);
    maps.delete_entry("socks", slot(1)).await.unwrap();
    refused(maps.delete_entry("socks", slot(1)).await, Code::NotFound, &["socks"]);
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_xskmap_takes_xdp_sockets_and_tells_nothing() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    NewMap::new("xsks", MapType::Xskmap).sizes(4, 4).make(&client).await;
    let [xsk, other] = agent
        .netns()
        .within(|| [(); 2].map(|()| socket(AddressFamily::XDP, SocketType::RAW).expect("AF_XDP")));
    point(&client, "xsks", &slot(1), inode(&xsk)).await;
    let again = maps.update("xsks", slot(1), inode(&other), UpdateMode::Noexist).await;
    refused(again, Code::AlreadyExists, &["xsks"]);
    let lookup = maps.lookup_reference("xsks", slot(1)).await;
    refused(lookup, Code::Unimplemented, &["xskmap", "update, delete"]);
    maps.delete_entry("xsks", slot(1)).await.unwrap();
    maps.update("xsks", slot(1), inode(&other), UpdateMode::Noexist).await.unwrap();
    let listener = agent.netns().within(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let update = maps.update("xsks", slot(0), inode(&listener), UpdateMode::Any).await;
    refused(update, Code::InvalidArgument, &["AF_XDP"]);
    // A socket in an xskmap keeps the map.
    drop([xsk, other]);
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_socket_for_a_slot_is_refused() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    NewMap::new("socks", MapType::Sockmap).make(&client).await;
    // Made in a way that the kernel tells nothing of it.
    NewMap::new("mute", MapType::Sockmap).sizes(4, 4).make(&client).await;
    let idle = agent.netns().within(|| socket(AddressFamily::INET, SocketType::STREAM));
    let idle = idle.unwrap();
    for (to, code, words) in [
        (Reference::socket("tcp:127.0.0.1:1"), Code::NotFound, &["tcp:127.0.0.1:1"][..]),
        (Reference::socket("inode:1"), Code::NotFound, &["inode:1"]),
        (Reference::socket("tcp:80"), Code::InvalidArgument, &["reference", "127.0.0.1:80"]),
        (Reference::socket("cookie:1"), Code::NotFound, &["cookie:1"]),
        (inode(&idle), Code::InvalidArgument, &["inode:", "connected"]),
    ] {
        refused(maps.update("socks", slot(0), to, UpdateMode::Any).await, code, words);
    }
    let raw = maps.update("socks", slot(0), [0; 8], UpdateMode::Any).await;
    refused(raw, Code::FailedPrecondition, &["a socket", "tcp:LOCAL"]);

    let (listener, _near, _far) = connection(&agent);
    point(&client, "mute", &slot(0), inode(&listener)).await;
    let lookup = maps.lookup_reference("mute", slot(0)).await;
    refused(lookup, Code::Unimplemented, &["mute", "update, delete"]);
    maps.delete_entry("mute", slot(0)).await.unwrap();
    drop(client);
    agent.stop();
}
