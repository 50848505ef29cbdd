"""What travels between the bot's host and the GPU hosts for a job: its order and its inputs there, its result back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.base_model import folder_name
from trainer.ray_job import result_name
from trainer.storage import Damaged, Storage, checked_sum
from twin.base_folder import AGAIN
from twin.errors import ModelError, SettingsError, TwinError
from twin.progress import Progress
from twin.reading import read_object
from twin.settings import Settings

PRIVATE = ("report.json",)  # of a dataset: names of contacts, which no training needs


def open_storage(settings: Settings) -> Storage:
    """Raises SettingsError; reaches nothing yet."""
    if settings.trainer.storage is None:
        mend = (
            "Set TWIN_TRAINER__STORAGE to a folder that the GPU hosts have under the same path (file:///srv/twin) or a bucket (s3://...)."
        )
        raise SettingsError("TWIN_TRAINER__LAUNCHER=ray needs a storage.", mend=mend)
    return Storage(settings.trainer.storage)


def made_before(settings: Settings, job: str, order: dict[str, Any]) -> str | None:
    """The sealed folder that the job would make, if it is here."""
    made = _made(settings, job, order)
    return str(made) if made and (made / "manifest.json").exists() else None


def _made(settings: Settings, job: str, order: dict[str, Any]) -> Path | None:
    if job == "train":
        return Path(order["out"])
    if job == "prepare":  # apart from the prepared models: what comes back from the cluster has no weights
        return settings.models_path / "tokenizers" / folder_name(settings.model.base, settings.model.revision)
    return None


def send(settings: Settings, storage: Storage, order: dict[str, Any], progress: Progress) -> tuple[dict[str, Any], list[str]]:
    """Put what the order names into the storage; returns the order with references for its paths, and their digests."""
    folders: list[str] = []

    def folder(path: str, **options: Any) -> dict[str, str]:
        folders.append(storage.push(Path(path), progress, **options))
        return {"ref": "folder", "digest": folders[-1], "name": Path(path).name}

    def file(path: str | None) -> dict[str, str] | None:
        if path is None:
            return None
        folders.append(storage.push(Path(path).expanduser(), progress))
        return {"ref": "file", "digest": folders[-1], "name": Path(path).name}

    wanted = {name: value for name, value in order.items() if name not in ("cache", "models")}
    for name, value in order.items():
        if name == "dataset":
            wanted[name] = folder(value, without=PRIVATE)
        elif name == "base":
            wanted[name] = folder(value) if is_own(settings) else _model(settings, Path(value))
        elif name == "parent":
            wanted[name] = folder(value) if value else None
        elif name == "adapters":
            wanted[name] = [folder(path) for path in value]
        elif name == "generic":
            wanted[name] = file(value)
        elif name == "recipe":
            wanted[name] = value | {"generic_path": file(value["generic_path"])}
        elif name == "out":
            wanted[name] = Path(value).name
    return wanted, folders


def is_own(settings: Settings) -> bool:
    """Whether the base model is a folder of this host, which no other host can make or fetch."""
    return Path(settings.model.base).expanduser().is_dir()


def _model(settings: Settings, base: Path) -> dict[str, Any]:
    weights = read_object(base / "manifest.json", mend=AGAIN, error=ModelError).get("weights")
    return {"ref": "model", "name": settings.model.base, "revision": settings.model.revision, "weights": weights}


def fetch(settings: Settings, storage: Storage, job: str, order: dict[str, Any], job_id: str, progress: Progress) -> Any:
    """The job's result, with the folder that it made on this host's disk. Raises TwinError, Damaged if it has to be done again."""
    result = storage.read(result_name(job_id))
    if result is None:
        mend = "Every host must reach the same TWIN_TRAINER__STORAGE; `twin doctor` tries it."
        raise TwinError(f"`{job}` is done, but its result is not in {storage.url}.", mend=mend)
    if target := _made(settings, job, order):
        result = str(storage.pull(checked_sum(result.get("digest") if isinstance(result, dict) else None), target, progress))
    elif job == "evaluate" and not (isinstance(result, dict) and all(isinstance(row, dict) for row in result.values())):
        raise Damaged(f"The result of `{job}` in {storage.url} has no figures.", mend="Run it again.")
    storage.remove(result_name(job_id))
    return result
