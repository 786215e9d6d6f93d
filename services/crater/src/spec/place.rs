//! By which flag, or which key of the file, a field of the request was given.

/// How many roles the job has, and the file it came from.
#[derive(Debug, Clone)]
pub struct Places {
    /// The names of the roles, in order.
    pub roles: Vec<String>,
    /// The file, if there is one.
    pub file: Option<String>,
}

/// The fields of a job and the flags behind them, the longer path first where one begins like another.
const FLAGS: [(&str, &str); 11] = [
    ("parent", "--account"),
    ("job_id", "--name"),
    ("job.labels", "--label"),
    ("job.spec.service_class", "--class"),
    ("job.spec.priority", "--priority"),
    ("job.spec.expected_duration", "--duration"),
    ("job.spec.max_retries", "--retries"),
    ("job.spec.grace_period", "grace-period"),
    ("job.spec.node_selector", "--node-selector"),
    ("job.spec.topology", "--within, --near"),
    ("job.spec.roles", "roles"),
];

const ROLE_FLAGS: [(&str, &str); 14] = [
    ("resources.gpu_millis", "--gpu"),
    ("resources.cpu_millis", "--cpu"),
    ("resources.memory_bytes", "--memory"),
    ("resources.devices", "--device"),
    ("resources", "--cpu, --memory, --gpu"),
    ("min_replicas", "--min-replicas"),
    ("replicas", "--replicas"),
    ("gpu_models", "--gpu-model"),
    ("image", "--image"),
    ("command", "COMMAND"),
    ("args", "COMMAND"),
    ("env", "--env"),
    ("working_dir", "--workdir"),
    ("mounts", "mounts"),
];

impl Places {
    /// The flag of the field at `path`, or the key and its role where the file has several.
    pub fn of(&self, path: &str) -> Option<String> {
        let Some(rest) = path.strip_prefix("job.spec.roles[") else {
            let (_, flag) = FLAGS.iter().find(|(field, _)| begins(path, field))?;
            return Some((*flag).to_owned());
        };
        let (index, field) = rest.split_once(']')?;
        let field = field.trim_start_matches('.');
        let flag = ROLE_FLAGS.iter().find(|(f, _)| begins(field, f)).map_or(field, |(_, flag)| *flag);
        if self.roles.len() <= 1 {
            return Some(flag.to_owned());
        }
        let role = index.parse::<usize>().ok().and_then(|i| self.roles.get(i))?;
        let file = self.file.as_deref().unwrap_or("the job");
        Some(format!("{file}: role {role}: {}", flag.trim_start_matches("--")))
    }
}

/// Whether `path` is `field` or something inside it.
fn begins(path: &str, field: &str) -> bool {
    path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_by_their_flags() {
        let one = Places { roles: vec!["worker".into()], file: None };
        for (path, flag) in [
            ("job.spec.roles[0].resources.gpu_millis", "--gpu"),
            ("job.spec.roles[0].resources", "--cpu, --memory, --gpu"),
            ("job.spec.roles[0].resources.devices[rdma/hca]", "--device"),
            ("job.spec.roles[0].min_replicas", "--min-replicas"),
            ("job.spec.roles[0].env[3].name", "--env"),
            ("job.spec.roles[0].gpu_models[0]", "--gpu-model"),
            ("job.spec.priority", "--priority"),
            ("job.labels[a]", "--label"),
            ("job_id", "--name"),
            ("parent", "--account"),
        ] {
            assert_eq!(one.of(path).as_deref(), Some(flag), "{path}");
        }
        assert_eq!(one.of("request_id"), None);
    }

    #[test]
    fn with_several_roles_the_role_is_named() {
        let two = Places { roles: vec!["ps".into(), "worker".into()], file: Some("job.yaml".into()) };
        assert_eq!(two.of("job.spec.roles[1].replicas").as_deref(), Some("job.yaml: role worker: replicas"));
    }
}
