//! The binary: everything is in the library.

fn main() -> std::process::ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the one place where arguments come from")]
    let arguments = std::env::args_os();
    certctl::commands::run(arguments)
}
