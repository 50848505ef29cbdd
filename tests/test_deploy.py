"""deploy/ checked as far as it can be without a Docker engine and without the services of a machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from twin.cli import COMMANDS

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


@pytest.mark.parametrize("script", sorted([*DEPLOY.rglob("*.sh"), ROOT / ".ci" / "run"]), ids=lambda path: path.name)
def test_scripts_are_bash(script: Path) -> None:
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_are_what_systemd_understands(unit: Path, tmp_path: Path) -> None:
    """In a home where the twin is installed as deploy/README.md says."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    command = tmp_path / "telegram-twin" / ".venv" / "bin" / "twin"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    env = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(["systemd-analyze", "verify", "--user", unit], env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_start_commands_that_exist(unit: Path) -> None:
    started = re.findall(r"^ExecStart=\S+/twin (\w+)", unit.read_text(encoding="utf-8"), re.MULTILINE)
    assert started
    assert set(started) <= set(COMMANDS)


def test_compose_starts_commands_that_exist_from_the_dockerfile_that_is_here() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert {service["command"][0] for service in services.values()} <= set(COMMANDS)
    build = services["twin"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert not any("ports" in service for service in services.values()), "nothing of the twin is for the network"


def test_the_image_takes_no_secrets_and_is_told_what_the_install_script_reads() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {".env", ".git", "data", "*.session", "*.sqlite*"} <= set(ignored)
    install = (DEPLOY / "venv.sh").read_text(encoding="utf-8")
    arguments = re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE)
    assert arguments
    assert [name for name in arguments if f"${{{name}:" not in install] == []
    assert dockerfile.index("USER twin") < dockerfile.index("ENTRYPOINT")


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """deploy/ray/node.sh in a checkout whose `ray` says how it was called."""
    script = tmp_path / "twin" / "deploy" / "ray" / "node.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(DEPLOY / "ray" / "node.sh", script)
    ray = tmp_path / "twin" / ".venv" / "bin" / "ray"
    ray.parent.mkdir(parents=True)
    ray.write_text('#!/bin/sh\necho "$RAY_AUTH_MODE" "$@"\n')
    ray.chmod(0o755)
    return script


def start_node(node: Path, home: Path, *arguments: str, **more: str) -> str:
    home.mkdir(exist_ok=True)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), **more}
    return subprocess.run([node, *arguments], env=env, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_gpu_host_keeps_to_loopback_and_asks_for_a_token_of_its_own(node: Path, tmp_path: Path) -> None:
    said = start_node(node, tmp_path / "home", "head").split()
    assert said[:3] == ["token", "start", "--head"]
    assert {"--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.2"} <= set(said)
    token = tmp_path / "home" / ".ray" / "auth_token"
    assert re.fullmatch(r"[0-9a-f]{64}", token.read_text())
    assert token.stat().st_mode & 0o777 == 0o600
    first = token.read_text()
    start_node(node, tmp_path / "home", "head")
    assert token.read_text() == first


def test_a_gpu_host_that_joins_makes_no_token(node: Path, tmp_path: Path) -> None:
    said = start_node(node, tmp_path / "home", "join", "10.0.0.2:6379", "--num-gpus=1", HOST="10.0.0.3").split()
    assert {"--address=10.0.0.2:6379", "--node-ip-address=10.0.0.3", "--num-gpus=1"} <= set(said)
    assert not (tmp_path / "home" / ".ray").exists()
