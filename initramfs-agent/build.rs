//! Links the agent small: it travels to every machine.

fn main() {
    // Relocations of a position-independent program, packed (DT_RELR, glibc 2.36): 120 KB less.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    // No index of the tables for unwinding, 48 KB: a program that aborts when it panics reads none. That
    // is the profile `agent`, which cargo tells of by nothing but its optimization.
    if std::env::var("OPT_LEVEL").is_ok_and(|level| level == "z") {
        println!("cargo:rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
