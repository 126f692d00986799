//! Compiles the contract; protox is a protoc in Rust, so that no other program is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=../../protos");
    let services = ["jobwire/v1/job_service.proto", "jobwire/v1/worker_service.proto"];
    let contract = protox::compile(services, ["../../protos"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(contract)?;
    Ok(())
}
