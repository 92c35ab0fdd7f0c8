//! The limit of open files and sockets of the process.

/// Raises the soft limit to the hard one, and returns the result; none where there is no such limit.
///
/// Many systems start processes with a soft limit of 1024, for programs that use `select`. A gateway has two sockets for
/// each request.
pub fn raise() -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(_) => limit.current,
        }
    }
    #[cfg(not(unix))]
    None
}

/// The warning for the operator when the limit is too low for this many connections.
pub fn shortage(limit: Option<u64>, max_connections: usize) -> Option<String> {
    // One for the client, one for the provider; the database, the spool and the listeners need a few.
    let needed = 2 * max_connections as u64 + 64;
    let limit = limit.filter(|limit| *limit < needed)?;
    Some(format!(
        "{limit} files may be open, and server.max_connections = {max_connections} may need {needed}: raise the limit \
         (ulimit -n, LimitNOFILE=) or lower server.max_connections to {}",
        (limit.saturating_sub(64) / 2).max(1)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_compared() {
        let raised = raise();
        assert_eq!(raise(), raised);
        assert_eq!(shortage(None, 20_000), None);
        assert_eq!(shortage(Some(40_064), 20_000), None);
        let text = shortage(Some(1024), 20_000).unwrap();
        assert!(text.contains("server.max_connections to 480"), "{text}");
    }
}
