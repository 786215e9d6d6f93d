//! Structural schemas of custom resources: prune what they do not know, fill defaults in, and say what is wrong.
//!
//! Not here: CEL rules (`x-kubernetes-validations`), which are ignored, and list-map merge keys.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::object::{list, text};
use super::status::Cause;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
    Any,
}

#[derive(Debug, Clone)]
enum Additional {
    Refused,
    Allowed,
    Schema(Box<Schema>),
}

/// A compiled `openAPIV3Schema`.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    ty: Type,
    nullable: bool,
    preserve: bool,
    embedded: bool,
    properties: BTreeMap<String, Schema>,
    additional: Additional,
    items: Option<Box<Schema>>,
    required: Vec<String>,
    default: Option<Value>,
    allowed: Vec<Value>,
    minimum: Option<(f64, bool)>,
    maximum: Option<(f64, bool)>,
    multiple_of: Option<f64>,
    pattern: Option<Regex>,
    length: (u64, u64),
    count: (u64, u64),
    members: (u64, u64),
    unique: bool,
    all_of: Vec<Schema>,
    any_of: Vec<Schema>,
    one_of: Vec<Schema>,
    not: Option<Box<Schema>>,
}

impl Schema {
    /// Compiles a schema; the error names the place in it that does not make sense.
    pub fn compile(value: &Value) -> Result<Self, String> {
        Self::compile_at(value, "openAPIV3Schema")
    }

    fn compile_at(value: &Value, path: &str) -> Result<Self, String> {
        let flag = |field: &str| value.get(field).and_then(Value::as_bool).unwrap_or(false);
        let bound = |field: &str, none: u64| value.get(field).and_then(Value::as_u64).unwrap_or(none);
        let range = |low: &str, high: &str| (bound(low, 0), bound(high, u64::MAX));
        let limit =
            |field: &str, open: &str| value.get(field).and_then(Value::as_f64).map(|v| (v, flag(open)));
        let many = |field: &str| -> Result<Vec<Self>, String> {
            list(value, &[field]).iter().map(|v| Self::compile_at(v, &format!("{path}.{field}"))).collect()
        };
        let one = |field: &str| -> Result<Option<Box<Self>>, String> {
            let inner = value.get(field).filter(|v| v.is_object());
            inner.map(|v| Self::compile_at(v, &format!("{path}.{field}")).map(Box::new)).transpose()
        };
        let mut properties = BTreeMap::new();
        for (name, inner) in value.get("properties").and_then(Value::as_object).into_iter().flatten() {
            properties.insert(name.clone(), Self::compile_at(inner, &format!("{path}.properties[{name}]"))?);
        }
        let pattern = match value.get("pattern").and_then(Value::as_str) {
            Some(text) => Some(Regex::new(text).map_err(|e| format!("{path}.pattern: {e}"))?),
            None => None,
        };
        Ok(Self {
            ty: compile_type(value, flag("x-kubernetes-int-or-string"), path)?,
            nullable: flag("nullable"),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            properties,
            additional: match value.get("additionalProperties") {
                Some(Value::Bool(true)) => Additional::Allowed,
                Some(Value::Object(_)) => match one("additionalProperties")? {
                    Some(schema) => Additional::Schema(schema),
                    None => Additional::Allowed,
                },
                _ => Additional::Refused,
            },
            items: one("items")?,
            required: list(value, &["required"])
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            default: value.get("default").cloned(),
            allowed: list(value, &["enum"]).to_vec(),
            minimum: limit("minimum", "exclusiveMinimum"),
            maximum: limit("maximum", "exclusiveMaximum"),
            multiple_of: value.get("multipleOf").and_then(Value::as_f64),
            pattern,
            length: range("minLength", "maxLength"),
            count: range("minItems", "maxItems"),
            members: range("minProperties", "maxProperties"),
            unique: flag("uniqueItems"),
            all_of: many("allOf")?,
            any_of: many("anyOf")?,
            one_of: many("oneOf")?,
            not: one("not")?,
        })
    }

    /// Drops what the schema does not know, then fills defaults in. The root keeps what every object has.
    pub fn shape(&self, object: &mut Value) {
        self.prune(object, true);
        self.fill(object);
    }

    fn prune(&self, value: &mut Value, root: bool) {
        match value {
            Value::Object(map) => {
                let base = root || self.embedded;
                let known = |name: &str| base && matches!(name, "apiVersion" | "kind" | "metadata");
                if let (false, Additional::Refused) = (self.preserve, &self.additional) {
                    map.retain(|name, _| self.properties.contains_key(name) || known(name));
                }
                for (name, inner) in map.iter_mut().filter(|(name, _)| !known(name)) {
                    match (self.properties.get(name), &self.additional) {
                        (Some(schema), _) => schema.prune(inner, false),
                        (None, Additional::Schema(schema)) => schema.prune(inner, false),
                        _ => {}
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.prune(item, false));
                }
            }
            _ => {}
        }
    }

    fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, schema) in &self.properties {
                    let unset = match map.get(name) {
                        None => true,
                        // a null is replaced by the default where null is not a value
                        Some(Value::Null) => !schema.nullable,
                        Some(_) => false,
                    };
                    if let (true, Some(default)) = (unset, &schema.default) {
                        map.insert(name.clone(), default.clone());
                    }
                }
                for (name, inner) in map.iter_mut() {
                    match (self.properties.get(name), &self.additional) {
                        (Some(schema), _) => schema.fill(inner),
                        (None, Additional::Schema(schema)) => schema.fill(inner),
                        _ => {}
                    }
                }
                // an explicit null for a field that may not be null is the same as leaving it out
                let drop = |name: &String, v: &Value| {
                    v.is_null() && self.properties.get(name).is_some_and(|s| !s.nullable && s.ty != Type::Any)
                };
                map.retain(|name, v| !drop(name, v));
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.fill(item));
                }
            }
            _ => {}
        }
    }

    /// Everything that is wrong with an object.
    pub fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        self.check(object, "", &mut causes);
        causes
    }

    fn check(&self, value: &Value, path: &str, causes: &mut Vec<Cause>) {
        if value.is_null() && (self.nullable || self.ty == Type::Any) {
            return;
        }
        let here = || if path.is_empty() { "<root>".to_owned() } else { path.to_owned() };
        let mut bad = |message: String| {
            causes.push(Cause::invalid(here(), format!("Invalid value: {}: {message}", brief(value))));
        };
        if !self.type_fits(value) {
            bad(format!("{} in body must be of type {}: {:?}", here(), self.ty.name(), type_of(value)));
            return;
        }
        if !self.allowed.is_empty() && !self.allowed.contains(value) {
            let allowed: Vec<_> = self.allowed.iter().map(Value::to_string).collect();
            let message =
                format!("Unsupported value: {}: supported values: {}", brief(value), allowed.join(", "));
            causes.push(Cause { reason: "FieldValueNotSupported", field: here(), message });
            return;
        }
        match value {
            Value::Number(number) => self.check_number(number.as_f64().unwrap_or(f64::NAN), &mut bad),
            Value::String(s) => {
                if let Some(pattern) = self.pattern.as_ref().filter(|p| !p.is_match(s)) {
                    bad(format!("{} in body should match '{pattern}'", here()));
                }
                within(s.chars().count(), self.length, "chars long", &mut bad);
            }
            Value::Array(items) => {
                within(items.len(), self.count, "items", &mut bad);
                if self.unique && items.iter().enumerate().any(|(i, item)| items[..i].contains(item)) {
                    bad("items must be unique".into());
                }
                for (i, item) in items.iter().enumerate() {
                    if let Some(schema) = &self.items {
                        schema.check(item, &format!("{path}[{i}]"), causes);
                    }
                }
            }
            Value::Object(map) => {
                within(map.len(), self.members, "properties", &mut bad);
                self.check_members(map, path, causes);
            }
            _ => {}
        }
        self.check_combinations(value, path, causes);
    }

    fn check_number(&self, number: f64, bad: &mut impl FnMut(String)) {
        if let Some((low, open)) = self.minimum
            && (number < low || (open && number == low))
        {
            bad(format!("should be greater than {}{low}", if open { "" } else { "or equal to " }));
        }
        if let Some((high, open)) = self.maximum
            && (number > high || (open && number == high))
        {
            bad(format!("should be less than {}{high}", if open { "" } else { "or equal to " }));
        }
        if let Some(step) = self.multiple_of.filter(|step| number % step != 0.0) {
            bad(format!("should be a multiple of {step}"));
        }
    }

    fn check_members(&self, map: &Map<String, Value>, path: &str, causes: &mut Vec<Cause>) {
        let child = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        for name in self.required.iter().filter(|name| !map.contains_key(*name)) {
            causes.push(Cause::required(child(name)));
        }
        for (name, inner) in map {
            match (self.properties.get(name), &self.additional) {
                (Some(schema), _) => schema.check(inner, &child(name), causes),
                (None, Additional::Schema(schema)) => schema.check(inner, &child(name), causes),
                _ => {}
            }
        }
    }

    fn check_combinations(&self, value: &Value, path: &str, causes: &mut Vec<Cause>) {
        for schema in &self.all_of {
            schema.check(value, path, causes);
        }
        let fits = |schema: &Self| {
            let mut found = Vec::new();
            schema.check(value, path, &mut found);
            found.is_empty()
        };
        let mut bad = |message: &str| {
            causes.push(Cause::invalid(path, format!("Invalid value: {}: {message}", brief(value))));
        };
        if !self.any_of.is_empty() && !self.any_of.iter().any(fits) {
            bad("must validate at least one schema (anyOf)");
        }
        if !self.one_of.is_empty() && self.one_of.iter().filter(|s| fits(s)).count() != 1 {
            bad("must validate one and only one schema (oneOf)");
        }
        if self.not.as_ref().is_some_and(|s| fits(s)) {
            bad("must not validate the schema (not)");
        }
    }

    fn type_fits(&self, value: &Value) -> bool {
        match self.ty {
            Type::Any => true,
            Type::Object => value.is_object(),
            Type::Array => value.is_array(),
            Type::String => value.is_string(),
            Type::Boolean => value.is_boolean(),
            Type::Number => value.is_number(),
            Type::Integer => is_integer(value),
            Type::IntOrString => is_integer(value) || value.is_string(),
        }
    }
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::IntOrString => "integer or string",
            Self::Any => "any",
        }
    }
}

fn compile_type(value: &Value, int_or_string: bool, path: &str) -> Result<Type, String> {
    if int_or_string {
        return Ok(Type::IntOrString);
    }
    Ok(match text(value, &["type"]) {
        "object" => Type::Object,
        "array" => Type::Array,
        "string" => Type::String,
        "integer" => Type::Integer,
        "number" => Type::Number,
        "boolean" => Type::Boolean,
        "" => Type::Any,
        other => return Err(format!("{path}.type: {other:?} is not a type")),
    })
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn brief(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => format!("{:?}", type_of(value)),
        other => other.to_string(),
    }
}

fn within(size: usize, (low, high): (u64, u64), unit: &str, bad: &mut impl FnMut(String)) {
    let size = size as u64;
    if size < low {
        bad(format!("should be at least {low} {unit}"));
    }
    if size > high {
        bad(format!("may not be more than {high} {unit}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Schema {
        Schema::compile(&json!({"type": "object", "required": ["spec"], "properties": {
            "spec": {"type": "object", "required": ["gpus"], "properties": {
                "gpus": {"type": "integer", "minimum": 0, "maximum": 8},
                "class": {"type": "string", "enum": ["A", "B"], "default": "A"},
                "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3},
                "cpu": {"x-kubernetes-int-or-string": true},
                "env": {"type": "object", "additionalProperties": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "list": {"type": "array", "maxItems": 2, "items": {"type": "integer"}},
            }},
        }}))
        .unwrap()
    }

    #[test]
    fn unknown_fields_go_and_defaults_come() {
        let mut object = json!({"kind": "X", "metadata": {"name": "a"}, "odd": 1,
            "spec": {"gpus": 1, "odd": 2, "free": {"odd": 3}, "env": {"K": "v"}, "name": null}});
        schema().shape(&mut object);
        assert_eq!(
            object,
            json!({"kind": "X", "metadata": {"name": "a"},
                "spec": {"gpus": 1, "class": "A", "free": {"odd": 3}, "env": {"K": "v"}}})
        );
    }

    #[test]
    fn every_fault_is_named_by_its_field() {
        let faults = |spec: Value| {
            let found = schema().validate(&json!({"spec": spec}));
            found.into_iter().map(|c| c.field).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(faults(json!({"gpus": 8, "cpu": "1", "list": [1, 2]})), "");
        assert_eq!(faults(json!({"gpus": 9})), "spec.gpus");
        assert_eq!(faults(json!({})), "spec.gpus");
        assert_eq!(faults(json!({"gpus": "1"})), "spec.gpus");
        assert_eq!(faults(json!({"gpus": 1, "class": "C", "name": "a1"})), "spec.class spec.name");
        assert_eq!(faults(json!({"gpus": 1, "list": [1, 2, "3"]})), "spec.list spec.list[2]");
        assert_eq!(faults(json!({"gpus": 1, "env": {"A": 1}, "cpu": 1.5})), "spec.cpu spec.env.A");
    }
}
