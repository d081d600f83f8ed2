//! The one binary: hands over to `cli` and ends with the code it says.

use std::process::ExitCode;

// Half of the allocations of a request are short strings; mimalloc is a twentieth cheaper for the whole request
// (DESIGN section 14, where both sides of the comparison use it).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    countersign::cli::main()
}
