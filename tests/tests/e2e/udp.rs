//! UDP frames over a cable, counted at its end by `proto-counters`.

use std::time::Duration;

use bpfgate_client::Client;
use bpfgate_client::v1::SocketTarget;
use bpfgate_client::v1::attach_target::Target;
use bpfgate_tests::calls::{attach, load_builtin};
use bpfgate_tests::{Agent, Netns, binaries, frames, run};

/// The end that sends.
pub(crate) struct Sender {
    netns: Netns,
    interface: &'static str,
    frame: Vec<u8>,
}

/// An agent that counts what comes, a client of it, and who sends.
pub(crate) async fn counted() -> (Agent, Client, Sender) {
    let (near, far) = (Netns::new(), Netns::new());
    let veth = near.veth(&far);
    let agent = Agent::builder().netns(near).spawn();
    let client = agent.client().await;
    load_builtin(&client, "proto-counters").await;
    let socket = SocketTarget { interface: veth.near.to_owned() };
    attach(&client, "proto-counters/count_protocols", Target::Socket(socket)).await;
    let frame = frames::ethernet(&[], frames::IPV4, &frames::ipv4(frames::UDP, 100));
    (agent, client, Sender { netns: far, interface: veth.far, frame })
}

impl Sender {
    /// Bytes of so many frames.
    pub(crate) fn bytes(&self, frames: u64) -> u64 {
        frames * self.frame.len() as u64
    }

    /// Sends so many frames at a time, with a pause behind each time.
    pub(crate) fn send(&self, times: u32, frames: u64, pause: Duration) {
        let (count, hex) = (frames.to_string(), frames::hex(&self.frame));
        let arguments = ["frame", "--interface", self.interface, "--hex", &hex, "--count", &count];
        for _ in 0..times {
            drop(run(self.netns.command(binaries::traffic()).args(arguments)).ok());
            std::thread::sleep(pause);
        }
    }
}
