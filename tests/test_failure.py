"""A process whose peers or network are gone leaves soon, with its stacks and a code to retry."""

import errno
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import commands
import jax
import processes
import pytest

from aigc_jax import build, checks, failure
from aigc_jax import config as configs

HEARTBEAT = 5
LOOP = f"""
import builtins, os, time
from aigc_jax import failure, launch
launch.initialize_from_env(heartbeat_seconds={HEARTBEAT})
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
place = NamedSharding(mesh, PartitionSpec("d"))
x = jax.make_array_from_callback((4,), place, lambda rows: np.ones(4)[rows])
total = jax.jit(lambda x: x.sum())
fails = jax.process_index() == 1 and os.environ.get("FAILS")
def trained():
    for step in range(100_000):
        total(x).block_until_ready()
        time.sleep(0.01)
        if step == 20:
            print("step 20", flush=True)
        if fails and step == 25:
            raise getattr(builtins, fails)("this is wrong")
with failure.leaving(lambda: print("logs are written")):
    trained()
"""
STALL = """
import time, ctypes
from aigc_jax import failure
def healthy(alive):
    for _ in range(12):
        time.sleep(0.2)
        alive()
    print("was healthy", flush=True)
def stuck():
    {hang}
with failure.watchdog({seconds}) as alive:
    healthy(alive)
    stuck()
print("went on")
"""


def run(program):
    """(exit code, stdout, stderr, seconds) of one process."""
    with processes.start(1, program, variables=None) as group:
        start = time.monotonic()
        code = group.wait_one(0, 60)
        return code, group.out(0), group.err(0), time.monotonic() - start


def after(number, victim):
    """(exit code, seconds until it left, stdout, stderr) of the peer of a process sent a signal."""
    other = 1 - victim
    with processes.start(2, LOOP) as group:
        group.wait_for("step 20", index=other)
        start = time.monotonic()
        group.signal(victim, number)
        code = group.wait_one(other, 60)
        return code, time.monotonic() - start, group.out(other), group.err(other)


@pytest.mark.parametrize("victim", [0, 1])
def test_the_peer_of_a_killed_process_leaves_at_once(victim):
    code, seconds, out, err = after(signal.SIGKILL, victim)
    # Where the one that leads is gone, JAX may be faster than the failing step.
    assert code in (failure.RETRY, -signal.SIGABRT), err
    assert seconds < HEARTBEAT + 5
    assert "in trained" in err
    if code == failure.RETRY:
        assert "logs are written" in out
        assert "try again" in err


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_peer_of_a_stopped_process_leaves_after_the_heartbeat(victim):
    code, seconds, _, err = after(signal.SIGSTOP, victim)
    assert code in (failure.RETRY, -signal.SIGABRT), err
    assert seconds < HEARTBEAT + 5
    assert "in trained" in err


@pytest.mark.parametrize(
    ("kind", "expected"), [("FloatingPointError", 1), ("ValueError", 2), ("RuntimeError", 1)]
)
def test_an_error_in_one_process_keeps_nobody_waiting(kind, expected):
    with processes.start(2, LOOP, FAILS=kind) as group:
        group.wait_for("step 20", index=1)
        start = time.monotonic()
        codes = group.wait(60)
        assert time.monotonic() - start < HEARTBEAT
        assert codes[1] == expected, group.said()
        assert codes[0] in (failure.RETRY, -signal.SIGABRT), group.said()
        explained = kind != "RuntimeError"  # its message is all that a person needs
        assert "this is wrong" in group.err(1)
        assert "logs are written" in group.out(1)
        assert ("\nerror: this is wrong\n" in f"\n{group.err(1)}") == explained
        assert ("Traceback" in group.err(1)) != explained


def test_a_stall_ends_with_stacks_and_a_code_to_retry():
    code, out, err, _ = run(STALL.format(seconds=2, hang="time.sleep(100)"))
    assert code == failure.RETRY, err
    assert out == "was healthy\n"
    assert "no sign of life for 2 s" in err
    assert "in stuck" in err


def test_a_stall_that_holds_the_interpreter_ends_too():
    code, _, err, seconds = run(STALL.format(seconds=1, hang="ctypes.PyDLL(None).sleep(100)"))
    assert code == 1, err
    assert seconds < 30
    assert "in stuck" in err


def test_no_limit_and_no_stall_change_nothing():
    for seconds in (0, 2):
        code, out, err, _ = run(STALL.format(seconds=seconds, hang="time.sleep(0)"))
        assert (code, out) == (0, "was healthy\nwent on\n"), err


def caused_by(error, cause):
    """As if raised from it."""
    error.__cause__ = cause
    return error


LOST = ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer [::1]:747")
TENSORSTORE = "Error writing local file: Failed to write 3 bytes to file 4: no [os_error_code='{}']"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LOST, 75),
        (caused_by(RuntimeError("training stopped"), LOST), 75),
        (jax.errors.JaxRuntimeError("UNAVAILABLE: The following tasks are unhealthy"), 75),
        (jax.errors.JaxRuntimeError("INTERNAL: /job:x/task:1 heartbeat timeout. This"), 75),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"), 1),
        (ValueError("config.heartbeat_seconds = 1: must be at least 2"), 2),
        (ValueError("tokenizer: was cancelled, or is unavailable"), 2),
        (ValueError("checkpoints/3: another process could not read it"), 75),
        (KeyboardInterrupt(), 130),
    ],
)
def test_the_code_says_whether_a_retry_can_help(error, code):
    assert failure.exit_code(error) == code


@pytest.mark.parametrize("name", ["EIO", "ESTALE", "ETIMEDOUT", "EMFILE"])
def test_faults_of_disks_that_may_pass_are_worth_a_retry(name):
    number = getattr(errno, name)
    assert failure.exit_code(OSError(number, name)) == 75
    assert failure.exit_code(caused_by(OSError("could not be saved"), OSError(number, name))) == 75
    written = ValueError("INTERNAL: " + TENSORSTORE.format(number))
    assert failure.exit_code(caused_by(OSError("could not be saved"), written)) == 75


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EACCES", "EROFS", "ENOENT"])
def test_faults_of_disks_that_stay_are_final(name):
    number = getattr(errno, name)
    assert failure.exit_code(OSError(number, name)) == 2
    written = ValueError("RESOURCE_EXHAUSTED: " + TENSORSTORE.format(number))
    assert failure.exit_code(caused_by(OSError("could not be saved"), written)) == 2


def test_what_no_server_gave_has_to_be_put_there():
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    assert failure.exit_code(caused_by(FileNotFoundError("put it there"), refused)) == 2


def test_the_message_of_a_config_that_is_refused_is_final():
    config = build.configured(configs.load("configs/gan_digits.py"), [])
    with pytest.raises(ValueError, match="config.heartbeat_seconds = 1") as refused:
        checks.check({**config, "heartbeat_seconds": 1})
    assert failure.exit_code(refused.value) == failure.BAD_INPUT


def test_a_stop_has_the_code_that_the_launcher_wants():
    assert failure.stopped_code({}) == failure.stopped_code({"AIGC_STOPPED_EXIT_CODE": ""}) == 0
    assert failure.stopped_code({"AIGC_STOPPED_EXIT_CODE": "75"}) == 75
    for bad in ("-1", "256", "retry"):
        with pytest.raises(ValueError, match=f"AIGC_STOPPED_EXIT_CODE={bad}: must be a whole"):
            failure.stopped_code({"AIGC_STOPPED_EXIT_CODE": bad})


def test_the_errors_of_a_single_process_just_pass():
    with pytest.raises(FloatingPointError), failure.leaving():
        raise FloatingPointError


# Two hosts with a cable between them, and what happens when it is pulled; in a world of its own.
CABLE = """
import json, subprocess, sys, tempfile, time
sys.path[:0] = [{tests!r}, {root!r}]
import processes
def sh(line):
    subprocess.run(line, shell=True, check=True)
hosts = tempfile.NamedTemporaryFile("w", suffix="hosts")
hosts.write("127.0.0.1 localhost\\n10.77.0.1 h0\\n10.77.0.2 h1\\n")
hosts.flush()
sh(f"mount -t tmpfs tmpfs /run && mount --bind {{hosts.name}} /etc/hosts")
sh("ip netns add h0 && ip netns add h1")
sh("ip link add eth0 netns h0 type veth peer name eth0 netns h1")
for i in (0, 1):
    sh(f"ip -n h{{i}} addr add 10.77.0.{{i + 1}}/24 dev eth0")
    sh(f"ip -n h{{i}} link set eth0 up && ip -n h{{i}} link set lo up")
def on_host(i):
    named = 'hostname "$0" && exec "$@"'
    return ["ip", "netns", "exec", f"h{{i}}", "unshare", "-u", "sh", "-c", named, f"h{{i}}"]
def variables(i, count, port):
    return processes.kubeflow(i, count, port) | {{"JAX_COORDINATOR_ADDRESS": f"h0:{{port}}"}}
with processes.start(2, {loop!r}, prefix=on_host, variables=variables) as group:
    for i in (0, 1):
        group.wait_for("step 20", index=i)
    start = time.monotonic()
    sh("ip -n h1 link set eth0 down")
    codes = group.wait(60)
    print(json.dumps([codes, time.monotonic() - start, group.err(0), group.err(1)]))
"""


def unshared(words):
    """What a command says in namespaces of its own, or a reason why there are none."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        pytest.skip("needs the commands unshare and ip")
    world = ["unshare", "-rnmu", "--"]
    if subprocess.run([*world, "mount", "-t", "tmpfs", "tmpfs", "/run"], check=False).returncode:
        pytest.skip(
            "needs root or user namespaces, with network, mount and host names of their own"
        )
    return subprocess.run([*world, *words], capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_both_leave_when_the_network_between_them_is_cut():
    here = pathlib.Path(__file__).parent
    told = {"tests": str(here), "root": str(here.parent), "loop": LOOP}
    done = unshared([sys.executable, "-c", CABLE.format(**told)])
    assert done.returncode == 0, done.stderr
    codes, seconds, *errors = json.loads(done.stdout.splitlines()[-1])
    assert all(code in (failure.RETRY, -signal.SIGABRT) for code in codes), errors
    assert seconds < HEARTBEAT + 5
    assert all("in trained" in err for err in errors)


def test_a_run_that_is_too_large_is_told_in_a_line(tmp_path, monkeypatch, capsys):
    def exhausted(config, workdir):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: allocating 9 bytes.\nfrom here")

    monkeypatch.setattr("aigc_jax.loop.train", exhausted)
    assert commands.train(tmp_path, "vae") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: the run does not fit into memory (RESOURCE_EXHAUSTED: alloca")
    assert "config.batch_size" in said
    assert said.count("\n") == 1
    assert failure.explained(jax.errors.JaxRuntimeError("INTERNAL: bug")) == ""
    assert failure.explained(TypeError("bug")) == ""
