"""LitServe, with one worker."""

import sys
from typing import Any

import litserve
import work
from fastapi import Request


class Digits(litserve.LitAPI):
    """Read the picture from a form."""

    def setup(self, device: str) -> None:  # noqa: ARG002  LitServe's
        """Load the model."""
        self.classifier = work.load()

    def decode_request(self, request: Request) -> bytes:
        """Return the file in the form, which LitServe parses because of the type Request."""
        picture: bytes = request["image"].file.read()
        return picture

    def predict(self, x: bytes) -> dict[str, Any]:
        """Find the digit in a picture."""
        return work.read(self.classifier, x)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return the output unchanged."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Digits(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
