"""A map over items goes on where single items fail, and ends where there is a bug."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from paths import ROOT
from process_maker import PATIENCE_S, until

from preference.errors import UserError
from preference.work import HERE, Crash, Workers, parallel_map


def square(n):
    if n == 3:
        raise UserError("three is broken")
    if n == 99:
        raise ZeroDivisionError("a bug")
    return n * n


def test_where_the_system_does_not_say_which_cores_are_ours_all_are(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert Workers().processes == 3


EACH_WAY = pytest.mark.parametrize("workers", [HERE, Workers(1), Workers(2)])


@EACH_WAY
def test_a_broken_item_is_a_result_and_the_others_are_done(workers):
    results = dict(parallel_map(square, [1, 2, 3, 4], workers=workers, description="squares"))
    assert {n: r for n, r in results.items() if n != 3} == {1: 1, 2: 4, 4: 16}
    assert isinstance(results[3], UserError)


@EACH_WAY
def test_a_bug_is_not_hidden(workers):
    with pytest.raises(ZeroDivisionError):
        list(parallel_map(square, [1, 99], workers=workers, description="squares"))


def crash(n):
    if n in (3, 17):
        os.kill(os.getpid(), signal.SIGSEGV)
    if n == 5:
        raise UserError("five is broken")
    return n * n


@pytest.mark.parametrize(("workers", "numbers"), [(2, range(20)), (3, [3, 17]), (1, [3]), (0, [3, 4])])
def test_the_item_that_crashes_its_process_is_one_failure_and_all_others_are_done(workers, numbers):
    found = list(parallel_map(crash, list(numbers), workers=Workers(workers), description="squares"))
    results = dict(found)
    assert sorted(n for n, _ in found) == sorted(numbers), "each once"
    assert {n for n, result in results.items() if isinstance(result, Crash)} == {3, 17} & set(numbers)
    assert {n: r for n, r in results.items() if n not in (3, 5, 17)} == {
        n: n * n for n in numbers if n not in (3, 5, 17)
    }


def deaf(path):
    """Does not end when it is told to, as if it waited for a lock; the second time it does its work."""
    if path.name == "quick":
        return path.name
    if path.name == "crash":
        while not path.with_name("deaf").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGSEGV)
    if not path.exists():
        path.touch()
        while True:
            with contextlib.suppress(SystemExit):
                time.sleep(60)
    return path.name


def test_a_process_that_does_not_end_when_it_is_told_to_holds_nothing_up(tmp_path):
    # the pool hears of a process that it started last only after one more result
    paths = [tmp_path / name for name in ("deaf", "quick", "crash")]
    found = dict(parallel_map(deaf, paths, workers=Workers(2), description="deaf"))
    assert found[paths[0]] == "deaf"
    assert isinstance(found[paths[2]], Crash)


def parent(_):
    return os.getppid()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each process starts by itself")
def test_the_processes_of_all_stages_come_from_one_server_so_that_imports_are_paid_once():
    maps = [parallel_map(parent, [1, 2], workers=Workers(2), description="parents") for _ in range(2)]
    found = {result for made in maps for _, result in made}
    assert len(found) == 1
    assert os.getpid() not in found


def test_nothing_to_do_is_nothing_done():
    assert list(parallel_map(square, [], workers=Workers(2), description="squares")) == []


def test_zero_workers_means_one_per_core():
    assert Workers().processes >= 1
    assert Workers(5).processes == 5


SLEEPY = """
import sys, time
from preference.work import Workers, parallel_map
from sleepy import nap
if __name__ == "__main__":
    list(parallel_map(nap, [1, 2], workers=Workers(2), description="naps"))
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    import subprocess

    (tmp_path / "sleepy.py").write_text(
        "import os, time, pathlib\n\ndef nap(n):\n"
        f"    pathlib.Path({str(tmp_path)!r}, f'pid{{n}}').write_text(str(os.getpid()))\n    time.sleep(600)\n"
    )
    (tmp_path / "run.py").write_text(SLEEPY)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "run.py")], cwd=tmp_path)
    pids = [tmp_path / "pid1", tmp_path / "pid2"]
    until(lambda: all(path.exists() and path.read_text() for path in pids))
    workers = [int(path.read_text()) for path in pids]
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


UNGUARDED = """
from preference.work import Workers, parallel_map
from sleepy import nap
list(parallel_map(nap, range(200), workers=Workers(2), description="naps"))
"""


def test_a_script_that_its_own_processes_would_run_again_is_told_so_once(tmp_path):
    import subprocess

    (tmp_path / "sleepy.py").write_text("def nap(n):\n    return n\n")
    (tmp_path / "run.py").write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "run.py")], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1 and '`if __name__ == "__main__":`' in done.stderr


RAY = """
import logging, os, signal
import ray
from preference.errors import UserError
from preference.work import Crash, Workers, parallel_map

def square(n):
    if n == 3:
        raise UserError("three is broken")
    if n == 99:
        raise ZeroDivisionError("a bug")
    if n == 7:
        os.kill(os.getpid(), signal.SIGSEGV)
    return n * n, os.getpid()

if __name__ == "__main__":
    ray.init(log_to_driver=False, logging_level=logging.ERROR)  # once for both
    on_ray = Workers(executor="ray")
    found = dict(parallel_map(square, list(range(20)), workers=on_ray, description="squares"))
    assert isinstance(found.pop(3), UserError)
    assert isinstance(found.pop(7), Crash)
    assert {n: r[0] for n, r in found.items()} == {n: n * n for n in found}
    assert os.getpid() not in {r[1] for r in found.values()}
    try:
        list(parallel_map(square, [1, 99], workers=on_ray, description="squares"))
    except ZeroDivisionError:
        print("all is well")
"""


def test_ray_gives_the_same_results_as_processes(tmp_path):
    """A local Ray of its own, in a process of its own, since Ray stays in the process that began it."""
    import subprocess

    pytest.importorskip("ray", reason="pip install 'robopref[scale]'")
    (tmp_path / "run.py").write_text(RAY)
    done = subprocess.run(
        [sys.executable, tmp_path / "run.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "all is well" in done.stdout.splitlines(), done.stderr[-2000:]


def test_ray_that_is_not_installed_is_a_mistake_in_the_settings(monkeypatch):
    from preference.errors import ConfigError

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="Ray is not installed"):
        list(parallel_map(square, [1, 2], workers=Workers(executor="ray"), description="squares"))


WRITING = """
import sys, time
from pathlib import Path
from preference.work import Workers, parallel_map
from preference.artifacts import replacing

def write(n):
    with replacing(Path(sys.argv[1]) / f"{n}.txt") as temporary:
        for part in range(20):
            with temporary.open("a") as file:
                file.write("x" * 1000)
            (temporary.parent / f"{part}").touch()  # more to clear away
            time.sleep(0.002)
    return n

if __name__ == "__main__":
    list(parallel_map(write, range(5000), workers=Workers(2), description="files"))
"""


def test_ctrl_c_leaves_nothing_half_written(tmp_path):
    """As a terminal sends it, to workers and parent at once; the parent ends the workers a moment later."""
    import random
    import subprocess
    import time

    program, out = tmp_path / "program.py", tmp_path / "out"
    program.write_text(WRITING)
    draw = random.Random(0)
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, program, out], stderr=subprocess.PIPE, text=True, start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        begun = len(list(out.glob("*.txt")))
        until(lambda begun=begun: len(list(out.glob("*.txt"))) >= begun + 3)
        time.sleep(draw.random() * 0.1)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
        left = sorted(path.name for path in out.iterdir())
        assert [name for name in left if name.startswith(".")] == []
        assert all((out / name).stat().st_size == 20_000 for name in left)
        for name in left:
            (out / name).unlink()
