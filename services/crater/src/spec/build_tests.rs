use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn submit(args: &[&str]) -> Submit {
    let cli = Cli::try_parse_from(["crater", "submit"].iter().chain(args)).unwrap();
    let Command::Submit(submit) = cli.command else { panic!("not submit") };
    *submit
}

fn of(args: &[&str], yaml: &str) -> Result<Draft, Error> {
    let mut flags = submit(args);
    let file = if yaml.is_empty() {
        JobFile::default()
    } else {
        flags.file = Some("job.yaml".into());
        JobFile::parse("job.yaml", yaml).unwrap()
    };
    draft(&flags, file)
}

fn roles(draft: &Draft) -> &[Role] {
    &draft.job.spec.as_ref().unwrap().roles
}

#[test]
fn defaults_are_one_core_and_one_gibibyte() {
    let draft = of(&["--", "true"], "").unwrap();
    let role = &roles(&draft)[0];
    let expected = Resources { cpu_millis: 1000, memory_bytes: 1 << 30, gpu_millis: 0, ..Default::default() };
    assert_eq!(role.resources, Some(expected));
    assert_eq!(role.command, ["true"]);
    assert_eq!(draft.id, "");
}

#[test]
fn every_flag_reaches_the_request() {
    let draft = of(
        &[
            "--name",
            "train",
            "-A",
            "lab",
            "--class",
            "best-effort",
            "--priority",
            "-5",
            "--replicas",
            "4",
            "--min-replicas",
            "2",
            "--gpu",
            "0.5",
            "--gpu-model",
            "A100",
            "--gpu-model",
            "H100",
            "--cpu",
            "500m",
            "--memory",
            "2Gi",
            "--image",
            "img",
            "--env",
            "B=2=3",
            "--env",
            "A=",
            "--duration",
            "1h",
            "--label",
            "k=v",
            "--retries",
            "3",
            "--workdir",
            "/w",
            "--",
            "sh",
            "-c",
            "exit 3",
        ],
        "",
    )
    .unwrap();
    let spec = draft.job.spec.as_ref().unwrap();
    assert_eq!((draft.id.as_str(), draft.account.clone()), ("train", Some(("--account", "lab".to_owned()))));
    assert_eq!(spec.service_class, i32::from(ServiceClass::BestEffort));
    assert_eq!((spec.priority, spec.max_retries), (-5, 3));
    assert_eq!(spec.expected_duration, Some(prost_types::Duration { seconds: 3600, nanos: 0 }));
    assert_eq!(draft.job.labels["k"], "v");
    let role = &roles(&draft)[0];
    assert_eq!((role.replicas, role.min_replicas), (4, 2));
    let expected =
        Resources { cpu_millis: 500, memory_bytes: 2 << 30, gpu_millis: 500, ..Default::default() };
    assert_eq!(role.resources, Some(expected));
    assert_eq!(role.gpu_models, ["A100", "H100"]);
    assert_eq!((role.image.as_str(), role.working_dir.as_str()), ("img", "/w"));
    assert_eq!(role.command, ["sh", "-c", "exit 3"]);
    let env: Vec<_> = role.env.iter().map(|e| (e.name.as_str(), e.value.as_str())).collect();
    assert_eq!(env, [("A", ""), ("B", "2=3")]);
}

#[test]
fn flags_override_the_file() {
    let yaml = "name: a\ngpu: 4\ncommand: [train]\nargs: [x]\nenv: {A: 1, B: 1}\n";
    let draft = of(&["--gpu", "2", "--env", "A=2", "--", "other"], yaml).unwrap();
    let role = &roles(&draft)[0];
    assert_eq!(role.resources.as_ref().unwrap().gpu_millis, 2000);
    assert_eq!(role.command, ["other"]);
    assert!(role.args.is_empty(), "the file's arguments belong to the file's command");
    let env: Vec<_> = role.env.iter().map(|e| (e.name.as_str(), e.value.as_str())).collect();
    assert_eq!(env, [("A", "2"), ("B", "1")]);
    assert_eq!(draft.id, "a");
}

#[test]
fn roles_take_what_stands_beside_them() {
    let yaml = "image: img\ncpu: 2\nenv: {A: 1}\ncommand: [run]\nargs: [all]\nroles:\n- {name: ps, command: [ps]}\n\
                - {name: worker, replicas: 3, cpu: 4, gpu: 1, env: {B: 2}}\n";
    let draft = of(&[], yaml).unwrap();
    let [ps, worker] = roles(&draft) else { panic!("{draft:?}") };
    assert_eq!((ps.resources.as_ref().unwrap().cpu_millis, ps.image.as_str()), (2000, "img"));
    assert_eq!((ps.command.as_slice(), ps.args.len()), (["ps".to_owned()].as_slice(), 0));
    assert_eq!(worker.resources.as_ref().unwrap().cpu_millis, 4000);
    assert_eq!(
        (worker.command.as_slice(), worker.args.as_slice()),
        (["run".to_owned()].as_slice(), ["all".to_owned()].as_slice())
    );
    assert_eq!(worker.env.len(), 2);
    let error = of(&["--gpu", "2"], yaml).unwrap_err().to_string();
    assert_eq!(error, "--gpu: the file has 2 roles: say it there");
}

#[test]
fn devices_of_flags_go_over_those_of_the_file() {
    let yaml = "command: [run]\ndevices: {rdma/hca: 1, nvidia.com/mig-1g.5gb: 2}\n";
    let draft = of(&["--device", "rdma/hca=3"], yaml).unwrap();
    let devices = &roles(&draft)[0].resources.as_ref().unwrap().devices;
    assert_eq!(devices, &[("nvidia.com/mig-1g.5gb".to_owned(), 2), ("rdma/hca".to_owned(), 3)].into());
    let roles = "roles:\n- {name: ps, devices: {}}\n- {name: worker}\n";
    let draft = of(&[], &format!("{yaml}{roles}")).unwrap();
    let counts = self::roles(&draft).iter().map(|role| role.resources.as_ref().unwrap().devices.len());
    assert_eq!(counts.collect::<Vec<_>>(), [0, 2]);
    let flag = |text: &str| of(&["--device", text], "").unwrap_err().to_string();
    assert_eq!(flag("rdma/hca"), "--device: \"rdma/hca\" must be KEY=VALUE");
    for count in ["0", "-1", "half", ""] {
        let told = "--device: rdma/hca: must be a whole number, at least 1, for example rdma/hca=1";
        assert_eq!(flag(&format!("rdma/hca={count}")), told);
    }
    let file = of(&[], "devices: {rdma/hca: 0}\n").unwrap_err().to_string();
    assert_eq!(file, "job.yaml: devices: rdma/hca: must be at least 1, not 0");
}

#[test]
fn what_is_wrong_is_named_by_flag_or_by_file_and_key() {
    let flag = |args: &[&str]| of(args, "").unwrap_err().to_string();
    assert_eq!(flag(&["--gpu", "-1"]), "--gpu: \"-1\" is negative");
    assert_eq!(flag(&["--cpu", "99999999999999999999"]), "--cpu: \"99999999999999999999\" is too large");
    assert!(flag(&["--memory", "lots"]).starts_with("--memory: \"lots\" is no amount of memory"));
    assert!(flag(&["--duration", "soon"]).starts_with("--duration: "));
    assert_eq!(flag(&["--replicas", "0"]), "--replicas: must be at least 1");
    assert_eq!(flag(&["--min-replicas", "0"]), "--min-replicas: must be at least 1");
    assert_eq!(flag(&["--env", "A"]), "--env: \"A\" must be KEY=VALUE");
    assert_eq!(flag(&["--label", "=x"]), "--label: \"=x\" must be KEY=VALUE");
    assert_eq!(flag(&["--name", ""]), "--name: must not be empty");
    let file = |yaml: &str| of(&[], yaml).unwrap_err().to_string();
    assert_eq!(file("gpu: -1\n"), "job.yaml: gpu: \"-1\" is negative");
    assert_eq!(
        file("roles: [{name: a}, {name: b, memory: x1}]\n").split(": \"").next(),
        Some("job.yaml: role b: memory")
    );
}
