//! Jobs come into a world, and some run there already.

use std::collections::BTreeMap;
use std::sync::Arc;

use crater_engine::{
    AccountIx, Class, ExtendedIx, Holding, Job, JobIx, KeyIx, ModelIx, NodeIx, Preemptible, Request, Shape,
    Topology, WHOLE_GPU,
};

use super::fault::Fault;
use super::format::{ClassSpec, JobSpec, Mode, Priority};
use super::roles::roles;
use super::world::World;

/// Names that are listed where one is wrong.
const NAMES_TOLD: usize = 8;

impl World {
    /// A job is submitted. `at`: which one it is, such as `jobs[2]`.
    pub(crate) fn submit(&mut self, spec: &JobSpec, at: &str) -> Result<(), Fault> {
        let fault = |field: &str, why: String| Err(Fault::new(format!("{at}.{field}"), why));
        if spec.name.is_empty() {
            return fault("name", "is empty".into());
        }
        if self.jobs.get(&spec.name).is_some() {
            return fault("name", format!("job {} is there twice", spec.name));
        }
        let account = self.account(spec).map_err(|why| Fault::new(format!("{at}.account"), why))?;
        let priority = self.priority(spec).map_err(|why| Fault::new(format!("{at}.priority"), why))?;
        let roles = roles(spec, &mut self.extended, at)?;
        let (each, replicas) = (roles[0].each, roles[0].replicas);
        if !spec.roles.is_empty() && !spec.running_on.is_empty() {
            return fault("running_on", "is for jobs with one role".into());
        }
        if spec.running_on.len() > replicas as usize {
            return fault("running_on", "has more nodes than the job has replicas".into());
        }
        let models = spec.gpu_model.iter().map(|model| ModelIx(self.models.add(model))).collect();
        let selector = spec.node_selector.iter().map(|(key, value)| self.label(key, value)).collect();
        let topology = spec.topology.as_ref().map(|topology| Topology {
            key: KeyIx(self.keys.add(&topology.key)),
            required: topology.mode == Mode::Required,
        });
        let submitted = self.snapshot.now + i64::from(spec.submit) * 1000;
        let job = JobIx(self.jobs.add(&spec.name));
        self.snapshot.jobs.push(Job {
            account,
            class: match spec.class {
                ClassSpec::Guaranteed => Class::Guaranteed,
                ClassSpec::BestEffort => Class::BestEffort,
            },
            priority,
            expected_ms: spec.estimate.map(|seconds| i64::from(seconds) * 1000),
            submitted,
            queued_since: submitted,
            preemptible: match spec.preemptible {
                None => Preemptible::WhenBorrowing,
                Some(true) => Preemptible::Always,
                Some(false) => Preemptible::Never,
            },
            request: Arc::new(Request { roles, models, selector, topology }),
            ..Job::default()
        });
        self.count_names();
        let started = self.snapshot.now - i64::from(spec.started) * 1000;
        for (replica, name) in (0u32..).zip(&spec.running_on) {
            let at = format!("{at}.running_on[{replica}]");
            let node = self.nodes.get(name).map(NodeIx);
            let node = node.ok_or_else(|| Fault::new(&at, format!("there is no node {name}")))?;
            let gpus = self
                .devices(node, &each)
                .ok_or_else(|| Fault::new(&at, format!("replica {replica} does not fit on {name}")))?;
            self.snapshot.holdings.push(Holding {
                job,
                role: 0,
                replica,
                node,
                each,
                gpus,
                started,
                going: false,
            });
        }
        Ok(())
    }

    fn account(&self, spec: &JobSpec) -> Result<AccountIx, String> {
        let name = spec.account.as_deref().unwrap_or("default");
        let known = || {
            let names: Vec<&str> = self.accounts.names.iter().take(NAMES_TOLD).map(String::as_str).collect();
            names.join(", ") + if self.accounts.names.len() > NAMES_TOLD { "…" } else { "" }
        };
        self.accounts.get(name).map(AccountIx).ok_or_else(|| match &spec.account {
            Some(name) => format!("there is no account {name}; there are {}", known()),
            None => format!("job {} is in no account; there are {}", spec.name, known()),
        })
    }

    fn priority(&self, spec: &JobSpec) -> Result<i32, String> {
        let name = match &spec.priority {
            Some(Priority::Value(value)) => return Ok(*value),
            Some(Priority::Class(name)) => name,
            None => "normal",
        };
        self.priorities.get(name).copied().ok_or_else(|| {
            let known: Vec<&str> = self.priorities.keys().map(String::as_str).collect();
            format!("there is no priority class {name}; there are {}, and whole numbers", known.join(", "))
        })
    }

    /// Devices for a replica that runs when it is submitted; `None` if there is no room for it.
    fn devices(&self, node: NodeIx, each: &Shape) -> Option<Vec<(u16, i64)>> {
        let on = &self.snapshot.nodes[node.0 as usize];
        let (mut cpu, mut memory) = (on.cpu, on.memory);
        let mut free = vec![WHOLE_GPU; usize::from(on.gpus)];
        let mut extended: BTreeMap<ExtendedIx, i64> =
            on.extended.iter().map(|(name, count)| (*name, i64::from(*count))).collect();
        for held in self.snapshot.holdings.iter().filter(|held| held.node == node) {
            cpu -= held.each.cpu;
            memory -= held.each.memory;
            for (device, milli) in &held.gpus {
                free[usize::from(*device)] -= milli;
            }
            for (name, count) in held.each.extended.iter() {
                *extended.entry(name).or_default() -= count;
            }
        }
        let short = |(name, count)| extended.get(&name).is_none_or(|free| *free < count);
        if cpu < each.cpu || memory < each.memory || each.extended.iter().any(short) {
            return None;
        }
        let numbered = free.into_iter().zip(0u16..);
        if each.gpu == 0 {
            Some(Vec::new())
        } else if each.gpu < WHOLE_GPU {
            let (_, device) = numbered.filter(|(free, _)| *free >= each.gpu).min()?;
            Some(vec![(device, each.gpu)])
        } else {
            let count = usize::try_from(each.gpu / WHOLE_GPU).ok()?;
            let whole =
                numbered.filter(|(free, _)| *free == WHOLE_GPU).map(|(_, device)| (device, WHOLE_GPU));
            let devices: Vec<_> = whole.take(count).collect();
            (devices.len() == count).then_some(devices)
        }
    }
}
