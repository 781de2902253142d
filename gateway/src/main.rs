//! The binary: everything is in the library.

use std::process::ExitCode;

/// A request allocates a few dozen small pieces on one thread, which mimalloc is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    doorward::cli::run()
}
