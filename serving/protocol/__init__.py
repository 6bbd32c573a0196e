"""The Open Inference Protocol (V2), which the clients of Triton, KServe and MLServer speak.

`inference` is what it means; `rest` and `grpc` bring requests to it and take the answers back.

Sources: https://github.com/kserve/open-inference-protocol, and for the extensions
https://github.com/triton-inference-server/server/tree/main/docs/protocol.
"""
