//! Who may call which method: read from the contract when it is built. A method without a rule does not build.

/// Who may call a method, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Anyone, signed in or not.
    Public,
    /// Any signed-in user who is not suspended.
    Authenticated,
    /// A member of the account that the request names.
    AccountMember,
    /// A manager of the account that the request names.
    AccountManager,
    /// A platform admin.
    PlatformAdmin,
    /// Another service of the mesh; never through the gateway.
    Service,
}

/// One method of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// The path of its HTTP request: `/crater.job.v1.JobService/CreateJob`.
    pub path: &'static str,
    /// The permission's name: `job.jobs.create`.
    pub permission: &'static str,
    /// Who holds it.
    pub level: Level,
    /// Whether the client streams.
    pub client_streaming: bool,
    /// Whether the server streams: such a call has no total deadline.
    pub server_streaming: bool,
}

/// Every method of the contract.
pub const METHODS: &[Method] = include!(concat!(env!("OUT_DIR"), "/access.rs"));

/// The method of a path, if the contract has it.
pub fn method(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|m| m.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_permission_of_its_own() {
        let mut names: Vec<_> = METHODS.iter().map(|m| m.permission).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METHODS.len());
        assert!(method("/crater.job.v1.JobService/WatchJobs").is_some_and(|m| m.server_streaming));
    }
}
