//! The shim as a program of its own, for this crate's tests. `crater` has the same behind its hidden `__shim`.

use std::process::ExitCode;

fn main() -> ExitCode {
    crater_k8s_mem::shim_main(std::env::args_os().skip(2))
}
