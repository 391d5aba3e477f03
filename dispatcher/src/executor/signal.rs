//! Which signal ended a program, in the word that people know it by.

/// What a program's end is called where nobody says more than that it failed: an exit code of 128 + n is a shell's, a
/// kubelet's and our own way to say signal n. Kubernetes itself says `Error` of all of them.
pub(super) fn reason_of(exit_code: i32) -> &'static str {
    match exit_code - 128 {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => "Error",
    }
}

/// How the program ended, for people, where it left no words of its own.
pub(super) fn words_of(exit_code: i32) -> String {
    match reason_of(exit_code) {
        "Error" => format!("ended with exit code {exit_code}"),
        signal => format!("was ended by {signal} (exit code {exit_code})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_its_name_and_other_codes_have_none() {
        assert_eq!(
            [reason_of(137), reason_of(139), reason_of(3), reason_of(200)],
            ["SIGKILL", "SIGSEGV", "Error", "Error"]
        );
        assert_eq!(words_of(143), "was ended by SIGTERM (exit code 143)");
        assert_eq!(words_of(128), "ended with exit code 128");
    }
}
