"""infra/: manifests that fit their published schemas, and commands that our own command line takes.

Docker and Kubernetes are not here, so nothing is built or applied: what can be known without them
is checked.
"""

import json
import re
import shlex
import tomllib
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from jobs import cli
from jobs.evaluate_actors import evaluation_actors
from jobs.evaluate_config import EvaluateConfig
from jobs.ingest_actors import plan_actors as plan_ingest
from jobs.label_actors import plan_actors as plan_label
from jobs.ray_environment import FORWARDED_PREFIXES
from jobs.ray_runtime import OBJECT_STORE_BYTES, Node, Resources
from jobs.settings import load_settings
from jobs.training_place import choose_place

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
KUBERNETES = INFRA / "kubernetes"
TRAINING = ("train-teacher", "train-student", "finetune-metric")
VERBS = ("ingest", "label", *TRAINING, "evaluate")
JOBS = [KUBERNETES / f"ray-job.{verb}.yaml" for verb in VERBS]
CLUSTERS = [KUBERNETES / "ray-cluster.yaml", *JOBS]
LAUNCHER = INFRA / "ray-up.aws.yaml"
README = (INFRA / "README.md").read_text(encoding="utf-8")
DOCKERFILE = (INFRA / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINNED = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line and not line.startswith("#")
)
OUR_LABEL = {"app.kubernetes.io/part-of": "pseudo-label-factory"}
UNITS = {"Mi": 2**20, "Gi": 2**30}


def name_of(path):
    return path.name


@cache
def load(path):
    text = path.read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def cluster_spec(path):
    document = load(path)
    return document["spec"].get("rayClusterSpec", document["spec"])


@dataclass(frozen=True)
class Group:
    """A group of pods of one cluster; there is always one head."""

    name: str
    low: int
    high: int
    template: dict[str, Any]
    start: dict[str, str]

    @property
    def pod(self):
        return self.template["spec"]

    @property
    def container(self):
        return self.pod["containers"][0]

    @property
    def node(self):
        """What Ray counts: KubeRay takes it from the limits where `ray start` is told nothing."""
        limits = self.container["resources"]["limits"]
        cpus = self.start.get("num-cpus", limits["cpu"])
        gpus = self.start.get("num-gpus", limits.get("nvidia.com/gpu", 0))
        return Node(int(cpus), int(gpus))


def groups(path):
    spec = cluster_spec(path)
    head = spec["headGroupSpec"]
    yield Group("head", 1, 1, head["template"], head["rayStartParams"])
    for each in spec["workerGroupSpecs"]:
        yield Group(
            each["groupName"],
            each["minReplicas"],
            each["maxReplicas"],
            each["template"],
            each["rayStartParams"],
        )


def resources(path, *, at_most):
    """The machines of a cluster when it begins, or when it is as large as it may be."""
    counts = [(each, each.high if at_most else each.low) for each in groups(path)]
    return Resources(tuple(each.node for each, count in counts for _ in range(count)))


def bytes_of(quantity):
    number, unit = re.fullmatch(r"(\d+)(\D*)", str(quantity)).groups()
    return int(number) * UNITS[unit] if unit else int(number)


def every_image():
    for path in CLUSTERS:
        yield from (container["image"] for container in containers(path))
    yield load(LAUNCHER)["docker"]["image"]


def containers(path):
    yield from (container for each in groups(path) for container in each.pod["containers"])
    submitter = load(path)["spec"].get("submitterPodTemplate")
    yield from submitter["spec"]["containers"] if submitter else ()


def config_of(line, *, environ=None):
    """What `factory …` would run with: parsed by our own command line, and checked."""
    program, *words = shlex.split(line)
    assert program == "factory"
    calls = []
    cli.build_app(calls.append)(words, prog_name="factory", standalone_mode=False)
    (call,) = calls
    return load_settings(
        call.verb.config_class, flags=call.flags, file=None, environ=environ or {}, also=None
    )


# --- schemas ------------------------------------------------------------------------------------


def strict(schema):
    """The schema, refusing fields that it does not name: the server would drop or refuse them."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    walked = {key: strict(value) for key, value in schema.items()}
    is_closed = isinstance(schema.get("properties"), dict) and "type" in schema
    if is_closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        walked.setdefault("additionalProperties", False)
    return walked


@pytest.fixture(scope="module")
def validators(shared_data):
    found = {}
    for kind in ("RayCluster", "RayJob"):
        definition = load(shared_data / "schemas" / f"ray.io_{kind.lower()}s.yaml")
        (version,) = (v for v in definition["spec"]["versions"] if v["name"] == "v1")
        schema = version["schema"]["openAPIV3Schema"]
        schema = deepcopy(schema)
        schema["properties"]["metadata"] = {"x-kubernetes-preserve-unknown-fields": True}
        found[kind] = jsonschema.Draft202012Validator(strict(schema))
    return found


@pytest.mark.parametrize("path", CLUSTERS, ids=name_of)
def test_manifests_fit_the_published_definition(path, validators):
    document = load(path)
    assert document["apiVersion"] == "ray.io/v1"
    problems = validators[document["kind"]].iter_errors(document)
    assert [f"{list(each.path)}: {each.message[:200]}" for each in problems] == []


def test_a_field_that_is_misspelt_is_found(validators):
    document = deepcopy(load(CLUSTERS[0]))
    document["spec"]["workerGroupSpecs"][0]["template"]["spec"]["toleration"] = []
    document["spec"]["authOption"] = {}
    assert len(list(validators["RayCluster"].iter_errors(document))) == 2


def test_the_launcher_file_fits_rays_own_schema():
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.Draft7Validator(json.loads(schema.read_text(encoding="utf-8"))).validate(
        load(LAUNCHER)
    )


# --- commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_entrypoints_are_commands_of_ours(verb):
    entrypoint = load(KUBERNETES / f"ray-job.{verb}.yaml")["spec"]["entrypoint"]
    assert entrypoint.split()[:2] == ["factory", verb]
    # The operator writes it into a line of shell as it stands.
    assert not re.search(r"""[;&|<>$`\\"'#*?(){}\n]""", entrypoint)
    assert config_of(entrypoint).ray == "auto"


def test_commands_of_the_readme_are_commands_of_ours():
    lines = re.findall(r"factory (?:\w|-)+ [^\n`]+", README.replace("\\\n", " "))
    found = [config_of(line.strip()) for line in lines if line.split()[1] in cli.VERBS]
    assert [config.cpus_per_actor for config in found] == [7, 8]  # of a pod, of a machine


@pytest.mark.parametrize("at_most", [False, True], ids=["as it begins", "at its largest"])
def test_label_actors_have_room(at_most):
    """The plan is the same for a cluster without a GPU as for one with all of them."""
    path = KUBERNETES / "ray-job.label.yaml"
    config = config_of(load(path)["spec"]["entrypoint"])
    plan = plan_label(config, resources(path, at_most=at_most))
    (workers,) = (each for each in groups(path) if each.name == "gpu")
    assert (plan.count, plan.gpus, plan.cpus) == (workers.high, 1.0, workers.node.cpus)
    assert resources(path, at_most=True).room(cpus=plan.cpus, gpus=plan.gpus) == plan.count


@pytest.mark.parametrize("at_most", [False, True], ids=["as it begins", "at its largest"])
def test_ingest_actors_have_room(at_most):
    path = KUBERNETES / "ray-job.ingest.yaml"
    config = config_of(load(path)["spec"]["entrypoint"])
    plan = plan_ingest(config.actors, resources(path, at_most=at_most), pieces=1000)
    assert resources(path, at_most=True).room(cpus=plan.cpus, gpus=0) == plan.count


@pytest.mark.parametrize("at_most", [False, True], ids=["as it begins", "at its largest"])
def test_evaluation_actors_have_room(at_most):
    path = KUBERNETES / "ray-job.evaluate.yaml"
    config = config_of(load(path)["spec"]["entrypoint"])
    assert isinstance(config, EvaluateConfig)
    plan = evaluation_actors(config, resources(path, at_most=at_most))
    (workers,) = (each for each in groups(path) if each.name == "gpu")
    assert (plan.count, plan.gpus, plan.cpus) == (workers.high, 1.0, workers.node.cpus)
    assert resources(path, at_most=True).room(cpus=plan.cpus, gpus=plan.gpus) == plan.count


@pytest.mark.parametrize("verb", TRAINING)
def test_training_finds_its_gpus_when_it_begins(verb):
    """All workers start together, on GPUs or not at all; what is tried again is not begun anew."""
    path = KUBERNETES / f"ray-job.{verb}.yaml"
    config = config_of(load(path)["spec"]["entrypoint"])
    there = resources(path, at_most=False)
    assert there == resources(path, at_most=True)
    place = choose_place(config, there)
    (workers,) = (each for each in groups(path) if each.name == "gpu")
    assert (place.use_gpus, place.cpus) == (True, workers.node.cpus)
    assert there.gpus == config.workers == there.room(cpus=place.cpus, gpus=1)
    assert choose_place(config, Resources((Node(0),))).use_gpus, "it waits for them"
    assert not cluster_spec(path).get("enableInTreeAutoscaling")
    assert config.resume_if_any == (load(path)["spec"]["backoffLimit"] > 0)


# --- what every cluster has -----------------------------------------------------------------------


def test_ray_asks_for_a_token_everywhere():
    for path in CLUSTERS:
        auth = cluster_spec(path)["authOptions"]
        assert auth == {"mode": "token", "secretName": "factory-ray-token"}
    for start in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "export RAY_AUTH_MODE=token" in load(LAUNCHER)[start][-1]
    assert "/home/factory/.ray/auth_token" in load(LAUNCHER)["file_mounts"]


def test_the_dashboard_is_not_reached_from_outside():
    for path in CLUSTERS:
        head = cluster_spec(path)["headGroupSpec"]
        assert head["serviceType"] == "ClusterIP"
        assert head["enableIngress"] is False
    assert "--dashboard-host=127.0.0.1" in load(LAUNCHER)["head_start_ray_commands"][-1]


@pytest.mark.parametrize("path", CLUSTERS, ids=name_of)
def test_pods_are_the_same_in_every_file(path):
    """They are written out in each, so that each can be read and applied alone."""
    known = {each.name: each for each in groups(CLUSTERS[0])}
    for each in groups(path):
        mine, first = json.dumps(each.template), json.dumps(known[each.name].template)
        if each.name == "head":  # of a cluster that ingests alone it has no use for CUDA
            mine = mine.replace("-cpu", "-cuda")
        assert mine == first
        assert each.start == known[each.name].start


@pytest.mark.parametrize("path", CLUSTERS, ids=name_of)
def test_pods_may_do_no_more_than_they_must(path):
    templates = [each.template for each in groups(path)]
    if submitter := load(path)["spec"].get("submitterPodTemplate"):
        templates.append(submitter)
    for template in templates:
        assert template["metadata"]["labels"] == OUR_LABEL
        pod = template["spec"]
        assert pod["restartPolicy"] == "Never"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 1000
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_shared_memory_holds_rays_objects_and_fits_the_pod():
    for each in groups(CLUSTERS[0]):
        (mount,) = each.container["volumeMounts"]
        (volume,) = each.pod["volumes"]
        assert (mount["name"], mount["mountPath"]) == (volume["name"], "/dev/shm")
        assert volume["emptyDir"]["medium"] == "Memory"
        objects = int(each.start["object-store-memory"])
        shared = bytes_of(volume["emptyDir"]["sizeLimit"])
        memory = bytes_of(each.container["resources"]["limits"]["memory"])
        assert OBJECT_STORE_BYTES <= objects < shared <= memory / 4
        assert each.container["resources"]["requests"] == each.container["resources"]["limits"]


def test_workers_may_be_taken_away_and_the_head_not():
    head, *workers = groups(CLUSTERS[0])
    assert head.node == Node(0)
    assert "tolerations" not in head.pod
    assert "spot" in json.dumps(head.pod["affinity"])
    for each in workers:
        assert each.low == 0
        tolerated = {toleration["key"] for toleration in each.pod["tolerations"]}
        assert {"cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority"} <= tolerated
        assert ("nvidia.com/gpu" in tolerated) == (each.node.gpus > 0)
        goodbye = each.container["lifecycle"]["preStop"]["exec"]["command"][-1]
        notice_s = int(
            re.search(r"deadline-remaining-seconds (\d+) && sleep \1;", goodbye).group(1)
        )
        assert "ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION" in goodbye
        assert goodbye.endswith("ray stop --grace-period 3")
        assert notice_s + 3 < each.pod["terminationGracePeriodSeconds"] <= 25  # of the clouds


# --- secrets and variables ------------------------------------------------------------------------


def secrets_of_the_readme():
    """Names of secrets, with the keys that the commands which make them give to each."""
    text = README.replace("\\\n", " ")
    made = re.findall(r"kubectl create secret generic (\S+)([^\n]*)", text)
    return {name: set(re.findall(r"--from-literal=(\w+)=", given)) for name, given in made}


def our_variables():
    configs = [verb.config_class for verb in cli.VERBS.values()]
    return {
        each.metadata["env"]
        for config in configs
        for each in fields(config)
        if each.metadata.get("env")
    }


def test_secrets_are_those_that_the_readme_makes():
    made = secrets_of_the_readme()
    used = {"factory-ray-token"}
    for path in CLUSTERS:
        for container in containers(path):
            used |= {each["secretRef"]["name"] for each in container.get("envFrom", [])}
            for variable in container.get("env", []):
                reference = variable["valueFrom"]["secretKeyRef"]
                assert reference["key"] == variable["name"]
                assert reference["key"] in made[reference["name"]]
                used.add(reference["name"])
    assert used == set(made)
    assert made["factory-ray-token"] == {"auth_token"}


def test_variables_are_those_that_the_code_reads():
    read = our_variables()
    assert {"FACTORY_STORE", "FACTORY_CATALOG"} <= read
    made = secrets_of_the_readme()
    given = made["factory-store"] | made["factory-catalog"]
    assert {"FACTORY_STORE", "FACTORY_CATALOG"} <= given
    assert [name for name in given - read if not name.startswith(FORWARDED_PREFIXES)] == []


def test_only_the_head_gets_the_catalogs_password():
    for path in CLUSTERS:
        with_it = [each.name for each in groups(path) if "factory-catalog" in json.dumps(each.pod)]
        assert with_it == ["head"]


def test_no_secret_is_written_down():
    for path in INFRA.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY", text)
            assert "kind: Secret" not in text


# --- image --------------------------------------------------------------------------------------


def test_images_carry_the_version_and_a_target_that_is_built():
    targets = set(re.findall(r"^FROM runtime AS (\w+)", DOCKERFILE, re.MULTILINE))
    assert targets == {"cpu", "cuda"}
    prefix = f"registry.example.com/pseudo-label-factory:{PROJECT['version']}-"
    assert {image.removeprefix(prefix) for image in every_image()} == targets
    for target in targets:
        assert f"pseudo-label-factory:{PROJECT['version']}-{target}" in DOCKERFILE
        assert f"pseudo-label-factory:{PROJECT['version']}-{target}" in README


def test_who_computes_on_a_gpu_has_an_image_for_it():
    for path in CLUSTERS:
        for each in groups(path):
            if each.node.gpus:
                assert each.container["image"].endswith("-cuda")


def test_versions_are_those_that_are_pinned():
    for path in CLUSTERS:
        assert cluster_spec(path)["rayVersion"] == PINNED["ray"]
    assert f"ARG TORCH=torch=={PINNED['torch']}\n" in DOCKERFILE
    python = re.search(r"ARG PYTHON=(\S+)", DOCKERFILE).group(1)
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    extras = set(re.search(r"ARG EXTRAS=(\S+)", DOCKERFILE).group(1).split(","))
    assert {"postgres", "s3"} <= extras <= set(PROJECT["optional-dependencies"])


def test_what_is_copied_into_the_image_is_there_and_let_in():
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = line.split()
        copied |= set(sources)
    assert [name for name in copied if not (ROOT / name).exists()] == []
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    assert "*" in rules
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    rooms = {each.partition("*")[0] for each in ("pipeline*", "model*", "jobs*")}
    assert rooms | {PROJECT["readme"], *PROJECT["license-files"]} <= copied


def test_images_do_not_run_as_root():
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    final = [stage for stage in stages if re.match(r"runtime AS ", stage)]
    assert len(final) == 2
    for stage in final:
        assert re.findall(r"^USER (\S+)", stage, re.MULTILINE)[-1] == "1000"
    assert "wget" in DOCKERFILE  # KubeRay's probes


# --- virtual machines, network, metrics -----------------------------------------------------------


def test_machines_of_the_launcher_are_closed_by_groups_and_roles_of_ones_own():
    launcher = load(LAUNCHER)
    types = launcher["available_node_types"]
    assert launcher["head_node_type"] in types
    for each in types.values():
        assert each["node_config"]["SecurityGroupIds"] == ["sg-FACTORY"]
        assert "IamInstanceProfile" in each["node_config"]
    assert types["head"]["resources"] == {"CPU": 0}
    for each in types.values():  # the image leaves open which GPUs a container sees
        sees = "NVIDIA_VISIBLE_DEVICES=all" in json.dumps(each.get("docker", {}))
        assert sees == bool(each["resources"].get("GPU"))
    assert "NVIDIA_VISIBLE_DEVICES" not in DOCKERFILE
    assert "InstanceMarketOptions" not in types["head"]["node_config"]


def test_policy_and_monitor_select_what_the_manifests_label():
    policy = load(KUBERNETES / "network-policy.yaml")["spec"]
    assert policy["podSelector"]["matchLabels"] == OUR_LABEL
    monitor = load(KUBERNETES / "pod-monitor.yaml")["spec"]
    assert monitor["selector"]["matchLabels"] == OUR_LABEL
    (endpoint,) = monitor["podMetricsEndpoints"]
    for each in groups(CLUSTERS[0]):
        ports = {port["name"]: port["containerPort"] for port in each.container["ports"]}
        assert ports[endpoint["port"]] == 8080
    opened = {port["port"] for rule in policy["ingress"] for port in rule.get("ports", [])}
    assert opened == {8265, 8080}


def test_the_readme_tells_of_every_port():
    table = {int(port) for port in re.findall(r"^\| (\d+)[ ,|]", README, re.MULTILINE)}
    ports = {
        port["containerPort"] for each in groups(CLUSTERS[0]) for port in each.container["ports"]
    }
    assert ports <= table
