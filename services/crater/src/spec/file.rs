//! The YAML of `crater submit -f`: the flags' names as keys, plus roles. `docs/job-file.md` describes it.
//!
//! Keys may be written with hyphens or underscores. An unknown key is refused, and so is a document that is nested
//! deeper than any job is: the parser stops at 128 levels.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::{SeqAccess, Visitor};

use crate::cli::Class;
use crate::error::Error;

/// The largest file: what the server takes in one request.
const MAX_FILE: u64 = 1 << 20;

/// A job. What stands beside `roles` holds for each role that does not say otherwise; without `roles` there is one
/// role, `worker`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct JobFile {
    pub name: Option<String>,
    pub account: Option<String>,
    pub class: Option<Class>,
    pub priority: Option<i32>,
    pub duration: Option<String>,
    pub retries: Option<i32>,
    #[serde(alias = "grace_period")]
    pub grace_period: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default, alias = "node_selector")]
    pub node_selector: BTreeMap<String, String>,
    pub within: Option<String>,
    pub near: Option<String>,
    pub roles: Option<Vec<RoleFile>>,

    // The same keys as in a role: serde cannot refuse unknown keys of a flattened struct.
    pub replicas: Option<i32>,
    #[serde(alias = "min_replicas")]
    pub min_replicas: Option<i32>,
    pub gpu: Option<String>,
    #[serde(alias = "gpu_model")]
    pub gpu_model: Option<Words>,
    #[serde(alias = "device")]
    pub devices: Option<BTreeMap<String, i64>>,
    pub cpu: Option<String>,
    pub memory: Option<String>,
    pub image: Option<String>,
    pub command: Option<Words>,
    pub args: Option<Words>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub workdir: Option<String>,
    pub mounts: Option<Vec<MountFile>>,
}

/// A group of equal replicas.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RoleFile {
    pub name: Option<String>,
    pub replicas: Option<i32>,
    #[serde(alias = "min_replicas")]
    pub min_replicas: Option<i32>,
    pub gpu: Option<String>,
    #[serde(alias = "gpu_model")]
    pub gpu_model: Option<Words>,
    #[serde(alias = "device")]
    pub devices: Option<BTreeMap<String, i64>>,
    pub cpu: Option<String>,
    pub memory: Option<String>,
    pub image: Option<String>,
    pub command: Option<Words>,
    pub args: Option<Words>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub workdir: Option<String>,
    pub mounts: Option<Vec<MountFile>>,
}

/// Storage of the account.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MountFile {
    pub claim: String,
    #[serde(default, alias = "sub_path")]
    pub sub_path: String,
    #[serde(alias = "mount_path")]
    pub mount_path: String,
    #[serde(default, alias = "read_only")]
    pub read_only: bool,
}

/// One word, or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Words;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E>(self, text: &str) -> Result<Words, E> {
                Ok(Words(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(Words(words))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl JobFile {
    /// Reads the file, or standard input for `-`.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let wrong = |e: &dyn fmt::Display| Error::flag("--file", format!("reading {shown}: {e}"));
        let mut text = String::new();
        let mut source: Box<dyn Read> = if path.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            Box::new(std::fs::File::open(path).map_err(|e| wrong(&e))?)
        };
        source.by_ref().take(MAX_FILE + 1).read_to_string(&mut text).map_err(|e| wrong(&e))?;
        if text.len() as u64 > MAX_FILE {
            return Err(wrong(&"is larger than 1 MiB"));
        }
        Self::parse(&shown, &text)
    }

    /// Reads YAML; `file` is its name in errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        if deepest_flow(text) > MAX_DEPTH {
            return Err(Error::flag(file, format!("is nested deeper than {MAX_DEPTH} levels")));
        }
        let job: Self = serde_yaml_ng::from_str(text).map_err(|e| Error::flag(at(file, &e), plain(&e)))?;
        match &job.roles {
            Some(roles) if roles.is_empty() => Err(Error::flag(file, "roles: must name at least one role")),
            _ => Ok(job),
        }
    }
}

/// Deeper than any job; the parser itself takes time with the square of the depth.
const MAX_DEPTH: usize = 64;

/// An upper bound of how deep brackets are nested. Brackets inside texts count too: 64 of them unclosed are no job.
fn deepest_flow(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn at(file: &str, error: &serde_yaml_ng::Error) -> String {
    match error.location() {
        Some(l) => format!("{file}:{}:{}", l.line(), l.column()),
        None => file.to_owned(),
    }
}

/// The text without the place, which stands before it already.
fn plain(error: &serde_yaml_ng::Error) -> String {
    let text = error.to_string();
    let text = match text.rfind(" at line ") {
        Some(end) if error.location().is_some() => text[..end].to_owned(),
        _ => text,
    };
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let error = JobFile::parse("job.yaml", text).unwrap_err();
        assert_eq!(error.exit_code(), crate::error::USAGE);
        error.to_string()
    }

    #[test]
    fn texts_are_taken_as_they_are_written() {
        let job = JobFile::parse(
            "job.yaml",
            "name: a\ncpu: 0.5\ngpu: 1\nmemory: 1073741824\nmin_replicas: 2\ncommand: [sleep, 010]\n\
             gpu-model: A100\nenv: {A: 1.0, B: true, C: 010}\nclass: best-effort\n",
        )
        .unwrap();
        assert_eq!(job.cpu.as_deref(), Some("0.5"));
        assert_eq!(job.gpu.as_deref(), Some("1"));
        assert_eq!(job.memory.as_deref(), Some("1073741824"));
        assert_eq!(job.min_replicas, Some(2));
        assert_eq!(job.command, Some(Words(vec!["sleep".into(), "010".into()])));
        assert_eq!(job.gpu_model, Some(Words(vec!["A100".into()])));
        assert_eq!(job.class, Some(Class::BestEffort));
        assert_eq!(job.env["A"], "1.0");
        assert_eq!(job.env["B"], "true");
        assert_eq!(job.env["C"], "010");
    }

    #[test]
    fn the_files_of_the_description_are_taken() {
        let text = include_str!("../../../../docs/job-file.md");
        let blocks: Vec<&str> =
            text.split("```yaml\n").skip(1).filter_map(|b| b.split("```").next()).collect();
        assert_eq!(blocks.len(), 2);
        let jobs: Vec<JobFile> = blocks.iter().map(|b| JobFile::parse("job-file.md", b).unwrap()).collect();
        assert_eq!(jobs[0].args, Some(Words(vec!["--epochs".into(), "3".into()])));
        assert_eq!(jobs[1].roles.as_ref().map(Vec::len), Some(2));
    }

    #[test]
    fn an_unknown_key_is_named_with_file_and_line() {
        let text = refused("name: a\nreplica: 3\n");
        assert!(text.starts_with("job.yaml:2:"), "{text}");
        assert!(text.contains("`replica`"), "{text}");
        let text = refused("name: a\nroles:\n- name: w\n  gpus: 3\n");
        assert!(text.starts_with("job.yaml:4:"), "{text}");
        assert!(text.contains("`gpus`"), "{text}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_place() {
        let text = refused("name: a\nreplicas: many\n");
        assert!(text.starts_with("job.yaml:2:") && text.contains("replicas"), "{text}");
        let text = refused("command: 3.5\n");
        assert!(text.contains("a text or a list of texts"), "{text}");
        refused("class: gold\n");
        refused("replicas: 99999999999999999999\n");
        refused("- a\n");
        refused("roles: []\n");
        refused("name: a\nname: b\n");
        refused("{");
    }

    #[test]
    fn ten_thousand_levels_are_refused_and_nothing_breaks() {
        let open = "[".repeat(10_000);
        assert!(refused(&open).contains("nested deeper"));
        assert!(refused(&format!("env: {open}{}", "]".repeat(10_000))).contains("nested deeper"));
        assert!(refused(&format!("env: {}", "{a: ".repeat(10_000))).contains("nested deeper"));
        let block: String = (0..10_000).map(|i| format!("{:i$}a:\n", "", i = i % 1000)).collect();
        refused(&block);
        refused(&"- ".repeat(10_000));
        let blocks: String = (0..1_200).map(|i| format!("{:i$}a:\n", "")).collect();
        refused(&format!("env:\n{blocks}"));
    }

    #[test]
    fn aliases_cannot_blow_a_small_file_up() {
        let mut text = String::from("x0: &x0 [a, a, a, a, a, a, a, a, a]\n");
        for i in 1..20 {
            let list = vec![format!("*x{}", i - 1); 9].join(", ");
            text.push_str(&format!("x{i}: &x{i} [{list}]\n"));
        }
        refused(&text);
        refused(&format!("{text}env: *x19\n"));
    }
}
