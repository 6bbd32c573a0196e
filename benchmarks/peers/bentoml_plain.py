"""BentoML as in its guide: an API that takes a picture, with default settings."""

from typing import Any

import bentoml
import work
from PIL import Image

from imaging import open_image


@bentoml.service
class Plain:
    """One picture per call."""

    def __init__(self) -> None:
        self.classifier = work.load()

    @bentoml.api
    def predict(self, image: Image.Image) -> dict[str, Any]:
        """Find the digit in a picture."""
        return work.find(self.classifier, open_image(image))
