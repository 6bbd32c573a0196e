"""Triton with our classifier."""

import sys
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from serving import settings
from serving.inference import artifacts
from serving.inference.classifier import Classifier
from serving.settings import Provider

chosen = settings.load()
# `work` is not used here, because its imaging needs a newer numpy than PyTriton.
classifier = Classifier(artifacts.load(chosen.models / chosen.model), Provider.CPU)


@batch
def infer(images: Any) -> dict[str, Any]:  # noqa: ANN401
    """Read pixels, and return all outputs of the network."""
    found = classifier.predict(images)
    return {
        "digit": found.digits[:, None],
        "probabilities": found.probabilities,
        "logits": found.logits,
        "confidence": found.confidences[:, None],
        "typicality": found.typicality[:, None],
        "accepted": found.accepted[:, None],
        "reason": np.array([reason or "" for reason in found.reasons], np.bytes_)[:, None],
    }


if __name__ == "__main__":
    port = int(sys.argv[1])
    config = TritonConfig(http_port=port, allow_grpc=False, allow_metrics=False)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="tensors",
            infer_func=infer,
            inputs=[Tensor(name="images", dtype=np.uint8, shape=(28, 28))],
            outputs=[
                Tensor(name="digit", dtype=np.int64, shape=(1,)),
                Tensor(name="probabilities", dtype=np.float32, shape=(10,)),
                Tensor(name="logits", dtype=np.float32, shape=(10,)),
                Tensor(name="confidence", dtype=np.float32, shape=(1,)),
                Tensor(name="typicality", dtype=np.float32, shape=(1,)),
                Tensor(name="accepted", dtype=np.bool_, shape=(1,)),
                Tensor(name="reason", dtype=np.bytes_, shape=(1,)),
            ],
            config=ModelConfig(max_batch_size=1_024),
        )
        triton.serve()
