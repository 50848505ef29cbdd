from __future__ import annotations

import sys
from pathlib import Path

import pytest

from inference.engines import open_generator
from inference.local import LocalGenerator
from inference.vllm import VllmGenerator
from twin.settings import Engine, Settings


@pytest.mark.parametrize(("kind", "engine"), [("local", LocalGenerator), ("vllm", VllmGenerator)])
async def test_the_settings_choose_the_engine_and_opening_it_touches_nothing(tmp_path: Path, kind: str, engine: type) -> None:
    settings = Settings(_env_file=None, engine=Engine(kind=kind))  # type: ignore[call-arg, arg-type]
    generator = open_generator(settings, tmp_path / "no-such-folder")
    assert isinstance(generator, engine)
    await generator.use(None)
    await generator.close()


def test_importing_the_engines_imports_no_torch() -> None:
    import subprocess

    code = "import inference.engines, inference.local, inference.vllm, inference.serve, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
