//! What has which name.

use std::collections::BTreeMap;

use crater_engine::{AccountIx, ExtendedIx, JobIx, KeyIx, ModelIx, Names, NodeIx, UserIx, ValueIx};

use super::world::World;

/// Names by ordinal, and ordinals by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Interned {
    pub names: Vec<String>,
    index: BTreeMap<String, u32>,
}

impl Interned {
    pub fn add(&mut self, name: &str) -> u32 {
        if let Some(ix) = self.index.get(name) {
            return *ix;
        }
        let ix = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.to_owned());
        self.index.insert(name.to_owned(), ix);
        ix
    }

    pub fn get(&self, name: &str) -> Option<u32> {
        self.index.get(name).copied()
    }

    pub fn name(&self, ix: u32) -> &str {
        self.names.get(ix as usize).map_or("?", String::as_str)
    }
}

impl Names for World {
    fn node(&self, node: NodeIx) -> &str {
        self.nodes.name(node.0)
    }
    fn job(&self, job: JobIx) -> &str {
        self.jobs.name(job.0)
    }
    fn account(&self, account: AccountIx) -> &str {
        self.accounts.name(account.0)
    }
    fn user(&self, _: UserIx) -> &str {
        "?"
    }
    fn model(&self, model: ModelIx) -> &str {
        self.models.name(model.0)
    }
    fn extended(&self, name: ExtendedIx) -> &str {
        self.extended.name(name.0)
    }
    fn key(&self, key: KeyIx) -> &str {
        self.keys.name(key.0)
    }
    fn value(&self, value: ValueIx) -> &str {
        self.values.name(value.0)
    }
}
