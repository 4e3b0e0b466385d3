//! Compiles the API with protox, which is Rust: no protoc to install.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message as _;

const FILES: [&str; 7] = [
    "bpfgate/v1/agent.proto",
    "bpfgate/v1/common.proto",
    "bpfgate/v1/entry.proto",
    "bpfgate/v1/event.proto",
    "bpfgate/v1/map.proto",
    "bpfgate/v1/program.proto",
    "bpfgate/v1/watch.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=bpfgate");
    let descriptors = protox::compile(FILES, ["."])?;
    // Reflection serves these, comments included.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Keys and values are slices of the receive buffer, not copies of it.
        .bytes(".bpfgate.v1")
        // A tree of these would take many times its bytes.
        .extern_path(".google.protobuf.Value", "crate::value::EncodedValue")
        .codec_path("crate::codec::MessageCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
