"""The models being served: loads, replaces and unloads them while requests are answered.

Each worker is a process of its own with all models. Workers serve the copies in the service's
folder (`state.Copies`). A worker that receives a request to load or unload a model changes its
copy, and the others follow.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.errors import UnknownModel
from serving.inference import artifacts, state
from serving.inference.artifacts import Artifact, ArtifactError
from serving.inference.classifier import Classifier, ContractError, ProviderError, choose_provider
from serving.inference.state import Stamp
from serving.settings import Provider, Settings
from serving.telemetry import metrics
from serving.telemetry.metrics import MeteredClassifier

logger = logging.getLogger("bentoml.digits")  # BentoML shows loggers below "bentoml"

FOLLOW_SECONDS = 0.1  # between two looks at the copies

REFUSALS = (ArtifactError, ContractError, ProviderError, OSError)


class LoadError(Exception):
    """A model cannot be served; the message is the reason."""


@dataclass(frozen=True)
class Entry:
    """A model in the folder, served or not.

    Attributes:
        version: The version being served; "" if there is none.
        reason: Why it is not served, or why not in the version in the folder.
    """

    name: str
    version: str
    ready: bool
    reason: str


class Repository:
    """All models, by name.

    The first repository in a service's folder verifies all models and copies them there. Later ones
    serve the copies, whatever the models folder contains by then.

    Args:
        settings: Where the models are, where they run, and how often to look for new ones.
        shared: The service's folder; `None` makes one.

    Raises:
        LoadError: In the first, a model is missing, damaged, or cannot run on the provider; in
            later ones, no copy can be loaded.
    """

    def __init__(self, settings: Settings, shared: Path | None = None) -> None:
        self._folder = settings.models
        self._poll = settings.model_poll
        self.provider: Provider = settings.provider
        # Replaced as a whole, never modified, so that readers have a consistent set.
        self.models: Mapping[str, Classifier] = {}
        self._followed: dict[str, Stamp] = {}
        self._seen: dict[str, dict[str, Stamp]] = {}
        self._refused: dict[str, str] = {}
        try:
            self._copies = state.Copies(shared or state.make())
            with self._copies.locked():
                if not self._copies.look():
                    self._install_all(settings.model)
                self._follow()
        except REFUSALS as error:
            raise LoadError(str(error)) from error
        if self._refused and not self.models:
            raise LoadError("none of the models can be loaded")

    def _install_all(self, default: str) -> None:
        found = artifacts.load_all(self._folder)
        if default not in found:
            raise LoadError(
                f"QMNIST_MODEL={default!r} is not in {self._folder}; "
                f"choose one of {', '.join(found)}"
            )
        if found[default].card.comparison:
            raise LoadError(
                f"QMNIST_MODEL={default!r} is only for comparison; choose another model"
            )
        for artifact in found.values():
            self._install(artifact)

    def get(self, name: str, version: str | None = None) -> Classifier:
        """Look up a model.

        Args:
            name: The model's name.
            version: The version it must have, if given.

        Raises:
            UnknownModel: It is not served, or not in this version.
        """
        models = self.models
        model = models.get(name)
        if model is None:
            raise UnknownModel(
                f"There is no model {name!r}. Choose one of {', '.join(models)}."
                if models
                else f"There is no model {name!r}: none is loaded."
            )
        if version is not None and version != model.card.version:
            raise UnknownModel(
                f"The model {name!r} has no version {version!r}, only {model.card.version!r}."
            )
        return model

    def index(self) -> list[Entry]:
        """List the models in the folder, and those still served that are no longer there."""
        models = self.models
        names = sorted({*models, *self._names()})
        return [
            Entry(name, models[name].card.version, ready=True, reason=self._refused.get(name, ""))
            if name in models
            else Entry(name, "", ready=False, reason=self._refused.get(name, "not loaded"))
            for name in names
        ]

    def load(self, name: str) -> None:
        """Load or reload a model from its folder, in every worker.

        Raises:
            LoadError: It cannot be served. The old version, if any, is still served.
            UnknownModel: There is no such folder.
        """
        if name not in self._names():
            raise UnknownModel(f"There is no model {name!r} in the models folder.")
        with self._changing():
            self._exchange(name)

    def unload(self, name: str) -> None:
        """Stop serving a model, in every worker; running requests finish with it.

        Raises:
            UnknownModel: It is not served.
        """
        with self._changing():
            self.get(name)
            self._copies.unload(name)
            self._serve(name, None)
        logger.info("model %r: no longer served", name)

    async def watch(self) -> None:
        """Follow other workers' changes, and look for new artifacts, until cancelled."""
        loop = asyncio.get_running_loop()
        next_poll = loop.time() + self._poll
        while True:
            await asyncio.sleep(min(FOLLOW_SECONDS, self._poll or FOLLOW_SECONDS))
            try:
                if not self._copies.look().items() <= self._followed.items():
                    await asyncio.to_thread(self._follow_others)
                if self._poll and loop.time() >= next_poll:
                    next_poll = loop.time() + self._poll
                    await asyncio.to_thread(self._notice)
            except Exception:
                logger.exception("looking for new models failed; it will be tried again")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Lock the copies, and catch up with changes made before."""
        with self._copies.locked():
            self._follow()
            yield

    def _follow_others(self) -> None:
        with self._changing():
            pass

    def _follow(self) -> None:
        """Serve the current copies; keep the old model if one cannot be loaded."""
        for name, stamp in self._copies.look().items():
            if stamp != self._followed.get(name):
                self._followed[name] = stamp
                try:
                    artifact = self._copies.read(name)
                    self._serve(name, None if artifact is None else self._classifier(artifact))
                except REFUSALS as error:
                    self._refused[name] = str(error)
                    self._log_refusal(name, error)

    def _notice(self) -> None:
        """Load what has changed in the folder, except models that were unloaded."""
        with self._changing():
            for name in sorted(self._names() - self._copies.unloaded()):
                if state.stamps(self._folder / name) != self._seen.get(name):
                    try:
                        self._exchange(name)
                    except LoadError as error:
                        self._log_refusal(name, error)

    def _exchange(self, name: str) -> None:
        """Serve the artifact in a model's folder."""
        # Before reading, so that later changes are noticed. A bad artifact is tried again only
        # after it changes.
        self._seen[name] = state.stamps(self._folder / name)
        refused = self._refused.pop(name, None)
        served = self.models.get(name)
        try:
            artifact = artifacts.load(self._folder / name)
            if served and served.card == artifact.card and not refused:
                return
            self._install(artifact)
        except REFUSALS as error:
            self._refused[name] = f"the artifact in its folder was refused: {error}"
            raise LoadError(str(error).rstrip(".")) from error
        logger.info("model %r: version %s is served", name, artifact.card.version)

    def _install(self, artifact: Artifact) -> None:
        """Load an artifact, then publish it to all workers."""
        classifier = self._classifier(artifact)
        self._copies.write(artifact)
        self._serve(artifact.name, classifier)

    def _classifier(self, artifact: Artifact) -> Classifier:
        self.provider = choose_provider(self.provider, artifact)
        return MeteredClassifier(artifact, self.provider)

    def _serve(self, name: str, classifier: Classifier | None) -> None:
        self._followed[name] = self._copies.look()[name]
        self._refused.pop(name, None)
        new = {**self.models, name: classifier}
        models = {name: model for name, model in new.items() if model is not None}
        metrics.show_models(self.models.values(), models.values())
        self.models = models

    def _log_refusal(self, name: str, error: Exception) -> None:
        served = "the old version is still served" if name in self.models else "it is not served"
        logger.error("model %r: %s; %s", name, error, served)

    def _names(self) -> set[str]:
        return {folder.name for folder in artifacts.folders(self._folder)}
