"""What holds for the repository as a whole: what may stand in a file, how long it may be, and what importing it does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("twin", "bot", "trainer", "inference", "sandbox")
MAX_LINES = 400
LONGER = {
    "sandbox/world.py": "the sandbox's one vocabulary: every door reads it from the top",
}
# Brackets keep these patterns from finding themselves.
FORBIDDEN = {
    "unfinished work": r"\b(?:TOD[O]|FIXM[E]|XX[X])\b",
    "a path of somebody's machine": r"(?:^|[\s\"'=(:])/(?:root|work|opt|home/(?!twin\b)\w+)/",
    "a package registry's host": r"pypi[.]org|pythonhoste[d]|registry[.]npmjs|deb[.]debian[.]org|download[.]pytorch",
    # Telegram's own error text and terms have it.
    "a word for a person that means four things": r"(?<!blocked by )(?<!on behalf of )(?<!without )\bthe user(?:'s)?\b",
}
HEAVY = ("torch", "transformers", "peft", "trl", "bitsandbytes", "vllm", "telethon", "matplotlib")
# Modules that are pieces of torch: imported only inside functions.
OF_TORCH = ("trainer.cpu_attention", "trainer.cpu_layers", "trainer.lora_linear")
# Run by Alembic and by nobody else.
NOT_MODULES = ("twin.store.migrations",)


def repository_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so which files belong to the repository is unknown")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> list[tuple[str, str]]:
    found = []
    for path in repository_files():
        try:
            found.append((path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue  # a picture
    return found


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what], re.MULTILINE)
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match.group().strip()}"
        for name, text in texts()
        for match in pattern.finditer(text)
    ]
    assert found == []


def test_no_file_holds_where_this_checkout_lies() -> None:
    assert [name for name, text in texts() if f"{ROOT}/" in text] == []


def test_nothing_private_is_in_the_repository() -> None:
    """A data folder under version control has published people's chats before."""
    private = re.compile(r"(?:^|/)(?:\.env|result\.json|.*\.session|.*\.sqlite(?:-\w+)?|.*\.safetensors|.*\.log)$")
    assert [name for path in repository_files() if private.search(name := path.relative_to(ROOT).as_posix())] == []


def test_a_file_of_the_product_is_short_or_has_a_reason() -> None:
    lengths = {name: text.count("\n") for name, text in texts() if name.split("/")[0] in PARTS}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES and name not in LONGER} == {}
    assert {name for name in LONGER if lengths.get(name, 0) <= MAX_LINES} == set(), "no reason needed any more"


def modules(part: str) -> list[str]:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in sorted((ROOT / part).rglob("*.py"))
    ]
    return [name for name in names if not name.startswith(NOT_MODULES)]


IMPORTING = """
import importlib, json, os, sys
names, heavy, libraries = json.loads(sys.argv[1])
for library in libraries:
    importlib.import_module(library)  # what it does itself is not ours: Telethon asks ldconfig for OpenSSL
did = []
def audit(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            did.append(f"opened {path} for writing")
    elif event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.mkdir", "os.remove"):
        did.append(f"{event} {arguments[1:]}")
sys.addaudithook(audit)
loaded = {}
for name in names:
    importlib.import_module(name)
    for module in heavy:
        if module in sys.modules and module not in loaded:
            loaded[module] = name
print(json.dumps({"did": did, "loaded": loaded}))
"""


@pytest.mark.parametrize("part", PARTS)
def test_importing_does_nothing_and_stays_light(part: str) -> None:
    """No file written, no socket, no process; and no framework that takes seconds. The sandbox speaks in Telethon's types."""
    names = [name for name in modules(part) if name not in OF_TORCH]
    libraries = ["telethon"] if part == "sandbox" else []
    heavy = [name for name in HEAVY if name not in libraries]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING, json.dumps([names, heavy, libraries])],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"did": [], "loaded": {}}
    assert done.stdout.count("\n") == 1, "importing prints nothing"


def test_the_glossary_has_every_word_that_the_store_uses() -> None:
    from twin.store.tables import metadata

    glossary = (ROOT / "docs" / "GLOSSARY.md").read_text(encoding="utf-8").lower()
    terms = set(re.findall(r"\*\*([^*]+)\*\*", glossary))
    nouns = {"replies_due": "due", "adapter_dialogs": "adapter", "inbox": "inbox", "outbox": "outbox"}
    tables = {nouns.get(name, name.removesuffix("s")) for name in metadata.tables}
    assert {table for table in tables if not any(table in term for term in terms)} == set()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "deploy/README.md", "docs/GLOSSARY.md"])
def test_links_of_the_documents_lead_somewhere(name: str) -> None:
    document = ROOT / name
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_readme_names_every_command_and_target() -> None:
    from twin.cli import COMMANDS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [command for command in COMMANDS if f"twin {command}" not in readme] == []
    assert [target for target in ("demo", "test", "venv", "lint", "bench") if f"make {target}" not in readme] == []
