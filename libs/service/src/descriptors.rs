//! What descriptor sets say about the shape of methods.

use std::collections::HashSet;
use std::sync::Arc;

use prost::Message;
use prost_types::FileDescriptorSet;

use crate::Error;

/// The paths (`/package.Service/Method`) of the methods whose response is a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamingMethods(Arc<HashSet<String>>);

impl StreamingMethods {
    pub(crate) fn of(sets: &[&'static [u8]]) -> Result<Self, Error> {
        let mut paths = HashSet::new();
        for set in sets {
            for file in FileDescriptorSet::decode(*set)?.file {
                for service in &file.service {
                    for method in service.method.iter().filter(|method| method.server_streaming()) {
                        paths.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                    }
                }
            }
        }
        Ok(Self(Arc::new(paths)))
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        self.0.contains(path)
    }
}
