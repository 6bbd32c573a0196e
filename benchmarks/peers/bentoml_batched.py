"""The same with BentoML's adaptive batching: the pictures of one moment share a call."""

from typing import Any

import bentoml
import numpy as np
import work
from PIL import Image

from imaging import look, open_image


@bentoml.service
class Batched:
    """As many pictures a call as have come."""

    def __init__(self) -> None:
        self.classifier = work.load()

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=10_000)
    def predict(self, images: list[Image.Image]) -> list[dict[str, Any]]:
        """Find the digit in each picture."""
        views = [look(open_image(image)) for image in images]
        predictions = self.classifier.predict(np.stack([view.pixels for view in views]))
        return [work.say(self.classifier, prediction) for prediction in predictions.rows()]
