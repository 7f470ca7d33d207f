"""The files in launch/ are whole, agree with each other, and with what aigc_jax.launchers reads.

tests/test_launch_scripts.py runs the scripts; tests/test_slurm.py and tests/test_ray.py have real
engines.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

from aigc_jax import build, failure, launchers
from aigc_jax import config as configs

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAUNCH = ROOT / "launch"
SCRIPTS = sorted(p.name for p in LAUNCH.iterdir() if p.suffix in (".sh", ".sbatch"))
SCHEMAS = {"jobset": "JobsetV1alpha2JobSet", "kubeflow-trainjob": "TrainerV1alpha1TrainJob"}
IN_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def read(name):
    return (LAUNCH / name).read_text()


def manifest(name):
    return yaml.safe_load(read(f"{name}.yaml"))


def pod_of(jobset):
    """The template of a worker's pod."""
    (job,) = jobset["spec"]["replicatedJobs"]
    return job["template"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_parse_and_stop_at_errors(name):
    subprocess.run(["bash", "-n", LAUNCH / name], check=True)
    assert "set -euo pipefail" in read(name) or name == "retry.sh"  # which is sourced
    assert os.access(LAUNCH / name, os.X_OK) != (name == "retry.sh")


@pytest.mark.parametrize("path", sorted(LAUNCH.iterdir()), ids=lambda path: path.name)
def test_every_file_says_what_was_tested(path):
    parts = ("retry.sh", "requirements-ray.txt", "Dockerfile.dockerignore")
    if path.name in parts or path.is_dir():
        return
    assert re.search(r"\bTested\b|\btested\b", path.read_text())


def test_exit_codes_are_those_of_the_package():
    codes = range(256)
    script = 'source "$0"; for c in {0..255}; do worth_a_retry "$c" && echo "$c"; done; true'
    out = subprocess.run(
        ["bash", "-c", script, LAUNCH / "retry.sh"], capture_output=True, text=True
    )
    again = {int(line) for line in out.stdout.split()}
    final = {failure.DONE, failure.FAILED, failure.BAD_INPUT, failure.INTERRUPTED}
    assert again == {failure.RETRY, *codes[129:]} - final
    policy = manifest("jobset")["spec"]["replicatedJobs"][0]["template"]["spec"]["podFailurePolicy"]
    (rule,) = policy["rules"]
    never = {"operator": "In", "values": [failure.FAILED, failure.BAD_INPUT]}
    assert (rule["action"], rule["onExitCodes"]) == ("FailJob", never)


@pytest.mark.parametrize("name", SCHEMAS)
def test_manifests_are_what_the_engine_knows(name):
    """Read by the models of the registry's package, nothing is refused and nothing is lost."""
    reason = "kubeflow_trainer_api, which has the schema, is not installed"
    models = pytest.importorskip("kubeflow_trainer_api.models", reason=reason)

    def lost(ours, theirs):
        if isinstance(ours, dict):
            missing = {key for key in ours if key not in theirs}
            return missing.union(*(lost(ours[k], theirs[k]) for k in ours.keys() - missing))
        if isinstance(ours, list):
            return set().union(*(lost(*pair) for pair in zip(ours, theirs, strict=True)))
        return set() if ours == theirs else {ours}

    written = manifest(name)
    assert lost(written, getattr(models, SCHEMAS[name]).from_dict(written).to_dict()) == set()


def test_jobset_counts_and_names_agree():
    jobset = manifest("jobset")
    name = jobset["metadata"]["name"]
    (job,) = jobset["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    told = {e["name"]: e["value"] for e in pod_of(jobset)["containers"][0]["env"]}
    assert str(spec["parallelism"]) == str(spec["completions"]) == told["JAX_NUM_PROCESSES"]
    host, port = told["JAX_COORDINATOR_ADDRESS"].split(":")
    assert host == f"{name}-{job['name']}-0-0.{name}"
    assert {"containerPort": int(port)} in pod_of(jobset)["containers"][0]["ports"]
    assert spec["completionMode"] == "Indexed"
    assert (spec["backoffLimit"], pod_of(jobset)["restartPolicy"]) == (0, "Never")
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] > 0


def pods():
    """Of both manifests: (the pod, its container with what TrainJob says of it elsewhere)."""
    jobset, job = pod_of(manifest("jobset")), manifest("kubeflow-trainjob")["spec"]
    (patch,) = job["runtimePatches"]
    patched = pod_of(patch["trainingRuntimeSpec"]["template"])
    trainer = {"env": job["trainer"]["env"], "resources": job["trainer"]["resourcesPerNode"]}
    return [(jobset, jobset["containers"][0]), (patched, patched["containers"][0] | trainer)]


def test_pods_have_time_to_save_and_an_eviction_is_not_the_end():
    for pod, container in pods():
        assert pod["terminationGracePeriodSeconds"] >= 120
        told = {e["name"]: e["value"] for e in container["env"]}
        assert failure.stopped_code(told) == failure.RETRY


def test_pods_ask_for_what_they_need_beside_gpus():
    for pod, container in pods():
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        memory = [v["name"] for v in pod["volumes"] if v.get("emptyDir") == {"medium": "Memory"}]
        mounted = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
        assert [mounted["/dev/shm"]] == memory


@pytest.mark.parametrize("path", ["README.md", "launch/slurm.sbatch"])
def test_the_batch_of_an_example_is_shared_by_its_devices(path):
    text = re.sub(r"\\\n#", "", (ROOT / path).read_text())
    examples = re.findall(r"sbatch (--nodes=.+)", text)
    assert examples
    for example in examples:
        told = dict(word.split("=", 1) for word in example.split() if "=" in word)
        overrides = [
            (k.removeprefix("--config."), v) for k, v in told.items() if k.startswith("--config.")
        ]
        config = build.configured(configs.load(told["--config"]), overrides)
        assert config["batch_size"] % (int(told["--nodes"]) * int(told["--gpus-per-node"])) == 0
        assert int(told["--cpus-per-task"]) > 1


def variables_of(engine, index):
    """What process `index` finds: what the file sets, and what its engine adds."""
    if engine == "jobset":
        container = pod_of(manifest("jobset"))["containers"][0]
        told = {e["name"]: e["value"] for e in container["env"]}
        return IN_POD | told | {"JOB_COMPLETION_INDEX": str(index)}
    if engine == "kubeflow":  # pkg/runtime/framework/plugins/jax of kubeflow/trainer
        job = manifest("kubeflow-trainjob")
        name, count = job["metadata"]["name"], job["spec"]["trainer"]["numNodes"]
        return IN_POD | {
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(index),
            "JAX_COORDINATOR_ADDRESS": f"{name}-node-0-0.{name}:6379",
            "JAX_COORDINATOR_PORT": "6379",
            "JAX_DISTRIBUTED_BACKEND": "gloo",
            "JOB_COMPLETION_INDEX": str(index),
        }
    if engine == "slurm":  # a step of srun 22.05
        return {
            "SLURM_JOB_ID": "7",
            "SLURM_STEP_ID": "0",
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_NTASKS": "2",
            "SLURM_STEP_NUM_TASKS": "2",
            "SLURM_STEP_NUM_NODES": "1",
            "SLURM_STEP_NODELIST": "node0",
            "SLURM_PROCID": str(index),
            "SLURM_LOCALID": str(index),
        }
    return {  # Open MPI 4.1
        "OMPI_MCA_orte_hnp_uri": "1598226432.0;tcp://10.77.0.1:44343",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": str(index),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(index),
    }


@pytest.mark.parametrize("engine", ["jobset", "kubeflow", "slurm", "open_mpi"])
def test_variables_of_an_engine_are_those_that_train_reads(engine):
    found = [launchers.detected(variables_of(engine, index)) for index in (0, 1)]
    assert [launcher.processes for launcher in found] == [2, 2]
    if engine in ("jobset", "kubeflow"):
        assert [launcher.arguments["process_id"] for launcher in found] == [0, 1]
        addresses = {launcher.arguments["coordinator_address"] for launcher in found}
        assert addresses == {variables_of(engine, 0)["JAX_COORDINATOR_ADDRESS"]}
    else:
        method = {"cluster_detection_method": engine.replace("open_", "o")}
        assert [dict(launcher.arguments) for launcher in found] == [method] * 2


def test_dockerfile_copies_what_there_is_and_agrees_with_the_lock():
    text = read("Dockerfile").replace("\\\n", " ")
    sources = [
        word for line in re.findall(r"^COPY (.+)$", text, re.M) for word in line.split()[:-1]
    ]
    assert sources
    assert all((ROOT / source).exists() for source in sources)
    ignored = read("Dockerfile.dockerignore").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == set(sources)
    (version,) = re.findall(r"^FROM python:(\d+)\.(\d+)-slim$", text, re.M)
    lock = f"requirements-py{''.join(version)}.lock"
    assert lock in sources
    assert f"--requirement {lock}" in text
    assert f"--constraint {lock}" in text
    # pip demands hashes where the lock has them, and only there.
    assert ("--require-hashes" in text) == ("--hash=" in (ROOT / lock).read_text())
    steps = [line.split()[0] for line in text.splitlines() if re.match(r"[A-Z]+ ", line)]
    assert steps.index("USER") < steps.index("ENTRYPOINT")
    assert json.loads(re.search(r"^ENTRYPOINT (.+)$", text, re.M)[1]) == ["python", "train.py"]


def test_manifests_run_as_the_user_of_the_image():
    (made,) = re.findall(r"--uid (\d+)", read("Dockerfile"))
    (user,) = re.findall(r"^USER (\d+)$", read("Dockerfile"), re.M)
    assert user == made
    assert pod_of(manifest("jobset"))["securityContext"]["fsGroup"] == int(user)


def test_ray_train_hands_words_of_train_on(monkeypatch):
    monkeypatch.syspath_prepend(str(LAUNCH))
    import ray_train

    flags, words = ray_train.parse(["--workers=2", "--workdir=w", "--config=c", "--config.steps=3"])
    assert (flags.workers, words) == (2, ["--config=c", "--config.steps=3", "--workdir=w"])
    assert ray_train.FINAL == (failure.FAILED, failure.BAD_INPUT, failure.INTERRUPTED)
    assert "ray" not in sys.modules
