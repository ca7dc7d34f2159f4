//! Generates the protocol from the files that the client's package ships, wherever it was unpacked.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let platform = std::env::var("TARGET")?;
    let arguments = ["metadata", "--format-version", "1", "--offline", "--filter-platform", &platform];
    let metadata = Command::new(std::env::var("CARGO")?).args(arguments).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("no packages")?;
    let client = packages.iter().find(|package| package["name"] == "kurrentdb").ok_or("the client is no dependency")?;
    let manifest = PathBuf::from(client["manifest_path"].as_str().ok_or("no path")?);
    let protocol = manifest.parent().ok_or("no folder")?.join("protos");
    let files = ["streams.proto", "serverfeatures.proto"].map(|file| protocol.join(file));
    let compiled = protox::compile(files, [protocol])?;
    tonic_build::configure().build_client(false).compile_fds(compiled)?;
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
