//! Messages of the contract as canonical proto JSON, and as YAML of the same shape.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;

use super::Format;
use crate::error::Error;

static CONTRACT: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(crater_api::DESCRIPTOR_SET).ok());

/// The message of type `name` (`crater.job.v1.Job`) as a JSON value.
pub fn to_value(name: &str, message: &impl Message) -> Result<Value, Error> {
    let doing = || format!("printing a {name}");
    let descriptor = CONTRACT
        .as_ref()
        .and_then(|pool| pool.get_message_by_name(name))
        .ok_or_else(|| Error::local(doing(), "the contract does not know it"))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|e| Error::local(doing(), e))?;
    serde_json::to_value(&dynamic).map_err(|e| Error::local(doing(), e))
}

/// The message as JSON (indented) or YAML, with an end of line.
pub fn render(format: Format, name: &str, message: &impl Message) -> Result<String, Error> {
    render_value(format, name, &to_value(name, message)?)
}

/// The same of a value, which is called `name` where it cannot be printed.
pub fn render_value(format: Format, name: &str, value: &Value) -> Result<String, Error> {
    let doing = || format!("printing a {name}");
    if format == Format::Yaml {
        return serde_yaml_ng::to_string(value).map_err(|e| Error::local(doing(), e));
    }
    let mut text = serde_json::to_string_pretty(value).map_err(|e| Error::local(doing(), e))?;
    text.push('\n');
    Ok(text)
}

/// The message as one of a stream: a line of JSON, or a YAML document.
pub fn render_next(format: Format, name: &str, message: &impl Message) -> Result<String, Error> {
    if format == Format::Yaml {
        return Ok(format!("---\n{}", render(format, name, message)?));
    }
    Ok(format!("{}\n", to_value(name, message)?))
}

#[cfg(test)]
mod tests {
    use crater_api::job::v1::{Job, JobState};

    use super::*;

    fn job() -> Job {
        Job {
            name: "accounts/lab/jobs/a".into(),
            state: JobState::Failed.into(),
            exit_code: Some(0),
            revision: 1 << 60,
            create_time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            ..Default::default()
        }
    }

    #[test]
    fn json_is_the_canonical_one_of_the_contract() {
        let text = render_next(Format::Json, "crater.job.v1.Job", &job()).unwrap();
        let expected = serde_json::json!({
            "name": "accounts/lab/jobs/a",
            "state": "JOB_STATE_FAILED",
            "exitCode": 0,
            "createTime": "1970-01-01T00:00:00Z",
            "revision": "1152921504606846976",
        });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn yaml_has_the_shape_of_json() {
        let text = render(Format::Yaml, "crater.job.v1.Job", &job()).unwrap();
        let value: Value = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(value, to_value("crater.job.v1.Job", &job()).unwrap());
    }
}
