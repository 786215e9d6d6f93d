//! The forms in which an object leaves the server: as it is, as its metadata only, or as a row of a table.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::columns::{self, Column};
use super::object;
use super::status::{ApiError, ApiResult};
use super::types::ResourceType;
use super::write::in_version;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Object,
    Metadata,
    Table,
}

impl Form {
    /// The first form in an Accept header that this server can write.
    pub fn accepted(accept: &str) -> ApiResult<Self> {
        if accept.trim().is_empty() {
            return Ok(Self::Object);
        }
        for part in accept.split(',') {
            let mut pieces = part.split(';').map(str::trim);
            let media = pieces.next().unwrap_or_default();
            if !matches!(media, "application/json" | "*/*" | "application/*") {
                continue;
            }
            let wanted = pieces.find_map(|p| p.strip_prefix("as=")).unwrap_or_default();
            match wanted {
                "" => return Ok(Self::Object),
                "Table" => return Ok(Self::Table),
                "PartialObjectMetadata" | "PartialObjectMetadataList" => return Ok(Self::Metadata),
                _ => {}
            }
        }
        Err(ApiError::not_acceptable("only the following media types are accepted: application/json"))
    }
}

/// Writes objects of one type and version in one form.
#[derive(Clone)]
pub(crate) struct Renderer {
    pub ty: Arc<ResourceType>,
    pub version: String,
    pub form: Form,
}

impl Renderer {
    pub fn one(&self, object: &Value, now: Timestamp) -> Value {
        match self.form {
            Form::Object => self.versioned(object),
            Form::Metadata => partial(object),
            Form::Table => {
                let version = object::version(object).to_owned();
                self.table(&[self.row(object, now)], &json!({"resourceVersion": version}))
            }
        }
    }

    pub fn list(&self, objects: &[Arc<Value>], metadata: &Value, now: Timestamp) -> Value {
        match self.form {
            Form::Object => {
                let items: Vec<Value> = objects.iter().map(|o| self.versioned(o)).collect();
                json!({"apiVersion": self.ty.api_version(&self.version), "kind": self.ty.list_kind,
                    "metadata": metadata, "items": items})
            }
            Form::Metadata => {
                let items: Vec<Value> = objects.iter().map(|o| partial(o)).collect();
                json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                    "metadata": metadata, "items": items})
            }
            Form::Table => {
                let rows: Vec<Value> = objects.iter().map(|o| self.row(o, now)).collect();
                self.table(&rows, metadata)
            }
        }
    }

    /// A bookmark: only a revision, in the form that the watch has.
    pub fn bookmark(&self, revision: u64, initial_end: bool) -> Value {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        match self.form {
            Form::Object => json!({"apiVersion": self.ty.api_version(&self.version), "kind": self.ty.kind,
                "metadata": metadata}),
            Form::Metadata => json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": metadata}),
            Form::Table => {
                let object = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                    "metadata": metadata});
                let cells: Vec<Value> = self.columns().iter().map(|_| Value::Null).collect();
                self.table(&[json!({"cells": cells, "object": object})], &metadata)
            }
        }
    }

    fn versioned(&self, object: &Value) -> Value {
        in_version(&self.ty, &self.version, object)
    }

    fn columns(&self) -> &[Column] {
        self.ty.columns.get(&self.version).map(Vec::as_slice).unwrap_or_default()
    }

    fn table(&self, rows: &[Value], metadata: &Value) -> Value {
        let columns: Vec<Value> = self.columns().iter().map(columns::Column::definition).collect();
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "Table", "metadata": metadata,
            "columnDefinitions": columns, "rows": rows})
    }

    fn row(&self, object: &Value, now: Timestamp) -> Value {
        let cells: Vec<Value> = self.columns().iter().map(|c| c.cell(object, now)).collect();
        json!({"cells": cells, "object": partial(object)})
    }
}

fn partial(object: &Value) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
}
