//! Work on files with a user's rights.
//!
//! What is in a home belongs to its user, who may have put links there; whoever follows them must not be
//! root. The kernel keeps a user and a group for access to files in each thread (setfsuid(2)): no other
//! thread is concerned, and root's own rights come back afterwards.

/// Does `work` as that user and group. A program that is not root does it as itself.
pub fn as_user<T>(uid: u32, gid: u32, work: impl FnOnce() -> T) -> T {
    if !rustix::process::geteuid().is_root() {
        return work();
    }
    let _guard = Guard::enter(uid, gid);
    work()
}

/// Root again when it goes.
struct Guard;

impl Guard {
    fn enter(uid: u32, gid: u32) -> Self {
        // The group first: with another user's rights it could not be changed any more.
        set_group(gid);
        set_user(uid);
        Self
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        set_user(0);
        set_group(0);
    }
}

fn set_user(uid: u32) {
    // SAFETY: it takes a number and changes this thread's credentials only.
    unsafe { libc::setfsuid(uid) };
}

fn set_group(gid: u32) {
    // SAFETY: as above.
    unsafe { libc::setfsgid(gid) };
}
