//! Generates the echo service that measurements are held against.

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let set = protox::compile(["proto/echo.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(set)?;
    Ok(())
}
