"""The work of every peer: our imaging, our classifier, and the fields of our response."""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageStat

from imaging import SIDE, Opened, look, open_picture
from serving import settings
from serving.inference import artifacts
from serving.inference.classifier import Classifier, Prediction
from serving.settings import Provider

LIGHT = 128  # of 255; a picture that is lighter on average is taken for dark on light

chosen = settings.load()


def load() -> Classifier:
    """Load the default model."""
    return Classifier(artifacts.load(chosen.models / chosen.model), Provider.CPU)


def read(classifier: Classifier, picture: bytes) -> dict[str, Any]:
    """Find the digit in an encoded picture."""
    return find(classifier, open_picture(picture, chosen.max_image_pixels))


def read_resized(classifier: Classifier, picture: bytes) -> dict[str, Any]:
    """Read an encoded picture that Pillow simply resizes to 28 x 28."""
    shades = Image.open(BytesIO(picture)).convert("L")
    if ImageStat.Stat(shades).mean[0] >= LIGHT:
        shades = ImageOps.invert(shades)
    pixels = np.asarray(shades.resize((SIDE, SIDE)))
    (prediction,) = classifier.predict(pixels[None]).rows()
    return say(classifier, prediction)


def find(classifier: Classifier, opened: Opened) -> dict[str, Any]:
    """Find the digit in an opened picture."""
    (prediction,) = classifier.predict(look(opened).pixels[None]).rows()
    return say(classifier, prediction)


def say(classifier: Classifier, prediction: Prediction) -> dict[str, Any]:
    """Return the fields of a prediction."""
    return {
        "digit": prediction.digit,
        "confidence": round(prediction.confidence, 6),
        "typicality": round(prediction.typicality, 6),
        "accepted": prediction.accepted,
        "reason": prediction.reason,
        "probabilities": [round(probability, 6) for probability in prediction.probabilities],
        "model": classifier.card.name,
        "version": classifier.card.version,
    }


def outputs(
    classifier: Classifier, images: NDArray[np.uint8]
) -> dict[str, tuple[str, NDArray[Any]]]:
    """Return the outputs that our service has for tensors: datatype and values by name."""
    found = classifier.predict(images)
    return {
        "digit": ("INT64", found.digits),
        "probabilities": ("FP32", found.probabilities),
        "logits": ("FP32", found.logits),
        "confidence": ("FP32", found.confidences),
        "typicality": ("FP32", found.typicality),
        "accepted": ("BOOL", found.accepted),
        "reason": ("BYTES", np.array([reason or "" for reason in found.reasons], np.str_)),
    }
