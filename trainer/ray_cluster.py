"""A Ray cluster's job server, as far as the launcher needs it: submit, ask, follow, stop. HTTP and a web socket, no Ray here.

Every call ends within CALL_SECONDS. Unreachable is for now, the others are for good.
"""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trainer
import twin
from twin.errors import SettingsError, TwinError

CALL_SECONDS = 15.0
CODE = [str(Path(file).parent) for file in (twin.__file__, trainer.__file__)]
WAITING, RUNNING, DONE, FAILED, STOPPED = "PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"
ENDED = frozenset({DONE, FAILED, STOPPED})


class Unreachable(TwinError):
    """Nobody answers at the address, or only with an error of its own."""


class UnknownJob(TwinError):
    """The cluster was started anew since, or never got it."""


@dataclass(frozen=True)
class Answer:
    """`status` is Ray's: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED; `message` what Ray says about it."""

    status: str
    message: str
    exit_code: int | None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


class Cluster:
    def __init__(self, address: str, token: str | None = None) -> None:
        """Reaches nothing yet. Raises SettingsError if it is no address, TwinError if Ray is not installed here."""
        if not address.startswith(("http://", "https://")) or not urlsplit(address).hostname:
            mend = "Write TWIN_TRAINER__RAY_ADDRESS=http://HOST:8265."
            raise SettingsError(f"TWIN_TRAINER__RAY_ADDRESS is no address of a Ray cluster: {address}.", mend=mend)
        self.address = address.rstrip("/")
        self._client = _client(self.address, token)

    def submit(self, job_id: str, entrypoint: str, *, gpus: float) -> None:
        """Start a job with this very code, on a host with so many free GPUs. One of this id that is there already is it."""
        # Ray spares its head node for jobs that ask for nothing; one core is asked for so that any host may take it.
        code = {"py_modules": CODE, "excludes": ["**/__pycache__"]}
        wanted = {"entrypoint_num_cpus": 1, "entrypoint_num_gpus": gpus or None}
        try:
            self._call(self._client.submit_job, entrypoint=entrypoint, submission_id=job_id, runtime_env=code, **wanted)
        except Unreachable:
            if not self._is_known(job_id):
                raise

    def answer(self, job_id: str) -> Answer:
        """Raises UnknownJob if the cluster has no such job."""
        info = self._call(self._client.get_job_info, job_id)
        return Answer(str(info.status.value), info.message or "", info.driver_exit_code)

    def stop(self, job_id: str) -> None:
        """Ask it to end: SIGTERM, and SIGKILL three seconds later."""
        self._call(self._client.stop_job, job_id)

    def nodes(self) -> list[dict[str, Any]]:
        """The living hosts, each with its `resources_total`."""
        found = self._get("/api/v0/nodes")["data"]["result"]["result"]
        return [node for node in found if node["state"] == "ALIVE"]

    def gpus(self) -> float:
        """How many the living hosts have together."""
        return float(sum(node["resources_total"].get("GPU", 0) for node in self.nodes()))

    def version(self) -> str:
        return str(self._get("/api/version")["ray_version"])

    def log(self, job_id: str) -> list[str]:
        """All its lines up to now; none if the host that has them is gone."""
        try:
            return str(self._call(self._client.get_job_logs, job_id)).splitlines()
        except Unreachable:
            return []

    def tail(self, job_id: str) -> Tail:
        return Tail(self._client, job_id)

    def _is_known(self, job_id: str) -> bool:
        try:
            self.answer(job_id)
        except (Unreachable, UnknownJob):
            return False
        return True

    def _get(self, path: str) -> Any:
        response = self._call(self._client._do_request, "GET", path)
        if response.status_code != 200:
            raise Unreachable(f"{self.address} answers {path} with status {response.status_code}.", mend=self._mend)
        return json.loads(response.text)

    def _call(self, function: Any, *arguments: Any, **options: Any) -> Any:
        import requests
        from ray.exceptions import AuthenticationError

        try:
            return function(*arguments, **options)
        except AuthenticationError as exc:
            mend = "Set TWIN_TRAINER__RAY_TOKEN to what is in ~/.ray/auth_token on the cluster's first host."
            raise SettingsError(f"The Ray cluster at {self.address} refuses this host.", mend=mend) from exc
        except (requests.RequestException, ConnectionError) as exc:
            raise Unreachable(f"The Ray cluster at {self.address} does not answer.", mend=self._mend) from exc
        except RuntimeError as exc:  # how Ray's client tells every status that is not 200
            if "status code 404" in str(exc):
                mend = "It was started anew meanwhile. The next run does the job again."
                raise UnknownJob(f"The Ray cluster at {self.address} does not know the job.", mend=mend) from exc
            why = next((line for line in reversed(str(exc).splitlines()) if line.strip(" .")), "").strip()
            raise Unreachable(f"The Ray cluster at {self.address} has trouble: {why[:200]}", mend="Its own logs say more.") from exc

    @property
    def _mend(self) -> str:
        return "Is it running, and is TWIN_TRAINER__RAY_ADDRESS right? See deploy/ray/README.md."


class Tail:
    """A job's log from its beginning, line by line; a thread reads it, so that the reader can be interrupted at any moment."""

    def __init__(self, client: Any, job_id: str) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # None: no more
        self._client, self._job_id = client, job_id
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="ray-tail", daemon=True)
        self._thread.start()

    def line(self, seconds: float) -> str | None:
        """The next line; None if it has ended or the connection is lost. Raises queue.Empty if there is none yet."""
        return self._lines.get(timeout=seconds)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._read_until_stopped())

    async def _read_until_stopped(self) -> None:
        reading, stopping = asyncio.create_task(self._read()), asyncio.create_task(self._stopping.wait())
        await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading

    async def _read(self) -> None:
        from aiohttp import ClientError

        rest = ""
        try:
            async for chunk in self._client.tail_job_logs(self._job_id):  # chunks may end anywhere
                *lines, rest = (rest + chunk).split("\n")
                for line in lines:
                    self._lines.put(line)
        except (ClientError, OSError, RuntimeError):  # RuntimeError: how Ray tells a broken web socket
            pass  # whoever reads asks the cluster what is the matter
        finally:
            self._lines.put(None)


def _client(address: str, token: str | None) -> Any:
    try:
        import ray
        from ray.dashboard.modules.dashboard_sdk import SubmissionClient
        from ray.job_submission import JobSubmissionClient
    except ImportError as exc:
        raise TwinError("Ray is not installed here.", mend="pip install 'telegram-twin[ray]', or `make venv`.") from exc

    for handler in logging.getLogger("ray").handlers:
        handler.setLevel(logging.WARNING)  # how it packs the code is nothing for a person's terminal

    class Client(JobSubmissionClient):  # type: ignore[misc]
        def __init__(self) -> None:
            # Not JobSubmissionClient's own: it lets RAY_ADDRESS win over what it is given, and asks the server at once.
            self._client_ray_version = ray.__version__
            SubmissionClient.__init__(self, address, headers={"Authorization": f"Bearer {token}"} if token else None)
            self._ssl_context = True  # what None meant before aiohttp deprecated it

        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            return super()._do_request(method, endpoint, timeout=CALL_SECONDS, **options)

    return Client()
