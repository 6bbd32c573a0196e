"""The models that are served: loads them, and exchanges them while requests go on.

Each of a service's workers has all models, and is a process of its own. What one of them is told
to load or to unload it writes into a file that all of them look at.
"""

import asyncio
import fcntl
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from serving import artifacts, metrics
from serving.artifacts import ArtifactError
from serving.classifier import Classifier, ContractError, ProviderError, choose_provider
from serving.errors import UnknownModel
from serving.metrics import MeteredClassifier
from serving.settings import Provider, Settings

logger = logging.getLogger("bentoml.digits")  # BentoML shows what is logged below "bentoml"

FOLLOW_SECONDS = 0.1  # until a worker looks again at what another one was told

# What a model's files were when they were looked at: a new file has another inode, if nothing else.
Fingerprint = tuple[tuple[str, int, int, int], ...]


class LoadError(Exception):
    """A model cannot be served; the message is one sentence that says why."""


@dataclass(frozen=True)
class Entry:
    """A model in the folder, served or not.

    Attributes:
        version: That which is served; "" if none is.
        reason: Why it is not served, or why not in the version that lies in the folder.
    """

    name: str
    version: str
    ready: bool
    reason: str


@dataclass
class Orders:
    """What workers were told since the service started.

    Attributes:
        loads: How often each model was to be loaded anew, by name.
        unloaded: The models that are not to be served.
    """

    loads: dict[str, int] = field(default_factory=dict)
    unloaded: list[str] = field(default_factory=list)


class Repository:
    """All models, by name.

    Args:
        settings: Say where the models are, where they run, and how often to look for new ones.
        shared: A folder for what the workers tell each other; `None` if there is but this one.

    Raises:
        LoadError: One is missing or damaged, or cannot run where the settings say.
    """

    def __init__(self, settings: Settings, shared: Path | None = None) -> None:
        self._folder = settings.models
        self._poll = settings.model_poll
        self._orders = _OrderBook(shared)
        self._done = self._orders.take()
        self._refused: dict[str, str] = {}
        self._changing = threading.Lock()
        try:
            self._seen = self._look()
            found = artifacts.load_all(self._folder)
            if settings.model not in found:
                raise LoadError(
                    f"QMNIST_MODEL={settings.model!r} is not in {self._folder}, "
                    f"which has {', '.join(found)}"
                )
            self.provider: Provider = choose_provider(settings.provider, found[settings.model])
            # Never changed, but exchanged as a whole: who holds it has models that fit together.
            self.models: Mapping[str, Classifier] = {}
            self._serve(
                {
                    name: MeteredClassifier(artifact, self.provider)
                    for name, artifact in found.items()
                    if name not in self._done.unloaded
                }
            )
        except (ArtifactError, ContractError, ProviderError) as error:
            raise LoadError(str(error)) from error

    def _serve(self, models: Mapping[str, Classifier]) -> None:
        metrics.show_models(self.models.values(), models.values())
        self.models = models

    def get(self, name: str, version: str | None = None) -> Classifier:
        """Look a model up.

        Args:
            name: The model's.
            version: If it must be this one.

        Raises:
            UnknownModel: It is not served, or not in that version.
        """
        models = self.models
        model = models.get(name)
        if model is None:
            raise UnknownModel(f"There is no model {name!r}; there are {', '.join(models)}.")
        if version is not None and version != model.card.version:
            raise UnknownModel(
                f"The model {name!r} has no version {version!r}; it has {model.card.version!r}."
            )
        return model

    def index(self) -> list[Entry]:
        """List the models in the folder, and those that are served without being there any more."""
        models = self.models
        names = sorted({*models, *self._look()})
        return [
            Entry(name, models[name].card.version, ready=True, reason=self._refused.get(name, ""))
            if name in models
            else Entry(name, "", ready=False, reason=self._refused.get(name, "not loaded"))
            for name in names
        ]

    def load(self, name: str) -> None:
        """Load a model from its folder, anew if it is served already, in every worker.

        Raises:
            LoadError: It cannot be served. What was served is served on.
            UnknownModel: There is no such folder.
        """
        if name not in self._look():
            raise UnknownModel(f"There is no model {name!r} in the folder of models.")
        with self._changing:
            self._exchange(name)
            with self._orders.change() as orders:
                orders.loads[name] = orders.loads.get(name, 0) + 1
                orders.unloaded = [other for other in orders.unloaded if other != name]
            self._done.loads[name] = orders.loads[name]

    def unload(self, name: str) -> None:
        """Serve a model no more, in every worker; requests that have it finish.

        Raises:
            UnknownModel: It is not served.
        """
        with self._changing:
            self.get(name)
            self._drop(name)
            with self._orders.change() as orders:
                orders.unloaded.append(name)

    async def watch(self) -> None:
        """Look for what other workers were told, and for new artifacts, until cancelled."""
        loop = asyncio.get_running_loop()
        next_poll = loop.time() + self._poll
        while True:
            await asyncio.sleep(min(FOLLOW_SECONDS, self._poll or FOLLOW_SECONDS))
            try:
                if self._orders.are_new():
                    await asyncio.to_thread(self._follow)
                if self._poll and loop.time() >= next_poll:
                    next_poll = loop.time() + self._poll
                    await asyncio.to_thread(self._notice)
            except Exception:
                logger.exception("looking for new models failed; it goes on")

    def _follow(self) -> None:
        """Do what another worker was told."""
        with self._changing:
            orders = self._orders.take()
            for name in orders.unloaded:
                if name in self.models:
                    self._drop(name)
            for name, count in orders.loads.items():
                if name not in orders.unloaded and count != self._done.loads.get(name):
                    self._try_exchange(name)
            self._done = orders

    def _notice(self) -> None:
        """Load what has changed in the folder."""
        with self._changing:
            unloaded = self._orders.read().unloaded
            for name, files in self._look().items():
                if files != self._seen.get(name) and name not in unloaded:
                    self._try_exchange(name)

    def _try_exchange(self, name: str) -> None:
        try:
            self._exchange(name)
        except LoadError as error:
            served = "the old one is served on" if name in self.models else "it is not served"
            logger.error("model %r: %s; %s", name, error, served)  # noqa: TRY400  a sentence says it

    def _exchange(self, name: str) -> None:
        # Before it is read: what changes meanwhile is looked at again. A bad one is so too, but
        # not before it changes.
        self._seen[name] = _fingerprint(self._folder / name)
        try:
            loaded = MeteredClassifier(artifacts.load(self._folder / name), self.provider)
        except (ArtifactError, ContractError, ProviderError) as error:
            self._refused[name] = f"the artifact in its folder was refused: {error}"
            raise LoadError(str(error).rstrip(".")) from error
        self._refused.pop(name, None)
        self._serve({**self.models, name: loaded})
        logger.info("model %r: version %s is served", name, loaded.card.version)

    def _drop(self, name: str) -> None:
        self._serve({other: model for other, model in self.models.items() if other != name})
        logger.info("model %r: not served any more", name)

    def _look(self) -> dict[str, Fingerprint]:
        return {folder.name: _fingerprint(folder) for folder in artifacts.folders(self._folder)}


class _OrderBook:
    """The orders, in a file that all workers share, or in memory where there is but one."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / "models.json"
        self._orders = Orders()
        self._taken: tuple[int, int] | None = None

    def are_new(self) -> bool:
        """Whether there are orders that were not taken yet."""
        return self._path is not None and _stamp(self._path) != self._taken

    def take(self) -> Orders:
        """Return all orders, to be carried out."""
        if self._path is not None:
            self._taken = _stamp(self._path)
        return self.read()

    def read(self) -> Orders:
        """Return all orders."""
        if self._path is not None and self._path.exists():
            return Orders(**json.loads(self._path.read_text(encoding="utf-8")))
        return self._orders

    @contextmanager
    def change(self) -> Iterator[Orders]:
        """Change the orders, while no other worker does; they count as not taken."""
        if self._path is None:
            yield self._orders
            return
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            orders = self.read()
            yield orders
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps(asdict(orders)), encoding="utf-8")
            new.replace(self._path)


def _fingerprint(folder: Path) -> Fingerprint:
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # it went away between the two looks
            status = path.stat()
            found.append((path.name, status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns
