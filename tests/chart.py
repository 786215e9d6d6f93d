"""The chart and the image, as far as they can be judged without a cluster and without an engine that builds images.

Run by tests/run.sh with the Python of the tools folder: tests/chart.py HELM. Each test prints its name; any that fails ends with 1.
What the rendered configuration says is judged by the programs' own types, in services/crater/tests/chart.rs.
"""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml
from dockerfile_parse import DockerfileParser

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CHART = f"{ROOT}/charts/crater"
HELM = sys.argv[1]
SETS = [None, *sorted(glob.glob(f"{CHART}/ci/*.yaml"))]
PARTS = ["gateway", "user", "quota", "job", "scheduler", "controller"]


def helm(*args):
    return subprocess.run([HELM, *args], capture_output=True, text=True, env={**os.environ, "HELM_NAMESPACE": "crater-system"})


def render(values=None, *more, namespace="crater-system"):
    args = ["template", "crater", CHART, "--namespace", namespace, *more]
    done = helm(*args, *(["--values", values] if values else []))
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def named(objects, kind):
    return {o["metadata"]["name"]: o for o in objects if o["kind"] == kind}


def pods(objects):
    for o in objects:
        if o["kind"] == "Pod":
            yield o["metadata"]["name"], o["spec"]
        elif "template" in o.get("spec", {}):
            yield o["metadata"]["name"], o["spec"]["template"]["spec"]


def test_helm_lints_every_set_of_values():
    for values in SETS:
        done = helm("lint", "--strict", CHART, *(["--values", values] if values else []))
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_object_is_one_that_kubernetes_knows():
    for values in SETS:
        objects = render(values)
        # of custom resource definitions the schemas say nothing that is strict
        for o in objects:
            kubernetes_validate.validate(o, "1.37", strict=o["kind"] != "CustomResourceDefinition")
        keys = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
        assert len(keys) == len(set(keys)), keys
        assert len(objects) > 25, len(objects)
    # and the check can say no
    wrong = next(o for o in render() if o["kind"] == "Deployment")
    wrong["spec"]["replica"] = 1
    try:
        kubernetes_validate.validate(wrong, "1.37", strict=True)
    except kubernetes_validate.ValidationError:
        return
    raise AssertionError("an unknown field was let through")


def test_all_six_are_there_with_what_each_needs():
    objects = render()
    for kind in ["Deployment", "Service", "ServiceAccount", "NetworkPolicy"]:
        there = named(objects, kind)
        assert all(f"crater-{part}" in there for part in PARTS), (kind, list(there))
    deployments = named(objects, "Deployment")
    for part in PARTS:
        spec = deployments[f"crater-{part}"]["spec"]
        pod = spec["template"]["spec"]
        container = pod["containers"][0]
        assert pod["serviceAccountName"] == f"crater-{part}"
        assert container["image"].endswith(f"/crater-{part}:0.1.0"), container["image"]
        assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
            assert container[probe]
        assert pod["automountServiceAccountToken"] == (part in ["job", "scheduler", "controller"])
        # a Service that finds no Pod is one that was misspelt
        selector = named(objects, "Service")[f"crater-{part}"]["spec"]["selector"]
        assert selector.items() <= spec["template"]["metadata"]["labels"].items()
    assert deployments["crater-scheduler"]["spec"]["replicas"] >= 2
    assert deployments["crater-controller"]["spec"]["replicas"] == 1
    assert set(named(objects, "CustomResourceDefinition")) == {"aijobs.crater.dev", "allocations.crater.dev"}


def restricted(spec):
    """What the restricted Pod Security Standard has against a Pod (it names no volume type of node or host)."""
    against = [key for key in ["hostNetwork", "hostPID", "hostIPC"] if spec.get(key)]
    of_pod = spec.get("securityContext", {})
    if of_pod.get("seccompProfile", {}).get("type") not in ["RuntimeDefault", "Localhost"]:
        against.append("seccompProfile")
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    against += [f"volume {v['name']}" for v in spec.get("volumes", []) if not (set(v) - {"name"}) <= allowed]
    for container in spec["containers"] + spec.get("initContainers", []):
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False:
            against.append("allowPrivilegeEscalation")
        if own.get("privileged"):
            against.append("privileged")
        if own.get("capabilities", {}).get("drop") != ["ALL"] or set(own["capabilities"].get("add", [])) - {"NET_BIND_SERVICE"}:
            against.append("capabilities")
        if not own.get("runAsNonRoot", of_pod.get("runAsNonRoot")) or own.get("runAsUser", of_pod.get("runAsUser")) in [None, 0]:
            against.append("runAsNonRoot")
        against += ["hostPort" for port in container.get("ports", []) if port.get("hostPort")]
        if own.get("readOnlyRootFilesystem") is not True:
            against.append("readOnlyRootFilesystem")
    return against


def test_every_pod_is_restricted():
    for values in SETS:
        seen = list(pods(render(values)))
        assert len(seen) >= len(PARTS)
        for name, spec in seen:
            assert restricted(spec) == [], (name, restricted(spec))
            spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
            assert restricted(spec) == ["allowPrivilegeEscalation"]


def test_what_is_mounted_and_referred_to_is_there():
    outside = {"crater-database", "lab-database", "lab-database-ca", "lab-mesh", "lab-admin", "lab-gateway", "lab-tls"}
    for values in SETS:
        objects = render(values)
        secrets, maps = named(objects, "Secret"), named(objects, "ConfigMap")
        for name, spec in pods(objects):
            volumes = {v["name"]: v for v in spec.get("volumes", [])}
            for container in spec["containers"]:
                for mount in container.get("volumeMounts", []):
                    assert mount["name"] in volumes, (name, mount)
                refs = [e["valueFrom"]["secretKeyRef"] for e in container["env"] if "valueFrom" in e]
                assert all(r["name"] in outside or r["key"] in secrets[r["name"]]["data"] for r in refs), (name, refs)
            for volume in volumes.values():
                if "secret" in volume:
                    assert volume["secret"]["secretName"] in outside | set(secrets), (name, volume)
                if "configMap" in volume:
                    keys = maps[volume["configMap"]["name"]]["data"]
                    assert all(item["key"] in keys for item in volume["configMap"]["items"]), (name, volume)


def test_no_secret_is_in_the_chart_and_none_is_made_where_one_is_given():
    made = named(render(), "Secret")
    assert set(made) == {"crater-mesh", "crater-admin"}
    again = named(render(), "Secret")
    assert made["crater-mesh"]["data"] != again["crater-mesh"]["data"], "the key must be random"
    assert not named(render(f"{CHART}/ci/tls-values.yaml"), "Secret")


def test_values_that_are_unknown_empty_or_examples_are_refused():
    wrong = [
        ("gatway.replicas=2", "gatway"),
        ("gateway.replica=2", "replica"),
        ("scheduler.replicas=1", "replicas"),
        ("controller.replicas=2", "replicas"),
        ("database.existingSecret=", "existingSecret"),
        ("database.existingSecret=changeme", "existingSecret"),
        ("mesh.existingSecret=example", "existingSecret"),
        ("database.password=hunter2", "password"),
        ("scheduler.leaseSeconds=1", "leaseSeconds"),
        ("tracing.endpoint=collector", "endpoint"),
        ("tracing.sampler=sometimes", "sampler"),
        ("networkPolicy.databasePort=0", "databasePort"),
        ("gateway.ingress.tlsSecret=", "tlsSecret"),
    ]
    for value, word in wrong:
        done = helm("template", "crater", CHART, "--set", value)
        assert done.returncode != 0 and word in done.stderr, (value, done.stderr)


def test_who_may_call_whom_is_the_map_of_the_architecture():
    objects = render(None, "--set", "tracing.endpoint=http://collector:4317")
    policies = named(objects, "NetworkPolicy")
    deny = policies["crater-deny"]["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in deny and "egress" not in deny
    part = lambda peer: peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
    arrows, heard = set(), set()
    for name in PARTS:
        spec = policies[f"crater-{name}"]["spec"]
        for rule in spec["egress"]:
            arrows |= {(name, part(peer)) for peer in rule.get("to", [])}
        if name != "gateway":
            for rule in spec["ingress"]:
                heard |= {(part(peer), name) for peer in rule["from"]}
    assert arrows == heard, arrows ^ heard
    assert arrows == {
        ("gateway", "user"), ("gateway", "quota"), ("gateway", "job"), ("gateway", "scheduler"),
        ("quota", "user"), ("quota", "scheduler"), ("job", "user"), ("job", "quota"),
        ("scheduler", "user"), ("scheduler", "quota"),
    }, arrows
    # and those are the ones that the configurations name
    config = next(iter(named(objects, "ConfigMap").values()))["data"]
    dialled = {(file.removesuffix(".toml"), to) for file, text in config.items() for to in re.findall(r"http://crater-([a-z]+):", text)}
    assert dialled == arrows, dialled ^ arrows


def test_rights_are_narrow():
    objects = render()
    rules = [(o["metadata"]["name"], r) for o in objects if o["kind"] in ["Role", "ClusterRole"] for r in o["rules"]]
    assert len(rules) > 10
    for name, rule in rules:
        for field in ["apiGroups", "resources", "verbs"]:
            assert "*" not in rule[field], (name, rule)
        assert not {"secrets", "pods/exec", "customresourcedefinitions"} & set(rule["resources"]), (name, rule)
    may = lambda who, verb, what: any(n == f"crater-{who}" and verb in r["verbs"] and what in r["resources"] for n, r in rules)
    assert may("scheduler", "patch", "nodes") and not may("controller", "patch", "nodes")
    assert may("scheduler", "create", "allocations") and not may("controller", "create", "allocations")
    assert may("controller", "create", "pods") and not may("scheduler", "create", "pods") and not may("job", "create", "pods")
    assert may("job", "create", "aijobs") and not may("scheduler", "patch", "aijobs")
    subjects = {s["name"] for o in objects if o["kind"].endswith("RoleBinding") or o["kind"] == "RoleBinding" for s in o["subjects"]}
    assert subjects == {"crater-job", "crater-scheduler", "crater-controller"}, subjects


def test_another_namespace_brings_the_one_that_the_programs_know():
    objects = render(namespace="lab")
    assert "crater-system" in named(objects, "Namespace")
    role = next(o for o in objects if o["kind"] == "Role")
    assert role["metadata"]["namespace"] == "crater-system"
    assert named(objects, "Deployment")["crater-job"]["metadata"]["namespace"] == "lab"
    assert not named(render(), "Namespace")


def test_the_chart_can_be_packed():
    with tempfile.TemporaryDirectory() as folder:
        done = helm("package", CHART, "--destination", folder)
        assert done.returncode == 0, done.stderr
        done = helm("template", "crater", *glob.glob(f"{folder}/*.tgz"))
        assert done.returncode == 0 and "kind: CustomResourceDefinition" in done.stdout, done.stderr


def test_the_dockerfile_names_what_is_there():
    parser = DockerfileParser(f"{ROOT}/docker/Dockerfile", env_replace=False)
    known = {"SYNTAX", "COMMENT", "ARG", "FROM", "WORKDIR", "COPY", "RUN", "LABEL", "USER", "ENTRYPOINT"}
    steps = [(s["instruction"], s["value"]) for s in parser.structure]
    assert {name for name, _ in steps} <= known, steps
    stages = [value.split()[-1] for name, value in steps if name == "FROM" and " AS " in value]
    left_out = [line.strip() for line in open(f"{ROOT}/.dockerignore") if line.strip()[:1] == "!"]
    for name, value in steps:
        if name != "COPY":
            continue
        words = value.split()
        source = [w for w in words if w.startswith("--from=")]
        if source:
            assert source[0].removeprefix("--from=") in stages, value
            continue
        for path in words[:-1]:
            assert os.path.exists(f"{ROOT}/{path}"), path
            assert any(path == kept[1:] or path.startswith(kept[1:] + "/") for kept in left_out), path
    last = [value for name, value in steps if name == "USER"][-1]
    assert int(last.split(":")[0]) > 0, last
    # every program that is built is a package with such a binary, and every one of ours that is shipped is built
    metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--no-deps", "--locked", "--offline", "--format-version", "1"], cwd=ROOT))
    binaries = {p["name"] for p in metadata["packages"] if any(t["kind"] == ["bin"] and t["name"] == p["name"] for t in p["targets"])}
    build = next(value for name, value in steps if name == "RUN" and "cargo build" in value)
    built = set(re.findall(r" -p (\S+)", build))
    copied = set(re.search(r"for bin in ([^;]+);", build).group(1).split())
    assert built == copied == {"crater", *(f"crater-{part}" for part in PARTS)} and built <= binaries, (built, copied)
    assert "--locked" in build
    images = {spec["containers"][0]["image"].split("/")[-1].split(":")[0] for _, spec in pods(render())}
    assert images <= built, images


if __name__ == "__main__":
    tests = [(name, test) for name, test in list(globals().items()) if name.startswith("test_")]
    failed = 0
    for name, test in tests:
        try:
            test()
            print(f"ok {name.removeprefix('test_')}")
        except Exception as why:  # each is judged by itself
            failed += 1
            print(f"not ok {name.removeprefix('test_')}: {type(why).__name__}: {why}")
    # in the words that tests/run.sh counts
    print(f"# pass {len(tests) - failed}\n# fail {failed}")
    sys.exit(1 if failed else 0)
