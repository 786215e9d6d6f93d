//! Jobs as the job service would write them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crater_k8s::AIJobSpec;
use crater_k8s::aijob::{AIJobResources, AIJobRole, AIJobTopology, Class};

/// A job to submit; one replica without GPUs unless said otherwise.
pub struct Job {
    pub name: String,
    pub account: String,
    creator: String,
    class: Class,
    priority: i32,
    replicas: i32,
    gpu_millis: i64,
    devices: BTreeMap<String, i64>,
    models: Vec<String>,
    selector: BTreeMap<String, String>,
    topology: Option<AIJobTopology>,
    expected_seconds: Option<i64>,
}

pub fn job(name: &str) -> Job {
    Job {
        name: name.into(),
        account: "lab".into(),
        creator: "ann".into(),
        class: Class::Guaranteed,
        priority: 0,
        replicas: 1,
        gpu_millis: 0,
        devices: BTreeMap::new(),
        models: Vec::new(),
        selector: BTreeMap::new(),
        topology: None,
        expected_seconds: None,
    }
}

impl Job {
    pub fn account(mut self, account: &str, creator: &str) -> Self {
        (self.account, self.creator) = (account.into(), creator.into());
        self
    }

    pub fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    pub fn replicas(mut self, replicas: i32) -> Self {
        self.replicas = replicas;
        self
    }

    pub fn gpus(mut self, millis: i64) -> Self {
        self.gpu_millis = millis;
        self
    }

    pub fn devices(mut self, name: &str, count: i64) -> Self {
        self.devices.insert(name.into(), count);
        self
    }

    pub fn model(mut self, model: &str) -> Self {
        self.models.push(model.into());
        self
    }

    pub fn on(mut self, key: &str, value: &str) -> Self {
        self.selector.insert(key.into(), value.into());
        self
    }

    pub fn within(mut self, key: &str, required: bool) -> Self {
        self.topology = Some(AIJobTopology { key: key.into(), required });
        self
    }

    pub fn expected(mut self, seconds: i64) -> Self {
        self.expected_seconds = Some(seconds);
        self
    }

    pub fn spec(&self) -> AIJobSpec {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        AIJobSpec {
            job_uid: uuid::Uuid::now_v7().to_string(),
            account: self.account.clone(),
            creator: self.creator.clone(),
            service_class: self.class,
            priority: self.priority,
            roles: vec![AIJobRole {
                name: "worker".into(),
                replicas: self.replicas,
                min_replicas: self.replicas,
                resources: AIJobResources {
                    cpu_millis: 100,
                    memory_bytes: 1 << 20,
                    gpu_millis: self.gpu_millis,
                    devices: self.devices.clone(),
                },
                gpu_models: self.models.clone(),
                image: "none".into(),
                command: vec!["true".into()],
                args: vec![],
                env: vec![],
                working_dir: String::new(),
                mounts: vec![],
            }],
            expected_seconds: self.expected_seconds,
            max_retries: 0,
            grace_seconds: 30,
            node_selector: self.selector.clone(),
            topology: self.topology.clone(),
            submitted_millis: i64::try_from(now).unwrap(),
            cancelled: false,
            suspended: None,
            checkpointed_millis: None,
            revision: 1,
        }
    }
}
