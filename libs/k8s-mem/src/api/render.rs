//! The forms in which an object leaves the server: as it is, as its metadata only, or as a row of a table.

use std::borrow::Cow;
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
    pub fn one<'a>(&self, object: &'a Value, now: Timestamp) -> Cow<'a, Value> {
        match self.form {
            Form::Object if self.version == self.ty.storage_version => Cow::Borrowed(object),
            Form::Object => Cow::Owned(in_version(&self.ty, &self.version, object)),
            Form::Metadata => Cow::Owned(partial(object)),
            Form::Table => {
                let metadata = json!({"resourceVersion": object::version(object)});
                Cow::Owned(self.table(vec![self.row(object, now)], metadata))
            }
        }
    }

    /// A list as JSON text, written object by object: lists are what is large here.
    pub fn list(&self, objects: &[Arc<Value>], metadata: Value, now: Timestamp) -> Vec<u8> {
        let (version, kind) = match self.form {
            Form::Object => (self.ty.api_version(&self.version), self.ty.list_kind.as_str()),
            Form::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList"),
            Form::Table => {
                let rows = objects.iter().map(|o| self.row(o, now)).collect();
                return self.table(rows, metadata).to_string().into_bytes();
            }
        };
        let head = json!({"apiVersion": version, "kind": kind, "metadata": metadata}).to_string();
        let mut text = head.into_bytes();
        text.pop();
        text.extend_from_slice(b",\"items\":[");
        for (i, object) in objects.iter().enumerate() {
            if i > 0 {
                text.push(b',');
            }
            // writing JSON into memory cannot go wrong
            let _ = serde_json::to_writer(&mut text, &self.one(object, now));
        }
        text.extend_from_slice(b"]}");
        text
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
                self.table(vec![json!({"cells": cells, "object": object})], metadata)
            }
        }
    }

    fn columns(&self) -> &[Column] {
        self.ty.columns.get(&self.version).map(Vec::as_slice).unwrap_or_default()
    }

    fn table(&self, rows: Vec<Value>, metadata: Value) -> Value {
        let columns: Vec<Value> = self.columns().iter().map(columns::Column::definition).collect();
        let mut table =
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "Table", "columnDefinitions": columns});
        table["metadata"] = metadata;
        table["rows"] = Value::Array(rows);
        table
    }

    fn row(&self, object: &Value, now: Timestamp) -> Value {
        let cells: Vec<Value> = self.columns().iter().map(|c| c.cell(object, now)).collect();
        json!({"cells": cells, "object": partial(object)})
    }
}

fn partial(object: &Value) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
}
