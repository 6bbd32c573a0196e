"""MLServer: pictures are BYTES tensors of the Open Inference Protocol, base64 in JSON."""

import orjson
import work
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Digits(MLModel):
    """Return the fields as one JSON text, the protocol's cheapest way."""

    async def load(self) -> bool:
        """Load the model."""
        self.classifier = work.load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Find the digit in a picture."""
        (picture,) = Base64Codec.decode_input(payload.inputs[0])
        answer = work.read(self.classifier, picture)
        output = StringCodec.encode_output("answer", [orjson.dumps(answer).decode()])
        return InferenceResponse(model_name=self.name, outputs=[output])


class Tensors(MLModel):
    """Read pixels, and return all outputs of the network."""

    async def load(self) -> bool:
        """Load the model."""
        self.classifier = work.load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Find the digits."""
        images = NumpyCodec.decode_input(payload.inputs[0])
        outputs = [
            (StringCodec if datatype == "BYTES" else NumpyCodec).encode_output(name, values)
            for name, (datatype, values) in work.outputs(self.classifier, images).items()
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
