//! PID 1 of the guest that the blackbox cases are played in.

fn main() {
    hardway_qemu_tests::blackbox::guest::main();
}
