//! The few system calls without a safe wrapper in the standard library.
#![expect(unsafe_code, reason = "each block is one call of libc, whose contract is stated beside it")]

use std::io;

use tokio::process::Command;

/// The user that this process runs as.
pub(crate) fn user_id() -> u32 {
    // SAFETY: takes nothing, touches no memory, cannot fail.
    unsafe { libc::geteuid() }
}

/// Leaves the terminal and its signals: what it started outlives it.
pub(crate) fn leave_session() {
    // SAFETY: takes nothing, touches no memory. It fails where the process leads a group: then it has left already.
    unsafe { libc::setsid() };
}

/// Asks a process to end.
pub(crate) fn terminate(pid: i32) {
    signal(pid, libc::SIGTERM);
}

/// Asks a process and all in its group to end.
pub(crate) fn terminate_group(leader: i32) {
    signal_group(leader, libc::SIGTERM);
}

/// Ends a process group at once.
pub(crate) fn kill_group(leader: i32) {
    signal_group(leader, libc::SIGKILL);
}

fn signal_group(leader: i32, signal_number: i32) {
    // kill(-1) is everybody, kill(0) is ourselves.
    if leader > 1 {
        signal(-leader, signal_number);
    }
}

fn signal(pid: i32, signal_number: i32) {
    // SAFETY: plain numbers, no memory. That the target is gone is no error here.
    unsafe { libc::kill(pid, signal_number) };
}

/// The command gets SIGKILL when the thread that starts it ends, however that comes.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: prctl and getppid are async-signal-safe, and the closure allocates nothing.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the call: then nobody would send the signal.
            if u32::try_from(libc::getppid()).ok() != Some(parent) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

/// Elsewhere there is no such signal: a command survives the kill -9 of its shim, and the run counts as lost.
#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent(_command: &mut Command) {}
