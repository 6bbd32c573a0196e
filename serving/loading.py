"""Loads every model that is served, or says in one sentence why that cannot be."""

from serving import artifacts
from serving.artifacts import ArtifactError
from serving.classifier import Classifier, ContractError, ProviderError, choose_provider
from serving.metrics import MeteredClassifier
from serving.settings import Settings


class StartError(Exception):
    """The service cannot start; the message is one sentence that says why."""


def load_classifiers(chosen: Settings) -> dict[str, Classifier]:
    """Load every model, by name.

    Raises:
        StartError: One is missing or damaged, or cannot run where the settings say.
    """
    try:
        loaded = artifacts.load_all(chosen.models)
        if chosen.model not in loaded:
            raise StartError(
                f"QMNIST_MODEL={chosen.model!r} is not in {chosen.models}, "
                f"which has {', '.join(loaded)}"
            )
        provider = choose_provider(chosen.provider, loaded[chosen.model])
        return {name: MeteredClassifier(artifact, provider) for name, artifact in loaded.items()}
    except (ArtifactError, ContractError, ProviderError) as error:
        raise StartError(str(error)) from error
